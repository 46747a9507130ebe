"""Where one picture is laid over another: cross-fades, and fades to and from black or white.

During a cross-fade every frame is a mixture of what was before and what comes after, and the share
of the latter grows steadily. Motion does neither: what lies between two frames of a moving scene
is no mixture of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dubcli.core.types import F32

# Windows that are looked at, frames; a fade must fit in one with a frame to spare on both sides.
SPANS = (6, 9, 13, 18, 26, 36, 50, 66)
_SIZE = (24, 16)
# Least root mean square between the ends, grey levels; a change below is no change of scene.
_LEAST_APART = 6.0
# How far frames may lie off the mixture, as a share of the distance of its ends (seldom over 0.06
# in cross-fades of talking people, at least 0.14 under zooms and pans), and shares off a straight
# ramp.
_MOST_OFF, _MOST_BENT = 0.12, 0.2
# Shares between which the ramp is measured, and how many frames must lie there.
_LOW, _HIGH, _LEAST_MIXED = 0.12, 0.88, 2
# What a curve of tones leaves of the difference when nothing but the light changed: at most 0.27
# under flashes and exposure in training clips, at least 0.54 at cuts between them.
_SAME_LIGHT = 0.35
# Of what a picture shows beside its mean tone, a curve from its neighbour leaves less than this.
_LEAST_TOLD = 0.9
# Tones that are this close are one, grey levels.
_TONE = 4.0


@dataclass(frozen=True, kw_only=True)
class Ramp:
    """A fade inside a window.

    Attributes:
        start: First frame that is a mixture, counted from the window's first.
        stop: One past the last of them.
        middle: First frame that shows more of the later picture than of the earlier.
        off: How far its frames are from mixtures, 0 for perfect ones.
    """

    start: int
    stop: int
    middle: int
    off: float


def reduce(planes: F32) -> F32:
    """What is kept of a frame to look for mixtures. (H, W, 3) to (D,), grey levels."""
    small = cv2.resize(planes, _SIZE, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(small.reshape(-1), dtype=np.float32)


def find_ramp(pictures: Sequence[F32]) -> Ramp | None:
    """Whether a window begins with one picture and fades into the one that it ends with.

    Args:
        pictures: From `reduce`, in order, at least 5. Shape (D,) each.

    Returns:
        The fade, or None where there is none or it is not wholly inside.
    """
    first, num = pictures[0], len(pictures)
    apart = pictures[-1] - first
    square = float(apart @ apart)
    if square < _LEAST_APART**2 * len(apart):
        return None
    # Most windows end here: their middle is no mixture of their ends.
    probe = pictures[num // 2] - first
    share = float(probe @ apart) / square
    if float(probe @ probe) / square - share**2 > (2 * _MOST_OFF) ** 2:
        return None
    moved = np.stack(pictures) - first
    shares = moved @ apart / square
    mixed = np.flatnonzero((shares > _LOW) & (shares < _HIGH))
    if len(mixed) < _LEAST_MIXED or mixed[-1] - mixed[0] + 1 != len(mixed):
        return None
    if (np.diff(shares[mixed]) <= 0).any():
        return None
    slope, height = np.polyfit(mixed, shares[mixed], 1)
    begin, end = -height / slope, (1 - height) / slope
    start, stop = int(np.floor(begin)) + 1, int(np.ceil(end))
    if start < 2 or stop > num - 2:
        return None
    ideal = np.clip(slope * np.arange(num) + height, 0, 1)
    off = (moved**2).sum(1) / square - shares**2
    # What moves before and after is no concern of the fade, but mixtures suffer from it, too.
    worst = float(np.sqrt(np.maximum(off, 0).mean()))
    if worst > _MOST_OFF or float(np.abs(ideal - shares).max()) > _MOST_BENT:
        return None
    middle = int(np.floor((begin + end) / 2)) + 1
    # Frames that are hardly a mixture still are: one more on each side.
    return Ramp(start=start - 1, stop=stop + 1, middle=middle, off=worst)


def is_same_in_other_light(one: F32, other: F32, *, are_neighbours: bool = False) -> bool:
    """Whether brightness alone makes two pictures differ: equal but for a curve of tones.

    Args:
        one: From `reduce`. Shape (D,).
        other: The same of another frame.
        are_neighbours: They follow each other, so neither can have faded away. Otherwise any
            picture may have become a dark or pale one.
    """
    lumas = [picture.reshape(-1, 3)[:, 0] for picture in (one, other)]
    apart = float(np.linalg.norm(lumas[0] - lumas[1]))
    # Where light was clipped, only the way from the unclipped picture is known.
    for before, after in (lumas, lumas[::-1]):
        left = _beyond_tones(before, after)
        # A curve that leads to one tone turns any picture into a plain ground.
        spread = float(np.linalg.norm(after - after.mean()))
        if left < _SAME_LIGHT * apart and (left < _LEAST_TOLD * spread or not are_neighbours):
            return True
    return False


def _beyond_tones(before: F32, after: F32) -> float:
    """What the best rising curve of tones leaves of the difference. Two of shape (D,)."""
    matched = np.empty_like(after)
    matched[np.argsort(before, kind="stable")] = np.sort(after)
    # A curve gives equal tones equal ones: a black bar does not become a picture.
    tone = np.round(before / _TONE).astype(np.int64)
    tone -= tone.min()
    curve = np.bincount(tone, matched) / np.maximum(np.bincount(tone), 1)
    return float(np.linalg.norm(after - curve[tone]))
