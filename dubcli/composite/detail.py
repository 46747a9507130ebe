"""Fine detail of full-resolution pictures, carried into an upsampled patch.

The model says where in the references and in the current frame each patch pixel comes from, and
in which shares; what they show there beyond the model's resolution is added.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from dubcli.core.types import F32, U8


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
    detail: Sequence[F32],
    grid: Sequence[F32],
    weights: Sequence[F32],
    box: tuple[int, int, int, int],
) -> U8:
    """Enlarge a patch to the pictures' resolution and add their warped detail.

    Args:
        patch: Generated crop. Shape (H, W, 3), uint8.
        detail: Layers of `fine_detail`, one per picture. Shapes (k * H, k * W, 3).
        grid: Where box pixels look in each picture, normalised to [-1, 1]. Shapes (h, w, 2).
        weights: Share of each picture. Shapes (h, w).
        box: y0, y1, x0, x1 of the box, crop px.

    Returns:
        Shape (k * H, k * W, 3), uint8.
    """
    full_height, full_width = detail[0].shape[:2]
    scale = full_height // patch.shape[0]
    fine_size = (full_width, full_height)
    out = np.asarray(cv2.resize(patch, fine_size, interpolation=cv2.INTER_CUBIC), np.uint8)
    top, bottom, left, right = (edge * scale for edge in box)
    size = (right - left, bottom - top)
    total = np.zeros((size[1], size[0], 3), np.float32)
    for layer, look, share in zip(detail, grid, weights, strict=True):
        if share.max() < 0.05:
            continue
        look = cv2.resize(look, size, interpolation=cv2.INTER_LINEAR)
        x = ((look[..., 0] + 1) * full_width - 1) / 2
        y = ((look[..., 1] + 1) * full_height - 1) / 2
        warped = cv2.remap(layer, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        total += warped * cv2.resize(share, size, interpolation=cv2.INTER_LINEAR)[..., None]
    part = out[top:bottom, left:right]
    np.copyto(part, np.clip(np.rint(part + total), 0, 255).astype(np.uint8))
    return out
