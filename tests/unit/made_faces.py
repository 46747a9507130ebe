"""Faces made from the mean face: posed, speaking, and painted so that people differ."""

from __future__ import annotations

import cv2
import numpy as np

from dubcli.core.types import F32, F64, NUM_EMBEDDING, U8, FaceObservation, FaceTrack, Frame, Int
from dubcli.face.landmarks import CHEEKS, EYE_CORNERS, JAW, LIPS_INNER, LIPS_OUTER
from dubcli.face.pose import Pose, mean_face, to_display

FRAME_SIZE = (240, 320)


def rotation(yaw_deg: float = 0.0, pitch_deg: float = 0.0, roll_deg: float = 0.0) -> F64:
    yaw, pitch, roll = np.radians([yaw_deg, pitch_deg, roll_deg])
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array(
        [[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]]
    )
    about_z = np.array(
        [[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]]
    )
    turn: F64 = np.linalg.multi_dot([about_z, about_x, about_y])
    return turn


def canonical_face(opening: float = 0.0, width: float = 1.0) -> F32:
    """The mean face with the lower lip and chin `opening` lower, canonical units. (K, 3)."""
    face = mean_face().copy()
    middle = face[LIPS_INNER, 1].mean()
    for group, share in ((LIPS_OUTER, 1.0), (LIPS_INNER, 1.0), (JAW, 0.8), (CHEEKS, 0.5)):
        below = np.clip((face[group][:, 1] - middle) / 0.02, 0, 1)
        face[group, 1] += opening * share * below
        if group in (LIPS_OUTER, LIPS_INNER):
            face[group, 0] *= width
    return face


def made_pose(
    num: int,
    centre: tuple[float, float] = (160.0, 100.0),
    scale: float = 40.0,
    turn: F64 | None = None,
) -> Pose:
    return Pose(
        scale=np.full(num, scale),
        rotation=np.repeat((rotation() if turn is None else turn)[None], num, 0),
        translation=np.repeat(np.array([[*centre, 0.0]]), num, 0),
    )


def face_at(
    centre: tuple[float, float] = (160.0, 100.0),
    scale: float = 40.0,
    turn: F64 | None = None,
    opening: float = 0.0,
) -> F32:
    """Landmarks of one face, display px. Shape (K, 3)."""
    return to_display(canonical_face(opening)[None], made_pose(1, centre, scale, turn))[0]


def seen(landmarks: F32, score: float = 1.0) -> FaceObservation:
    low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
    return FaceObservation(
        frame_index=0,
        box=np.concatenate([low, high + 1]).astype(np.float32),
        landmarks=landmarks,
        score=score,
    )


class BlotchRecogniser:
    """Tells painted people apart, who are no faces to a network: by where their blotches lie."""

    def embed(self, faces: U8) -> F32:
        """As `FaceEmbedder` has it: 6 x 6 colours around the eyes, apart from their mean."""
        small = [
            cv2.resize(face[5:105, 25:125], (6, 6), interpolation=cv2.INTER_AREA) for face in faces
        ]
        found = np.zeros((len(faces), NUM_EMBEDDING), np.float32)
        for row, colours in zip(found, small, strict=True):
            row[: colours.size] = colours.ravel() - colours.mean()
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-6)


def made_embedding(person: int) -> F32:
    """Of one made-up person; two of them are about orthogonal. Shape (128,)."""
    value = np.random.default_rng(person).normal(size=NUM_EMBEDDING)
    return (value / np.linalg.norm(value)).astype(np.float32)


def blotches_of(person: int) -> U8:
    """Blotches that stand for one person's hair, brow and skin. Shape (48, 48, 3)."""
    noise = np.random.default_rng(person).random((6, 6, 3))
    noise = np.clip(noise * 1.4 - 0.2, 0, 1)
    blotches = cv2.resize((noise * 255).astype(np.uint8), (48, 48), interpolation=cv2.INTER_CUBIC)
    return np.asarray(blotches, np.uint8)


def picture(
    faces: list[tuple[int, F32]], size: tuple[int, int] = FRAME_SIZE, scale: float = 1.0
) -> U8:
    """A grey frame with people in it: (person, landmarks in display px). Shape (H, W, 3)."""
    image = np.full((*size, 3), 90, np.uint8)
    for person, landmarks in faces:
        eyes = landmarks[list(EYE_CORNERS), :2].astype(np.float64) / scale
        left, right = eyes[:2].mean(0), eyes[2:].mean(0)
        along = complex(*(right - left)) / 17
        linear = np.array([[along.real, -along.imag], [along.imag, along.real]])
        shift = left - linear @ (15.0, 30.0)
        matrix = np.concatenate([linear, shift[:, None]], 1)
        cv2.warpAffine(
            blotches_of(person), matrix, size[::-1], image, borderMode=cv2.BORDER_TRANSPARENT
        )
    return image


def frame(index: int, faces: list[tuple[int, F32]], size: tuple[int, int] = FRAME_SIZE) -> Frame:
    return Frame(index=index, pts=index, image=picture(faces, size))


def made_track(
    landmarks: F32,
    valid: list[bool] | None = None,
    shot: list[int] | None = None,
    sharpness: list[float] | None = None,
) -> FaceTrack:
    num = len(landmarks)
    low, high = landmarks[..., :2].min(1), landmarks[..., :2].max(1)
    is_valid = np.ones(num, bool) if valid is None else np.array(valid)
    shots: Int = np.zeros(num, np.int64) if shot is None else np.array(shot, np.int64)
    sharp = np.full(num, 100.0) if sharpness is None else np.array(sharpness)
    return FaceTrack(
        start=0,
        boxes=np.concatenate([low, high + 1], 1).astype(np.float32),
        landmarks=landmarks.astype(np.float32),
        valid=is_valid,
        interpolated=np.zeros(num, bool),
        shot=shots,
        reasons=tuple("" if ok else "no_face" for ok in is_valid),
        sharpness=sharp.astype(np.float32),
    )
