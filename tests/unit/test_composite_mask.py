from __future__ import annotations

import cv2
import numpy as np
import pytest
from made_faces import canonical_face, made_pose, rotation

from dubcli.composite.mask import fixed_mask, hull_mask, paste_mask
from dubcli.core.types import F32
from dubcli.face.landmarks import CHIN, EYE_CORNERS, JAW, LIPS_OUTER, SPEAKING, position
from dubcli.face.pose import apply_matrix, crop_alignment, to_display

SIZE = (208, 160)
NOSE_TIP = position(1)


def in_crop(opening: float, yaw_deg: float = 0.0, size: tuple[int, int] = SIZE) -> F32:
    pose = made_pose(1, turn=rotation(yaw_deg=yaw_deg))
    face = to_display(canonical_face(opening)[None], pose)
    return apply_matrix(face, crop_alignment(pose, size).frame_to_crop)[0]


def weights_at(mask: F32, points: F32) -> F32:
    x, y = np.round(points[:, :2]).astype(int).T
    return mask[np.clip(y, 0, mask.shape[0] - 1), np.clip(x, 0, mask.shape[1] - 1)]


def test_the_fixed_mask_is_where_it_is_meant_to_be() -> None:
    mask = fixed_mask(SIZE)
    assert set(np.unique(mask)) == {0.0, 1.0}
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    assert (rows[0], rows[-1]) == (96, 207)
    assert (columns[0], columns[-1]) == (8, 151)
    assert mask[96, 8] == 0
    assert mask[96, 80] == mask[130, 8] == 1
    np.testing.assert_array_equal(mask, mask[:, ::-1])


def test_the_fixed_mask_scales_with_the_crop() -> None:
    shrunk = fixed_mask((416, 320)).reshape(208, 2, 160, 2).mean((1, 3))
    assert np.abs(shrunk - fixed_mask(SIZE)).mean() < 0.002


@pytest.mark.parametrize("opening", [0.0, 0.2, 0.4])
def test_the_fixed_mask_holds_every_mouth_and_chin(opening: float) -> None:
    face = in_crop(opening)
    assert (weights_at(fixed_mask(SIZE), face[LIPS_OUTER]) == 1).all()
    assert weights_at(fixed_mask(SIZE), face[CHIN : CHIN + 1]) == 1


def test_the_hull_holds_the_speaking_points_and_moves_with_the_mouth() -> None:
    closed, wide = in_crop(0.0), in_crop(0.3)
    assert (weights_at(hull_mask(closed, SIZE), closed[SPEAKING]) == 1).mean() > 0.98
    assert hull_mask(wide, SIZE).sum() > hull_mask(closed, SIZE).sum()


@pytest.mark.parametrize("yaw_deg", [0.0, 35.0])
@pytest.mark.parametrize(("source", "generated"), [(0.0, 0.0), (0.0, 0.35), (0.35, 0.0)])
def test_the_paste_covers_both_mouths_and_both_chins(
    source: float, generated: float, yaw_deg: float
) -> None:
    faces = [in_crop(source, yaw_deg), in_crop(generated, yaw_deg)]
    alpha = paste_mask(faces[0], faces[1], SIZE, 8).alpha
    for face in faces:
        lips, chin = face[LIPS_OUTER], face[CHIN : CHIN + 1]
        assert weights_at(alpha, lips).min() > 0.95
        assert weights_at(alpha, chin) > 0.95
        jaw = face[JAW]
        lower = jaw[jaw[:, 1] > lips[:, 1].max()]
        assert weights_at(alpha, lower).min() > 0.8


def test_the_paste_leaves_everything_from_the_nose_tip_up_alone() -> None:
    for opening in (0.0, 0.35):
        face = in_crop(opening)
        alpha = paste_mask(face, face, SIZE, 8).alpha
        assert not alpha[: int(face[NOSE_TIP, 1])].any()


def test_the_paste_has_a_soft_edge_and_no_traces_beyond_it() -> None:
    face = in_crop(0.2)
    alpha = paste_mask(face, face, SIZE, 8).alpha
    assert alpha.dtype == np.float32
    assert alpha.max() == pytest.approx(1, abs=1e-3)
    assert alpha[alpha > 0].min() >= 1 / 255
    assert not alpha[fixed_mask(SIZE) == 0].any()
    # No crop edge carries weight, and no step is larger than a soft edge makes.
    assert not alpha[[0, -1]].any()
    assert not alpha[:, [0, -1]].any()
    assert np.abs(np.diff(alpha, axis=0)).max() < 0.25
    assert np.abs(np.diff(alpha, axis=1)).max() < 0.25


def test_a_chin_below_the_crop_fades_out_at_its_edge() -> None:
    face = in_crop(0.2)
    low = face + np.array([0, 40, 0], np.float32)
    alpha = paste_mask(face, low, SIZE, 8).alpha
    assert alpha[-1].max() < 0.05


@pytest.mark.parametrize("yaw_deg", [0.0, 35.0])
def test_the_paste_of_a_whole_face_is_the_smoothed_hull_of_all_its_points(yaw_deg: float) -> None:
    """IPTalker, section III-D: eyes and nose are pasted too, nothing beyond the face is."""
    faces = [in_crop(opening, yaw_deg) for opening in (0.0, 0.35)]
    alpha = paste_mask(faces[0], faces[1], SIZE, 8, hull="face").alpha
    points = np.concatenate(faces)[:, :2]
    assert weights_at(alpha, faces[0][list(EYE_CORNERS)]).min() > 0.4
    assert weights_at(alpha, np.concatenate([face[LIPS_OUTER] for face in faces])).min() > 0.9
    hull = cv2.convexHull(points.astype(np.float32))
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    far = [
        cv2.pointPolygonTest(hull, (float(a), float(b)), True)
        for a, b in zip(x.flat, y.flat, strict=True)
    ]
    distance = np.array(far, np.float32).reshape(SIZE)
    assert not alpha[distance < -14].any()
    edge = np.minimum.reduce([x, y, SIZE[1] - 1 - x, SIZE[0] - 1 - y])
    assert alpha[(distance > 14) & (edge > 10)].min() > 0.99
    assert alpha[alpha > 0].min() >= 1 / 255
    # A face that reaches the crop's edge fades out there.
    assert max(alpha[[0, -1]].max(), alpha[:, [0, -1]].max()) < 0.02


def test_the_paste_of_a_whole_face_covers_more_than_that_of_its_lower_half() -> None:
    face = in_crop(0.2)
    lower, whole = (paste_mask(face, face, SIZE, 8, hull=x).alpha for x in ("lower-face", "face"))
    assert whole[: int(face[NOSE_TIP, 1])].any()
    assert whole.sum() > 1.5 * lower.sum()
