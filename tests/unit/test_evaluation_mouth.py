"""Scores of lip motion: what is compared, and what is said when nothing can be."""

from __future__ import annotations

import math
from pathlib import Path

import av
import numpy as np
import pytest

from dubcli.core.errors import NoFaceError
from dubcli.core.types import F32, FaceObservation, Frame
from dubcli.face.landmarks import EYE_CORNERS, INNER_BOTTOM, INNER_TOP, NUM_KEPT
from dubcli.metrics.lips import (
    correlation_at_best_lag,
    measure_mouth,
    motion_ratio,
    opening_correlation,
)
from dubcli.metrics.statistics import bootstrap_mean

NUM_FRAMES = 12


@pytest.fixture
def opening() -> F32:
    return np.random.default_rng(1).random(60).astype(np.float32)


def test_correlation_ignores_size_and_unknown_frames(opening: F32) -> None:
    other = 3 * opening + 1
    other[[3, 7]] = np.nan
    assert opening_correlation(opening, other) == pytest.approx(1, abs=1e-5)
    assert opening_correlation(opening, -other) == pytest.approx(-1, abs=1e-5)


def test_correlation_of_a_still_mouth_is_not_a_number(opening: F32) -> None:
    assert math.isnan(opening_correlation(opening, np.full_like(opening, 0.2)))
    assert math.isnan(opening_correlation(opening[:5], opening[:5]))


@pytest.mark.parametrize("lag", [-4, 0, 5])
def test_best_lag_finds_a_late_result(opening: F32, lag: int) -> None:
    result = np.roll(opening, lag)
    r, found = correlation_at_best_lag(result, opening, max_lag=8)
    assert found == lag
    assert r == pytest.approx(1, abs=1e-5)


def test_motion_ratio_halves_with_the_motion(opening: F32) -> None:
    assert motion_ratio(opening * np.float32(0.5), opening) == pytest.approx(0.5, rel=1e-4)
    assert math.isnan(motion_ratio(opening, np.zeros_like(opening)))


def test_bootstrap_interval_holds_the_mean_and_skips_unknown_clips() -> None:
    mean, low, high = bootstrap_mean([0.1, 0.3, float("nan"), 0.5])
    assert mean == pytest.approx(0.3)
    assert 0.1 <= low < mean < high <= 0.5
    assert all(math.isnan(value) for value in bootstrap_mean([float("nan")]))


def test_the_followed_face_stays_the_same_when_a_larger_one_comes(tmp_path: Path) -> None:
    path = _plain_video(tmp_path / "two faces.mp4")
    series = measure_mouth(path, detector=_TwoFaces())
    again = measure_mouth(path, follow=series, detector=_TwoFaces())
    assert len(series) == NUM_FRAMES
    np.testing.assert_allclose(series.opening, 0.1, atol=1e-6)
    np.testing.assert_allclose(again.opening, 0.1, atol=1e-6)


def test_a_video_without_a_face_is_refused(tmp_path: Path) -> None:
    path = _plain_video(tmp_path / "empty.mp4")
    with pytest.raises(NoFaceError, match=r"empty\.mp4"):
        measure_mouth(path, detector=_NoFaces())


class _NoFaces:
    def detect(self, frame: Frame) -> list[FaceObservation]:
        return []

    def close(self) -> None:
        pass


class _TwoFaces(_NoFaces):
    """A small face on the left; from the fourth frame on a larger one on the right."""

    def detect(self, frame: Frame) -> list[FaceObservation]:
        faces = [_face(frame.index, (4, 4, 24, 24), opening=0.1)]
        if frame.index > 3:
            faces.insert(0, _face(frame.index, (28, 4, 60, 60), opening=0.4))
        return faces


def _face(index: int, box: tuple[int, int, int, int], opening: float) -> FaceObservation:
    landmarks = np.zeros((NUM_KEPT, 3), dtype=np.float32)
    landmarks[list(EYE_CORNERS[2:]), 0] = 10.0
    landmarks[INNER_TOP, 1], landmarks[INNER_BOTTOM, 1] = 0.0, 10.0 * opening
    return FaceObservation(
        frame_index=index, box=np.array(box, dtype=np.float32), landmarks=landmarks, score=1.0
    )


def _plain_video(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(NUM_FRAMES):
            grey = np.full((64, 64, 3), 128, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode(None))
    return path
