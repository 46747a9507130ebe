"""Mouth shapes as coefficients of principal components, and what their errors cost."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dubcli.models.common.mouth_map import INNER_BOTTOM, INNER_TOP

# Inner lips count most: they are what a viewer reads.
_POINT_WEIGHTS = [1.0] * 20 + [2.0] * 20 + [0.7] * 21 + [0.4] * 41


def coefficients_of(mouth_offset: Tensor, basis: Tensor) -> Tensor:
    """Mouth coefficients (..., P) of mouth offsets (..., S, 3) on a basis (P, S, 3)."""
    flat = basis.flatten(1)
    return mouth_offset.flatten(-2) @ (flat / (flat**2).sum(1, keepdim=True)).T


def point_loss(error: Tensor, basis: Tensor) -> Tensor:
    """Smooth L1 of speaking points, in hundredths of the inter-ocular distance.

    Args:
        error: Coefficient errors. Shape (B, P).
        basis: Shape (P, S, 3).
    """
    weights = error.new_tensor(_POINT_WEIGHTS)
    moved = 100 * torch.einsum("bp,psc->bsc", error, basis)
    cost = functional.smooth_l1_loss(moved, torch.zeros_like(moved), reduction="none", beta=2.0)
    return (cost * weights[:, None]).mean() / 2


def opening_basis(basis: Tensor) -> Tensor:
    """How each coefficient opens the mouth. Shape (P,)."""
    return 10 * (basis[:, INNER_BOTTOM, 1] - basis[:, INNER_TOP, 1])
