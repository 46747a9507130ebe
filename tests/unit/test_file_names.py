"""What is no file's name, and names as long as a file system holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from dubcli.core.errors import ProbeError
from dubcli.core.file_names import address_in, fitting_name, name_limit
from dubcli.media.container.probe import check_readable


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("https://example.org/a/clip.mp4", "https://example.org/a/clip.mp4"),
        ("rtmp://example.org/live", "rtmp://example.org/live"),
        ("file:///home/me/clip.mp4", "file://home/me/clip.mp4"),
        ("clip.mp4", None),
        ("a:b.mp4", None),
        ("c:/clips/clip.mp4", None),
        ("/clips/https/clip.mp4", None),
    ],
)
def test_an_address_is_told_from_a_file(given: str, address: str | None) -> None:
    assert address_in(Path(given)) == address


@pytest.mark.parametrize(
    ("given", "step"),
    [
        ("https://example.org/clip.mp4", "curl -L -O 'https://example.org/clip.mp4'"),
        ("file:///home/me/clip.mp4", "Give the path alone"),
        ("-", "cat > video.mp4"),
    ],
)
def test_what_is_no_file_says_how_to_get_one(
    given: str, step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProbeError) as caught:
        check_readable(Path(given))
    assert step in caught.value.next_step


def test_a_file_that_is_called_like_an_address_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("https://host/clip.mp4", "-"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"x")
        check_readable(Path(name))


@pytest.mark.parametrize("letter", ["n", "ü", "語", "🎬"])
def test_a_long_name_is_cut_between_characters_and_can_be_written(
    letter: str, tmp_path: Path
) -> None:
    stem = letter * (250 // len(letter.encode()))
    path = tmp_path / fitting_name(stem, ".dubbed.mp4", tmp_path)
    path.touch()
    path.with_name(f".{path.name}.part").touch()
    assert path.name.endswith(".dubbed.mp4")
    assert path.name.startswith(letter * 20)


def test_long_names_that_begin_alike_stay_apart(tmp_path: Path) -> None:
    names = {fitting_name("n" * 240 + end, ".dubbed.mp4", tmp_path) for end in ("1", "2")}
    assert len(names) == 2


def test_a_short_name_stays(tmp_path: Path) -> None:
    assert fitting_name("clip", ".dubbed.mp4", tmp_path) == "clip.dubbed.mp4"


def test_bytes_that_are_no_text_stay(tmp_path: Path) -> None:
    assert fitting_name("a\udcff" * 200, ".mp4", tmp_path).startswith("a\udcffa\udcff")


def test_a_folder_that_is_not_there_has_a_limit(tmp_path: Path) -> None:
    assert name_limit(tmp_path / "lost") == 255
