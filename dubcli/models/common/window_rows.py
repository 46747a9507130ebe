"""Rows of a model's window: the frames around each, the middle of the sound around each."""

from __future__ import annotations

import torch
from torch import Tensor

from dubcli.models.api import ModelWindow


def middle_steps(audio: Tensor, width: int) -> Tensor:
    """The middle steps of windows (T, A, D): each frame's own step stays at half the width."""
    start = audio.shape[1] // 2 - width // 2
    return audio[:, start : start + width]


def rows_around(window: ModelWindow, reach: int) -> Tensor:
    """Rows of the frames around each wanted one; past a gap the last one before it stays.

    Shape (E, 2 k + 1), int64.
    """
    own = torch.arange(window.emit.start, window.emit.stop, device=window.positions.device)
    found = {0: own}
    for side in (-1, 1):
        last = own
        for far in range(1, reach + 1):
            wanted = own + side * far
            inside = wanted.clamp(0, len(window) - 1)
            apart = window.positions[inside] - window.positions[own]
            follows = (apart == side * far) & (inside == wanted) & (last == wanted - side)
            last = torch.where(follows, wanted, last)
            found[side * far] = last
    return torch.stack([found[at] for at in range(-reach, reach + 1)], 1)
