"""What the render stage of PersonaTalk minimises: named sets of λ.

The paper tells no losses of its networks; these are the project's own.
"""

from __future__ import annotations

from dubcli.models.common.loss_weights import LossWeights

LOSS_PRESETS: dict[str, LossWeights] = {
    "default": LossWeights(picture=1.0, ssim=0.15, warp=0.3, correspondence=1.0),
    "sharp": LossWeights(
        picture=1.0, ssim=0.15, warp=0.3, gan=0.01, matching=0.3, texture=0.01, correspondence=1.0
    ),
    # For a GPU with VGG-19.
    "paper": LossWeights(perceptual=10.0, warp=2.5, gan=0.25, matching=2.5, correspondence=1.0),
}
# For `dub finetune`: texture without a discriminator, which would have to learn the person first.
PERSON_LOSSES = LossWeights(picture=1.0, ssim=0.15, warp=0.3, texture=0.03, correspondence=1.0)
