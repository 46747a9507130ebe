"""Windows around the lips, cut out of features at H/4 and put back."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def window_corners(
    lips: Tensor, cells: tuple[int, int], shape: tuple[int, int], top: int
) -> Tensor:
    """First row and column at H/4 of the windows around lips.

    Args:
        lips: Points, crop px. Shape (T, V, 2).
        cells: Height and width of a window at H/4.
        shape: Height and width of the box at H/4.
        top: First row of the box, px.

    Returns:
        Shape (T, 2), int64, on the CPU.
    """
    points = lips.detach().float().cpu()
    middle = (points.amin(1) + points.amax(1)) / 2
    middle = (middle.flip(1) - torch.tensor([top, 0])) / 4
    first = middle - torch.tensor(cells) / 2
    most = torch.tensor([shape[0] - cells[0], shape[1] - cells[1]], dtype=torch.float32)
    # Points of bad weights may be no numbers; the windows lie in the picture all the same.
    return first.nan_to_num().round().clamp_min(0).minimum(most).long()


def cut_windows(features: Tensor, corners: Tensor, size: tuple[int, int]) -> Tensor:
    """Windows (T, C, y, x) of (T, C, h, w), each at its corner."""
    return torch.stack(
        [
            feature[:, y : y + size[0], x : x + size[1]]
            for feature, (y, x) in zip(features, corners.tolist(), strict=True)
        ]
    )


def put_back(features: Tensor, windows: Tensor, corners: Tensor) -> Tensor:
    """Features (T, C, h, w) with windows (T, C, y, x) in place of what lies at their corners."""
    height, width = features.shape[-2:]
    tall, wide = windows.shape[-2:]
    out: list[Tensor] = []
    for feature, window, (y, x) in zip(features, windows, corners.tolist(), strict=True):
        sides = (x, width - wide - x, y, height - tall - y)
        inside = functional.pad(torch.ones_like(window[:1]), sides)
        out.append(feature * (1 - inside) + functional.pad(window, sides))
    return torch.stack(out)
