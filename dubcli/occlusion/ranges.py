"""What lies in front of a face, and in which frames that, or a blur, forbids a dub.

A segmenter looks at each face's small aligned crop (`Segmenter`; the network is of
`occlusion.network`). Here its answer becomes two shares a frame, and the shares over time become
ranges: covered (the lips cannot be seen: the frame is left alone) and partially occluded (something
reaches into the region that is replaced: it is dubbed, and the thing in front stays).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np

from dubcli.core.types import F32, F64, U8, Bool, Int
from dubcli.face.crop import cut_crop
from dubcli.face.landmarks import LIPS_OUTER, SPEAKING, position
from dubcli.face.pose import apply_matrix, crop_alignment, fit_pose

# Crops (N, H, W, 3), uint8, of `SEEN_SIZE` to the probability (N, H, W), float32, that something
# lies in front of the face.
Segmenter = Callable[[U8], F32]
# Height, width of what a segmenter sees, px.
SEEN_SIZE = (104, 80)

# From this probability on a pixel counts as covered.
_LEAST_PROBABILITY = 0.5
# The lips' surroundings: their outline, this much larger.
_LIPS_GROWTH = 1.3
# Share of the lips' surroundings from which on a frame is covered, and below which it no longer is.
COVERED_SHARE, UNCOVERED_SHARE = 0.35, 0.2
# Share of the lower face from which on the thing in front is segmented, pixel by pixel.
PARTIALLY_OCCLUDED_SHARE = 0.02
# Frames around a partially occluded one that are treated alike, so that nothing pops.
_TOUCHED_REACH = 6
# Shorter ranges are no ranges; shorter gaps between two are part of them. Frames.
_LEAST_RUN, _LEAST_PARTIALLY_OCCLUDED, _LARGEST_GAP = 4, 4, 8
# A frame is blurred below this share of the face's usual sharpness while its points move faster
# than this, face heights a frame.
_BLURRED_SHARE, _BLURRED_SPEED = 0.3, 0.03
# Frames on either side that say what is usual.
_USUAL_REACH = 250
_NOSE_TIP = position(1)
_SHIFT = 4


def look_for_cover(segmenter: Segmenter, image: U8, landmarks: F32) -> tuple[float, float]:
    """How much of one face is hidden.

    Args:
        segmenter: Segments what lies in front of a face.
        image: RGB. Shape (H, W, 3), uint8.
        landmarks: Kept points, px of `image`. Shape (K, 3).

    Returns:
        The hidden shares of the lips' surroundings and of the lower face, 0 to 1.
    """
    matrices = crop_alignment(fit_pose(landmarks[None]), SEEN_SIZE).frame_to_crop
    crop = cut_crop(image, matrices[0], SEEN_SIZE)
    points = apply_matrix(landmarks[None], matrices)[0]
    return cover_shares(segmenter(crop[None])[0], points)


def cover_shares(probability: F32, points: F32) -> tuple[float, float]:
    """Hidden shares of the lips' surroundings and of the lower face.

    Args:
        probability: That something lies in front. Shape (H, W).
        points: Kept points, px of it. Shape (K, 2 or 3).
    """
    hidden = probability > _LEAST_PROBABILITY
    regions = (lips_region(points, probability.shape), lower_region(points, probability.shape))
    shares = [float(hidden[region].mean()) if region.any() else 0.0 for region in regions]
    return shares[0], shares[1]


def lips_region(points: F32, size: tuple[int, ...]) -> Bool:
    """The lips and a margin around them. Points (K, 2 or 3) in px of a picture (H, W)."""
    lips = points[LIPS_OUTER, :2].astype(np.float64)
    centre = lips.mean(0)
    # Lips that touch are a thin line: what lies before them is judged by more than that.
    reach = (lips - centre) * _LIPS_GROWTH
    half = 0.25 * np.abs(reach[:, 0]).max()
    ring = centre + reach + np.sign(reach) * (0, half)
    return _hull(ring, size)


def lower_region(points: F32, size: tuple[int, ...]) -> Bool:
    """What is replaced at most: below the nose tip, inside the jaw."""
    speaking = points[SPEAKING, :2].astype(np.float64)
    below = speaking[speaking[:, 1] >= points[_NOSE_TIP, 1]]
    return _hull(below if len(below) >= 3 else speaking, size)


def known_cover(frames: Int, cover: F32) -> F32:
    """Hidden shares of every frame, in a straight line between those that were asked.

    Args:
        frames: Number of each frame, ascending. Shape (N,).
        cover: Hidden shares, NaN where nobody asked. Shape (N, 2).

    Returns:
        Shape (N, 2); 0 where nobody ever asked.
    """
    asked = np.isfinite(cover[:, 0])
    if not asked.any():
        return np.zeros_like(cover)
    columns = [np.interp(frames, frames[asked], column[asked]) for column in cover.T]
    return np.stack(columns, 1).astype(np.float32)


def covered_frames(lips: F32, seen: Bool, shot: Int) -> Bool:
    """Frames whose lips are hidden, in whole ranges.

    Begins at `COVERED_SHARE` and lasts until less than `UNCOVERED_SHARE`. Three frames are no
    range; ranges that are close to each other are one: a hand that passes by is reported once.

    Args:
        lips: Hidden share of the lips' surroundings. Shape (T,).
        seen: A face was found. Shape (T,).
        shot: Shot of each frame. Shape (T,).

    Returns:
        Shape (T,).
    """
    strong, weak = seen & (lips >= COVERED_SHARE), seen & (lips >= UNCOVERED_SHARE)
    covered = np.zeros(len(lips), bool)
    for start, stop in runs(weak, shot):
        if strong[start:stop].any():
            covered[start:stop] = True
    covered = without_short(covered, shot, _LEAST_RUN)
    return without_gaps(covered, shot, _LARGEST_GAP) & seen


def partially_occluded_frames(lower: F32, seen: Bool, shot: Int) -> Bool:
    """Frames in which something lies before the lower face, and some frames around them.

    Args:
        lower: Hidden share of the lower face. Shape (T,).
        seen: A face was found. Shape (T,).
        shot: Shot of each frame. Shape (T,).

    Returns:
        Shape (T,).
    """
    partly = without_short(
        seen & (lower >= PARTIALLY_OCCLUDED_SHARE), shot, _LEAST_PARTIALLY_OCCLUDED
    )
    wide = partly.copy()
    for start, stop in runs(partly, shot):
        begin, end = max(0, start - _TOUCHED_REACH), min(len(wide), stop + _TOUCHED_REACH)
        wide[begin:end] |= shot[begin:end] == shot[start]
    return wide


def blurred_frames(sharpness: F32, landmarks: F32, boxes: F32, seen: Bool, shot: Int) -> Bool:
    """Frames that motion has blurred: far less sharp than usual for this face, and fast.

    Args:
        sharpness: Variance of the Laplacian at one size of face. Shape (T,).
        landmarks: Kept points, display px. Shape (T, K, 3).
        boxes: Display px. Shape (T, 4).
        seen: A face was found. Shape (T,).
        shot: Shot of each frame. Shape (T,).

    Returns:
        Shape (T,).
    """
    blurred = np.zeros(len(sharpness), bool)
    frames = np.flatnonzero(seen)
    if len(frames) == 0:
        return blurred
    usual = _usual(sharpness[frames])
    centre = landmarks[..., :2].mean(1)
    step = np.linalg.norm(np.diff(centre, axis=0), axis=-1)
    step = np.where((np.diff(shot) == 0) & seen[1:] & seen[:-1], step, 0)
    step = np.maximum(np.append(step, 0), np.insert(step, 0, 0))
    speed = step / np.maximum(boxes[:, 3] - boxes[:, 1], 1)
    blurred[frames] = sharpness[frames] < _BLURRED_SHARE * usual
    return without_gaps(blurred & (speed > _BLURRED_SPEED), shot, 2) & seen


def runs(where: Bool, shot: Int) -> list[tuple[int, int]]:
    """Half-open ranges in which something holds throughout; none crosses a shot."""
    edges = np.flatnonzero((where[1:] != where[:-1]) | (shot[1:] != shot[:-1])) + 1
    bounds = [0, *edges.tolist(), len(where)]
    return [(a, b) for a, b in pairwise(bounds) if b > a and where[a]]


def without_short(where: Bool, shot: Int, least: int) -> Bool:
    """Without ranges shorter than `least` frames, unless they fill their shot."""
    kept = where.copy()
    for start, stop in runs(where, shot):
        if stop - start < least and stop - start < np.count_nonzero(shot == shot[start]):
            kept[start:stop] = False
    return kept


def without_gaps(where: Bool, shot: Int, largest: int) -> Bool:
    """With gaps of at most `largest` frames between two ranges of a shot filled."""
    filled = where.copy()
    ranges = runs(where, shot)
    for (_, stop), (start, _) in pairwise(ranges):
        if start - stop <= largest and shot[stop - 1] == shot[start]:
            filled[stop:start] = True
    return filled


def _usual(sharpness: F32) -> F64:
    """A median over the frames around each, taken at a few places. Shape (T,)."""
    num = len(sharpness)
    places = np.unique(np.linspace(0, num - 1, num // (_USUAL_REACH // 2) + 2).round().astype(int))
    medians = [
        np.median(sharpness[max(0, place - _USUAL_REACH) : place + _USUAL_REACH + 1])
        for place in places
    ]
    return np.interp(np.arange(num), places, medians)


def _hull(points: F64, size: tuple[int, ...]) -> Bool:
    mask = np.zeros(size[:2], np.uint8)
    fixed = np.round(points * (1 << _SHIFT)).astype(np.int32)
    cv2.fillConvexPoly(mask, cv2.convexHull(fixed), (1.0,), shift=_SHIFT)
    return mask > 0
