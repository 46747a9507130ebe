"""What options are given as words: voices, and times of a part."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from dubcli.config import DubConfig, Voice, voices_from
from dubcli.config.option_parsing import moment
from dubcli.core.errors import ConfigError


def test_one_file_is_no_voice() -> None:
    assert voices_from(["a.wav"]) == Path("a.wav")


def test_each_voice_has_a_face_and_a_file() -> None:
    words = ["1=a.wav", "left=b.wav", "anna.png=c=d.wav"]
    assert voices_from(words) == (
        Voice(1, Path("a.wav")),
        Voice("left", Path("b.wav")),
        Voice("anna.png", Path("c=d.wav")),
    )


def test_one_voice_with_a_face_names_it() -> None:
    assert voices_from(["2=a.wav"]) == (Voice(2, Path("a.wav")),)


def test_a_file_that_exists_is_a_file_whatever_it_is_called() -> None:
    Path("2=a.wav").touch()
    assert voices_from(["2=a.wav"]) == Path("2=a.wav")
    assert voices_from(["1=2=a.wav"]) == (Voice(1, Path("2=a.wav")),)


@pytest.mark.parametrize("words", [["a.wav", "b.wav"], ["1=a.wav", "b.wav"], ["1=", "2=b.wav"]])
def test_several_files_need_a_face_each(words: list[str]) -> None:
    with pytest.raises(ConfigError, match="does not say whose it is"):
        voices_from(words)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("75.5", Fraction(151, 2)),
        ("1:15.5", Fraction(151, 2)),
        ("0:01:15.500", Fraction(151, 2)),
        ("90", Fraction(90)),
        ("90:00", Fraction(5400)),
        ("0.1", Fraction(1, 10)),
        ("25:00:00", Fraction(90_000)),
    ],
)
def test_times_are_read_exactly(text: str, seconds: Fraction) -> None:
    assert moment(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "x", "-1", "1:75", "1:60:00", "1:2:3:4", "1.", ".5", "1e3", "inf", "nan", "1,5", "١"],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="A time of"):
        moment(text)


@pytest.mark.parametrize(("start", "end"), [("2", "2"), ("1:00", "59.9"), (None, "0")])
def test_a_part_ends_after_its_start(start: str | None, end: str) -> None:
    with pytest.raises(ConfigError, match="not after its start"):
        DubConfig(video=Path("v.mp4"), audio=Path("a.wav"), start=start, end=end)


@pytest.mark.parametrize("mode", ["loop", "freeze", "cut"])
def test_a_part_never_changes_the_videos_length(mode: str) -> None:
    with pytest.raises(ConfigError, match="does not go with --start"):
        DubConfig(video=Path("v.mp4"), audio=Path("a.wav"), start="1", sync_mode=mode)
    whole = DubConfig(video=Path("v.mp4"), audio=Path("a.wav"), start="1", sync_mode="pad")
    assert whole.is_part
