"""Audio steps that belong to a frame, by the frame's own presentation time.

No frame rate takes part, so constant and variable rates work alike and nothing drifts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dubcli.core.types import F32, AudioFeatures, Int, Window


def frame_steps(
    pts: Sequence[int], time_base: Fraction, features: AudioFeatures, origin_s: Fraction
) -> Int:
    """Nearest feature step of each frame.

    Args:
        pts: Presentation times in units of `time_base`.
        time_base: Seconds per unit.
        features: Feature sequence.
        origin_s: Video time at which the feature clock reads 0.

    Returns:
        Step numbers, possibly outside the sequence. Shape (T,).
    """
    # Exact integers: floor(((pts * tb) - origin - start) * rate + 1/2).
    scale = time_base * features.rate_hz
    offset = (origin_s + features.start_s) * features.rate_hz - Fraction(1, 2)
    denominator = scale.denominator * offset.denominator
    a, b = scale.numerator * offset.denominator, offset.numerator * scale.denominator
    return np.array([(int(p) * a - b) // denominator for p in pts], dtype=np.int64)


def gather_windows(values: NDArray[np.floating[Any]], fill: F32, steps: Int, width: int) -> F32:
    """Feature steps around each frame, `fill` where the audio has not begun or is over.

    Args:
        values: Feature sequence. Shape (A, D).
        fill: What stands outside it. Shape (D,).
        steps: Centre step of each frame. Shape (T,).
        width: Steps in a window; the centre is at `width // 2`.

    Returns:
        Shape (T, width, D), float32.
    """
    index = steps[:, None] + np.arange(width) - width // 2
    num = len(values)
    inside = (index >= 0) & (index < num)
    if num == 0:
        return np.broadcast_to(fill, (*index.shape, len(fill))).copy()
    chosen = values[np.clip(index, 0, num - 1)]
    return np.where(inside[..., None], chosen, fill).astype(np.float32)


def iter_windows(
    count: int, window: int, context: int, cuts: Sequence[int] = ()
) -> Iterator[Window]:
    """Windows whose emitted parts tile 0..count exactly once and never cross a cut.

    Args:
        count: Number of frames.
        window: Frames emitted per window, at most.
        context: Extra frames fed on each side where the shot has them.
        cuts: Frames at which a shot begins, ascending; 0 may be left out.
    """
    bounds = sorted({0, count, *(cut for cut in cuts if 0 < cut < count)})
    for shot_start, shot_stop in pairwise(bounds):
        for start in range(shot_start, shot_stop, window):
            stop = min(start + window, shot_stop)
            yield Window(
                max(shot_start, start - context), min(shot_stop, stop + context), start, stop
            )
