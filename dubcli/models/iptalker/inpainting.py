"""Section III-D of IPTalker: the decoders that inpaint the masked source.

All give a picture and a gate, from the same values: `decoder` and `modulation` of the
configuration say which is built.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from dubcli.models.common.layers import (
    ResidualBlock,
    SPADEBlock,
    SPADELayer,
    concatenated,
    conv,
)
from dubcli.models.common.mouth_map import NUM_CHANNELS
from dubcli.models.common.mouth_window import BoxPart
from dubcli.models.iptalker.config import IPTalkerConfig


def build_decoder(config: IPTalkerConfig) -> nn.Module:
    """The decoder of a configuration; all take and give what `InpaintingDecoder` does."""
    if config.decoder == "conv":
        return ConvolutionDecoder(config)
    if config.modulation == "every-layer":
        return EveryLayerDecoder(config)
    return InpaintingDecoder(config)


class InpaintingDecoder(nn.Module):
    """Section III-D: SPADE decoder over warped and source features.

    SPADE is inside the two residual blocks, at H/4 conditioned on F_w and F_S, at H/2 on what
    came of them and the masked picture; `widen`, `to_full`, `refine` and `out` have none.
    """

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
        self,
        f_w: Tensor,
        f_s: Tensor,
        source: Tensor,
        warped: Tensor | None,
        maps: list[Tensor],
        part: BoxPart | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Generated picture and gate at full size, of the part: (T, 3, h, w), (T, 1, h, w).

        Args:
            f_w: Warped features. Shape (T, C, h/4, w/4).
            f_s: Source features. Shape (T, C, h/4, w/4).
            source: Masked source with its mask. Shape (T, 4, h, w).
            warped: Mixed warped references. Shape (T, 3, h, w).
            maps: Mouth maps at 1/2 and 1/4, or empty.
            part: What is wanted of the box; None: all. Near its edge the picture is another one
                than all of the box shows there.
        """
        both = concatenated([f_w, f_s])
        x = self.spade_quarter(both, concatenated([both, *maps[1:]]))
        x = functional.interpolate(self.widen(x), scale_factor=2, mode="nearest")
        pictures = source if warped is None else concatenated([source, warped])
        condition = concatenated([x, functional.avg_pool2d(pictures, 2), *maps[:1]])
        x = self.spade_half(x, condition, None if part is None else partial(part.of, stride=2))
        x = self.shuffle(self.to_full(functional.silu(x)))
        pictures = pictures if part is None else part.of(pictures)
        x = functional.silu(self.refine(concatenated([x, pictures])))
        rgb, gate = self.out(x).split((3, 1), 1)
        return torch.sigmoid(rgb), torch.sigmoid(gate)


class EveryLayerDecoder(nn.Module):
    """Section III-D to the letter: F_w and F_S are injected by SPADE before each convolution.

    Widths, the number of layers (two a size) and nearest-neighbour enlarging are this project's;
    the paper gives none. Scales and shifts are computed at H/4, where F_w and F_S are, and
    enlarged.
    """

    def __init__(self, config: IPTalkerConfig) -> None:
        super().__init__()
        both, hidden = 2 * config.channels, config.spade_channels
        deep, wide = config.channels, config.decoder_channels
        narrow = max(8, wide // 2)

        def layer(inside: int, outside: int) -> SPADELayer:
            return SPADELayer(inside, outside, both, hidden)

        self.at_quarter = nn.ModuleList((layer(both, deep), layer(deep, wide)))
        self.at_half = nn.ModuleList((layer(wide, wide), layer(wide, narrow)))
        self.at_full = nn.ModuleList((layer(narrow, narrow), layer(narrow, 3)))

    def forward(
        self,
        f_w: Tensor,
        f_s: Tensor,
        source: Tensor,
        warped: Tensor | None,
        maps: list[Tensor],
        part: BoxPart | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Generated picture and a gate of zeros: (T, 3, h, w), (T, 1, h, w).

        Args:
            f_w: Warped features. Shape (T, C, h/4, w/4).
            f_s: Source features. Shape (T, C, h/4, w/4).
            source: Not read: the source comes by F_S alone. Shape (T, 4, h, w).
            warped: None: there is no map.
            maps: Empty.
            part: What is wanted of the box; None: all.
        """
        condition = torch.cat([f_w, f_s], 1)
        x = condition
        for size, layers in enumerate((self.at_quarter, self.at_half, self.at_full)):
            if size:
                x = functional.interpolate(x, scale_factor=2, mode="nearest")
            for layer in layers:
                x = layer(x, condition)
        x = x if part is None else part.of(x)
        return torch.sigmoid(x), x.new_zeros(len(x), 1, *x.shape[-2:])


class ConvolutionDecoder(nn.Module):
    """Table III's decoder without SPADE: convolutions alone, at the same sizes.

    What SPADE was conditioned on is concatenated to what the blocks take. With
    `modulation="every-layer"` the masked picture is not, as in `EveryLayerDecoder`.
    """

    def __init__(self, config: IPTalkerConfig) -> None:
        super().__init__()
        maps = NUM_CHANNELS if config.geometry_map else 0
        pictures = 3 if config.geometry_map else 0
        self.sees_source = config.modulation == "blocks"
        pictures += 4 * self.sees_source
        deep, wide = config.channels, config.decoder_channels
        self.enter_quarter = conv(2 * deep + maps, deep)
        self.quarter_block = ResidualBlock(deep)
        self.enter_half = conv(deep + maps + pictures, wide)
        self.half_block = ResidualBlock(wide)
        self.to_full = conv(wide, 4 * 12)
        self.shuffle = nn.PixelShuffle(2)
        self.refine = conv(12 + pictures, 16)
        self.out = conv(16, 4)

    def forward(
        self,
        f_w: Tensor,
        f_s: Tensor,
        source: Tensor,
        warped: Tensor | None,
        maps: list[Tensor],
        part: BoxPart | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As `InpaintingDecoder.forward`."""
        shown = [x for x in (source if self.sees_source else None, warped) if x is not None]
        halves = [functional.avg_pool2d(x, 2) for x in shown]
        x = self.quarter_block(self.enter_quarter(torch.cat([f_w, f_s, *maps[1:]], 1)))
        x = functional.interpolate(x, scale_factor=2, mode="nearest")
        x = self.half_block(self.enter_half(torch.cat([x, *halves, *maps[:1]], 1)))
        x = self.shuffle(self.to_full(functional.silu(x)))
        x = functional.silu(self.refine(torch.cat([x, *shown], 1)))
        out = self.out(x) if part is None else part.of(self.out(x))
        rgb, gate = out.split((3, 1), 1)
        return torch.sigmoid(rgb), torch.sigmoid(gate)
