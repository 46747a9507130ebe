"""Runs of frames, hops or samples for which something holds."""

from __future__ import annotations

import numpy as np

from dubcli.core.types import Bool


def true_runs(flags: Bool) -> list[tuple[int, int]]:
    """Half-open ranges in which all flags (n,) are True, in order."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(start, stop) for start, stop in edges.reshape(-1, 2).tolist()]
