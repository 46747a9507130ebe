"""VGG-19 as a judge of pictures: the activations that perceptual losses compare.

Network: Simonyan and Zisserman 2014, arXiv:1409.1556. Weights: torchvision's, trained on ImageNet,
as the manifest's part `vgg19` names them. IPTalker does not say which layers eq. 8 compares; these
are those of the work that it follows (DINet, arXiv:2303.03988).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Channels and number of convolutions between poolings.
_BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 1))
# ImageNet, RGB in [0, 1].
_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VGG19(nn.Module):
    """Convolutions up to relu5_1, frozen. Parameters are named `features.N`, as in the weights."""

    mean: Tensor
    spread: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.taps: list[int] = []
        inside = 3
        for width, depth in _BLOCKS:
            if layers:
                layers.append(nn.MaxPool2d(2, 2))
            # The first activation of each block is compared.
            self.taps.append(len(layers) + 1)
            for _ in range(depth):
                layers += [nn.Conv2d(inside, width, 3, padding=1), nn.ReLU()]
                inside = width
        self.features = nn.Sequential(*layers)
        for name, value in (("mean", _MEAN), ("spread", _SPREAD)):
            self.register_buffer(name, torch.tensor(value)[:, None, None], persistent=False)
        self.eval().requires_grad_(False)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1.

        Args:
            pictures: RGB in [0, 1], at least 16 px high and wide. Shape (B, 3, H, W).

        Returns:
            Shapes (B, 64, H, W), (B, 128, H/2, W/2), (B, 256, H/4, W/4), (B, 512, H/8, W/8) and
            (B, 512, H/16, W/16), float32.
        """
        x = (pictures - self.mean) / self.spread
        found: list[Tensor] = []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in self.taps:
                found.append(x.float())
        return found
