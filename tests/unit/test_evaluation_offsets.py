"""How far a clip's picture and its own sound are apart: whom the evaluation asks."""

from __future__ import annotations

import wave
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from dubcli.evaluation.source import Source
from dubcli.evaluation.sync_confidence import OwnSyncScorer
from dubcli.face.pose import fit_pose, mean_face
from dubcli.metrics.lips import MouthSeries
from dubcli.sync.scorer import SyncScore, SyncScorer

NUM_FRAMES = 8


@dataclass
class _Expert:
    """Says the same of every mouth, and counts how often it is asked."""

    frames_late: float
    confidence: float
    audio_kind: str = "mel"
    asked: list[Any] = field(default_factory=list[Any])

    def score(self, mouths: Any, features: Any) -> SyncScore:
        self.asked.append(mouths)
        return SyncScore(
            confidence=self.confidence,
            distance=0.5,
            offset_frames=self.frames_late,
            num_windows=200,
        )


class _SourceParts(SimpleNamespace):
    def __len__(self) -> int:
        return NUM_FRAMES


@pytest.fixture
def source() -> Source:
    landmarks = np.repeat(mean_face()[None].astype(np.float32) * 60 + 100, NUM_FRAMES, 0)
    stand_in = _SourceParts(
        valid=np.ones(NUM_FRAMES, bool),
        seconds=np.arange(NUM_FRAMES) / 25,
        pose=fit_pose(landmarks),
        track=SimpleNamespace(landmarks=landmarks, shot=np.zeros(NUM_FRAMES, np.int64)),
        mouth=cast(MouthSeries, SimpleNamespace(opening=np.ones(NUM_FRAMES), landmarks=landmarks)),
    )

    return cast(Source, stand_in)


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    path = tmp_path / "own.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(2 * 5120))
    return path


@pytest.mark.parametrize(
    ("judge", "second", "offset_s"),
    [
        (_Expert(2, 0.5), _Expert(3, 0.6), 0.08),
        # The judge is often unsure of clips of five seconds; taken for 0 they would be out of step.
        (_Expert(9, 0.1), _Expert(-3, 0.6), -0.12),
        (_Expert(9, 0.1), _Expert(5, 0.1), 0.0),
        (_Expert(9, 0.1), None, 0.0),
    ],
)
def test_the_offset_is_that_of_the_first_expert_that_is_sure(
    judge: _Expert, second: _Expert | None, offset_s: float, source: Source, audio: Path
) -> None:
    scorer = _scorer(judge, second)
    assert scorer.own_offset_s(source, audio) == pytest.approx(offset_s)


def test_results_are_judged_by_the_judge_alone(source: Source, audio: Path) -> None:
    judge, second = _Expert(1, 0.1), _Expert(2, 0.9)
    scores = _scorer(judge, second).score(source, source.mouth, audio)
    assert scores["sync_offset"] == 1
    assert not second.asked


def test_without_a_judge_no_offset_is_known(source: Source, audio: Path) -> None:
    assert _scorer(None, _Expert(2, 0.9)).own_offset_s(source, audio) is None


def _scorer(judge: _Expert | None, second: _Expert | None) -> OwnSyncScorer:
    def features(waveform: Any, kind: str) -> Any:
        return SimpleNamespace(kind=kind)

    return OwnSyncScorer(cast(SyncScorer, judge), features, cast(SyncScorer, second))
