"""Section III-C of IPTalker: the network that predicts motion flows (eq. 6)."""

from __future__ import annotations

from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from dubcli.models.common.layers import AdaINBlock, conv
from dubcli.models.common.mouth_map import NUM_CHANNELS
from dubcli.models.iptalker.config import IPTalkerConfig


class WarpingNetwork(nn.Module):
    """F_UNet (eq. 6): fused features to one motion flow per reference, modulated by AdaIN.

    Also gives each reference's share of the mixed picture.
    """

    def __init__(self, config: IPTalkerConfig) -> None:
        super().__init__()
        width, code = config.warp_channels, config.embedding
        maps = NUM_CHANNELS if config.geometry_map else 0
        sources = config.channels * (1 + config.num_references) + maps
        self.num = config.num_references
        self.fuse = conv(sources, width, 1)
        self.enter = AdaINBlock(width, width, code)
        self.down = AdaINBlock(width, width * 3 // 2, code, stride=2)
        self.bottom1 = AdaINBlock(width * 3 // 2, width * 3 // 2, code)
        self.bottom2 = AdaINBlock(width * 3 // 2, width * 3 // 2, code)
        self.up = conv(width * 3 // 2, width, 1)
        self.leave = AdaINBlock(width, width, code)
        self.head = conv(width, 3 * self.num)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, fused: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        """Flow (T, N, h, w, 2) in units of the template, and logits (T, N, h, w)."""
        x = self.enter(self.fuse(fused), code)
        y = self.down(x, code)
        y = y + self.bottom2(self.bottom1(y, code), code)
        y = functional.interpolate(self.up(y), x.shape[-2:], mode="bilinear", align_corners=False)
        out = self.head(functional.silu(self.leave(x + y, code)))
        flow, logits = out[:, : 2 * self.num], out[:, 2 * self.num :]
        return rearrange(flow, "t (n c) h w -> t n h w c", c=2) * 0.1, logits
