"""Section 3.2: reference features moved channel by channel (eq. 11), under masks of sizes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from dubcli.models.common.layers import ResidualBlock
from dubcli.models.g4g.config import SCALES, G4GConfig

# Rows over which one part of the map gives way to the next, share of its height.
_OVERLAP = 0.15


class ChannelDeformation(nn.Module):
    """p = FC(v ‖ a) with an embedding of the mask's size, and the warp of each channel."""

    def __init__(self, config: G4GConfig) -> None:
        super().__init__()
        size, channels = config.deform_size, config.channels
        self.halves, self._channels = config.halves, channels
        self.before = nn.Sequential(*(ResidualBlock(channels) for _ in range(config.num_before)))
        self.after = nn.Sequential(*(ResidualBlock(channels) for _ in range(config.num_after)))
        self.enter = nn.Linear(2 * config.code, size)
        self.scale = nn.Embedding(len(SCALES), size)
        self.out = nn.Linear(size, config.halves * config.reference_channels * 4)
        # No deformation to begin with.
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def coefficients(self, v: Tensor, heard: Tensor, scales: Tensor) -> Tensor:
        """s, θ, t_x, t_y of each part and channel.

        Args:
            v: Shape (T, d).
            heard: a. Shape (T, d).
            scales: Number of the mask of each frame. Shape (T,), int64.

        Returns:
            Scale in (0, 2), angle in (-π, π), shifts in (-1, 1) of the normalised grid.
            Shape (T, parts, C + 3 N, 4).
        """
        hidden = functional.silu(self.enter(torch.cat([v, heard.to(v.dtype)], 1)))
        p = self.out(hidden + self.scale(scales)).float()
        p = p.unflatten(1, (self.halves, -1, 4))
        size, angle = 2 * torch.sigmoid(p[..., :1]), math.pi * torch.tanh(p[..., 1:2])
        return torch.cat([size, angle, torch.tanh(p[..., 2:])], -1)

    def forward(self, reference: Tensor, v: Tensor, heard: Tensor, scales: Tensor) -> Tensor:
        """F_d of F_ref and the pictures' colours, (1, C + 3 N, y, x) or those of each frame.

        Residual blocks work on the features alone: normalisation would take the colours away.

        Returns:
            Shape (T, C + 3 N, y, x).
        """
        features = reference.float()
        p = self.coefficients(v, heard, scales)
        parts = [deform(features, p[:, part]) for part in range(self.halves)]
        shares = _part_shares(self.halves, features.shape[-2]).to(features)
        moved = torch.stack(
            [share[:, None] * part for share, part in zip(shares, parts, strict=True)]
        ).sum(0)
        deformed, colours = moved[:, : self._channels], moved[:, self._channels :]
        return torch.cat([self.after(deformed), colours.to(deformed.dtype)], 1)


def deform(features: Tensor, p: Tensor) -> Tensor:
    """Each channel sampled where its affine map (eq. 11) says.

    Args:
        features: (1, C, y, x), or (T, C, y, x).
        p: s, θ, t_x, t_y. Shape (T, C, 4).

    Returns:
        Shape (T, C, y, x).
    """
    frames, channels = p.shape[:2]
    height, width = features.shape[-2:]
    size, angle, shift = p[..., 0], p[..., 1], p[..., 2:]
    cos, sin = size * angle.cos(), size * angle.sin()
    x, y = (
        (2 * torch.arange(num, device=p.device, dtype=p.dtype) + 1) / num - 1
        for num in (width, height)
    )
    # Sums of rows and columns: `affine_grid` multiplies each place by a matrix.
    across = (cos[..., None] * x + shift[..., :1], sin[..., None] * x + shift[..., 1:])
    down = (-sin[..., None] * y, cos[..., None] * y)
    with torch.autocast(features.device.type, enabled=False):
        places = [a[..., None, :] + b[..., None] for a, b in zip(across, down, strict=True)]
        grid = torch.stack(places, -1).flatten(0, 1)
        planes = features.expand(frames, -1, -1, -1).reshape(-1, 1, height, width)
        moved = functional.grid_sample(planes, grid, padding_mode="border", align_corners=False)
    return moved.reshape(frames, channels, height, width)


def _part_shares(parts: int, rows: int) -> Tensor:
    """How much each part, from the top, counts in each row; they add up to 1. Shape (parts, y)."""
    if parts == 1:
        return torch.ones(1, rows)
    place = (torch.arange(rows) + 0.5) / rows
    edges = torch.arange(1, parts) / parts
    below = ((place - edges[:, None]) / _OVERLAP + 0.5).clamp(0, 1)
    ends = torch.cat([torch.ones(1, rows), below, torch.zeros(1, rows)])
    return ends[:-1] - ends[1:]
