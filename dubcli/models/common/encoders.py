"""Encoders of sound and pictures; their layouts follow IPTalker's blocks E_a, E_v, E_S and E_R."""

from __future__ import annotations

from itertools import pairwise

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from dubcli.models.common.layers import ResidualBlock, conv


class AudioEncoder(nn.Module):
    """E_a (eq. 1): feature steps around a frame to one embedding, or to several in time order.

    Each feature is first brought to mean 0 and spread 1 by what was seen in training. Four
    strided convolutions make one step of sixteen; each token comes of as many of these steps.

    Args:
        size: D_audio.
        width: A, feature steps.
        embedding: D.
        dropout: Of features and of activations.
        tokens: N, a divisor of the steps that are left, ceil(A / 16).
    """

    mean: Tensor
    spread: Tensor

    def __init__(
        self, size: int, width: int, embedding: int, dropout: float, tokens: int = 1
    ) -> None:
        super().__init__()
        self.tokens = tokens
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("spread", torch.ones(size))
        sizes = (size, 128, 128, embedding, embedding)
        self.layers = nn.ModuleList(
            nn.Conv1d(a, b, 5, stride=2, padding=2) for a, b in pairwise(sizes)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(8, size) for size in sizes[1:])
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(embedding * (-(-width // 16) // tokens), embedding)

    def forward(self, audio: Tensor) -> Tensor:
        """(T, A, D_audio) to (T, N, D)."""
        x = rearrange(self.dropout((audio - self.mean) / self.spread), "t a d -> t d a")
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = self.dropout(functional.silu(norm(layer(x))))
        parts = rearrange(x, "t d (n s) -> (t n) (d s)", n=self.tokens)
        return rearrange(self.out(parts), "(t n) d -> t n d", n=self.tokens)


class VisualEncoder(nn.Module):
    """E_v (eq. 1): the lower half of a reference, or what the caller cuts out, to one embedding."""

    def __init__(self, embedding: int) -> None:
        super().__init__()
        sizes = (3, 32, 64, 96, 128)
        self.layers = nn.ModuleList(conv(a, b, stride=2) for a, b in pairwise(sizes))
        self.norms = nn.ModuleList(nn.GroupNorm(8, size) for size in sizes[1:])
        self.out = nn.Linear(sizes[-1] * 12, embedding)

    def forward(self, pictures: Tensor) -> Tensor:
        """(N, 3, h, w) in [0, 1] to (N, D)."""
        x = functional.avg_pool2d(pictures, 2) - 0.5
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = functional.silu(norm(layer(x)))
        return self.out(functional.adaptive_avg_pool2d(x, (3, 4)).flatten(1))


class PictureEncoder(nn.Module):
    """E_S and E_R (eq. 4): a picture with its maps to features at H/4."""

    def __init__(self, inside: int, maps: int, channels: int) -> None:
        super().__init__()
        self.unshuffle = nn.PixelUnshuffle(2)
        self.first = conv(4 * inside + maps, channels // 2)
        self.norm = nn.GroupNorm(8, channels // 2)
        self.second = conv(channels // 2, channels, stride=2)
        self.block = ResidualBlock(channels)

    def forward(self, picture: Tensor, maps: Tensor | None) -> Tensor:
        """(B, inside, h, w) and maps (B, maps, h/2, w/2) to (B, C, h/4, w/4)."""
        x = self.unshuffle(picture)
        x = self.first(x if maps is None else torch.cat([x, maps], 1))
        return self.block(self.second(functional.silu(self.norm(x))))


class CrossModalityEncoder(nn.Module):
    """E_cm (eq. 3, fig. 3b): 1-D convolution over the tokens and average pooling."""

    def __init__(self, embedding: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(embedding, embedding, 3, padding=1)
        self.conv2 = nn.Conv1d(embedding, embedding, 3, padding=1)

    def forward(self, visual: Tensor, audio: Tensor) -> Tensor:
        """(T, N, D) and (T, A, D) to (T, D)."""
        x = rearrange(torch.cat([visual, audio], 1), "t n d -> t d n")
        return self.conv2(functional.silu(self.conv1(x))).mean(-1)
