"""Scores of pictures against values worked out by hand."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from dubcli.core.types import F32, U8
from dubcli.metrics.mouth_fidelity import (
    PSNR_OF_EQUALS_DB,
    fill_outline,
    fine_structure,
    lip_redness,
    psnr,
    share_without_colour,
    texture_energy,
)
from dubcli.metrics.pixels import flicker, seam_step, ssim


@pytest.fixture
def picture() -> U8:
    noise = np.random.default_rng(3).integers(40, 216, (64, 64, 3), dtype=np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 0.8), np.uint8)


def test_psnr_of_a_constant_error(picture: U8) -> None:
    # 10 log10(255^2 / 5^2)
    assert psnr(picture + np.uint8(5), picture) == pytest.approx(34.151, abs=1e-3)
    assert psnr(picture, picture) == PSNR_OF_EQUALS_DB


def test_psnr_counts_an_error_in_one_channel_a_third(picture: U8) -> None:
    one = picture.copy()
    one[..., 0] += 6
    assert psnr(one, picture) == pytest.approx(10 * math.log10(255**2 / 12), abs=1e-3)


def test_ssim_forgives_brightness_but_not_blur(picture: U8) -> None:
    blurred = np.asarray(cv2.GaussianBlur(picture, (0, 0), 2), np.uint8)
    assert ssim(picture, picture) == pytest.approx(1)
    assert ssim(picture + np.uint8(5), picture) > 0.98
    assert ssim(blurred, picture) < 0.6


def test_half_the_contrast_is_a_quarter_of_the_energy(picture: U8) -> None:
    inside = np.ones((64, 64), bool)
    flat = np.asarray(128 + (picture.astype(np.float32) - 128) / 2, np.uint8)
    whole, half = (texture_energy(fine_structure(p), inside) for p in (picture, flat))
    assert half / whole == pytest.approx(0.25, rel=0.05)


def test_a_smooth_slope_has_no_texture() -> None:
    slope = np.repeat(np.arange(64, dtype=np.uint8)[None, :, None], 64, 0).repeat(3, 2)
    centre = np.zeros((64, 64), bool)
    centre[16:48, 16:48] = True
    assert texture_energy(fine_structure(slope), centre) < 0.1
    assert math.isnan(texture_energy(fine_structure(slope), np.zeros((64, 64), bool)))


def test_flicker_is_the_mean_change() -> None:
    before, after = np.zeros((4, 4), np.float32), np.zeros((4, 4), np.float32)
    after[0, 0], after[1, 1] = 8, -8
    assert flicker(after, before) == pytest.approx(1)


def test_a_step_along_the_rim_shows_in_the_seam_score(picture: U8) -> None:
    yy, xx = np.mgrid[:64, :64]
    radius = np.hypot(yy - 32, xx - 32)
    alpha = np.clip((22 - radius) / 4, 0, 1).astype(np.float32)
    grey = np.full((64, 64, 3), 100, np.uint8)
    seam = np.where((radius < 20)[..., None], grey + np.uint8(40), grey)
    assert seam_step(grey, alpha) == pytest.approx(0, abs=1e-4)
    assert seam_step(np.asarray(seam, np.uint8), alpha) > 5
    # The same step elsewhere is no seam.
    inner = np.where((radius < 8)[..., None], grey + np.uint8(40), grey)
    assert seam_step(np.asarray(inner, np.uint8), alpha) < 0.1


def test_the_slope_across_a_straight_rim_is_in_grey_levels_per_px() -> None:
    ramp = np.repeat((2 * np.arange(64)).astype(np.uint8)[None, :, None], 64, 0).repeat(3, 2)
    across = np.repeat(np.linspace(0, 1, 64, dtype=np.float32)[None], 64, 0)
    assert seam_step(ramp, across) == pytest.approx(2, rel=0.02)
    assert seam_step(ramp, across.T.copy()) == pytest.approx(0, abs=1e-3)
    assert math.isnan(seam_step(ramp, np.zeros((64, 64), np.float32)))


def test_an_outline_is_filled() -> None:
    square = np.array([[10, 20], [29, 20], [29, 39], [10, 39]], np.float32)
    filled = fill_outline(square, (64, 64))
    assert filled[20:40, 10:30].all()
    assert filled.sum() == 400


_SKIN, _LIP, _MOUTH = (205, 160, 140), (180, 90, 95), (40, 10, 15)


def _mouth_picture(lip: tuple[int, int, int]) -> tuple[U8, F32, F32]:
    """A face with a mouth, the outlines of its lips and of its opening."""
    angles = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    ring = np.stack([np.cos(angles), np.sin(angles)], 1)
    outer, inner = (48 + ring * np.array(size) for size in ((30, 14), (22, 6)))
    image = np.full((96, 96, 3), _SKIN, np.uint8)
    for outline, colour in ((outer, lip), (inner, _MOUTH)):
        cv2.fillPoly(image, [outline.round().astype(np.int32)], colour)
    return image, outer.astype(np.float32), inner.astype(np.float32)


def test_lips_are_as_red_as_they_are_beside_the_skin() -> None:
    pair = np.array([[_LIP, _SKIN]], np.float32) / 255
    lip, skin = cv2.cvtColor(pair, cv2.COLOR_RGB2LAB)[0, :, 1]
    assert lip_redness(*_mouth_picture(_LIP)) == pytest.approx(float(lip - skin), abs=0.5)
    assert lip_redness(*_mouth_picture(_SKIN)) == pytest.approx(0, abs=0.5)
    image, outer, inner = _mouth_picture(_LIP)
    assert math.isnan(lip_redness(image, outer + 500, inner + 500))


def test_frames_without_lip_colour_are_counted() -> None:
    frames = np.array([10, 9, 4, 11, np.nan], np.float32)
    assert share_without_colour(frames, usual=10) == pytest.approx(0.25)
    # Lips that are hardly redder than the skin lose nothing that could be told.
    assert math.isnan(share_without_colour(frames, usual=2))
    assert math.isnan(share_without_colour(frames[4:], usual=10))
