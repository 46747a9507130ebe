"""The mouth drawn from its landmarks, and references deformed to it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from dubcli.face.landmarks import SPEAKING
from dubcli.face.pose import mean_face
from dubcli.models.common.mouth_map import (
    INNER,
    INNER_BOTTOM,
    INNER_TOP,
    JAW,
    OUTER,
    closed_not_crossed,
    draw_mouth,
    keep_lip_thickness,
    landmark_displacement,
    pixel_grid,
    shape_distance,
    warp,
)

UNIT = 0.28 * 208


def _points(opening: float = 0.0) -> Tensor:
    """Speaking points of the mean face in a crop of 208 x 160. Shape (S, 2)."""
    points = mean_face()[SPEAKING, :2] * UNIT + np.array([79.5, 51.5])
    below = points[:, 1] > points[INNER, 1].mean()
    points[below, 1] += opening * UNIT
    return torch.from_numpy(points.astype(np.float32))


def _drawn(points: Tensor) -> Tensor:
    """Maps on every pixel. Shape (3, 208, 160)."""
    return draw_mouth(points[None], pixel_grid(208, 160, 1, (0, 0)), 1.0, refine=1)[0]


def test_lips_and_opening_are_filled_where_the_landmarks_are() -> None:
    points = _points(0.3)
    lips, opening, _ = _drawn(points)
    middle = (points[INNER_TOP] + points[INNER_BOTTOM]) / 2
    x, y = (round(float(value)) for value in middle)
    assert float(opening[y, x]) > 0.99
    assert float(lips[y, x]) > 0.99
    # The lower lip is lip but no opening; the chin is neither.
    low = round(float((points[INNER_BOTTOM, 1] + points[OUTER, 1].max()) / 2))
    assert float(lips[low, x]) > 0.9
    assert float(opening[low, x]) < 0.1
    assert float(lips[round(float(points[JAW, 1].max())) - 2, x]) < 0.01


def test_an_open_mouth_is_a_larger_opening() -> None:
    areas = [float(_drawn(_points(opening))[1].sum()) for opening in (0.0, 0.1, 0.3)]
    assert areas[0] < areas[1] < areas[2]


def test_the_jaw_is_a_line_along_its_landmarks() -> None:
    points = _points()
    _, _, jaw = _drawn(points)
    for x, y in points[JAW].round().long().tolist():
        if 0 <= x < 160 and 0 <= y < 208:
            assert float(jaw[y, x]) > 0.7
    assert float(jaw[30, 80]) < 0.01


def test_maps_are_finite_and_tell_the_landmarks_where_to_go() -> None:
    points = _points(0.2).requires_grad_()
    maps = draw_mouth(points[None], pixel_grid(32, 40, 4, (80, 0)), 2.0)
    assert maps.shape == (1, 3, 64, 80)
    maps.sum().backward()
    assert points.grad is not None
    assert bool(points.grad.isfinite().all())
    for group in (OUTER, INNER, JAW):
        assert float(points.grad[group].abs().sum()) > 0


def test_points_that_coincide_draw_nothing_wild() -> None:
    maps = draw_mouth(torch.full((1, 102, 2), 80.0), pixel_grid(16, 20, 4, (80, 0)), 2.0)
    assert bool(maps.isfinite().all())


def test_displacement_carries_landmarks_onto_the_references() -> None:
    target, reference = _points(0.3), _points()
    grid = target[INNER][None]
    moved = landmark_displacement(target[None], reference[None], grid, UNIT)[0, 0, 0]
    gap = (target[INNER] + moved - reference[INNER]).norm(dim=-1)
    assert float(gap.mean()) < 0.15 * float((target - reference)[INNER].norm(dim=-1).max())


@pytest.mark.parametrize("shift", [(0.0, 0.0), (5.0, -3.0)])
def test_a_shifted_face_shifts_every_pixel_alike(shift: tuple[float, float]) -> None:
    target = _points()
    reference = target + torch.tensor(shift)
    grid = pixel_grid(8, 10, 16, (0, 0))
    moved = landmark_displacement(target[None], reference[None], grid, UNIT)[0, 0]
    torch.testing.assert_close(moved, torch.tensor(shift).expand_as(moved), atol=1e-4, rtol=0)


def test_references_are_compared_by_lip_shape_not_by_place() -> None:
    closed, opened = _points(), _points(0.3)
    references = torch.stack([closed + 9, opened - 7])
    distance = shape_distance(torch.stack([closed, opened]), references, UNIT)
    assert distance.shape == (2, 2)
    assert float(distance[0, 0]) < 1e-4 < float(distance[0, 1])
    assert float(distance[1, 1]) < 1e-4 < float(distance[1, 0])


def test_cubic_sampling_keeps_texture_that_the_average_of_pixels_blurs() -> None:
    generator = torch.Generator().manual_seed(0)
    picture = torch.rand(1, 3, 40, 40, generator=generator)
    pixels = pixel_grid(40, 40, 1, (0, 0)) + 0.5
    grid = (2 * pixels + 1) / 40 - 1
    inner = (..., slice(4, -4), slice(4, -4))
    soft, sharp = (warp(picture, grid[None, None], cubic=cubic)[inner] for cubic in (False, True))
    assert float(picture.std()) > float(sharp.std()) > 1.2 * float(soft.std())
    # At whole pixels both give the picture itself.
    whole = (2 * pixel_grid(40, 40, 1, (0, 0)) + 1) / 40 - 1
    for cubic in (False, True):
        torch.testing.assert_close(warp(picture, whole[None, None], cubic=cubic)[0], picture)


def test_lips_that_would_cross_touch_and_draw_no_opening() -> None:
    crossed = _points(-0.2)
    assert crossed[INNER_BOTTOM, 1] < crossed[INNER_TOP, 1]
    closed = closed_not_crossed(crossed[None])[0]
    assert float(closed[INNER_BOTTOM, 1]) == pytest.approx(float(closed[INNER_TOP, 1]), abs=1e-3)
    assert float(_drawn(closed)[1].sum()) < 0.5 * float(_drawn(crossed)[1].sum())
    others = [index for index in range(len(closed)) if not INNER.start <= index < INNER.stop]
    assert torch.equal(closed[others], crossed[others])


@pytest.mark.parametrize("opening", [0.05, 0.3])
def test_lips_that_do_not_cross_stay(opening: float) -> None:
    points = _points(opening)[None]
    assert torch.equal(closed_not_crossed(points), points)


def _canonical(gap: float) -> Tensor:
    """The mean face's speaking points, its lips `gap` apart, canonical units. Shape (S, 3)."""
    points = torch.from_numpy(mean_face()[SPEAKING].astype(np.float32).copy())
    half = (gap - float(points[INNER_BOTTOM, 1] - points[INNER_TOP, 1])) / 2
    for ring in (OUTER, INNER):
        points[ring.start + 1 : ring.start + 10, 1] += half
        points[ring.start + 11 : ring.stop, 1] -= half
    return points


