"""What a folder and a CSV say of clips."""

from __future__ import annotations

from pathlib import Path

import pytest

from dubcli.core.catalogue import clip_name, is_own_sound, list_videos, read_catalogue, read_rows
from dubcli.core.errors import ConfigError


def test_videos_are_found_by_suffix_at_any_depth_in_order(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.mpg", "deep/c.MKV", "notes.txt", "sound.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [str(path.relative_to(tmp_path)) for path in list_videos(tmp_path)]
    assert found == ["a.mpg", "b.mp4", "deep/c.MKV"]
    assert [clip_name(Path(name)) for name in ("deep/c.MKV", "../far/d.mp4", "/e.f.mov")] == [
        "deep-c",
        "far-d",
        "e.f",
    ]


def test_rows_are_known_by_the_files_name(tmp_path: Path) -> None:
    path = tmp_path / "all.csv"
    # With the mark that spreadsheets write first.
    path.write_text("file,identity\nfar/one.mp4,anna\n,\n", encoding="utf-8-sig")
    assert read_catalogue(path) == {"one.mp4": {"file": "far/one.mp4", "identity": "anna"}}


@pytest.mark.parametrize(
    ("word", "own"), [("no", False), (" No ", False), ("yes", True), ("", True), (None, True)]
)
def test_only_a_plain_no_denies_that_the_sound_is_the_mouths(word: str | None, own: bool) -> None:
    assert is_own_sound({} if word is None else {"audio_is_own": word}) is own


def test_a_csv_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("name,identity\na.mp4,x\n")
    with pytest.raises(ConfigError, match="no column 'file'; it has: name, identity"):
        read_catalogue(path)
    path.write_text("")
    with pytest.raises(ConfigError, match="it is empty"):
        read_rows(path, "clip")
    path.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_rows(path, "clip")
    with pytest.raises(ConfigError, match="No such file"):
        read_rows(tmp_path / "absent.csv", "clip")
