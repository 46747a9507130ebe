"""What IPTalker's stages minimise: named sets of λ, and losses on mouth coefficients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dubcli.models.common.mouth_map import INNER_BOTTOM, INNER_TOP

# Inner lips count most: they are what a viewer reads.
_POINT_WEIGHTS = [1.0] * 20 + [2.0] * 20 + [0.7] * 21 + [0.4] * 41


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """λ of every loss of the stages `render` and `joint`; 0 leaves a loss out.

    Attributes:
        picture: `pyramid_loss` of the result.
        ssim: `ssim_loss` of the result.
        perceptual: L_p (IPTalker eq. 8), or `substitute_loss` without VGG-19.
        warp: L_w of the warped references (Lip-and-Identity), or `warp_loss` without VGG-19.
        painted: `pyramid_loss` of the decoder's own picture. Without one of its own the decoder
            would starve behind a gate that opens early.
        gan: L_G (IPTalker eq. 11); above 0 a discriminator is trained by L_D (eq. 10).
        matching: L_f of the discriminator's features (Lip-and-Identity); needs `gan`.
        style: L_s (Lip-and-Identity).
        texture: `texture_loss` around the mouth.
        geometry: Error of the predicted landmarks, stage `joint`.
        sync: L_sync (IPTalker eq. 12), stage `joint`; needs a sync expert and a mouth map.
        sync_to_real: `relative_sync_loss`, like `sync`.
    """

    picture: float = 0.0
    ssim: float = 0.0
    perceptual: float = 0.0
    warp: float = 0.0
    painted: float = 0.0
    gan: float = 0.0
    matching: float = 0.0
    style: float = 0.0
    texture: float = 0.0
    geometry: float = 0.0
    sync: float = 0.0
    sync_to_real: float = 0.0


LOSS_PRESETS: dict[str, LossWeights] = {
    # What little data and a CPU bear.
    "default": LossWeights(
        picture=1.0,
        ssim=0.15,
        warp=0.5,
        painted=0.5,
        gan=0.01,
        matching=0.3,
        texture=0.01,
        geometry=1.0,
        sync_to_real=0.1,
    ),
    # More of what makes a mouth as sharp as the skin beside it, for some tenths of a dB.
    "textured": LossWeights(
        picture=1.0,
        ssim=0.15,
        warp=0.5,
        painted=0.5,
        gan=0.02,
        matching=0.3,
        texture=0.03,
        geometry=1.0,
        sync_to_real=0.1,
    ),
    "no-gan": LossWeights(picture=1.0, ssim=0.15, warp=0.5, painted=0.5, geometry=1.0),
    # IPTalker eq. 13, and nothing else.
    "paper": LossWeights(perceptual=10.0, gan=1.0, sync=0.1),
    # Section 3.2.3 of Lip-and-Identity.
    "lip-identity": LossWeights(perceptual=4.0, warp=2.5, style=1000.0, gan=0.25, matching=2.5),
}


# For `dub finetune`: texture without a discriminator, which would have to learn the person first.
PERSON_LOSSES = LossWeights(
    picture=1.0, ssim=0.15, warp=0.5, painted=0.5, texture=0.03, geometry=1.0, sync_to_real=0.1
)


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