def _thicknesses(points: Tensor) -> list[float]:
    """Of the lower and the upper lip in the middle."""
    lower = points[OUTER.start + 5, 1] - points[INNER_BOTTOM, 1]
    upper = points[INNER_TOP, 1] - points[OUTER.start + 15, 1]
    return [float(lower), float(upper)]


def test_a_mouth_that_closes_further_than_at_rest_keeps_its_lips() -> None:
    rest = _canonical(0.15)
    # All references are open, and the sound asks for closed lips: rings cross, lips are squeezed.
    squeezed = closed_not_crossed(_canonical(-0.2)[None])
    kept = keep_lip_thickness(squeezed, rest)[0]
    lips = zip(_thicknesses(rest), _thicknesses(squeezed[0]), _thicknesses(kept), strict=True)
    for usual, thin, now in lips:
        assert thin < 0.5 * usual
        assert 0.8 * usual < now < 1.01 * usual
    assert torch.equal(kept[INNER], squeezed[0, INNER])
    assert torch.equal(kept[JAW], squeezed[0, JAW])


@pytest.mark.parametrize("gap", [0.0, 0.15, 0.4])
def test_lips_that_are_thick_enough_stay(gap: float) -> None:
    points = _canonical(gap)[None]
    assert torch.equal(keep_lip_thickness(points, _canonical(0.05)), points)
