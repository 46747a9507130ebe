"""CSIM: the mean cosine of source and result, the source's own frames embedded once a clip."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from made_faces import face_at

from dubcli.evaluation import face_similarity
from dubcli.evaluation.face_similarity import EVERY, FaceSimilarity
from dubcli.evaluation.source import Source

NUM = 4 * EVERY
SHARE = {"anna.mp4": 1.0, "ben.mp4": 1.0, "result.mp4": 0.6}


class _Recogniser:
    """A face's vector is as far from (1, 0) as its one pixel says."""

    def embed(self, faces: Any) -> Any:
        share = faces[:, 0, 0, 0]
        return np.stack([share, np.sqrt(1 - share**2)], 1)


def _source(name: str) -> Source:
    landmarks = np.stack([face_at() for _ in range(NUM)])
    made = SimpleNamespace(
        clip=SimpleNamespace(path=Path(name)),
        track=SimpleNamespace(landmarks=landmarks),
        scored=np.arange(NUM),
    )
    return cast(Source, made)


def test_the_frames_of_a_clip_are_embedded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def cuts(path: Path, matrices: Any, size: Any, frames: Any) -> Any:
        assert len(matrices) == NUM
        assert list(frames) == list(range(0, NUM, EVERY))
        seen.append(path.name)
        return np.full((len(frames), 1, 1, 1), SHARE[path.name])

    monkeypatch.setattr(face_similarity, "chosen_cuts", cuts)
    similarity = FaceSimilarity(lambda: cast(Any, _Recogniser()))
    anna, ben = _source("anna.mp4"), _source("ben.mp4")
    assert similarity(anna, Path("anna.mp4")) == pytest.approx(1)
    assert similarity(anna, Path("result.mp4")) == pytest.approx(0.6)
    assert similarity(anna, Path("result.mp4")) == pytest.approx(0.6)
    assert similarity(ben, Path("result.mp4")) == pytest.approx(0.6)
    assert seen == ["anna.mp4", "result.mp4", "result.mp4", "ben.mp4", "result.mp4"]
