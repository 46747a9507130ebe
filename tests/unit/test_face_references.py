from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_faces import canonical_face, made_pose, made_track, rotation

from dubcli.core.errors import NoFaceError
from dubcli.core.types import F32, FaceTrack
from dubcli.face.landmarks import mouth_open
from dubcli.face.pose import apply_matrix, crop_alignment, fit_pose, to_display
from dubcli.face.references import (
    cut_references,
    detail_factor,
    finer_matrix,
    select_references,
)

SIZE = (208, 160)


def speaking(num: int = 60, scale: float = 40.0) -> F32:
    """A mouth that opens and closes, at several widths. Shape (T, K, 3)."""
    shapes = [
        canonical_face(0.3 * abs(np.sin(0.31 * index)), 1 + 0.15 * np.cos(0.17 * index))
        for index in range(num)
    ]
    return to_display(np.stack(shapes), made_pose(num, scale=scale))


def choose(track: FaceTrack, num: int = 4) -> list[int]:
    return select_references(track, fit_pose(track.landmarks), num)


def test_closed_and_wide_open_are_among_them() -> None:
    track = made_track(speaking())
    opening = mouth_open(track.landmarks)
    chosen = choose(track)
    assert len(set(chosen)) == 4
    assert chosen == sorted(chosen)
    assert opening[chosen].min() <= opening.min() + 0.011
    assert opening[chosen].max() >= np.quantile(opening, 0.96)


def test_the_choice_is_deterministic_and_blind_to_the_place_of_the_face() -> None:
    landmarks = speaking()
    moved = landmarks + np.array([50, 20, 0], np.float32)
    assert choose(made_track(landmarks)) == choose(made_track(landmarks))
    assert choose(made_track(landmarks)) == choose(made_track(moved))


def test_mouths_are_spread_wider_than_by_equal_steps_in_time() -> None:
    track = made_track(speaking())
    opening = mouth_open(track.landmarks)

    def least_distance(frames: list[int]) -> float:
        values = np.sort(opening[frames])
        return float(np.diff(values).min())

    assert least_distance(choose(track, 3)) > 0.05


def test_blurred_turned_and_filled_in_frames_are_left_out() -> None:
    landmarks = speaking()
    shapes = np.stack([canonical_face(0.3 * abs(np.sin(0.31 * index))) for index in range(20)])
    landmarks[:20] = to_display(shapes, made_pose(20, turn=rotation(yaw_deg=40)))
    sharp = [100.0] * 40 + [4.0] * 20
    track = made_track(landmarks, sharpness=sharp)
    filled = np.zeros(60, bool)
    filled[30:] = True
    track = replace(track, interpolated=filled)
    assert all(20 <= index < 30 for index in choose(track))


def test_only_allowed_frames_are_taken() -> None:
    track = made_track(speaking())
    allowed = np.zeros(60, bool)
    allowed[[5, 9, 33, 41, 52]] = True
    chosen = select_references(track, fit_pose(track.landmarks), 4, allowed)
    assert set(chosen) <= {5, 9, 33, 41, 52}


def test_too_few_frames_are_repeated() -> None:
    track = made_track(speaking(10), valid=[index in (3, 7) for index in range(10)])
    chosen = choose(track, 5)
    assert len(chosen) == 5
    assert set(chosen) == {3, 7}
    single = made_track(speaking(10), valid=[index == 3 for index in range(10)])
    assert choose(single, 4) == [3, 3, 3, 3]


def test_no_usable_frame_is_an_error() -> None:
    track = made_track(speaking(10), valid=[False] * 10)
    with pytest.raises(NoFaceError):
        choose(track)


@pytest.mark.parametrize(("scale", "factor"), [(30.0, 1), (58.0, 1), (120.0, 2), (900.0, 4)])
def test_detail_follows_the_size_of_the_face(scale: float, factor: int) -> None:
    alignment = crop_alignment(made_pose(3, scale=scale), SIZE)
    assert detail_factor(alignment, [0, 2]) == factor


def test_a_finer_crop_shows_the_same_place() -> None:
    matrix = crop_alignment(made_pose(1, turn=rotation(roll_deg=20)), SIZE).frame_to_crop
    points = np.array([[[10.0, 20.0], [200.0, 100.0]]], np.float32)
    coarse = apply_matrix(points, matrix)
    fine = apply_matrix(points, finer_matrix(matrix, 3))
    np.testing.assert_allclose((fine + 0.5) / 3 - 0.5, coarse, atol=1e-3)


def test_references_hold_crops_landmarks_and_openings_in_the_order_asked_for() -> None:
    landmarks = speaking(10, scale=120.0)
    track = made_track(landmarks)
    alignment = crop_alignment(fit_pose(landmarks), SIZE)
    pictures = ((i, np.full((480, 640, 3), 10 * i, np.uint8)) for i in range(10))
    found = cut_references(pictures, [2, 5, 5], track, alignment)
    assert found.crops.shape == (3, 208, 160, 3)
    assert found.detail_crops.shape == (3, 416, 320, 3)
    assert [int(crop.mean()) for crop in found.crops] == [20, 50, 50]
    assert found.frame_indices.tolist() == [2, 5, 5]
    np.testing.assert_allclose(found.mouth_open, mouth_open(landmarks[[2, 5, 5]]))
    in_crop = apply_matrix(landmarks[[2, 5, 5]], alignment.frame_to_crop[[2, 5, 5]])
    np.testing.assert_allclose(found.landmarks, in_crop)


def test_a_reference_frame_that_went_missing_is_named() -> None:
    landmarks = speaking(10)
    alignment = crop_alignment(fit_pose(landmarks), SIZE)
    pictures = ((i, np.zeros((240, 320, 3), np.uint8)) for i in range(4))
    with pytest.raises(NoFaceError, match="Frame 7"):
        cut_references(pictures, [2, 7], made_track(landmarks), alignment)
