"""The frame's own skin around a generated mouth, deformed to the new jaw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from dubcli.models.api import DetailWarp, Patches
from dubcli.models.common.masks import SPEAKING
from dubcli.models.common.mouth_map import (
    OUTER,
    landmark_displacement,
    normalised,
    outline_distance,
    pixel_grid,
    resize_grid,
)
from dubcli.models.common.mouth_window import LIP_MARGIN, LIP_SOFTNESS, BoxPart


class Generated(Protocol):
    """A generated box, or a part of it, and how references were warped and mixed on the box."""

    @property
    def rgb(self) -> Tensor:
        """The box, (T, 3, h, w), or the part that is seen, [0, 1]."""
        ...

    @property
    def grid(self) -> Tensor:
        """Where each reference was sampled. Shape (T, N, h, w, 2)."""
        ...

    @property
    def weights(self) -> Tensor:
        """Share of each reference. Shape (T, N, h, w)."""
        ...


@dataclass(frozen=True, kw_only=True)
class LentDetail:
    """What is generated, and where references lend it fine detail. Fulfils `Generated`."""

    rgb: Tensor
    grid: Tensor
    weights: Tensor


def own_skin_field(
    landmarks: Tensor,
    speaking: Tensor,
    size: tuple[int, int] | torch.Size,
    top: int,
    unit_px: float,
) -> Tensor:
    """Where the current frames show what belongs at each pixel of the box once the jaw has moved.

    Their own skin is kept around the new mouth, deformed with it; else the source's chin would
    stand beside the generated one.

    Args:
        landmarks: Kept landmarks of the frames, crop px. Shape (T, K, 2).
        speaking: Wanted speaking points, crop px. Shape (T, S, 2).
        size: Height and width of the crop, px; multiples of 4.
        top: First row of the box.
        unit_px: One inter-ocular distance, px.

    Returns:
        Normalised grids over whole crops. Shape (T, H - top, W, 2).
    """
    own, (height, width) = landmarks[:, SPEAKING], size
    # With the row of cells above the box, which its first pixels lie between.
    first = 4 * max(0, top // 4 - 1)
    cells = pixel_grid((height - first) // 4, width // 4, 4, (first, 0))
    moved = landmark_displacement(speaking, own[:, None], cells, unit_px)
    field = resize_grid(moved, height - first, width)[:, 0, top - first :]
    pixels = pixel_grid(height - top, width, 1, (top, 0)).to(field)
    return normalised(pixels + field, (height, width))


def reference_grid(
    speaking: Tensor, points: Tensor, size: tuple[int, int], top: int, unit_px: float
) -> Tensor:
    """Where references show what wanted mouths show, on the box that begins at row `top`.

    Args:
        speaking: Speaking points of the wanted mouths, crop px. Shape (T, S, 2).
        points: Those of the references, (N, S, 2), or (T, N, S, 2) where each frame has its own.
        size: Height and width of the crop, px.
        top: First row of the box.
        unit_px: One inter-ocular distance, px.

    Returns:
        Normalised grids over whole crops. Shape (T, N, h, w, 2).
    """
    height, width = size[0] - top, size[1]
    cells = pixel_grid(height // 4, width // 4, 4, (top, 0))
    moved = landmark_displacement(speaking, points, cells, unit_px)
    pixels = pixel_grid(height, width, 1, (top, 0)).to(moved)
    return normalised(pixels + resize_grid(moved, height, width), size)


def own_background(
    crops: Tensor, landmarks: Tensor, speaking: Tensor, top: int, unit_px: float
) -> tuple[Tensor, Tensor]:
    """The field of `own_skin_field`, and the crops (T, 3, H, W) whose box is sampled by it."""
    field = own_skin_field(landmarks, speaking, crops.shape[-2:], top, unit_px)
    box = functional.grid_sample(crops, field, padding_mode="border", align_corners=False)
    return field, torch.cat([crops[:, :, :top], box], 2)


def within_own_skin(
    generated: Generated,
    background: Tensor,
    speaking: Tensor,
    field: Tensor,
    *,
    top: int,
    unit_px: float,
    part: BoxPart | None = None,
    lenders: Tensor | None = None,
) -> Patches:
    """A generated mouth within the frame's own skin, with the fine detail of both.

    Args:
        generated: The mouth, on the box that begins at row `top`, or on a part of it.
        background: The frames' crops, their box deformed to the new jaw. Shape (T, 3, H, W).
        speaking: The new mouth's speaking points, crop px. Shape (T, S, 2).
        field: Where the background's box comes from. Shape (T, h, w, 2).
        top: First row of the box.
        unit_px: One inter-ocular distance, px.
        part: Where `generated.rgb` lies in the box; None: it is all of the box.
        lenders: As `DetailWarp` has them.
    """
    box = (top, background.shape[2], 0, background.shape[3])
    share = mouth_share(speaking, box, unit_px)
    rgb = background.clone()
    seen = rgb[:, :, top:] if part is None else part.of(rgb[:, :, top:])
    own = share[:, None] if part is None else part.of(share[:, None])
    # A copy of what is below: gradients need it as it was.
    seen.copy_(own * generated.rgb + (1 - own) * seen.clone())
    detail = DetailWarp(
        grid=generated.grid,
        weights=equal_energy(generated.weights) * share[:, None],
        source_grid=field,
        source_weight=1 - share,
        box=box,
        lenders=lenders,
    )
    return Patches(rgb=rgb, points=speaking, detail=detail)


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
    share = torch.sigmoid((distance + LIP_MARGIN) / LIP_SOFTNESS)
    return functional.interpolate(
        share[:, None], scale_factor=4, mode="bilinear", align_corners=False
    )[:, 0]


def equal_energy(weights: Tensor) -> Tensor:
    """Shares (T, N, h, w) whose squares sum to 1.

    Fine detail of several pictures is unrelated, so their average has less of it than each.
    """
    return weights / weights.square().sum(1, keepdim=True).sqrt().clamp_min(0.5)
