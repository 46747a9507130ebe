from __future__ import annotations

import numpy as np
import pytest
from made_faces import canonical_face, face_at, made_pose, rotation

from dubcli.core.errors import AlignmentError
from dubcli.face.landmarks import CHIN, NUM_KEPT, mirror_order, mouth_open
from dubcli.face.pose import (
    apply_matrix,
    compose,
    crop_alignment,
    fit_pose,
    invert_matrix,
    mean_face,
    to_canonical,
    to_display,
)


def test_pose_of_a_posed_face_is_found() -> None:
    turn = rotation(yaw_deg=25, pitch_deg=-12, roll_deg=8)
    pose = fit_pose(face_at((300, 200), 55, turn)[None])
    np.testing.assert_allclose(pose.scale, 55, rtol=1e-4)
    np.testing.assert_allclose(pose.rotation[0], turn, atol=1e-4)
    np.testing.assert_allclose(pose.translation[0], (300, 200, 0), atol=1e-2)


def test_yaw_and_pitch_are_reported_in_degrees() -> None:
    pose = fit_pose(np.stack([face_at(turn=rotation(yaw_deg=40)), face_at(turn=rotation(0, 30))]))
    np.testing.assert_allclose(np.abs(pose.yaw_deg()), (40, 0), atol=0.1)
    np.testing.assert_allclose(np.abs(pose.pitch_deg()), (0, 30), atol=0.1)


def test_taking_the_pose_out_and_putting_it_back_changes_nothing() -> None:
    faces = np.stack([face_at((50, 60), 33, rotation(20, 10, -15), opening=0.3)])
    pose = fit_pose(faces)
    np.testing.assert_allclose(to_display(to_canonical(faces, pose), pose), faces, atol=1e-3)


def test_canonical_face_does_not_depend_on_the_pose() -> None:
    here = face_at((50, 60), 33, rotation(20, 10, -15), opening=0.3)[None]
    there = face_at((500, 300), 80, opening=0.3)[None]
    one, other = (to_canonical(f, fit_pose(f)) for f in (here, there))
    np.testing.assert_allclose(one, other, atol=1e-3)


def test_the_crop_does_not_move_with_the_mouth() -> None:
    faces = np.stack([face_at(opening=opening) for opening in (0.0, 0.2, 0.6)])
    matrices = crop_alignment(fit_pose(faces), (208, 160)).frame_to_crop
    np.testing.assert_array_equal(matrices[0], matrices[1])
    np.testing.assert_array_equal(matrices[0], matrices[2])


def test_the_crop_is_upright_and_holds_the_widest_mouth() -> None:
    for roll in (0, 30, -70, 180):
        face = face_at((400, 300), 60, rotation(roll_deg=roll), opening=0.35)[None]
        matrices = crop_alignment(fit_pose(face), (208, 160)).frame_to_crop
        crop = apply_matrix(face, matrices)[0]
        upright = apply_matrix(
            canonical_face(0.35)[None],
            crop_alignment(made_pose(1, (0, 0), 1.0), (208, 160)).frame_to_crop,
        )[0]
        np.testing.assert_allclose(crop[:, :2], upright[:, :2], atol=0.05)
        assert 150 < crop[CHIN, 1] < 208


def test_matrices_invert_and_compose() -> None:
    matrices = crop_alignment(made_pose(3, turn=rotation(roll_deg=33)), (208, 160)).frame_to_crop
    identity = compose(invert_matrix(matrices), matrices)
    np.testing.assert_allclose(identity, np.tile(np.eye(2, 3), (3, 1, 1)), atol=1e-12)


def test_mirroring_swaps_sides_and_undoes_itself() -> None:
    order = mirror_order()
    np.testing.assert_array_equal(order[order], np.arange(NUM_KEPT))
    np.testing.assert_allclose(mean_face()[order] * (-1, 1, 1), mean_face(), atol=1e-3)


def test_mouth_opening_is_measured_in_inter_ocular_distances() -> None:
    closed, wide = mouth_open(face_at(opening=0.0)), mouth_open(face_at(opening=0.4))
    assert wide - closed == pytest.approx(0.4, abs=0.02)
    assert mouth_open(face_at(scale=90, opening=0.4)) == pytest.approx(wide, rel=1e-3)


def test_landmarks_on_one_spot_are_refused() -> None:
    with pytest.raises(AlignmentError, match="coincide"):
        fit_pose(np.zeros((1, NUM_KEPT, 3), np.float32))
