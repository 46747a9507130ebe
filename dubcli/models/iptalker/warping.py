"""Section III-C of IPTalker: fusion of features and the network that predicts flows (eq. 5-6)."""

from __future__ import annotations

from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from dubcli.models.common.layers import AdaIN, AdaINBlock, conv
from dubcli.models.common.mouth_map import NUM_CHANNELS
from dubcli.models.iptalker.config import IPTalkerConfig


class WarpingNetwork(nn.Module):
    """E_u (eq. 5) and F_UNet (eq. 6): features to one motion flow per reference.

    `fuse` is E_u; the layers after it are F_UNet, modulated by AdaIN: with `modulation="blocks"`
    all but `up` and `head`, with `every-layer` those too. Also gives each reference's share of the
    mixed picture.
    """

    def __init__(self, config: IPTalkerConfig) -> None:
        super().__init__()
        width, code = config.warp_channels, config.code_size
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
        is_everywhere = config.modulation == "every-layer"
        self.up_adain = AdaIN(width * 3 // 2, code) if is_everywhere else None
        self.head_adain = AdaIN(width, code) if is_everywhere else None

    def forward(self, fused: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        """One flow per reference.

        Args:
            fused: F_S, each F_R^i and the map, concatenated. Shape (T, C (1 + N) + maps, h, w).
            code: v_alg, or the mouth's code. Shape (T, `IPTalkerConfig.code_size`).

        Returns:
            Flow (T, N, h, w, 2) in inter-ocular distances of the template, logits (T, N, h, w).
        """
        x = self.enter(self.fuse(fused), code)
        y = self.down(x, code)
        y = y + self.bottom2(self.bottom1(y, code), code)
        if self.up_adain is not None:
            y = functional.silu(self.up_adain(y, code))
        y = functional.interpolate(self.up(y), x.shape[-2:], mode="bilinear", align_corners=False)
        y = self.leave(x + y, code)
        if self.head_adain is not None:
            y = self.head_adain(y, code)
        out = self.head(functional.silu(y))
        flow, logits = out[:, : 2 * self.num], out[:, 2 * self.num :]
        return rearrange(flow, "t (n c) h w -> t n h w c", c=2) * 0.1, logits
