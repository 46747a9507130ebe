"""Section III-D of IPTalker: the decoder that inpaints the masked source."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dubcli.models.common.layers import SPADEBlock, conv
from dubcli.models.common.mouth_map import NUM_CHANNELS
from dubcli.models.iptalker.config import IPTalkerConfig


class InpaintingDecoder(nn.Module):
    """Section III-D: SPADE decoder over warped and source features."""

    def __init__(self, config: IPTalkerConfig) -> None:
        super().__init__()
        maps = NUM_CHANNELS if config.geometry_map else 0
        pictures = 3 if config.geometry_map else 0
        deep, wide, hidden = config.channels, config.decoder_channels, config.spade_channels
        self.spade_quarter = SPADEBlock(2 * deep, deep, 2 * deep + maps, hidden)
        self.widen = conv(deep, wide, 1)
        self.spade_half = SPADEBlock(wide, wide, wide + maps + pictures + 4, hidden)
        self.to_full = conv(wide, 4 * 12)
        self.shuffle = nn.PixelShuffle(2)
        self.refine = conv(12 + pictures + 4, 16)
        self.out = conv(16, 4)

    def forward(
        self, f_w: Tensor, f_s: Tensor, source: Tensor, warped: Tensor | None, maps: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Generated picture and gate at full size: (T, 3, h, w), (T, 1, h, w).

        Args:
            f_w: Warped features. Shape (T, C, h/4, w/4).
            f_s: Source features. Shape (T, C, h/4, w/4).
            source: Masked source with its mask. Shape (T, 4, h, w).
            warped: Mixed warped references. Shape (T, 3, h, w).
            maps: Mouth maps at 1/2 and 1/4, or empty.
        """
        both = torch.cat([f_w, f_s], 1)
        x = self.spade_quarter(both, torch.cat([both, *maps[1:]], 1))
        x = functional.interpolate(self.widen(x), scale_factor=2, mode="nearest")
        pictures = source if warped is None else torch.cat([source, warped], 1)
        condition = torch.cat([x, functional.avg_pool2d(pictures, 2), *maps[:1]], 1)
        x = self.spade_half(x, condition)
        x = self.shuffle(self.to_full(functional.silu(x)))
        x = functional.silu(self.refine(torch.cat([x, pictures], 1)))
        rgb, gate = self.out(x).split((3, 1), 1)
        return torch.sigmoid(rgb), torch.sigmoid(gate)
