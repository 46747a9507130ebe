"""Cut a region out of a picture, to the bit as MediaPipe 0.10.21 does.

It calls OpenCV 3's `warpPerspective`, which rounds the place of every sample to 1/32 px and
weighs four pixels by integers. Newer OpenCV warps do that no more, and a landmark moves by up to
0.6 px from one version to the next. So the places are worked out here, and OpenCV's `remap`
only weighs pixels at given fixed-point places, which all versions do alike (tested from 4.8 to
5.0).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dubcli.core.types import U8
from dubcli.face.mesh.region import Region

# Samples lie at multiples of 1/32 px.
_BITS = 5
_STEPS = 1 << _BITS
_F32 = np.float32


def sample(image: U8, region: Region, size: int, is_black_outside: bool) -> U8:
    """Bilinear samples of a region.

    Args:
        image: Shape (H, W, 3).
        region: px of the image.
        size: Samples along each side.
        is_black_outside: Black beyond the picture; else its outermost pixels go on.

    Returns:
        Shape (size, size, 3).
    """
    columns, rows = places(region, size)
    whole = np.empty((size, size, 2), np.int16)
    for axis, place in enumerate((columns, rows)):
        whole[..., axis] = _limited(place >> _BITS)
    part = (((rows & (_STEPS - 1)) << _BITS) | (columns & (_STEPS - 1))).astype(np.uint16)
    border = cv2.BORDER_CONSTANT if is_black_outside else cv2.BORDER_REPLICATE
    taken = cv2.remap(image, whole, part, cv2.INTER_LINEAR, borderMode=border)
    return np.asarray(taken, np.uint8)


def places(region: Region, size: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Where the samples lie: x and y in 1/32 px, pixel centres at whole px. Shapes (size, size)."""
    # Times a power of two: this rounds nothing.
    corners = _STEPS * _corners(region)
    across, down = (corners[1] - corners[0]) / size, (corners[2] - corners[0]) / size
    steps = np.arange(size)
    x, y = (
        (corners[0, axis] + down[axis] * steps)[:, None] + across[axis] * steps for axis in range(2)
    )
    return np.rint(x, out=x).astype(np.int32), np.rint(y, out=y).astype(np.int32)


def _limited(place: NDArray[np.int32]) -> NDArray[np.int32]:
    """Places that 16 bits hold; they grow along rows and columns, so corners tell the range."""
    limits = np.iinfo(np.int16)
    ends = place[:: len(place) - 1, :: len(place) - 1]
    if limits.min <= ends.min() and ends.max() <= limits.max:
        return place
    return np.clip(place, limits.min, limits.max)


def _corners(region: Region) -> NDArray[np.float64]:
    """Upper left, upper right and lower left corner; in single precision, as OpenCV has them."""
    x, y, side = _F32(region.centre_x), _F32(region.centre_y), _F32(region.side)
    degrees = float(_F32(float(_F32(region.rotation) * _F32(180)) / np.pi))
    radians = degrees * np.pi / 180
    cosine, sine = _F32(np.cos(radians)) * _F32(0.5), _F32(np.sin(radians)) * _F32(0.5)
    lower_left = x - sine * side - cosine * side, y + cosine * side - sine * side
    upper_left = x + sine * side - cosine * side, y - cosine * side - sine * side
    upper_right = _F32(2) * x - lower_left[0], _F32(2) * y - lower_left[1]
    return np.array([upper_left, upper_right, lower_left], np.float64)
