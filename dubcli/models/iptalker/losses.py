"""What IPTalker's stages minimise: named sets of λ."""

from __future__ import annotations

from dubcli.models.common.loss_weights import LossWeights

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
}


# For `dub finetune`: texture without a discriminator, which would have to learn the person first.
PERSON_LOSSES = LossWeights(
    picture=1.0, ssim=0.15, warp=0.5, painted=0.5, texture=0.03, geometry=1.0, sync_to_real=0.1
)
