"""LPIPS: how different two pictures look to a network (Zhang et al. 2018, arXiv:1801.03924).

Version 0.1 with the authors' linear heads, on the convolutions of torchvision's AlexNet or VGG-16,
which are written out here because only their layers up to the last activation are used.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from dubcli.metrics.foreign_weights import load_strictly

Backbone = Literal["alex", "vgg"]
# Of pictures in [-1, 1]: the means and spreads of ImageNet in that range.
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_VGG_WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class Lpips(nn.Module):
    """The distance. Parameters have the names of torchvision (`features.N`) and of the authors.

    Args:
        backbone: `alex` as most papers, `vgg` as IPTalker.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.features, self.taps, widths = _alex() if backbone == "alex" else _vgg()
        self.heads = nn.ModuleList(nn.Conv2d(width, 1, 1, bias=False) for width in widths)
        self.register_buffer("shift", torch.tensor(_SHIFT)[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor(_SCALE)[:, None, None], persistent=False)

    def load(self, backbone: dict[str, Tensor], heads: dict[str, Tensor]) -> None:
        """Take over weights, strictly.

        Args:
            backbone: torchvision's parameters; its classifier is ignored.
            heads: The authors' heads, `linN.model.1.weight`.

        Raises:
            WeightsError: Names or shapes differ.
        """
        own = {key: value for key, value in backbone.items() if key.startswith("features.")}
        own |= {
            f"heads.{number}.weight": heads[f"lin{number}.model.1.weight"]
            for number in range(len(self.heads))
            if f"lin{number}.model.1.weight" in heads
        }
        load_strictly(self, own, "LPIPS")

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """Distance of RGB pictures (B, 3, H, W) in [0, 1]; 0 for equal ones. Shape (B,)."""
        total = one.new_zeros(len(one))
        layers = zip(self.heads, self._activations(one), self._activations(other), strict=True)
        for head, a, b in layers:
            gap = (_unit(a) - _unit(b)) ** 2
            total = total + head(gap).mean((1, 2, 3))
        return total

    def _activations(self, pictures: Tensor) -> list[Tensor]:
        x = (2 * pictures - 1 - self.shift) / self.scale
        found: list[Tensor] = []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in self.taps:
                found.append(x)
        return found


def _unit(x: Tensor) -> Tensor:
    """Channels scaled to length 1 at each place."""
    return x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)


def _alex() -> tuple[nn.Sequential, set[int], tuple[int, ...]]:
    layers = nn.Sequential(
        *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
    )
    return layers, {1, 4, 7, 9, 11}, (64, 192, 384, 256, 256)


def _vgg() -> tuple[nn.Sequential, set[int], tuple[int, ...]]:
    layers: list[nn.Module] = []
    taps: set[int] = set()
    inside = 3
    for block in _VGG_WIDTHS:
        if layers:
            layers.append(nn.MaxPool2d(2, 2))
        for width in block:
            layers += [nn.Conv2d(inside, width, 3, padding=1), nn.ReLU()]
            inside = width
        taps.add(len(layers) - 1)
    return nn.Sequential(*layers), taps, tuple(block[-1] for block in _VGG_WIDTHS)
