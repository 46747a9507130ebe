"""What the stages of Lip-and-Identity minimise: named sets of λ."""

from __future__ import annotations

from dubcli.models.common.loss_weights import LossWeights

# Stage flow: the paper's first epochs have L_w alone, so that flows mean something before the
# decoder leans on them.
FLOW_LOSSES = LossWeights(warp=1.0)
LOSS_PRESETS: dict[str, LossWeights] = {
    # What little data and a CPU bear.
    "default": LossWeights(picture=1.0, ssim=0.15, warp=0.5, painted=0.5),
    "sharp": LossWeights(
        picture=1.0, ssim=0.15, warp=0.5, painted=0.5, gan=0.01, matching=0.3, texture=0.01
    ),
    # Section 3.2.3: sums over layers and sizes.
    "paper": LossWeights(
        perceptual=4.0, warp=2.5, style=1000.0, gan=0.25, matching=2.5, is_summed=True
    ),
}
# For `dub finetune`: texture without a discriminator, which would have to learn the person first.
PERSON_LOSSES = LossWeights(picture=1.0, ssim=0.15, warp=0.5, painted=0.5, texture=0.03)
