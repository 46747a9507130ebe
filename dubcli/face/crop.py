"""Cut an aligned crop out of a picture."""

from __future__ import annotations

import cv2
import numpy as np

from dubcli.core.types import F64, U8
from dubcli.face.plane_warp import warp_cubic


def cut_crop(image: U8, image_to_crop: F64, crop_size: tuple[int, int]) -> U8:
    """Warp a picture into crop space, without aliasing when that shrinks it.

    Args:
        image: RGB. Shape (H, W, 3), uint8.
        image_to_crop: Homogeneous image px to crop px. Shape (2, 3), float64.
        crop_size: Height, width of the crop, px.

    Returns:
        Shape (crop height, crop width, 3), uint8; edges are replicated outside the picture.
    """
    matrix = image_to_crop
    shrink = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if shrink < 0.75:
        image, matrix = _reduce(image, matrix, shrink, crop_size)
    height, width = crop_size
    crop = warp_cubic(image, matrix, (width, height))
    return np.clip(np.rint(crop, out=crop), 0, 255, out=crop).astype(np.uint8)


def _reduce(image: U8, matrix: F64, shrink: float, crop_size: tuple[int, int]) -> tuple[U8, F64]:
    """Area-average the part of the picture under the crop, so that the warp barely scales."""
    height, width = crop_size
    corners = np.array([(0, 0), (width, 0), (0, height), (width, height)], np.float64)
    inverse = np.linalg.inv(matrix[:, :2])
    spots = (corners - matrix[:, 2]) @ inverse.T
    margin = 2 / shrink
    low = np.maximum(np.floor(spots.min(0) - margin), 0).astype(int)
    high = np.minimum(np.ceil(spots.max(0) + margin), image.shape[1::-1]).astype(int)
    if (high - low < 2).any():
        return image, matrix
    part = image[low[1] : high[1], low[0] : high[0]]
    size = np.maximum(1, np.round((high - low) * shrink)).astype(int)
    reduced = cv2.resize(part, (int(size[0]), int(size[1])), interpolation=cv2.INTER_AREA)
    # Reduced px to image px, pixel centres at integers.
    factor = (high - low) / size
    back = np.array(
        [
            [factor[0], 0, low[0] + factor[0] / 2 - 0.5],
            [0, factor[1], low[1] + factor[1] / 2 - 0.5],
        ]
    )
    linear = matrix[:, :2] @ back[:, :2]
    shift = matrix[:, :2] @ back[:, 2] + matrix[:, 2]
    return np.asarray(reduced, np.uint8), np.concatenate([linear, shift[:, None]], 1)
