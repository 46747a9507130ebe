"""Section 3.1.1: source and reference features, modulated by a picture of landmarks."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from dubcli.models.common.layers import AdaINBlock, ResidualBlock, concatenated, conv
from dubcli.models.common.mouth_map import NUM_CHANNELS
from dubcli.models.g4g.config import G4GConfig

_LANDMARK_WIDTHS = (NUM_CHANNELS, 24, 48, 64)
_CELLS = (4, 5)
_VECTOR_WIDTH = 128


class LandmarkEncoder(nn.Module):
    """E_l (eq. 4): the landmark picture at H/2 to l_r."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(conv(a, b, stride=2) for a, b in pairwise(_LANDMARK_WIDTHS))
        self.norms = nn.ModuleList(nn.GroupNorm(8, size) for size in _LANDMARK_WIDTHS[1:])
        self.out = nn.Linear(_LANDMARK_WIDTHS[-1] * _CELLS[0] * _CELLS[1], code)

    def forward(self, drawn: Tensor) -> Tensor:
        """(T, 3, h/2, w/2) to (T, d)."""
        x = drawn
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = functional.silu(norm(layer(x)))
        return self.out(functional.adaptive_avg_pool2d(x, _CELLS).flatten(1))


class AlignedBlock(nn.Module):
    """Two AdaIN convolutions (eq. 5) beside the identity."""

    def __init__(self, channels: int, code: int) -> None:
        super().__init__()
        self.first = AdaINBlock(channels, channels, code)
        self.second = AdaINBlock(channels, channels, code)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Keep the shape (T, C, h, w), under codes (T, d)."""
        return x + self.second(self.first(x, code), code)


class IntraModalAlignment(nn.Module):
    """F_s ‖ F_ref by a 1 x 1 convolution to ī_s, AdaIN blocks by l_r to ī_align, and v."""

    def __init__(self, config: G4GConfig) -> None:
        super().__init__()
        channels, has_code = config.channels, config.alignment == "full"
        self.enter = conv(channels + config.reference_channels, channels, 1)
        self.landmark_encoder = LandmarkEncoder(config.code) if has_code else None
        self.blocks = nn.ModuleList(
            AlignedBlock(channels, config.code) if has_code else ResidualBlock(channels)
            for _ in range(config.num_blocks)
        )
        self.down1 = conv(channels, _VECTOR_WIDTH, stride=2)
        self.down2 = conv(_VECTOR_WIDTH, _VECTOR_WIDTH, stride=2)
        self.out = nn.Linear(_VECTOR_WIDTH * _CELLS[0] * _CELLS[1], config.code)

    def forward(
        self, source: Tensor, reference: Tensor, drawn: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """V and l_r, both (T, d); l_r is None without alignment.

        Args:
            source: F_s. Shape (T, C, h/4, w/4).
            reference: F_ref of each frame, with colours. Shape (T, C + 3 N, h/4, w/4).
            drawn: L_r at H/2. Shape (T, 3, h/2, w/2).
        """
        code = None if self.landmark_encoder is None else self.landmark_encoder(drawn)
        x = self.enter(concatenated([source, reference]))
        for block in self.blocks:
            x = block(x) if code is None else block(x, code)
        x = functional.silu(self.down2(functional.silu(self.down1(functional.silu(x)))))
        return self.out(functional.adaptive_avg_pool2d(x, _CELLS).flatten(1)), code
