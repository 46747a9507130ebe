"""Somebody who lies down or hangs upside down is seen as somebody who stands; an animal is not."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from made_faces import face_at, rotation
from made_portraits import photograph  # pyright: ignore[reportMissingImports]
from skimage import data

from dubcli.core.types import F32, U8, Bool, Frame
from dubcli.face.detect import VideoFaceDetector, open_detector
from dubcli.face.landmarks import inter_ocular
from dubcli.face.mesh.region import Region
from dubcli.face.mesh.region_sampling import sample
from dubcli.face.pose import fit_pose
from dubcli.face.usability import frame_validity

SIDE = 360


@cache
def _detector() -> VideoFaceDetector:
    return open_detector()


def _seen(*images: U8) -> list[list[F32]]:
    """Landmarks of each face in the frames of a video."""
    detector = _detector()
    detector.reset()
    return [
        [face.landmarks for face in detector.detect(Frame(index=i, pts=i, image=image))]
        for i, image in enumerate(images)
    ]


def _turned(clockwise_deg: float) -> U8:
    """The portrait, turned."""
    whole = photograph()
    region = Region(whole.shape[1] / 2, whole.shape[0] / 2, SIDE, -np.radians(clockwise_deg))
    return sample(whole, region, SIDE, is_black_outside=False)


def _apart(landmarks: F32, clockwise_deg: float) -> float:
    """How far landmarks lie from those of the upright portrait, turned; distances of the eyes."""
    ((upright,),) = _seen(_turned(0))
    cosine, sine = np.cos(np.radians(clockwise_deg)), np.sin(np.radians(clockwise_deg))
    middle = (SIDE - 1) / 2
    expected = (upright[:, :2] - middle) @ np.array([[cosine, sine], [-sine, cosine]]) + middle
    distance = np.linalg.norm(expected - landmarks[:, :2], axis=1).mean()
    return float(distance / inter_ocular(landmarks))


@pytest.mark.parametrize("clockwise_deg", [90, 120, 150, 180, 210, 240, 270])
def test_a_face_is_seen_whichever_way_up(clockwise_deg: float) -> None:
    ((landmarks,),) = _seen(_turned(clockwise_deg))
    assert _apart(landmarks, clockwise_deg) < 0.15


def test_a_small_face_that_lies_down_is_seen_and_followed() -> None:
    wide = np.full((540, 960, 3), 110, np.uint8)
    wide[200:380, 400:580] = _turned(180)[::2, ::2]
    frames = _seen(*[np.roll(wide, 3 * index, 1) for index in range(4)])
    assert [len(faces) for faces in frames] == [1, 1, 1, 1]
    assert abs(float(fit_pose(frames[-1][0][None]).roll_deg()[0])) > 150


def test_somebody_who_lies_down_after_nobody_was_there_is_seen_within_half_a_second() -> None:
    nobody = np.full((SIDE, SIDE, 3), 90, np.uint8)
    frames = _seen(*[nobody] * 30, *[_turned(180)] * 13)
    assert not any(frames[:30])
    assert frames[-1]


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_a_cat_is_nobody(turn: int) -> None:
    assert _seen(np.ascontiguousarray(np.rot90(data.chelsea(), turn))) == [[]]


@pytest.mark.parametrize("roll_deg", [0, 90, 180, -90])
@pytest.mark.parametrize(
    ("yaw_deg", "pitch_deg", "reason"),
    [(40, 0, ""), (-55, 0, "turned_away"), (0, 40, ""), (0, -48, "turned_away")],
)
def test_turned_away_means_the_same_whichever_way_up(
    roll_deg: float, yaw_deg: float, pitch_deg: float, reason: str
) -> None:
    face = face_at((160, 120), 30, rotation(yaw_deg, pitch_deg, roll_deg))
    assert _validity(face, (320, 240)) == reason


@pytest.mark.parametrize(
    ("roll_deg", "centre", "reason"),
    [
        # The forehead may lie outside the picture, the chin may not.
        (180, (160, 215), ""),
        (180, (160, 50), "cut_off"),
        (90, (300, 120), ""),
        (90, (60, 120), "cut_off"),
    ],
)
def test_a_chin_outside_the_picture_is_told_whichever_way_up(
    roll_deg: float, centre: tuple[float, float], reason: str
) -> None:
    face = face_at(centre, 40, rotation(roll_deg=roll_deg))
    assert _validity(face, (320, 240)) == reason


def _validity(face: F32, size: tuple[float, float]) -> str:
    """Why five frames of a face are not dubbed."""
    landmarks = np.repeat(face[None], 5, 0)
    low, high = landmarks[..., :2].min(1), landmarks[..., :2].max(1)
    boxes = np.concatenate([low, high + 1], 1).astype(np.float32)
    present: Bool = np.ones(5, np.bool_)
    shot = np.zeros(5, np.int64)
    _, reasons = frame_validity(present, boxes, landmarks, shot, size, (~present, ~present))
    assert len(set(reasons)) == 1
    return reasons[0]
