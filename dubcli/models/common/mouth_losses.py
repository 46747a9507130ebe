"""What predicted mouths cost over short runs of frames: place, speed, timing and reach."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dubcli.models.common.moments import at_known_moments
from dubcli.models.common.mouth_basis import coefficients_of, opening_basis
from dubcli.training.stage import Batch

# Inner lips count most: they are what a viewer reads.
_POINT_WEIGHTS = [1.0] * 20 + [2.0] * 20 + [0.7] * 21 + [0.4] * 41
_CORRELATION, _SPREAD = 0.6, 0.3


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


def correlation_loss(a: Tensor, b: Tensor) -> Tensor:
    """1 - Pearson r along the last axis, averaged. Series of shape (B, T)."""
    a, b = a - a.mean(-1, keepdim=True), b - b.mean(-1, keepdim=True)
    scale = (a**2).mean(-1) * (b**2).mean(-1)
    r = (a * b).mean(-1) / torch.sqrt(scale + 1e-8)
    return (1 - r).mean()


def spread_loss(a: Tensor, b: Tensor) -> Tensor:
    """Squared logarithm of the ratio of two standard deviations. Series of shape (B, T).

    What is predicted with an error varies less than the truth; this asks for as much.
    """
    ratio = (a.var(-1, unbiased=False) + 1e-3) / (b.var(-1, unbiased=False) + 1e-3)
    return (ratio.log() / 2).square().mean()


def frame_losses(
    made: Tensor, true: Tensor, basis: Tensor, articulation: float
) -> dict[str, Tensor]:
    """Point, velocity, correlation and spread losses of runs of frames, and `loss`, their sum.

    Args:
        made: Coefficients. Shape (B, F, P), two frames or more.
        true: Coefficients. Shape (B, F, P).
        basis: Shape (P, S, 3).
        articulation: How much further mouths move in use.
    """
    losses = _parts(made, true, basis, articulation)
    losses["loss"] = _weighted(losses["points"], losses)
    return losses


def moment_losses(
    made: Tensor, batch: Batch, basis: Tensor, articulation: float
) -> dict[str, Tensor]:
    """The losses of `frame_losses` on the middle moments; all moments count by their points.

    Args:
        made: Coefficients at the moments around each frame. Shape (B, F, T, P), float32.
        batch: `MomentRun`s.
        basis: Shape (P, S, 3).
        articulation: How much further mouths move in use.
    """
    # Correlations need more digits than mixed precision has.
    with torch.autocast(made.device.type, enabled=False):
        true = coefficients_of(batch["mouth_offset"], basis)
        losses = _parts(made[:, :, made.shape[2] // 2], true, basis, articulation)
        error = (made - at_known_moments(true, batch))[batch["is_known"]]
        losses["moments"] = point_loss(error, basis)
        losses["loss"] = _weighted(0.5 * (losses["points"] + losses["moments"]), losses)
        return losses


def _parts(made: Tensor, true: Tensor, basis: Tensor, articulation: float) -> dict[str, Tensor]:
    error, gap = made - true, opening_basis(basis)
    return {
        "points": point_loss(error.flatten(0, 1), basis),
        "velocity": point_loss(error.diff(dim=1).flatten(0, 1), basis),
        "r": correlation_loss(made @ gap, true @ gap),
        "spread": spread_loss(articulation * (made @ gap), true @ gap),
    }


def _weighted(points: Tensor, losses: dict[str, Tensor]) -> Tensor:
    return points + losses["velocity"] + _CORRELATION * losses["r"] + _SPREAD * losses["spread"]
