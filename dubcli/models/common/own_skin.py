"""The frame's own skin around a generated mouth, deformed to the new jaw."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dubcli.models.common.masks import SPEAKING
from dubcli.models.common.mouth_map import (
    OUTER,
    landmark_displacement,
    normalised,
    outline_distance,
    pixel_grid,
    resize_grid,
)

# The generated part reaches this far beyond the lips and fades out over this, inter-ocular units.
_LIP_MARGIN, _LIP_SOFTNESS = 0.14, 0.035


def own_skin_field(
    landmarks: Tensor, speaking: Tensor, size: tuple[int, int] | torch.Size, unit_px: float
) -> Tensor:
    """Where the current frames show what belongs at each pixel once the jaw has moved.

    Their own skin is kept around the new mouth, deformed with it; else the source's chin would
    stand beside the generated one.

    Args:
        landmarks: Kept landmarks of the frames, crop px. Shape (T, K, 2).
        speaking: Wanted speaking points, crop px. Shape (T, S, 2).
        size: Height and width of the crop, px; multiples of 4.
        unit_px: One inter-ocular distance, px.

    Returns:
        Normalised grids. Shape (T, H, W, 2).
    """
    own, (height, width) = landmarks[:, SPEAKING], size
    cells = pixel_grid(height // 4, width // 4, 4, (0, 0))
    moved = landmark_displacement(speaking, own[:, None], cells, unit_px)
    field = resize_grid(moved, height, width)[:, 0]
    pixels = pixel_grid(height, width, 1, (0, 0)).to(field)
    return normalised(pixels + field, (height, width))


def mouth_share(speaking: Tensor, box: tuple[int, int, int, int], unit_px: float) -> Tensor:
    """How much of each box pixel is generated: lips and what they hide.

    Args:
        speaking: Wanted speaking points, crop px. Shape (T, S, 2).
        box: y0, y1, x0, x1, px; its sides are multiples of 4.
        unit_px: One inter-ocular distance, px.

    Returns:
        Shape (T, h, w).
    """
    top, bottom, left, right = box
    cells = pixel_grid((bottom - top) // 4, (right - left) // 4, 4, (top, left))
    distance = outline_distance(speaking[:, OUTER], cells) / unit_px
    share = torch.sigmoid((distance + _LIP_MARGIN) / _LIP_SOFTNESS)
    return functional.interpolate(
        share[:, None], scale_factor=4, mode="bilinear", align_corners=False
    )[:, 0]


def equal_energy(weights: Tensor) -> Tensor:
    """Shares (T, N, h, w) whose squares sum to 1.

    Fine detail of several pictures is unrelated, so their average has less of it than each.
    """
    return weights / weights.square().sum(1, keepdim=True).sqrt().clamp_min(0.5)
