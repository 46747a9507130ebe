"""A few good pictures of a followed face, and what the recognition network says of them.

Pictures of a face that is followed wait until its stretch ends; then only their mean embedding
stays, half a kilobyte, so memory does not grow with a stretch's length.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dubcli.core.types import F32, NUM_EMBEDDING, U8
from dubcli.face.pose import fit_pose
from dubcli.face.recognition import FaceEmbedder

# Most pictures of a stretch.
MAX_PICTURES = 8
# Frames of a run at first: pictures of neighbouring frames tell little more than one of them.
FIRST_RUN = 8
# Turn of the head, height and sharpness of a face, and share of it that is neither black nor
# white, at which a picture is worth about half.
_TURN_DEG, _HEIGHT_PX, _SHARPNESS, _LIT_SHARE = 25.0, 60.0, 20.0, 0.8
_BLACK, _WHITE = 20, 240


@dataclass(frozen=True)
class FacePicture:
    """One face as the recognition network wants it.

    Attributes:
        face: As `face.recognition.cut_face` cuts it. Shape (150, 150, 3), uint8.
        quality: How well it shows who it is, 0 to 1.
    """

    face: U8
    quality: float


class FaceGallery:
    """The best picture of each of a few equal runs of a stretch whose length nobody knows."""

    def __init__(self) -> None:
        self._best: list[FacePicture] = []
        self._in_last = 0
        self._run = FIRST_RUN

    def append(self, picture: FacePicture) -> None:
        """Take the next picture, or pass over it."""
        if not self._best or self._in_last == self._run:
            if len(self._best) == MAX_PICTURES:
                pairs = zip(self._best[::2], self._best[1::2], strict=True)
                self._best = [max(pair, key=lambda one: one.quality) for pair in pairs]
                self._run *= 2
            self._best.append(picture)
            self._in_last = 1
            return
        self._in_last += 1
        if picture.quality > self._best[-1].quality:
            self._best[-1] = picture

    def embedding(self, recogniser: FaceEmbedder | None) -> F32:
        """Sum of the pictures' embeddings, each weighed by its quality. Shape (128,).

        Args:
            recogniser: The network; without one the sum is 0.
        """
        if recogniser is None or not self._best:
            return np.zeros(NUM_EMBEDDING, np.float32)
        quality = np.array([one.quality for one in self._best], np.float32)
        embeddings = recogniser.embed(np.stack([one.face for one in self._best]))
        return np.asarray(quality @ embeddings, np.float32)


def picture_quality(face: U8, landmarks: F32, sharpness: float, height_px: float) -> float:
    """How well a picture shows who somebody is: frontal, sharp, large, neither dark nor burnt.

    Args:
        face: As `cut_face` cuts it. Shape (150, 150, 3), uint8.
        landmarks: Kept points, px of any picture. Shape (K, 3).
        sharpness: Of `face.face_descriptor.sharpness`.
        height_px: Of the face in the picture that it was cut from.

    Returns:
        0 to 1; never 0 for a face that can be posed.
    """
    pose = fit_pose(landmarks[None])
    turn = (float(pose.yaw_deg()[0]) ** 2 + float(pose.pitch_deg()[0]) ** 2) / _TURN_DEG**2
    luma = cv2.cvtColor(face[::4, ::4], cv2.COLOR_RGB2GRAY)
    lit = float(((luma > _BLACK) & (luma < _WHITE)).mean())
    worth = np.exp(-np.log(2) * turn) * lit ** (np.log(0.5) / np.log(_LIT_SHARE))
    large = height_px / (height_px + _HEIGHT_PX)
    sharp = sharpness / (sharpness + _SHARPNESS)
    return float(np.clip(worth * large * sharp, 1e-6, 1))
