"""Who a face is: 128 numbers that are close for pictures of one person and apart for others.

The network is dlib's ResNet (Davis King 2017, `dlib_face_recognition_resnet_model_v1`, CC0 1.0),
converted by `tests/tools/make_recogniser.py`. `face.face_descriptor` is cheaper and follows a face
from frame to frame; it takes other light for another person.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from dubcli.core.onnx_session import open_session
from dubcli.core.types import F32, F64, NUM_EMBEDDING, U8
from dubcli.face.landmarks import position
from dubcli.face.pose import similarity_from_points

if TYPE_CHECKING:
    from dubcli.weights.manifest import Manifest

# Height and width of the picture that the network is given, px.
FACE_SIZE = (150, 150)
# Similarity of mean embeddings from which on they are taken for one person's, and below which it
# is said that they hardly are. Chosen and measured by tests/bench/recognition.py (docs/faces.md).
SAME_PERSON, STRANGER = 0.94, 0.92

_SIDE, _PADDING = FACE_SIZE[0], 0.25
# Where dlib's five points lie in a square around the face: the outer and inner corner of the eye
# on the right of the picture, the same on the left, the base of the nose.
_PLACES = np.array(
    [
        (0.8595674595992, 0.2134981538014),
        (0.6460604764104, 0.2289674387677),
        (0.1205750620789, 0.2137274526848),
        (0.3340850613712, 0.2290642403242),
        (0.4901123135679, 0.6277975316475),
    ]
)
_CORNERS = [position(index) for index in (263, 362, 33, 133)]
# The base of the nose is no kept point: it lies between the wings and the upper lip's groove.
_NOSE_WINGS, _GROOVE = [position(98), position(327)], position(164)
_BATCH = 8


class FaceEmbedder(Protocol):
    """What tells who faces are."""

    def embed(self, faces: U8) -> F32:
        """Embeddings of faces as `cut_face` cuts them.

        Args:
            faces: RGB. Shape (N, 150, 150, 3), uint8.

        Returns:
            Of unit length; `faces[i]` does not depend on the others. Shape (N, 128), float32.
        """
        ...


class FaceRecogniser:
    """The recognition network, loaded once.

    Args:
        path: Its ONNX file.

    Raises:
        WeightsError: The file is no such network.
    """

    def __init__(self, path: Path) -> None:
        self._session = open_session(path, "the face recognition network")

    def embed(self, faces: U8) -> F32:
        """Embeddings of faces, as `FaceEmbedder` has it."""
        found = [
            np.asarray(self._session.run(None, {"faces": faces[i : i + _BATCH]})[0], np.float32)
            for i in range(0, len(faces), _BATCH)
        ]
        return np.concatenate([np.zeros((0, NUM_EMBEDDING), np.float32), *found])


def load_recogniser(manifest: Manifest | None = None) -> FaceRecogniser:
    """The network that the manifest names.

    Args:
        manifest: The one of this installation by default.

    Raises:
        WeightsError: Its file is missing or damaged.
    """
    # Imported here: weights know models, which know landmarks.
    from dubcli.weights.manifest import load_manifest
    from dubcli.weights.resolve import part_path

    return FaceRecogniser(part_path("recogniser", manifest or load_manifest()))


def cut_face(image: U8, landmarks: F32) -> U8:
    """The picture of a face that `FaceRecogniser` wants.

    Args:
        image: RGB. Shape (H, W, 3), uint8.
        landmarks: Kept points, px of `image`. Shape (K, 2 or 3).

    Returns:
        Shape (150, 150, 3), uint8; beyond the image its border goes on.
    """
    matrix = face_matrix(landmarks)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    part, moved = _around(image, matrix)
    if scale < 0.7:  # or it would be aliased
        part = cv2.GaussianBlur(part, (0, 0), 0.4 / scale)
    cut = cv2.warpAffine(
        part, moved, (_SIDE, _SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(cut, np.uint8)


def face_matrix(landmarks: F32) -> F64:
    """Image px to px of the picture that `cut_face` cuts. Shape (2, 3).

    Args:
        landmarks: Kept points, px of an image. Shape (K, 2 or 3).
    """
    points = landmarks[:, :2].astype(np.float64)
    nose = (points[_NOSE_WINGS].mean(0) + points[_GROOVE]) / 2
    seen = np.concatenate([points[_CORNERS], nose[None]])
    wanted = (_PLACES + _PADDING) / (1 + 2 * _PADDING) * _SIDE
    scale, rotation, shift = similarity_from_points(seen, wanted[None])
    return np.concatenate([scale[0] * rotation[0], shift[0][:, None]], 1)


def mean_embedding(embeddings: Sequence[F32], quality: Sequence[float] | None = None) -> F32:
    """The embedding that stands for several of one person.

    Args:
        embeddings: Each of shape (128,).
        quality: What each weighs; all the same by default.

    Returns:
        Of unit length; 0 where there are none. Shape (128,).
    """
    if not len(embeddings):
        return np.zeros(NUM_EMBEDDING, np.float32)
    weights = np.ones(len(embeddings)) if quality is None else np.asarray(quality, np.float64)
    total = weights @ np.asarray(embeddings, np.float64)
    return (total / max(float(np.linalg.norm(total)), 1e-12)).astype(np.float32)


def similarity(one: F32, other: F32) -> float:
    """Cosine of two mean embeddings: 1 the same, less than `SAME_PERSON` another person.

    Args:
        one: Of unit length, or 0 where nothing is known. Shape (128,).
        other: As `one`.
    """
    return float(one @ other)


def _around(image: U8, matrix: F64) -> tuple[U8, F64]:
    """The part of an image that a matrix looks at, with some room, and the matrix of that part."""
    height, width = image.shape[:2]
    corners = np.array([[0, 0], [_SIDE, 0], [0, _SIDE], [_SIDE, _SIDE]], np.float64)
    seen = (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    low = np.clip(np.floor(seen.min(0)) - 8, 0, (width - 1, height - 1)).astype(int)
    high = np.clip(np.ceil(seen.max(0)) + 9, low + 1, (width, height)).astype(int)
    moved = matrix.copy()
    moved[:, 2] += matrix[:, :2] @ low
    return np.ascontiguousarray(image[low[1] : high[1], low[0] : high[0]]), moved
