"""Which clips are evaluated, and what a broken list says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dubcli.config import EvaluateConfig
from dubcli.core.errors import ConfigError
from dubcli.evaluation.clips import EvalClip, list_clips, list_recordings


def _config(clips: Path, **settings: Any) -> EvaluateConfig:
    return EvaluateConfig(clips=clips, output=Path("out"), **settings)


def _csv(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_folder_gives_its_videos_in_order(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.mpg", "deep/c.MKV", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    clips = list_clips(_config(tmp_path))
    assert [clip.name for clip in clips] == ["a", "b", "deep-c"]
    assert [clip.identity for clip in clips] == ["a", "b", "deep-c"]
    assert all(clip.audio == clip.path for clip in clips)
    assert [clip.name for clip in list_clips(_config(tmp_path, limit=2))] == ["a", "b"]


def test_a_csv_counts_paths_from_its_folder_and_ignores_other_columns(tmp_path: Path) -> None:
    path = _csv(
        tmp_path / "list.csv",
        "clip,audio,identity,audio_is_own,sync_peak_lag_frames",
        "x/one.mp4,voice.wav,anna,yes,3",
        "two.mp4,,,no,",
        ",,,,",
    )
    assert list_clips(_config(path)) == [
        EvalClip(
            path=tmp_path / "x/one.mp4",
            name="x-one",
            identity="anna",
            audio=tmp_path / "voice.wav",
        ),
        EvalClip(
            path=tmp_path / "two.mp4",
            name="two",
            identity="two",
            audio=tmp_path / "two.mp4",
            audio_is_own=False,
        ),
    ]


def test_a_catalogue_adds_what_it_knows_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/one.mp4").touch()
    catalogue = _csv(
        tmp_path / "all.csv", "file,identity,audio_is_own", "far/one.mp4,anna,no", "far/x.mp4,b,yes"
    )
    (clip,) = list_clips(_config(tmp_path / "clips", catalogue=catalogue))
    assert (clip.identity, clip.audio_is_own) == ("anna", False)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("file,identity", "a.mp4,x"), "no column 'clip'; it has: file, identity"),
        (("",), "no column 'clip'"),
        (("clip",), "lists no clip"),
        (("clip", "a.mp4", "a.mp4"), "called 'a'"),
    ],
)
def test_a_broken_list_is_refused(lines: tuple[str, ...], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        list_clips(_config(_csv(tmp_path / "list.csv", *lines)))


def test_nothing_to_evaluate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lists no clip"):
        list_clips(_config(tmp_path))
    with pytest.raises(ConfigError, match="neither a folder nor a file"):
        list_clips(_config(tmp_path / "absent"))
    with pytest.raises(ConfigError, match="holds no recording"):
        list_recordings(tmp_path)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ConfigError, match="cannot be read"):
        list_clips(_config(tmp_path / "binary.csv"))
