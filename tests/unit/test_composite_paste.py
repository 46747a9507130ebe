from __future__ import annotations

import cv2
import numpy as np
import pytest
from made_faces import canonical_face, made_pose, rotation

from dubcli.composite.mask import paste_mask
from dubcli.composite.paste import place_patch, support_box
from dubcli.core.types import F32, F64, U8, FramePatch
from dubcli.face.crop import cut_crop
from dubcli.face.pose import apply_matrix, compose, crop_alignment, invert_matrix, to_display
from dubcli.face.references import finer_matrix

SIZE = (208, 160)
# Display px (300 x 400) to coded px for each way that a file may store them.
CODED = {
    "as shown": (np.array([[1.0, 0, 0], [0, 1, 0]]), (300, 400)),
    "turned 90": (np.array([[0.0, 1, 0], [-1, 0, 299]]), (400, 300)),
    "turned 180": (np.array([[-1.0, 0, 299], [0, -1, 399]]), (300, 400)),
    "turned 270": (np.array([[0.0, -1, 399], [1, 0, 0]]), (400, 300)),
    "narrow pixels": (np.array([[0.5, 0, -0.25], [0, 1, 0]]), (150, 400)),
}


def scenery(seed: int = 0) -> U8:
    """A smooth colourful display picture, 300 x 400."""
    noise = np.random.default_rng(seed).random((10, 8, 3)) * 160 + 40
    smooth = cv2.resize(noise.astype(np.float32), (300, 400), interpolation=cv2.INTER_CUBIC)
    return np.clip(cv2.GaussianBlur(smooth, (0, 0), 4), 0, 255).astype(np.uint8)


def a_paste(roll_deg: float = 10.0, scale: float = 70.0) -> tuple[F64, F32]:
    """Display px to crop px, and the mask of a speaking face there."""
    pose = made_pose(1, (150, 150), scale, rotation(roll_deg=roll_deg))
    to_crop = crop_alignment(pose, SIZE).frame_to_crop
    face = apply_matrix(to_display(canonical_face(0.1)[None], pose), to_crop)[0]
    return to_crop[0], paste_mask(face, face, SIZE, 8).alpha


def coded_picture(display: U8, to_coded: F64, size: tuple[int, int]) -> U8:
    """What the file stores of a display picture."""
    return np.asarray(cv2.warpAffine(display, to_coded, size), np.uint8)


def blend(frame: U8, patch: FramePatch) -> F32:
    result = frame.astype(np.float32)
    height, width = patch.alpha.shape
    part = result[patch.y : patch.y + height, patch.x : patch.x + width]
    part += patch.alpha[..., None] * (patch.rgb * 255 - part)
    return result


def paste(
    frame: U8, picture: U8 | F32, alpha: F32, to_coded: F64, strength: float = 1.0
) -> tuple[F32, FramePatch]:
    box = support_box(alpha, to_coded, (frame.shape[1], frame.shape[0]))
    assert box is not None
    x, y, width, height = box
    region = frame[y : y + height, x : x + width]
    patch = place_patch(picture, alpha, to_coded, box, region, strength)
    return blend(frame, patch), patch


@pytest.mark.parametrize("stored", CODED)
def test_a_crop_pasted_back_changes_at_most_one_grey_level(stored: str) -> None:
    to_coded, size = CODED[stored]
    frame = coded_picture(scenery(), to_coded, size)
    to_crop, alpha = a_paste()
    crop_to_coded = compose(to_coded, invert_matrix(to_crop))
    crop = cut_crop(frame, invert_matrix(crop_to_coded), SIZE)
    result, patch = paste(frame, crop, alpha, crop_to_coded)
    assert np.abs(np.round(result) - frame).max() <= 1
    assert patch.rgb.dtype == patch.alpha.dtype == np.float32
    assert patch.alpha.max() > 0.99


@pytest.mark.parametrize("stored", CODED)
def test_nothing_changes_where_the_mask_is_zero(stored: str) -> None:
    to_coded, size = CODED[stored]
    frame = coded_picture(scenery(), to_coded, size)
    to_crop, alpha = a_paste()
    crop_to_coded = compose(to_coded, invert_matrix(to_crop))
    white = np.full((*SIZE, 3), 255, np.uint8)
    result, _ = paste(frame, white, alpha, crop_to_coded)
    spots = np.stack(np.meshgrid(*map(np.arange, size)), -1).reshape(1, -1, 2).astype(np.float32)
    x, y = apply_matrix(spots, invert_matrix(crop_to_coded)[None])[0].T
    padded = np.pad(alpha, 2)
    column = np.clip(np.round(x).astype(int) + 2, 1, SIZE[1] + 2)
    row = np.clip(np.round(y).astype(int) + 2, 1, SIZE[0] + 2)
    near = np.max([padded[row + i, column + j] for i in (-1, 0, 1) for j in (-1, 0, 1)], 0)
    outside = (near == 0).reshape(size[::-1])
    assert outside.any()
    np.testing.assert_array_equal(result[outside], frame[outside])
    assert (result != frame).any()


