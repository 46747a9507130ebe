"""Cubic resampling plane by plane shows what OpenCV's own shows."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dubcli.core.types import U8
from dubcli.face.plane_warp import look_up_cubic, split_planes, warp_cubic

MATRIX = np.array([[0.9, 0.1, 3.3], [-0.1, 0.9, -4.1]])
SIZE = (50, 40)


def _picture() -> U8:
    return np.random.default_rng(0).integers(0, 256, (60, 70, 3)).astype(np.uint8)


@pytest.mark.parametrize("is_inverse", [False, True])
def test_all_channels_are_warped_alike(is_inverse: bool) -> None:
    picture = _picture().astype(np.float32)
    found = warp_cubic(picture, MATRIX, SIZE, is_inverse=is_inverse)
    flags = cv2.INTER_CUBIC | (cv2.WARP_INVERSE_MAP if is_inverse else 0)
    wanted = cv2.warpAffine(picture, MATRIX, SIZE, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    assert np.abs(found - wanted).max() < 1e-3
    assert np.array_equal(warp_cubic(_picture(), MATRIX, SIZE, is_inverse=is_inverse), found)


def test_places_beyond_the_picture_show_its_edge() -> None:
    picture = _picture()
    x, y = np.meshgrid(np.linspace(-9, 80, SIZE[0]), np.linspace(-9, 70, SIZE[1]))
    places = np.stack([x, y], -1).astype(np.float32)
    found = np.stack(look_up_cubic(split_planes(picture), places), -1)
    wanted = cv2.remap(
        picture.astype(np.float32),
        places,
        np.empty(0, np.float32),
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    assert np.abs(found - wanted).max() < 1e-3
    assert np.array_equal(found[0, 0], picture[0, 0])
    assert np.array_equal(found[-1, -1], picture[-1, -1])
