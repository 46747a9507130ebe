"""Mouth shapes as coefficients of principal components."""

from __future__ import annotations

from torch import Tensor

from dubcli.models.common.mouth_map import INNER_BOTTOM, INNER_TOP


def coefficients_of(mouth_offset: Tensor, basis: Tensor) -> Tensor:
    """Mouth coefficients (..., P) of mouth offsets (..., S, 3) on a basis (P, S, 3)."""
    flat = basis.flatten(1)
    return mouth_offset.flatten(-2) @ (flat / (flat**2).sum(1, keepdim=True)).T


def opening_basis(basis: Tensor) -> Tensor:
    """How each coefficient opens the mouth. Shape (P,)."""
    return 10 * (basis[:, INNER_BOTTOM, 1] - basis[:, INNER_TOP, 1])
