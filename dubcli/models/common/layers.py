"""Blocks that more than one part of the models uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

# Pixels of a map below which it is small.
_SMALL_MAP = 1024


def conv(inside: int, outside: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """Same-size convolution (up to the stride)."""
    return nn.Conv2d(inside, outside, kernel, stride, padding=kernel // 2)


class InstanceNorm(nn.Module):
    """Instance normalisation without parameters, in the form that is fastest at each size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Bring each channel of (B, C, H, W) to mean 0 and spread 1."""
        # As groups of one channel it keeps channels last, but is slow on small maps.
        if x.shape[-2] * x.shape[-1] < _SMALL_MAP:
            return functional.instance_norm(x)
        return functional.group_norm(x, self.channels)


def concatenated(maps: Sequence[Tensor]) -> Tensor:
    """Feature maps (B, C, H, W) side by side, in the format and layout that convolutions take.

    Convolutions are several times as fast where channels are last in memory, and conversion is
    cheapest before maps of different formats are copied together.
    """
    return torch.cat([in_layout(x) for x in maps], 1)


def in_layout(x: Tensor) -> Tensor:
    """A map (B, C, H, W) in the format and layout that convolutions take."""
    kind = x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    return x.to(dtype=dtype, memory_format=torch.channels_last)


def mixture(maps: Tensor, shares: Tensor) -> Tensor:
    """Sum over the first axis of maps times shares, (N, ...) each, in the maps' format."""
    # One after the other: sums over a first axis are slow, and all products need memory.
    shares = shares.to(maps.dtype)
    mixed = maps[0] * shares[0]
    for one, share in zip(maps[1:], shares[1:], strict=True):
        mixed = torch.addcmul(mixed, one, share)
    return mixed


class ResidualBlock(nn.Module):
    """Two convolutions beside the identity, group normalised."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, channels), nn.GroupNorm(8, channels)
        self.conv1, self.conv2 = conv(channels, channels), conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (B, C, H, W)."""
        y = self.conv1(functional.silu(self.norm1(x)))
        return x + self.conv2(functional.silu(self.norm2(y)))


class AdaIN(nn.Module):
    """Adaptive instance normalisation (arXiv:1703.06868): a code sets scale and shift."""

    def __init__(self, channels: int, code_size: int) -> None:
        super().__init__()
        self.norm = InstanceNorm(channels)
        self.affine = nn.Linear(code_size, 2 * channels)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Modulate (B, C, H, W) by codes (B, D)."""
        scale, shift = self.affine(code)[..., None, None].chunk(2, 1)
        return self.norm(x) * (1 + scale) + shift


class AdaINBlock(nn.Module):
    """AdaIN, activation, convolution."""

    def __init__(
        self, inside: int, outside: int, code_size: int, kernel: int = 3, stride: int = 1
    ) -> None:
        super().__init__()
        self.adain = AdaIN(inside, code_size)
        self.conv = conv(inside, outside, kernel, stride)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """(B, inside, H, W) to (B, outside, H / stride, W / stride)."""
        return self.conv(functional.silu(self.adain(x, code)))


class SPADE(nn.Module):
    """Spatially adaptive normalisation (arXiv:1903.07291)."""

    def __init__(self, channels: int, condition: int, hidden: int) -> None:
        super().__init__()
        self.norm = InstanceNorm(channels)
        self.shared = conv(condition, hidden)
        self.affine = conv(hidden, 2 * channels, 1)

    def forward(
        self, x: Tensor, condition: Tensor, cut: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:
        """Modulate (B, C, H, W) by a condition (B, D, H, W), or by a coarser one (B, D, h, w).

        Scale and shift of a coarser condition are computed at its size and enlarged. `cut` takes
        out of maps the part that is wanted; statistics are of the whole map all the same.
        """
        if cut is not None:
            return self._modulated(cut(self.norm(x)), cut(condition))
        return self._modulated(self.norm(x), condition)

    def _modulated(self, x: Tensor, condition: Tensor) -> Tensor:
        affine = self.affine(functional.silu(self.shared(condition)))
        if affine.shape[-2:] != x.shape[-2:]:
            affine = functional.interpolate(
                affine, x.shape[-2:], mode="bilinear", align_corners=False
            )
        scale, shift = affine.chunk(2, 1)
        # x (1 + scale) + shift with fewer maps in between.
        return torch.addcmul(shift, x, scale) + x


class SPADEBlock(nn.Module):
    """Residual block whose normalisation is SPADE; changes the width if asked to."""

    def __init__(self, inside: int, outside: int, condition: int, hidden: int) -> None:
        super().__init__()
        self.spade1, self.spade2 = (
            SPADE(inside, condition, hidden),
            SPADE(outside, condition, hidden),
        )
        self.conv1, self.conv2 = conv(inside, outside), conv(outside, outside)
        self.skip = nn.Identity() if inside == outside else conv(inside, outside, 1)

    def forward(
        self, x: Tensor, condition: Tensor, cut: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:
        """(B, inside, H, W) to (B, outside, H, W), or to the part of it that `cut` takes out."""
        y = self.conv1(functional.silu(self.spade1(x, condition)))
        y = self.conv2(functional.silu(self.spade2(y, condition, cut)))
        return self.skip(x if cut is None else cut(x)) + y


class SPADELayer(nn.Module):
    """SPADE, activation, convolution."""

    def __init__(
        self, inside: int, outside: int, condition: int, hidden: int, kernel: int = 3
    ) -> None:
        super().__init__()
        self.spade = SPADE(inside, condition, hidden)
        self.conv = conv(inside, outside, kernel)

    def forward(
        self, x: Tensor, condition: Tensor, cut: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:
        """(B, inside, H, W) to (B, outside, H, W), or to the part of it that `cut` takes out.

        The condition may be coarser where nothing is cut.
        """
        return self.conv(functional.silu(self.spade(x, condition, cut)))
