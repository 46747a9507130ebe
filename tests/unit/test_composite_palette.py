"""Patches keep to the colours of toned film and of light of one colour, and to no others."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dubcli.composite.palette import keep_in_palette, limited_palette
from dubcli.core.types import F32, U8

WHOLE = np.ones((40, 30), bool)


def face() -> U8:
    """Skin from dark to bright with red lips. Shape (40, 30, 3)."""
    shade = np.linspace(0.35, 1, 40)[:, None, None] * np.ones((1, 30, 1))
    picture = shade * (220, 165, 140)
    picture[25:32, 8:22] = shade[25:32, 8:22] * (190, 85, 90)
    noise = np.random.default_rng(0).normal(0, 2, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def toned(picture: U8, tone: tuple[float, float, float]) -> U8:
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(float)[..., None]
    return np.clip(grey * tone, 0, 255).astype(np.uint8)


TONES = {
    "black and white": (1.0, 1.0, 1.0),
    "sepia": (1.25, 1.1, 0.85),
    "night vision": (0.2, 1.0, 0.3),
    "red light": (1.6, 0.2, 0.1),
}


def chroma(picture: F32 | U8) -> np.ndarray:
    levels = picture if picture.dtype == np.uint8 else np.rint(picture * 255).astype(np.uint8)
    return cv2.cvtColor(levels, cv2.COLOR_RGB2YCrCb)[..., 1:].astype(int)


@pytest.mark.parametrize("tone", TONES)
def test_a_green_mouth_becomes_one_of_the_pictures_own_colours(tone: str) -> None:
    source = toned(face(), TONES[tone])
    palette = limited_palette(source, WHOLE)
    assert palette is not None
    planes = cv2.cvtColor(source.astype(np.float32) / 255, cv2.COLOR_RGB2YCrCb)
    planes[26:31, 9:21, 1:] += np.float32(0.06)
    wrong = np.asarray(np.clip(cv2.cvtColor(planes, cv2.COLOR_YCrCb2RGB), 0, 1), np.float32)
    assert np.abs(chroma(wrong) - chroma(source)).max() > 10
    kept = keep_in_palette(wrong, palette)
    assert np.abs(chroma(kept) - chroma(source)).max() <= 7
    luma = [cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in (kept, wrong)]
    assert np.abs(luma[0] - luma[1]).max() < 0.03


@pytest.mark.parametrize("tone", TONES)
def test_colours_that_the_picture_has_stay(tone: str) -> None:
    source = toned(face(), TONES[tone])
    palette = limited_palette(source, WHOLE)
    assert palette is not None
    kept = keep_in_palette((source / 255).astype(np.float32), palette)
    # Not the very last pixel: a picture clipped to one red has hardly a curve at its end.
    assert np.quantile(np.abs(kept * 255 - source), 0.99) <= 4


def test_black_in_a_toned_picture_has_no_colour() -> None:
    palette = limited_palette(toned(face(), TONES["night vision"]), WHOLE)
    assert palette is not None
    dark = keep_in_palette(np.full((1, 1, 3), 2 / 255, np.float32), palette)
    assert (dark * 255).max() <= 4


def test_a_picture_of_many_colours_is_left_alone() -> None:
    assert limited_palette(face(), WHOLE) is None


def test_too_little_of_a_face_says_nothing() -> None:
    few = np.zeros_like(WHOLE)
    few[:5, :5] = True
    assert limited_palette(toned(face(), TONES["sepia"]), few) is None
