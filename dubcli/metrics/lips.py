"""Measure a face's mouth over a video, and compare two such series."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dubcli.core.errors import NoFaceError
from dubcli.core.types import F32, F64, FaceObservation
from dubcli.face.detect import MAX_SIDE, FaceDetector, open_detector
from dubcli.face.landmarks import (
    LIPS_INNER,
    LIPS_OUTER,
    NUM_KEPT,
    inter_ocular,
    mouth_open,
)
from dubcli.media.container.probe import probe
from dubcli.media.video.frame_reader import FrameReader

_MIN_COMMON_FRAMES = 8


@dataclass(frozen=True, kw_only=True)
class MouthSeries:
    """One face's mouth in every frame of a video.

    Attributes:
        opening: Inner lip gap over inter-ocular distance, NaN where no face was seen. Shape (T,).
        boxes: Face boxes x0, y0, x1, y1, display px, NaN where no face was seen. Shape (T, 4).
        landmarks: Kept points, xyz, display px, NaN where no face was seen. Shape (T, K, 3).
    """

    opening: F32
    boxes: F32
    landmarks: F32

    def __len__(self) -> int:
        return len(self.opening)


def measure_mouth(
    path: Path,
    follow: MouthSeries | None = None,
    detector: FaceDetector | None = None,
) -> MouthSeries:
    """One face's mouth in every frame of a video, seen as the pipeline's pass 1 sees it.

    Args:
        path: The video.
        follow: Series of the same scene whose face is looked for; without it, the largest face of
            the first frame that has one is followed.
        detector: Finds faces; the default one if None.

    Returns:
        As many entries as the video has frames.

    Raises:
        NoFaceError: No frame shows a face.
        MediaError: The video cannot be read.
    """
    owned = detector is None
    finder = detector or open_detector()
    try:
        series = _measure(path, follow, finder)
    finally:
        if owned:
            finder.close()
    if not np.isfinite(series.opening).any():
        raise NoFaceError(f"No frame of '{path}' shows a face.", "Use a video with a visible face.")
    return series


def opening_correlation(first: F32, second: F32) -> float:
    """Pearson r of two openings over the frames where both are known.

    Args:
        first: Shape (T,), NaN where unknown.
        second: Shape (T,), NaN where unknown.

    Returns:
        r in [-1, 1]; NaN where fewer than 8 frames are known or one series is constant.
    """
    known = np.isfinite(first) & np.isfinite(second)
    if known.sum() < _MIN_COMMON_FRAMES:
        return float("nan")
    one, other = first[known].astype(np.float64), second[known].astype(np.float64)
    one, other = one - one.mean(), other - other.mean()
    scale = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / scale if scale > 1e-9 else float("nan")


def correlation_at_best_lag(first: F32, second: F32, max_lag: int) -> tuple[float, int]:
    """Highest Pearson r over shifts of `first` against `second`.

    Args:
        first: Shape (T,), NaN where unknown.
        second: Shape (T,), NaN where unknown.
        max_lag: Largest shift either way, frames.

    Returns:
        The r and the shift in frames, positive where `first` comes late. (NaN, 0) where no shift
        has a defined r.
    """
    best, best_lag = float("nan"), 0
    for lag in sorted(range(-max_lag, max_lag + 1), key=abs):
        late, early = max(lag, 0), max(-lag, 0)
        r = opening_correlation(
            first[late : len(first) - early], second[early : len(second) - late]
        )
        if not np.isnan(r) and not r <= best:
            best, best_lag = r, lag
    return best, best_lag


def at_times(values: F32, known_s: F64, wanted_s: F64) -> F32:
    """A series sampled at other times, linear between frames.

    Args:
        values: Shape (T,), NaN where unknown.
        known_s: Time of each value, seconds, rising. Shape (T,).
        wanted_s: Shape (U,), seconds.

    Returns:
        Shape (U,), NaN outside the known times and beside unknown values.
    """
    places = np.interp(wanted_s, known_s, np.arange(len(values)), left=np.nan, right=np.nan)
    low = np.floor(np.nan_to_num(places)).astype(int)
    high, share = np.minimum(low + 1, len(values) - 1), places - low
    read = values[low] * (1 - share) + np.where(share > 0, values[high], 0) * share
    return read.astype(np.float32)


def lip_distance(result: F32, truth: F32) -> float:
    """LMD: mean distance of lip points, in the same frame, over inter-ocular distance.

    Outer and inner lips, 40 points, xy; the mean over points and frames in which both are known.
    The unit is the truth's inter-ocular distance in that frame.

    Args:
        result: Kept points, display px, NaN where unknown. Shape (T, K, 3).
        truth: The same of the true video. Shape (T, K, 3).

    Returns:
        NaN where no frame is known in both.
    """
    lips = np.r_[LIPS_OUTER, LIPS_INNER]
    gap = np.linalg.norm(result[:, lips, :2] - truth[:, lips, :2], axis=-1).mean(-1)
    relative = gap / inter_ocular(truth[..., :2])
    known = np.isfinite(relative)
    return float(relative[known].mean()) if known.any() else float("nan")


def motion(opening: F32) -> float:
    """Standard deviation of an opening (T,) over its known frames; NaN where there are too few."""
    known = opening[np.isfinite(opening)]
    return float(known.std()) if len(known) >= _MIN_COMMON_FRAMES else float("nan")


def motion_ratio(result: F32, source: F32) -> float:
    """Standard deviation of one opening over the other's, where both are known; NaN if still.

    Args:
        result: Shape (T,), NaN where unknown.
        source: Shape (T,), NaN where unknown.
    """
    known = np.isfinite(result) & np.isfinite(source)
    if known.sum() < _MIN_COMMON_FRAMES:
        return float("nan")
    still = float(source[known].std())
    return float(result[known].std()) / still if still > 1e-6 else float("nan")


def _measure(path: Path, follow: MouthSeries | None, detector: FaceDetector) -> MouthSeries:
    boxes: list[F32] = []
    landmarks: list[F32] = []
    no_box = np.full(4, np.nan, dtype=np.float32)
    no_points = np.full((NUM_KEPT, 3), np.nan, dtype=np.float32)
    last = no_box
    with FrameReader(path, probe(path)) as reader:
        for frame in reader.frames(max_side=MAX_SIDE):
            wanted = last
            if follow is not None and frame.index < len(follow):
                wanted = follow.boxes[frame.index]
            face = _nearest(detector.detect(frame), wanted)
            boxes.append(no_box if face is None else face.box)
            landmarks.append(no_points if face is None else face.landmarks)
            last = last if face is None else face.box
    points = np.stack(landmarks)
    return MouthSeries(opening=mouth_open(points), boxes=np.stack(boxes), landmarks=points)


def _nearest(faces: list[FaceObservation], box: F32) -> FaceObservation | None:
    """The face whose centre is nearest to a box's and inside it; the largest without a box."""
    if not faces:
        return None
    if not np.isfinite(box).all():
        return max(faces, key=lambda face: float(np.prod(face.box[2:] - face.box[:2])))
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    offsets = [np.abs((face.box[:2] + face.box[2:]) / 2 - centre) for face in faces]
    index = int(np.argmin([float(np.linalg.norm(offset)) for offset in offsets]))
    return faces[index] if bool((offsets[index] <= half).all()) else None
