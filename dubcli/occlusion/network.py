"""What lies in front of a face: per pixel, is this the person's own uncovered face or not?

A small U-Net (arXiv:1505.04597) over the aligned crop at half size. It sees hands, microphones,
cups, masks, hair and writing that lie before the face; beards, glasses and teeth are the face.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class OccluderConfig:
    """Sizes.

    Attributes:
        height: Rows of the crop that it sees, the aligned crop of `face.pose` at any size.
        width: Columns.
        channels: Width of the first level; it doubles twice.
        outer: Width at full size.
    """

    height: int = 104
    width: int = 80
    channels: int = 12
    outer: int = 8


class _Block(nn.Sequential):
    """Convolution, norm, ReLU."""

    def __init__(self, inside: int, outside: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__(
            nn.Conv2d(
                inside,
                outside,
                3,
                stride=stride,
                padding=dilation,
                dilation=dilation,
                bias=False,
            ),
            nn.BatchNorm2d(outside),
            nn.ReLU(inplace=True),
        )


class OccluderNet(nn.Module):
    """Crops to logits: above 0 something lies in front of the face."""

    def __init__(self, config: OccluderConfig) -> None:
        super().__init__()
        self.config = config
        first, outer = config.channels, config.outer
        second, third = 2 * first, 4 * first
        self.down_half = nn.Sequential(_Block(3, first, 2), _Block(first, first))
        self.down_quarter = nn.Sequential(_Block(first, second, 2), _Block(second, second))
        self.down_eighth = nn.Sequential(
            _Block(second, third, 2),
            _Block(third, third),
            _Block(third, third, dilation=2),
            _Block(third, third, dilation=3),
        )
        self.up_quarter = _Block(third + second, second)
        self.up_half = _Block(second + first, first)
        self.up_whole = _Block(first + 3, outer)
        self.out = nn.Conv2d(outer, 1, 1)

    def forward(self, crops: Tensor) -> Tensor:
        """Logits (N, 1, H, W) of RGB crops (N, 3, H, W) in [0, 1]."""
        seen = crops * 2 - 1
        half = self.down_half(seen)
        quarter = self.down_quarter(half)
        eighth = self.down_eighth(quarter)
        # What the whole crop looks like: a mask over half of a face is recognised by the rest.
        eighth = eighth + eighth.mean((2, 3), keepdim=True)
        quarter = self.up_quarter(torch.cat([_grown(eighth, quarter), quarter], 1))
        half = self.up_half(torch.cat([_grown(quarter, half), half], 1))
        return self.out(self.up_whole(torch.cat([_grown(half, seen), seen], 1)))


def _grown(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)
