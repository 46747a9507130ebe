"""Who drives whom, and that the driving sound begins with the picture."""

from __future__ import annotations

import wave
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from dubcli.config import EvaluateConfig
from dubcli.core.errors import ConfigError
from dubcli.evaluation.clips import EvalClip
from dubcli.evaluation.settings import (
    foreign_recording,
    other_clips,
    runs_of,
    write_foreign_audio,
    write_own_audio,
    write_silence,
)
from dubcli.evaluation.source import Source
from dubcli.media.video.timeline import FrameTimes

RATE = 16_000


def _clip(name: str, identity: str = "", own: bool = True) -> EvalClip:
    path = Path(f"{name}.mp4")
    return EvalClip(path=path, name=name, identity=identity or name, audio=path, audio_is_own=own)


def _source(seconds: int, audio: Path) -> Source:
    times = FrameTimes(
        pts=list(range(5, 5 + 25 * seconds)), end_pts=5 + 25 * seconds, time_base=Fraction(1, 25)
    )
    stand_in = SimpleNamespace(
        clip=EvalClip(path=Path("video.mp4"), name="c", identity="c", audio=audio),
        times=times,
        duration_s=times.duration_s,
    )
    return cast(Source, stand_in)


def _write(path: Path, samples: np.ndarray) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def _read(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767


@pytest.mark.parametrize(
    ("settings", "speech", "runs"),
    [
        ("silence,reconstruction", None, ["reconstruction", "silence"]),
        ("cross", None, ["cross-clip"]),
        ("cross", Path("speech"), ["cross-speech", "cross-clip"]),
    ],
)
def test_settings_become_runs(settings: str, speech: Path | None, runs: list[str]) -> None:
    config = EvaluateConfig(clips=Path("c"), output=Path("o"), settings=settings, speech=speech)
    assert runs_of(config) == runs


def test_the_other_clip_is_somebody_elses_own_sound() -> None:
    clips = [_clip("a", "anna"), _clip("b", "anna"), _clip("c", own=False), _clip("d"), _clip("e")]
    orders = ["".join(c.name for c in other_clips(clip, clips, clips, 0)) for clip in clips]
    assert orders == ["de", "de", "deab", "eab", "abd"]
    assert [clip.name for clip in other_clips(clips[0], clips, clips, 1)] == ["e", "d"]
    silent_d = [clip for clip in clips if clip.name != "d"]
    assert [clip.name for clip in other_clips(clips[0], clips, silent_d, 0)] == ["e"]
    assert other_clips(clips[0], clips[:3], clips[:3], 0) == []


def test_recordings_differ_until_all_were_used() -> None:
    recordings = [Path(f"{number}.wav") for number in range(5)]
    first = [foreign_recording(recordings, number, seed=4) for number in range(5)]
    assert sorted(first) == recordings
    assert foreign_recording(recordings, 5, seed=4) == first[0]
    assert [foreign_recording(recordings, number, seed=4) for number in range(5)] == first


def test_the_driving_sound_is_as_long_as_the_picture(tmp_path: Path) -> None:
    spoken = np.linspace(-0.5, 0.5, 3 * RATE)
    recording = _write(tmp_path / "speech.wav", spoken)
    longer, shorter = _source(4, recording), _source(1, recording)
    own = _read(write_own_audio(longer, tmp_path / "own.wav"))
    assert len(own) == 4 * RATE
    np.testing.assert_allclose(own[: 3 * RATE], spoken, atol=1e-3)
    assert not own[3 * RATE + 100 :].any()
    for late_s, part in ((0.5, spoken[: int(2.5 * RATE)]), (-0.5, spoken[RATE // 2 :])):
        moved = _read(write_own_audio(longer, tmp_path / "moved.wav", late_s=late_s))
        start = max(0, int(late_s * RATE))
        assert len(moved) == 4 * RATE
        assert not moved[:start].any()
        np.testing.assert_allclose(moved[start : start + len(part)], part, atol=1e-3)
    foreign = _read(write_foreign_audio(shorter, recording, tmp_path / "foreign.wav"))
    np.testing.assert_allclose(foreign, spoken[:RATE], atol=1e-3)
    assert not _read(write_silence(shorter, tmp_path / "silent.wav")).any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"settings": "cross,lipsync"},
        {"settings": " "},
        {"baselines": "none"},
        {"models": "", "baselines": ""},
        {"limit": -1},
        {"threads": -1},
        {"device": "abacus"},
    ],
)
def test_wrong_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        EvaluateConfig(clips=Path("c"), output=Path("o"), **wrong)
