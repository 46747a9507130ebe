"""Fine detail of full-resolution pictures in an enlarged patch."""

from __future__ import annotations

import cv2
import numpy as np

from dubcli.composite.detail import DetailLayer, add_detail, fine_detail, looked_at
from dubcli.core.types import F32, U8
from dubcli.face.plane_warp import split_planes

HEIGHT, WIDTH, FACTOR = 48, 40, 2
BOX = (16, HEIGHT, 0, WIDTH)


def _fine_picture() -> U8:
    noise = np.random.default_rng(0).uniform(40, 210, (HEIGHT * FACTOR, WIDTH * FACTOR, 3))
    return cv2.GaussianBlur(noise, (0, 0), 0.8).astype(np.uint8)


def _reduced(fine: U8) -> U8:
    return np.asarray(cv2.resize(fine, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)


def _look_straight() -> F32:
    """The grid of the box that looks at its own place."""
    y, x = np.mgrid[BOX[0] : BOX[1], BOX[2] : BOX[3]].astype(np.float32)
    return np.stack([(2 * x + 1) / WIDTH - 1, (2 * y + 1) / HEIGHT - 1], -1)


def _layers(detail: F32) -> list[DetailLayer]:
    return [DetailLayer(planes=split_planes(pixels)) for pixels in detail]


def test_a_picture_gets_back_the_detail_that_reduction_took() -> None:
    fine = _fine_picture()
    detail = fine_detail(fine[None], (HEIGHT, WIDTH))
    share = np.ones((BOX[1] - BOX[0], WIDTH), np.float32)
    made = add_detail(_reduced(fine), _layers(detail), [_look_straight()], [share], BOX, FACTOR)
    inside = slice(BOX[0] * FACTOR + 4, -4)
    wrong = np.abs(made.astype(int) - fine)[inside, 4:-4]
    assert wrong.mean() < 2


def test_no_share_means_no_detail() -> None:
    fine = _fine_picture()
    patch = _reduced(fine)
    detail = fine_detail(fine[None], (HEIGHT, WIDTH))
    nothing = np.zeros((BOX[1] - BOX[0], WIDTH), np.float32)
    made = add_detail(patch, _layers(detail), [_look_straight()], [nothing], BOX, FACTOR)
    size = (WIDTH * FACTOR, HEIGHT * FACTOR)
    assert np.array_equal(made, cv2.resize(patch, size, interpolation=cv2.INTER_CUBIC))


def test_nothing_above_the_box_gets_detail() -> None:
    fine = _fine_picture()
    patch = _reduced(fine)
    detail = fine_detail(fine[None], (HEIGHT, WIDTH))
    share = np.ones((BOX[1] - BOX[0], WIDTH), np.float32)
    made = add_detail(patch, _layers(detail), [_look_straight()], [share], BOX, FACTOR)
    size = (WIDTH * FACTOR, HEIGHT * FACTOR)
    plain = np.asarray(cv2.resize(patch, size, interpolation=cv2.INTER_CUBIC))
    assert np.array_equal(made[: BOX[0] * FACTOR], plain[: BOX[0] * FACTOR])


def test_detail_of_the_part_that_is_looked_at_is_that_of_the_whole_crop() -> None:
    fine = _fine_picture()
    grid = _look_straight()[4:20, 8:24] + np.float32(0.05)
    top, bottom, left, right = looked_at(grid, (HEIGHT, WIDTH))
    assert (bottom - top) * (right - left) < HEIGHT * WIDTH / 2
    rows, columns = slice(FACTOR * top, FACTOR * bottom), slice(FACTOR * left, FACTOR * right)
    pixels = fine_detail(fine[None, rows, columns], (bottom - top, right - left))[0]
    part = DetailLayer(planes=split_planes(pixels), x=columns.start, y=rows.start)
    box = (BOX[0] + 4, BOX[0] + 20, BOX[2] + 8, BOX[2] + 24)
    share = np.ones((16, 16), np.float32)
    whole = fine_detail(fine[None], (HEIGHT, WIDTH))
    wanted = add_detail(_reduced(fine), _layers(whole), [grid], [share], box, FACTOR)
    made = add_detail(_reduced(fine), [part], [grid], [share], box, FACTOR)
    assert np.array_equal(made, wanted)


def test_a_grid_that_looks_nowhere_looks_at_some_part() -> None:
    for value in (np.nan, 40.0, -40.0):
        top, bottom, left, right = looked_at(np.full((4, 4, 2), value, np.float32), (HEIGHT, WIDTH))
        assert 0 <= top < bottom <= HEIGHT
        assert 0 <= left < right <= WIDTH