def test_the_box_is_even_and_inside_the_frame() -> None:
    to_crop, alpha = a_paste()
    x, y, width, height = support_box(alpha, invert_matrix(to_crop), (300, 400)) or (1, 1, 1, 1)
    assert not any(value % 2 for value in (x, y, width, height))
    assert 0 <= x < x + width <= 300
    assert 0 <= y < y + height <= 400
    clipped = support_box(alpha, invert_matrix(to_crop), (151, 221))
    assert clipped is not None
    assert clipped[0] + clipped[2] == 151
    assert clipped[1] + clipped[3] == 221


def test_an_empty_mask_or_a_face_beside_the_frame_has_no_box() -> None:
    to_crop, alpha = a_paste()
    assert support_box(np.zeros(SIZE, np.float32), invert_matrix(to_crop), (300, 400)) is None
    beside = invert_matrix(to_crop) + np.array([[0, 0, 900], [0, 0, 0]])
    assert support_box(alpha, beside, (300, 400)) is None


@pytest.mark.parametrize("shift", [(12, 12, 12), (-15, 4, 9)])
def test_a_colour_step_is_taken_out(shift: tuple[int, int, int]) -> None:
    frame = scenery()
    to_crop, alpha = a_paste()
    crop = np.clip(cut_crop(frame, to_crop, SIZE).astype(int) + shift, 0, 255).astype(np.uint8)
    result, _ = paste(frame, crop, alpha, invert_matrix(to_crop))
    assert np.abs(result - frame).max() < 2.5


def test_a_mouth_that_differs_inside_keeps_its_colours() -> None:
    frame = scenery()
    to_crop, alpha = a_paste()
    crop = cut_crop(frame, to_crop, SIZE)
    crop[120:145, 60:100] = (150, 20, 30)
    _, patch = paste(frame, crop, alpha, invert_matrix(to_crop))
    spot = apply_matrix(np.array([[[80.0, 132.0]]], np.float32), invert_matrix(to_crop)[None])[0, 0]
    colour = patch.rgb[round(float(spot[1])) - patch.y, round(float(spot[0])) - patch.x] * 255
    np.testing.assert_allclose(colour, (150, 20, 30), atol=3)


def test_colours_never_move_far() -> None:
    frame = scenery()
    to_crop, alpha = a_paste()
    black = np.zeros((*SIZE, 3), np.uint8)
    _, patch = paste(frame, black, alpha, invert_matrix(to_crop))
    assert patch.rgb.max() <= 20.01 / 255


@pytest.mark.parametrize("factor", [2, 3])
def test_patches_may_be_finer_than_the_crop_and_float(factor: int) -> None:
    frame = scenery()
    to_crop, alpha = a_paste()
    fine_size = (SIZE[0] * factor, SIZE[1] * factor)
    fine = cut_crop(frame, finer_matrix(to_crop, factor), fine_size)
    whole, _ = paste(frame, fine, alpha, invert_matrix(to_crop))
    floating, _ = paste(frame, (fine / 255).astype(np.float32), alpha, invert_matrix(to_crop))
    assert np.abs(np.round(whole) - frame).max() <= 1
    np.testing.assert_allclose(whole, floating, atol=0.01)


def test_a_small_face_is_not_aliased() -> None:
    # Stripes finer than the frame can show come out near their mean, not as a moire of full depth.
    frame = np.full((400, 300, 3), 128, np.uint8)
    to_crop, alpha = a_paste(roll_deg=0.0, scale=20.0)
    stripes = np.zeros((*SIZE, 3), np.uint8)
    stripes[:, ::2] = 255
    result, _ = paste(frame, stripes, alpha, invert_matrix(to_crop))
    assert np.abs(result - 128).max() < 48


def test_strength_scales_the_change() -> None:
    frame = scenery()
    to_crop, alpha = a_paste()
    white = np.full((*SIZE, 3), 255, np.uint8)
    full, _ = paste(frame, white, alpha, invert_matrix(to_crop))
    half, _ = paste(frame, white, alpha, invert_matrix(to_crop), strength=0.5)
    none, patch = paste(frame, white, alpha, invert_matrix(to_crop), strength=0.0)
    np.testing.assert_allclose(half - frame, (full - frame) / 2, atol=0.01)
    np.testing.assert_array_equal(none, frame)
    assert not patch.alpha.any()


def test_a_region_of_another_size_is_refused() -> None:
    to_crop, alpha = a_paste()
    box = support_box(alpha, invert_matrix(to_crop), (300, 400))
    assert box is not None
    with pytest.raises(ValueError, match="region shape"):
        place_patch(
            np.zeros((*SIZE, 3), np.uint8),
            alpha,
            invert_matrix(to_crop),
            box,
            np.zeros((2, 2, 3), np.uint8),
        )
