"""What the stages of G4G minimise: named sets of λ."""

from __future__ import annotations

from dubcli.models.common.loss_weights import LossWeights

_PICTURES = LossWeights(
    attribute=1.0, reconstruction=2.0, picture=1.0, painted=1.0, ssim=0.15, contrast_to_real=0.1
)
LOSS_PRESETS: dict[str, LossWeights] = {
    # What little data and a CPU bear.
    "default": _PICTURES,
    # Stage blend.
    "sharp": LossWeights(
        attribute=1.0, reconstruction=2.0, picture=1.0, painted=1.0, ssim=0.15,
        contrast_to_real=0.1, gan=0.01, gan_pairs=0.01, matching=0.1, texture=0.01,
    ),
    # Eq. 17: λ = 1, 2, 3, 4, 5 in the order in which the terms are written.
    "paper": LossWeights(
        attribute=1.0, perceptual=2.0, gan=3.0, gan_pairs=3.0, reconstruction=4.0, contrast=5.0
    ),
    # For ablations: without what the alignment of sound and picture adds.
    "no-contrast": LossWeights(
        attribute=1.0, reconstruction=2.0, picture=1.0, painted=1.0, ssim=0.15
    ),
}  # fmt: skip
# For `dub finetune`: texture without a discriminator, which would have to learn the person first.
PERSON_LOSSES = LossWeights(
    attribute=1.0, reconstruction=2.0, picture=1.0, painted=1.0, ssim=0.15, texture=0.03
)
