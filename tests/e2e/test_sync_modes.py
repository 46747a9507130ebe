"""What each sync mode promises when audio and video differ in length."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest
from studio import FACE_PX, NUM_FRAMES, dub_here, face_clip, pictures, same_samples, sound, speech

FRAME_S = Fraction(1, 25)
VIDEO_S = NUM_FRAMES * FRAME_S
LONG_S, SHORT_S = Fraction(9, 10), Fraction(41, 100)


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the clip, audio that outlasts it and audio that does not."""
    folder = tmp_path_factory.mktemp("modes")
    face_clip(folder / "in.mkv")
    speech(folder / "long.wav", float(LONG_S))
    speech(folder / "short.wav", float(SHORT_S))
    return folder


def shown_s(path: Path) -> Fraction:
    """How long the picture lasts: the last frame's time and one frame more."""
    return pictures(path)[-1].time_s + FRAME_S


def heard_s(path: Path) -> Fraction:
    samples, rate = sound(path)
    return Fraction(samples.shape[1], rate)


@pytest.mark.parametrize(
    ("mode", "shown_next"),
    [
        ("loop", range(7)),
        ("bounce", range(NUM_FRAMES - 2, NUM_FRAMES - 9, -1)),
        ("freeze", [NUM_FRAMES - 1] * 7),
    ],
)
def test_longer_audio_goes_on_over_repeated_frames(
    mode: str, shown_next: range | list[int], studio: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mkv"
    report = dub_here(studio / "in.mkv", studio / "long.wav", output, lossless=True, sync_mode=mode)
    assert report.sync_mode == mode
    assert heard_s(output) == LONG_S
    assert LONG_S <= shown_s(output) < LONG_S + FRAME_S
    assert report.duration_s == pytest.approx(float(shown_s(output)), abs=0.001)
    frames = [shown.frame for shown in pictures(output)]
    assert len(frames) == report.frames == 23
    again = zip(frames[NUM_FRAMES:], shown_next, strict=True)
    assert all(same_samples(frame, frames[earlier]) for frame, earlier in again)
    assert any("audio is longer" in warning for warning in report.warnings)


@pytest.mark.parametrize("mode", ["cut", "pad"])
def test_longer_audio_ends_with_the_video(mode: str, studio: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    report = dub_here(studio / "in.mkv", studio / "long.wav", output, sync_mode=mode)
    assert report.frames == NUM_FRAMES
    assert shown_s(output) == heard_s(output) == VIDEO_S
    assert any("left out" in warning for warning in report.warnings)


def test_cut_ends_with_shorter_audio(studio: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    report = dub_here(studio / "in.mkv", studio / "short.wav", output, sync_mode="cut")
    assert heard_s(output) == SHORT_S
    assert SHORT_S <= shown_s(output) < SHORT_S + FRAME_S
    assert report.frames == len(pictures(output)) == 11


@pytest.mark.parametrize("mode", ["loop", "bounce", "freeze", "pad"])
def test_shorter_audio_is_followed_by_silence(mode: str, studio: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    report = dub_here(studio / "in.mkv", studio / "short.wav", output, sync_mode=mode)
    assert report.frames == len(pictures(output)) == NUM_FRAMES
    assert shown_s(output) == heard_s(output) == VIDEO_S
    samples, rate = sound(output)
    assert not samples[:, round(SHORT_S * rate) :].any()
    assert any("silence" in warning for warning in report.warnings)


def test_lengths_that_match_are_not_worth_a_word(studio: Path, tmp_path: Path) -> None:
    audio = speech(tmp_path / "same.wav", float(VIDEO_S))
    report = dub_here(studio / "in.mkv", audio, tmp_path / "out.mkv", sync_mode="bounce")
    assert not any("audio" in warning for warning in report.warnings)
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert container.streams.video[0].height == FACE_PX
