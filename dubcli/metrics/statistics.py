"""Summaries of scores over clips, with an honest interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_RESAMPLES = 10_000


def bootstrap_mean(
    values: Sequence[float], coverage: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of the known values and its percentile bootstrap interval.

    Args:
        values: One score a clip; NaN where it was not measured.
        coverage: Share of resampled means inside the interval.
        seed: Of the resampling.

    Returns:
        Mean, lower and upper bound; all NaN where nothing was measured.
    """
    known = np.asarray([value for value in values if not np.isnan(value)], dtype=np.float64)
    if not len(known):
        return float("nan"), float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    means = known[rng.integers(0, len(known), (_RESAMPLES, len(known)))].mean(axis=1)
    tail = (1 - coverage) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(known.mean()), float(low), float(high)
