"""FID: how far apart two sets of pictures are (Heusel et al. 2017, arXiv:1706.08500, eq. 6).

It is a figure of a whole set, so each item keeps the features of its frames, and the distance is
taken at the end. It falls with the number of frames even where nothing else changes.
"""

from __future__ import annotations

import base64
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dubcli.core.types import F32, F64

KEY = "fid"
MADE, TRUE = "made", "true"


@dataclass(frozen=True)
class SetScore:
    """The distance of a system's frames from the true ones.

    Attributes:
        distance: NaN for less than two frames.
        frames: How many it rests on.
        people: How many it shows.
    """

    distance: float
    frames: int
    people: int


def frechet_distance(one: F32 | F64, other: F32 | F64) -> float:
    """Squared Fréchet distance of the Gaussians fitted to two sets.

    ``|m - n|^2 + tr(S) + tr(T) - 2 tr((S T)^0.5)`` with the sets' means m, n and unbiased
    covariances S, T.

    Args:
        one: Features of each picture. Shape (N, D).
        other: Of the other set. Shape (M, D).

    Returns:
        0 for equal sets; NaN where a set has less than two pictures.
    """
    if min(len(one), len(other)) < 2:
        return math.nan
    means, roots = zip(*(_mean_and_root(features) for features in (one, other)), strict=True)
    # S = A'A and T = B'B, so S T has the eigenvalues of (A B')(A B')': the squares of the
    # singular values of A B', which is small where pictures are fewer than features.
    mixed = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    spreads = sum(float((root**2).sum()) for root in roots)
    shift = float(((means[0] - means[1]) ** 2).sum())
    return max(0.0, shift + spreads - 2 * float(mixed))


def pack(features: F32) -> str:
    """Features (N, D) as text, in half precision: distances keep three digits at least."""
    return base64.b64encode(np.ascontiguousarray(features, "<f2").tobytes()).decode("ascii")


def unpack(text: str, num_features: int) -> F32:
    """What `pack` made. Shape (N, num_features)."""
    values = np.frombuffer(base64.b64decode(text), "<f2")
    return values.reshape(-1, num_features).astype(np.float32)


class ScoredItem(Protocol):
    """What FID needs of a result: its run, system, person, and packed features by name."""

    @property
    def run(self) -> str: ...  # noqa: D102

    @property
    def system(self) -> str: ...  # noqa: D102

    @property
    def identity(self) -> str: ...  # noqa: D102

    @property
    def features(self) -> Mapping[str, str]: ...  # noqa: D102


def score_sets(items: Sequence[ScoredItem], num_features: int) -> dict[tuple[str, str], SetScore]:
    """The distance of each system's frames from the true ones, over all clips of a run.

    Args:
        items: Those without features do not count.
        num_features: Length of a feature vector.

    Returns:
        By run and system.
    """
    sets: dict[tuple[str, str], list[ScoredItem]] = defaultdict(list)
    for item in items:
        if item.features:
            sets[item.run, item.system].append(item)
    return {key: _score_set(members, num_features) for key, members in sets.items()}


def _score_set(items: Sequence[ScoredItem], num_features: int) -> SetScore:
    made, true = (
        np.concatenate([unpack(item.features[name], num_features) for item in items])
        for name in (MADE, TRUE)
    )
    return SetScore(
        distance=frechet_distance(made, true),
        frames=len(made),
        people=len({item.identity for item in items}),
    )


def _mean_and_root(features: F32 | F64) -> tuple[F64, F64]:
    """The mean (D,) and a matrix A (R, D), R at most D, with A'A the unbiased covariance."""
    values = features.astype(np.float64)
    mean = values.mean(0)
    root = (values - mean) / math.sqrt(len(values) - 1)
    if len(root) > root.shape[1]:
        root = np.asarray(np.linalg.qr(root, mode="r"), np.float64)
    return mean, root
