"""Cubic resampling, plane by plane: OpenCV takes half the time where a picture has one channel."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from dubcli.core.types import F32, F64, U8

# OpenCV's second map is empty where the first holds x and y.
_NO_MAP = np.empty(0, np.float32)


def warp_cubic(
    picture: U8 | F32, matrix: F64, size: tuple[int, int], *, is_inverse: bool = False
) -> F32:
    """A picture, warped by an affine matrix; its edges go on outside it.

    Args:
        picture: Shape (H, W, 3).
        matrix: Homogeneous px of the picture to px of the result. Shape (2, 3).
        size: Width, height of the result, px.
        is_inverse: The matrix leads from the result to the picture.

    Returns:
        Shape (height, width, 3), as cubic interpolation overshoots, without rounding.
    """
    flags = cv2.INTER_CUBIC | (cv2.WARP_INVERSE_MAP if is_inverse else 0)
    planes = [
        cv2.warpAffine(plane, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        for plane in split_planes(picture)
    ]
    return np.asarray(cv2.merge(planes), np.float32)


def look_up_cubic(planes: Sequence[F32], places: F32) -> list[F32]:
    """Planes (H, W), sampled at places (h, w, 2), x and y in px; edges go on. Shapes (h, w)."""
    # Once for all planes.
    whole, part = cv2.convertMaps(places, _NO_MAP, cv2.CV_16SC2)
    return [
        np.asarray(
            cv2.remap(plane, whole, part, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE),
            np.float32,
        )
        for plane in planes
    ]


def split_planes(picture: U8 | F32) -> list[F32]:
    """The channels of a picture (H, W, 3), each (H, W)."""
    return [np.asarray(plane, np.float32) for plane in cv2.split(picture)]
