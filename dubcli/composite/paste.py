"""Lay a generated patch into a decoded frame, so that nothing outside its mask changes.

Everything here works in one small box of the coded frame. The crop may lie in it at any angle and
scale: turned videos and pixels that are not square are only other matrices.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dubcli.core.types import F32, F64, U8, FramePatch
from dubcli.face.plane_warp import warp_cubic
from dubcli.face.pose import compose, invert_matrix

Box = tuple[int, int, int, int]

# The largest colour correction, grey levels; more is a difference of content, not of colour.
_MOST_OFFSET = 20.0
# Differences this far from the usual one, grey levels, count half; the weight falls steeply.
_UNUSUAL = 12.0
# Longest side of the grid on which colours are compared, and how far a comparison reaches in it.
_GRID, _NEAR, _FAR = 48, 2.5, 9.0
# Pixels along a cell's side that its colour is the mean of, at least.
_SAMPLES = 4
# Blend weight from which on the frame behind the patch is no longer on the rim.
_RIM_ALPHA = 0.9
_LEAST_ALPHA = 1 / 255


def support_box(alpha: F32, crop_to_coded: F64, frame_size: tuple[int, int]) -> Box | None:
    """The part of a coded frame that a mask can change.

    Args:
        alpha: Blend weight in crop space. Shape (H, W).
        crop_to_coded: Homogeneous crop px to coded px. Shape (2, 3).
        frame_size: Width, height of the coded frame, px.

    Returns:
        x, y, width, height in coded px, on even pixels so that subsampled chroma fits (odd only at
        the edge of an odd frame); None where the mask is empty or lies outside the frame.
    """
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    if len(rows) == 0:
        return None
    # Interpolation carries the outermost weights almost one crop pixel further.
    x0, x1 = columns[0] - 1.0, columns[-1] + 1.0
    y0, y1 = rows[0] - 1.0, rows[-1] + 1.0
    corners = np.array([(x0, y0), (x1, y0), (x0, y1), (x1, y1)])
    spots = corners @ crop_to_coded[:, :2].T + crop_to_coded[:, 2]
    low = np.maximum(np.floor(spots.min(0)).astype(int), 0) // 2 * 2
    high = np.minimum((np.ceil(spots.max(0)).astype(int) + 2) // 2 * 2, frame_size)
    if (high <= low).any():
        return None
    return int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1])


def place_patch(
    patch: U8 | F32,
    alpha: F32,
    crop_to_coded: F64,
    box: Box,
    region: U8,
    strength: float = 1.0,
) -> FramePatch:
    """Warp a patch into its box of the frame and match its colours to what surrounds it.

    Args:
        patch: RGB, uint8, or float32 in [0, 1], at the crop's size or any multiple of it.
            Shape (kH, kW, 3).
        alpha: Blend weight in crop space. Shape (H, W).
        crop_to_coded: Homogeneous crop px to coded px. Shape (2, 3).
        box: From `support_box`.
        region: What the frame shows in the box, RGB. Shape (h, w, 3), uint8.
        strength: Factor on the blend weight, 0 to 1.

    Returns:
        The patch in coded px, alpha exactly 0 outside the mask's support.
    """
    x, y, width, height = box
    if region.shape != (height, width, 3):
        raise ValueError(f"region shape {region.shape}, expected {(height, width, 3)}")
    to_box = np.array([[1.0, 0, -x], [0, 1.0, -y]])
    box_to_crop = invert_matrix(compose(to_box, crop_to_coded))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    weight = _as_f32(cv2.warpAffine(alpha, box_to_crop, (width, height), flags=flags))
    weight[weight < _LEAST_ALPHA] = 0
    pixels = patch.astype(np.float32) if patch.dtype == np.uint8 else patch * np.float32(255)
    warped = _warp(pixels, box_to_crop, alpha.shape, (width, height))
    warped += _colour_offset(warped, region, weight)
    warped /= 255
    np.clip(warped, 0, 1, out=warped)
    return FramePatch(x=x, y=y, rgb=warped, alpha=weight * np.float32(strength))


def _warp(pixels: F32, box_to_crop: F64, crop_size: tuple[int, ...], size: tuple[int, int]) -> F32:
    """The patch as the box sees it, not aliased where that shrinks it."""
    # Patch pixels that one coded pixel steps over, per axis of the patch.
    ratio = np.array([pixels.shape[1] / crop_size[1], pixels.shape[0] / crop_size[0]])
    step = np.linalg.norm(box_to_crop[:, :2], axis=1) * ratio
    if (step > 1.3).any():
        target = np.array(pixels.shape[1::-1]) / np.maximum(step, 1)
        fitted = np.maximum(1, np.round(target)).astype(int)
        fitted_size = (int(fitted[0]), int(fitted[1]))
        pixels = _as_f32(cv2.resize(pixels, fitted_size, interpolation=cv2.INTER_AREA))
        ratio = fitted / np.array([crop_size[1], crop_size[0]])
    matrix = box_to_crop * ratio[:, None]
    matrix[:, 2] += (ratio - 1) / 2
    return warp_cubic(pixels, matrix, size, is_inverse=True)


def _colour_offset(warped: F32, region: U8, weight: F32) -> F32:
    """What to add to the patch so that its colours meet the frame's on the rim. (h, w, 3).

    Differences on the rim, without those that stand out (there the two show different things, not
    different colours), are spread inwards by normalised convolution (Knutsson and Westin 1993,
    doi:10.1109/CVPR.1993.341081): from nearby where the rim is near, else from the whole of it.
    """
    height, width = weight.shape
    rim = 4 * weight * (1 - weight) * (weight < _RIM_ALPHA)
    if not rim.any():
        return np.zeros_like(warped)
    factor = min(1.0, _GRID / max(height, width))
    grid = (max(1, round(width * factor)), max(1, round(height * factor)))
    # So coarse a grid needs no more than every n-th pixel. OpenCV multiplies, because numpy is slow
    # where one operand has one channel and the other three.
    every = max(1, max(height, width) // (_SAMPLES * _GRID))
    thinned = [np.ascontiguousarray(part[::every, ::every]) for part in (region, warped, rim)]
    gap = cv2.subtract(thinned[0], thinned[1], dtype=cv2.CV_32F)
    gap = cv2.multiply(gap, cv2.merge([thinned[2]] * 3))
    gap = _as_f32(cv2.resize(gap, grid, interpolation=cv2.INTER_AREA))
    share = _as_f32(cv2.resize(thinned[2], grid, interpolation=cv2.INTER_AREA))
    gap = _as_f32(gap / np.maximum(share, np.float32(1e-6))[..., None])
    usual = _weighted_median(gap[share > 0], share[share > 0])
    share = share / (1 + (((gap - usual) / _UNUSUAL) ** 2).max(-1) ** 2)
    offset = np.broadcast_to((gap * share[..., None]).sum((0, 1)) / (share.sum() + 1e-9), gap.shape)
    for reach in (_FAR, _NEAR):
        # What is not known nearby is taken from the coarser answer.
        total = cv2.GaussianBlur(share, (0, 0), reach, borderType=cv2.BORDER_CONSTANT)
        spread = cv2.GaussianBlur(
            gap * share[..., None], (0, 0), reach, borderType=cv2.BORDER_CONSTANT
        )
        trust = 0.1 * total.max() + 1e-9
        offset = (spread + trust * offset) / (total + trust)[..., None]
    offset = np.clip(offset, -_MOST_OFFSET, _MOST_OFFSET).astype(np.float32)
    return cv2.resize(offset, (width, height), interpolation=cv2.INTER_LINEAR)


def _weighted_median(values: F32, weights: F32) -> F32:
    """Median of each column of values (M, C) under weights (M,). Shape (C,)."""
    order = np.argsort(values, axis=0, kind="stable")
    running = np.cumsum(weights[order], axis=0)
    middle = (running < running[-1] / 2).sum(0)
    return np.take_along_axis(values, order, 0)[middle, np.arange(values.shape[1])]


def _as_f32(pixels: NDArray[Any]) -> F32:
    """Tell the type checker what OpenCV returns; copies nothing that is float32 already."""
    return pixels.astype(np.float32, copy=False)
