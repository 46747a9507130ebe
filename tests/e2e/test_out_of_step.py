"""The real command tells when a source's own picture and sound are out of step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from studio import DEMO, NUM_FRAMES, X264, dub_here, face_clip, ffmpeg, speech
from typer.testing import CliRunner

from dubcli.audio.log_mel import log_mel
from dubcli.cli.app import app
from dubcli.core.errors import DecodeError
from dubcli.core.types import AudioFeatures
from dubcli.media.sound.waveform import read_waveform
from dubcli.sync import source_sync
from dubcli.sync.scorer import MouthClip, SyncScore, SyncScorer
from dubcli.weights.manifest import load_manifest

LATE_MS = 240


class _Judge:
    """Stands for a trained expert: says what it was told to say, and keeps what it was shown."""

    audio_kind = "mel"

    def __init__(self, offset_frames: float, confidence: float = 0.5) -> None:
        self.answer = SyncScore(
            confidence=confidence, distance=0.4, offset_frames=offset_frames, num_windows=99
        )
        self.shown: list[tuple[MouthClip, AudioFeatures]] = []

    def score(self, mouths: MouthClip, features: AudioFeatures) -> SyncScore:
        self.shown.append((mouths, features))
        return self.answer


def _use(judge: object, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(role: str, device: torch.device, manifest: object = None) -> object:
        assert role == "train"
        return judge

    monkeypatch.setattr(SyncScorer, "load", load)


def _speaking(path: Path, *sound: str) -> Path:
    """The bundled face for less than a second, with its recording's beginning as its sound."""
    speech(path.with_suffix(".wav"), 0.7, *sound)
    inputs = ("-i", path.with_suffix(".wav"))
    return face_clip(path, "null", "-map", "0:v", "-map", "1:a", *X264, inputs=inputs)


def _dub(source: Path, audio: Path, *words: str) -> tuple[dict[str, Any], str]:
    arguments = (str(source), "--audio", str(audio), "--model", "passthrough", "--device", "cpu")
    done = CliRunner().invoke(app, [*arguments, *words])
    assert done.exit_code == 0, done.stderr
    report = source.with_name(f"{source.stem}.dubbed.json").read_text(encoding="utf-8")
    return json.loads(report), done.stderr


@pytest.mark.parametrize(("offset", "word"), [(-3.0, "late"), (3.0, "early")])
def test_summary_and_report_tell_the_offset(
    offset: float, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = _Judge(offset)
    _use(judge, monkeypatch)
    source, audio = _speaking(tmp_path / "in.mkv"), speech(tmp_path / "new.wav", 0.6)
    report, told = _dub(source, audio)
    line = f"The source's own sound runs 120 ms {word} against its picture"
    assert sum(line in warning for warning in report["warnings"]) == 1
    assert line in " ".join(told.split())
    assert report["source_offset_ms"] == 40 * offset
    # It was shown the source's mouth, every frame at its time, and the source's own sound.
    ((mouths, features),) = judge.shown
    assert mouths.times.tolist() == pytest.approx([i / 25 for i in range(NUM_FRAMES)], abs=1e-3)
    own = log_mel(read_waveform(source))
    assert features.values.tolist() == own.values.tolist()
    assert features.start_s == own.start_s


@pytest.mark.parametrize("judge", [_Judge(1.9), _Judge(-2.0), _Judge(9.0, confidence=0.1), None])
def test_nothing_is_told_of_what_is_in_step_or_not_sure(
    judge: _Judge | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _use(judge, monkeypatch)
    source, audio = _speaking(tmp_path / "in.mkv"), speech(tmp_path / "new.wav", 0.6)
    report, told = _dub(source, audio)
    assert not any("own sound" in warning for warning in report["warnings"])
    assert "own sound" not in told
    is_sure = judge is not None and judge.answer.confidence > 0.4
    assert (report["source_offset_ms"] is not None) == is_sure


def test_sources_without_sound_or_with_silence_are_not_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = _Judge(9.0)
    _use(judge, monkeypatch)
    audio = speech(tmp_path / "new.wav", 0.6)
    mute = _speaking(tmp_path / "mute.mkv", "-af", "volume=0")
    for source in (face_clip(tmp_path / "plain.mkv"), mute):
        report = dub_here(source, audio, tmp_path / f"{source.stem}.out.mkv")
        assert report.source_offset_ms is None
        assert not any("own sound" in warning for warning in report.warnings)
    assert judge.shown == []


def test_a_sound_that_cannot_be_read_does_not_stop_the_dub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _use(_Judge(9.0), monkeypatch)
    source, audio = _speaking(tmp_path / "in.mkv"), speech(tmp_path / "new.wav", 0.6)

    def damaged(path: Path, sample_rate: int) -> None:
        raise DecodeError(f"'{path}' is damaged.", "Use another file.")

    monkeypatch.setattr(source_sync, "read_waveform", damaged)
    report = dub_here(source, audio, tmp_path / "out.mkv")
    assert report.frames_dubbed == NUM_FRAMES
    assert report.source_offset_ms is None


def test_only_the_liveliest_seconds_are_listened_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = _Judge(0.0)
    _use(judge, monkeypatch)
    monkeypatch.setattr(source_sync, "_STRETCH_S", 0.3)
    source, audio = _speaking(tmp_path / "in.mkv"), speech(tmp_path / "new.wav", 0.6)
    dub_here(source, audio, tmp_path / "out.mkv")
    ((mouths, features),) = judge.shown
    assert 0.2 < mouths.times[-1] - mouths.times[0] <= 0.3
    assert len(features.values) <= 80 * 2.4


def test_the_shipped_expert_finds_how_far_the_bundled_clip_is_put_out(tmp_path: Path) -> None:
    if "sync-train" not in load_manifest().default:
        pytest.skip("the manifest names no sync expert yet")
    found = []
    for late_ms in (0, LATE_MS):
        source = tmp_path / f"late{late_ms}.mkv"
        delay = f"adelay={late_ms}:all=1" if late_ms else "anull"
        ffmpeg("-i", DEMO, "-c:v", "copy", "-af", delay, "-c:a", "flac", source)
        report = dub_here(source, speech(tmp_path / "new.wav", 0.5), tmp_path / f"{late_ms}.mkv")
        found.append(report.source_offset_ms)
    assert None not in found
    assert found[0] - found[1] == pytest.approx(LATE_MS, abs=40)
