"""Moments of sound around frames, as tokens that attend to each other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dubcli.core.types import F32, F64, Bool, Int


def sinusoidal_positions(num: int, size: int, like: Tensor) -> Tensor:
    """Sinusoidal positions (num, size) (arXiv:1706.03762, section 3.5)."""
    place = torch.arange(num, device=like.device, dtype=torch.float32)[:, None]
    rate = torch.exp(
        torch.arange(0, size, 2, device=like.device, dtype=torch.float32)
        * (-math.log(10_000.0) / size)
    )
    angles = place * rate
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1).to(like.dtype)


def moments_of_frames(over: Tensor, places: Tensor, offsets: tuple[int, ...]) -> Tensor:
    """The moments around some places of a stretch of sound.

    Args:
        over: What an encoder gives of every step of the stretch. Shape (B, L, D).
        places: Steps of `over`, that of the frame itself. Shape (B, F).
        offsets: Steps from a frame to its T moments.

    Returns:
        Shape (B, F, T, D).
    """
    rows = torch.arange(len(over), device=over.device)[:, None, None]
    return over[rows, places[:, :, None] + torch.tensor(offsets, device=places.device)]


def shift_weights(num: int, like: Tensor) -> Tensor:
    """Gaussian weights of `num` shifts one spread apart, the middle one 0. Shape (num,)."""
    shifts = torch.arange(num, device=like.device) - num // 2
    weights = torch.exp(-0.5 * shifts.to(like.dtype) ** 2)
    return weights / weights.sum()


def known_moments(places: Int, offsets: Int) -> tuple[Int, F32, Bool]:
    """Which frames of a run tell the mouth of each moment.

    Args:
        places: Steps from the run's first frame to each. Shape (F,).
        offsets: Steps from a frame to its moments. Shape (T,).

    Returns:
        Frame before each moment (F, T), how far past it, in frames, and whether the run covers it.
    """
    wanted = places[:, None] + offsets
    before = np.searchsorted(places, wanted, side="right") - 1
    before = before.clip(0, max(0, len(places) - 2))
    gap: F64 = (places[before + 1] - places[before]).astype(np.float64)
    share = np.where(gap > 0, (wanted - places[before]) / np.maximum(gap, 1), 0.0)
    is_known = (wanted >= places[0]) & (wanted <= places[-1])
    return before, share.clip(0, 1).astype(np.float32), is_known


def at_known_moments(values: Tensor, batch: Mapping[str, Any]) -> Tensor:
    """Values of frames (B, F, P) at the moments of a batch with `before` and `share`.

    Shape (B, F, T, P).
    """
    rows = torch.arange(len(values), device=values.device)[:, None, None]
    before, share = batch["before"], batch["share"][..., None]
    return values[rows, before] * (1 - share) + values[rows, before + 1] * share
