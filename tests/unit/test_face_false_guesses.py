"""Where the near detector takes something else for a face, the faces that are there stay the same.

What it takes for one is looked at again as somebody who lies or hangs upside down, in a square that
also shows what is beside it.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import cv2
import numpy as np
import pytest
from made_portraits import photograph  # pyright: ignore[reportMissingImports]

from dubcli.core.types import F32, U8, Frame
from dubcli.face.mesh.face_boxes import FaceBox, FaceBoxNetwork
from dubcli.face.mesh.region import Region
from dubcli.face.onnx_detector import FaceNetworks, OnnxFaceDetector

# The side of the portrait in the picture, and where its left upper corner lies, px.
SMALL, LARGE, PLACE = 155, 340, (560, 60)


class Guesses:
    """A near detector that also sees a face at a given place of each whole picture."""

    def __init__(self, network: FaceBoxNetwork, low: tuple[float, float], side: float) -> None:
        self._network = network
        corner = np.array(low, np.float32)
        at = ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.5, 0.8), (0.0, 0.5), (1.0, 0.5))
        points = np.asarray(corner + side * np.array(at, np.float32), np.float32)
        self._guess = FaceBox(0.41, corner, np.asarray(corner + side, np.float32), points)

    def with_least(self, score: float) -> Guesses:
        other = copy.copy(self)
        other._network = self._network.with_least(score)
        return other

    def detect(self, image: U8, region: Region | None = None) -> list[FaceBox]:
        found = self._network.detect(image, region)
        return found if region is not None or image.shape[0] < 540 else [*found, self._guess]


def _picture(side: int) -> U8:
    """A portrait, small or large, in a wide grey picture."""
    whole = np.full((540, 960, 3), 110, np.uint8)
    x, y = PLACE
    small = cv2.resize(photograph(), (side, side), interpolation=cv2.INTER_AREA)
    whole[y : y + side, x : x + side] = small
    return whole


def _seen(networks: FaceNetworks, image: U8) -> list[list[F32]]:
    """Landmarks of each face in eight frames of a picture that moves to the left."""
    with OnnxFaceDetector(networks=networks) as detector:
        frames = [np.roll(image, -2 * index, 1) for index in range(8)]
        return [
            [face.landmarks for face in detector.detect(Frame(index=i, pts=i, image=frame))]
            for i, frame in enumerate(frames)
        ]


@pytest.mark.parametrize(
    ("side", "low", "guessed_side"),
    [
        pytest.param(SMALL, (675, 112), 120, id="right of a far face"),
        pytest.param(SMALL, (483, 64), 120, id="left of a far face"),
        pytest.param(SMALL, (624, 109), 150, id="around a far face"),
        pytest.param(LARGE, (520, 0), 400, id="around a near face"),
        pytest.param(LARGE, (380, 100), 300, id="beside a near face"),
    ],
)
def test_a_false_guess_changes_no_face(
    side: int, low: tuple[float, float], guessed_side: float
) -> None:
    networks = FaceNetworks.load()
    image = _picture(side)
    right = _seen(networks, image)
    assert [len(faces) for faces in right] == [1] * 8
    guesses = Guesses(networks.near, low, guessed_side)
    misled = _seen(replace(networks, near=guesses), image)  # pyright: ignore[reportArgumentType]
    assert [len(faces) for faces in misled] == [1] * 8
    np.testing.assert_allclose(misled, right, atol=0.02)
