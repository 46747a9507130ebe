"""Encoders of sound and pictures; their layouts follow IPTalker's blocks E_a, E_v, E_S and E_R."""

from __future__ import annotations

from itertools import pairwise

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from dubcli.models.common.layers import ResidualBlock, concatenated, conv, in_layout


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


class DilatedAudioEncoder(nn.Module):
    """E_a (eq. 1) as dilated convolutions: 0.56 s of sound on either side of a frame.

    Two neighbouring feature steps are averaged; convolutions over the averages, spread ever wider,
    end at one embedding. A window gives the embedding of its centre, `over_sequence` those of all
    moments of a longer stretch at once, which is what makes training cheap.

    Args:
        size: D_audio.
        width: A, feature steps; no less than `LEAST_WIDTH`.
        embedding: D.
        dropout: Of whole features and of activations.
    """

    LEAST_WIDTH = 92
    _DILATIONS, _KERNEL, _CHANNELS, _STEPS = (1, 2, 4, 4), 5, 96, 90
    mean: Tensor
    spread: Tensor

    def __init__(self, size: int, width: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("spread", torch.ones(size))
        channels, kernel = self._CHANNELS, self._KERNEL
        self.feature_dropout, self.dropout = nn.Dropout1d(dropout), nn.Dropout(dropout)
        self.first = nn.Conv1d(size, channels, 1)
        self.layers = nn.ModuleList(nn.Conv1d(channels, channels, kernel) for _ in self._DILATIONS)
        # Normalised over the batch: over time, a window and a longer stretch would differ.
        self.norms = nn.ModuleList(nn.BatchNorm1d(channels) for _ in self._DILATIONS)
        self.out = nn.Conv1d(channels, embedding, 1)

    def forward(self, audio: Tensor) -> Tensor:
        """(T, A, D_audio) to (T, 1, D)."""
        # An even number of steps, the frame's own the first of the middle pair.
        start = self.width // 2 - self._STEPS // 2 + 1
        part = audio[:, start : start + self._STEPS]
        pairs = (part[:, 0::2] + part[:, 1::2]) / 2
        return rearrange(self._embedded(pairs, 1, is_normed_anew=False), "t d n -> t n d")

    def over_sequence(self, audio: Tensor) -> Tensor:
        """(B, L, D_audio) to (B, L - A + 1, D): what `forward` gives of each window of A steps."""
        start = self.width // 2 - self._STEPS // 2 + 1
        num = audio.shape[1] - self.width + 1
        part = audio[:, start : start + num + self._STEPS - 1]
        pairs = (part[:, :-1] + part[:, 1:]) / 2
        return rearrange(self._embedded(pairs, 2, is_normed_anew=self.training), "b d n -> b n d")

    def _embedded(self, pairs: Tensor, stride: int, *, is_normed_anew: bool) -> Tensor:
        """(B, L, D_audio), a moment every `1 / stride` pairs, to (B, D, L - 44 stride).

        Statistics are taken of long stretches alone: the frames of a window batch are too alike,
        and what learns a person or a picture keeps parameters, no statistics.
        """
        x = rearrange((pairs - self.mean) / self.spread, "b n d -> b d n")
        x = self.first(self.feature_dropout(x))
        for layer, norm, dilation in zip(self.layers, self.norms, self._DILATIONS, strict=True):
            assert isinstance(layer, nn.Conv1d)
            assert isinstance(norm, nn.BatchNorm1d)
            normed = norm(x) if is_normed_anew else _as_learned(norm, x)
            reach = stride * dilation
            made = functional.conv1d(normed, layer.weight, layer.bias, dilation=reach)
            lost = reach * (self._KERNEL // 2)
            x = x[..., lost:-lost] + self.dropout(functional.gelu(made))
        return self.out(x)


def _as_learned(norm: nn.BatchNorm1d, x: Tensor) -> Tensor:
    """Normalisation by the statistics that were learned, whatever mode the network is in."""
    return functional.batch_norm(
        x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
    )


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
        return self.levels(picture, maps)[1]

    def levels(self, picture: Tensor, maps: Tensor | None) -> tuple[Tensor, Tensor]:
        """As `forward`, and before it (B, C/2, h/2, w/2)."""
        x = self.unshuffle(in_layout(picture))
        half = self.first(x if maps is None else concatenated([x, maps]))
        return half, self.block(self.second(functional.silu(self.norm(half))))


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
