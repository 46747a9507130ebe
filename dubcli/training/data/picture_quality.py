"""How much fine detail the pictures of a prepared clip show, and which are too poor to learn from.

PersonaTalk (arXiv:2409.05379) leaves out training videos of low quality by HyperIQA. This measure
is smaller: where a face has contours, the amplitude of detail below 1 px over that of detail
between 1 and 4 px, in a crop of 208 px. A face that was enlarged, is out of focus or was compressed
until it is smooth has less of it. Blocks are not seen as such: their edges are sharp.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from dubcli.core.types import F32, U8, Bool
from dubcli.face.landmarks import face_oval
from dubcli.training.data.prepared_clip import (
    DEFAULT_SIZE,
    FrameRanges,
    PreparedClip,
    runs_of,
)

# Gaussian sigmas of the two bands, and of the surroundings that they are compared in, px.
_FINE_PX, _COARSE_PX, _AROUND_PX = 1.0, 4.0, 6.0
# Share of a face, that with the strongest contours, where the bands are compared.
_CONTOURS = 0.4
# The rim of the face, whose contours are the background's too, px.
_RIM_PX = 5
# Frames of the median that a frame's detail is read from: one blink or one blurred frame is no
# reason. A run of poor frames that is shorter than this stays.
_STEADY_FRAMES = 9


@dataclass(frozen=True, kw_only=True)
class ClipQuality:
    """What is found of a clip.

    Attributes:
        detail: Median over its usable frames; NaN without any.
        is_low: Of all usable frames together.
        ranges: Runs of frames that are poor in a clip that is not, first frame and end.
    """

    detail: float
    is_low: bool
    ranges: FrameRanges = ()


def face_detail(picture: U8, points: F32) -> float:
    """Amplitude of fine over coarse detail at the contours of a face; NaN where there is no face.

    Args:
        picture: Crop, RGB. Shape (H, W, 3).
        points: Kept points, crop px. Shape (K, 2).
    """
    factor = DEFAULT_SIZE[0] / picture.shape[0]
    if factor < 1:
        picture = np.asarray(
            cv2.resize(picture, DEFAULT_SIZE[::-1], interpolation=cv2.INTER_AREA), np.uint8
        )
        points = points * factor
    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    inside = _face(luma.shape[:2], points)
    if not inside.any():
        return math.nan
    smooth = cv2.GaussianBlur(luma, (0, 0), _FINE_PX)
    bands = luma - smooth, smooth - cv2.GaussianBlur(smooth, (0, 0), _COARSE_PX)
    fine, coarse = (cv2.GaussianBlur(band * band, (0, 0), _AROUND_PX)[inside] for band in bands)
    strong = coarse >= np.quantile(coarse, 1 - _CONTOURS)
    return float(np.median(np.sqrt(fine[strong] / np.maximum(coarse[strong], 1.0))))


def _face(size: tuple[int, int], points: F32) -> Bool:
    """The face without its rim. Shape `size`."""
    mask = np.zeros(size, np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(points[face_oval()].round().astype(np.int32)), 1)
    return cv2.erode(mask, np.ones((_RIM_PX, _RIM_PX), np.uint8)) > 0


def clip_detail(clip: PreparedClip) -> F32:
    """`face_detail` of every usable frame, NaN of the others. Shape (T,)."""
    detail = np.full(len(clip), np.nan, np.float32)
    frames = np.flatnonzero(clip.valid)
    for index, points in zip(frames.tolist(), clip.crop_points(frames), strict=True):
        detail[index] = face_detail(clip.crop(index), points)
    return detail


def clip_quality(clip: PreparedClip, least: float) -> ClipQuality:
    """Whether a clip, or which runs of its frames, show too little detail.

    Args:
        clip: Of any size.
        least: Detail below which a picture is poor; 0 for none.

    Raises:
        TrainingError: A picture is damaged.
    """
    detail = clip_detail(clip)
    known = detail[np.isfinite(detail)]
    if not len(known):
        return ClipQuality(detail=math.nan, is_low=False)
    median = float(np.median(known))
    if median < least:
        return ClipQuality(detail=median, is_low=True)
    ranges: list[tuple[int, int]] = []
    for first, end in runs_of(np.isfinite(detail), clip.shot).tolist():
        poor = _steady(detail[first:end]) < least
        runs = runs_of(poor, np.zeros(len(poor), np.int64)) + first
        ranges += [(a, b) for a, b in runs.tolist() if b - a >= _STEADY_FRAMES]
    return ClipQuality(detail=median, is_low=False, ranges=tuple(ranges))


def _steady(values: F32) -> F32:
    """Median over frames around each; at the ends of what is there. Shape (T,)."""
    reach = _STEADY_FRAMES // 2
    padded = np.pad(values, reach, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    return np.nanmedian(windows, 1).astype(np.float32)
