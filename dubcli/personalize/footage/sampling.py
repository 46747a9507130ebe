"""Which stretches of long videos are looked at: spread evenly, of some seconds each."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

STRETCH_S = 6.0
# How many times more stretches than fit may be tried where files are shorter than one.
_MOST_TIMES = 8

Stretch = tuple[int, float, float]


def spread_stretches(
    lengths_s: Sequence[float], limit_s: float, phase: float = 0.5
) -> list[Stretch]:
    """Choose stretches from videos laid end to end.

    Args:
        lengths_s: Length of each video, seconds.
        limit_s: How much may be taken in all, seconds.
        phase: Where in its equal share of the whole each stretch lies, 0 to 1.

    Returns:
        Number of the video, begin and end in it, seconds; in order, without overlap, of at most
        `limit_s` together. All there is where that is not more than the limit.
    """
    if sum(lengths_s) <= limit_s:
        return [(video, 0.0, length) for video, length in enumerate(lengths_s) if length > 0]
    stretch_s = min(STRETCH_S, limit_s)
    fewest = max(1, int(limit_s / stretch_s))
    best: list[Stretch] = []
    for count in range(fewest, _MOST_TIMES * fewest + 1):
        found = _merged(_placed(lengths_s, stretch_s, count, phase))
        taken = _total(found)
        if _total(best) < taken <= limit_s + 1e-6:
            best = found
        if taken > limit_s - stretch_s / 2:
            break
    return best or found[:1]


def _placed(
    lengths_s: Sequence[float], stretch_s: float, count: int, phase: float
) -> list[Stretch]:
    """One stretch around each of `count` evenly spread places, kept inside its video."""
    ends = list(accumulate(lengths_s))
    placed: list[Stretch] = []
    for number in range(count):
        place = (number + phase) / count * ends[-1]
        video = min(bisect_right(ends, place), len(ends) - 1)
        length = lengths_s[video]
        middle = place - (ends[video] - length)
        begin = min(max(0.0, middle - stretch_s / 2), max(0.0, length - stretch_s))
        placed.append((video, begin, min(length, begin + stretch_s)))
    return placed


def _merged(stretches: list[Stretch]) -> list[Stretch]:
    merged: list[Stretch] = []
    for video, begin, end in stretches:
        if merged and merged[-1][0] == video and begin <= merged[-1][2]:
            merged[-1] = (video, merged[-1][1], max(end, merged[-1][2]))
        else:
            merged.append((video, begin, end))
    return merged


def _total(stretches: list[Stretch]) -> float:
    return sum(end - begin for _, begin, end in stretches)
