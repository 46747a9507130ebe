"""Fine detail of full-resolution pictures, carried into an upsampled patch.

The model says where in the references and in the current frame each patch pixel comes from, and
in which shares; what they show there beyond the model's resolution is added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dubcli.core.types import F32, U8
from dubcli.face.plane_warp import look_up_cubic

# A picture whose share is nowhere as large is left out, and of the others what is no larger than
# the second, which nobody could see.
_LEAST_PEAK, _LEAST_SHARE = 0.05, 0.01
# Pixels of a crop beyond a mask that a paste may read.
_MARGIN = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class DetailLayer:
    """Fine detail of one picture, or of the part of it that is looked at.

    Attributes:
        planes: Channels of `fine_detail`. Shapes (h, w).
        x: Left edge of the part, px of the full-resolution crop.
        y: Top edge of the part, px of the full-resolution crop.
    """

    planes: Sequence[F32]
    x: int = 0
    y: int = 0


def fine_detail(detail_crops: U8, crop_size: tuple[int, int]) -> F32:
    """What reference crops show beyond the model's resolution.

    Args:
        detail_crops: Shape (N, k * H, k * W, 3), uint8.
        crop_size: H, W of the model's crops, px.

    Returns:
        Crop minus its reduced and enlarged self, grey levels. Shape as given, float32.
    """
    height, width = crop_size
    layers = []
    for crop in detail_crops:
        full = crop.astype(np.float32)
        small = cv2.resize(full, (width, height), interpolation=cv2.INTER_AREA)
        layers.append(full - cv2.resize(small, crop.shape[1::-1], interpolation=cv2.INTER_CUBIC))
    return np.stack(layers)


def add_detail(
    patch: U8,
    detail: Sequence[DetailLayer],
    grid: Sequence[F32],
    weights: Sequence[F32],
    box: tuple[int, int, int, int],
    scale: int,
) -> U8:
    """Enlarge a patch to the pictures' resolution and add their warped detail.

    Args:
        patch: Generated crop. Shape (H, W, 3), uint8.
        detail: One layer per picture.
        grid: Where box pixels look in each picture, normalised to [-1, 1]. Shapes (h, w, 2).
        weights: Share of each picture. Shapes (h, w).
        box: y0, y1, x0, x1 of the box, crop px.
        scale: k, how many times finer the pictures are than the patch.

    Returns:
        Shape (k * H, k * W, 3), uint8.
    """
    fine_size = (scale * patch.shape[1], scale * patch.shape[0])
    out = np.asarray(cv2.resize(patch, fine_size, interpolation=cv2.INTER_CUBIC), np.uint8)
    top, bottom, left, right = (edge * scale for edge in box)
    total = np.zeros((3, bottom - top, right - left), np.float32)
    for layer, look, share in zip(detail, grid, weights, strict=True):
        part = _where_seen(share)
        if part is None:
            continue
        rows, columns = (slice(scale * one.start, scale * one.stop) for one in part)
        size = (columns.stop - columns.start, rows.stop - rows.start)
        # To px before it is enlarged: there are fewer of them.
        places = _in_layer(look[part], layer, fine_size)
        places = np.asarray(cv2.resize(places, size, interpolation=cv2.INTER_LINEAR), np.float32)
        weight = cv2.resize(share[part], size, interpolation=cv2.INTER_LINEAR)
        for plane, warped in zip(total, look_up_cubic(layer.planes, places), strict=True):
            plane[rows, columns] += warped * weight
    part = out[top:bottom, left:right]
    cv2.add(part, cv2.merge([*total]), dst=part, dtype=cv2.CV_8U)
    return out


def looked_at(grid: F32, crop_size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The part of a crop that a grid looks at, with what resampling reaches.

    Args:
        grid: Normalised to [-1, 1]. Shape (h, w, 2).
        crop_size: Height, width of the crop, px.

    Returns:
        y0, y1, x0, x1, crop px; not empty.
    """
    size = np.array(crop_size[::-1])
    # Axis by axis: extremes over all but a last axis of two are slow.
    ends = np.array([(axis.min(), axis.max()) for axis in (grid[..., 0], grid[..., 1])])
    places = (ends.T + 1) * size / 2
    low, high = np.nan_to_num(places[0]) - _MARGIN, np.nan_to_num(places[1]) + _MARGIN
    x0, y0 = np.clip(np.floor(low).astype(int), 0, size - 1).tolist()
    x1, y1 = np.clip(np.ceil(high).astype(int), (x0 + 1, y0 + 1), size).tolist()
    return y0, y1, x0, x1


def pasted_part(alpha: F32, box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """The part of a box that a paste shows, with what its resampling reaches.

    Args:
        alpha: Blend weight, not 0 everywhere. Shape (H, W).
        box: y0, y1, x0, x1, crop px.
    """
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    top = min(max(box[0], int(rows[0]) - _MARGIN), box[1] - 1)
    left = min(max(box[2], int(columns[0]) - _MARGIN), box[3] - 1)
    bottom = max(top + 1, min(box[1], int(rows[-1]) + 1 + _MARGIN))
    right = max(left + 1, min(box[3], int(columns[-1]) + 1 + _MARGIN))
    return top, bottom, left, right


def _in_layer(look: F32, layer: DetailLayer, size: tuple[int, int]) -> F32:
    """Normalised places (h, w, 2) as px of a layer of pictures of a size (width, height)."""
    # Rows of x and y in turn: numpy is slow where the last axis has two places.
    num = look.shape[1]
    half = np.tile(np.array(size, np.float32) / np.float32(2), num)
    corner = np.tile(np.array((layer.x, layer.y), np.float32) + np.float32(0.5), num)
    flat = look.reshape(len(look), -1)
    places = (flat + np.float32(1)) * half - corner
    return places.reshape(look.shape).astype(np.float32, copy=False)


def _where_seen(share: F32) -> tuple[slice, slice] | None:
    """Rows and columns of a map of shares (h, w) that hold all it shows; None: nothing to see."""
    if share.max() < _LEAST_PEAK:
        return None
    rows, columns = (np.flatnonzero(share.max(axis) >= _LEAST_SHARE) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
