"""Where faces are, in one picture: the single-shot detectors of MediaPipe.

BlazeFace (Bazarevsky et al. 2019, arXiv:1907.05047) in two sizes: `near` looks at 128 px and sees
faces that fill a good part of the picture, `far` looks at 192 px and sees smaller ones.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dubcli.core.onnx_session import open_session
from dubcli.core.types import F32, U8
from dubcli.face.mesh.region import Region
from dubcli.face.mesh.region_sampling import sample

_SAME_FACE_IOU = 0.3
_F32 = np.float32


@dataclass(frozen=True)
class Grid:
    """One feature map of a detector.

    Attributes:
        cells: Along each side.
        anchors: Guesses a cell.
    """

    cells: int
    anchors: int


@dataclass(frozen=True)
class BoxNetworkKind:
    """What a detector's file takes and gives.

    Attributes:
        size: Side of the picture that it looks at, px.
        grids: Its feature maps, in the order of its guesses.
    """

    size: int
    grids: tuple[Grid, ...]


NEAR = BoxNetworkKind(size=128, grids=(Grid(cells=16, anchors=2), Grid(cells=8, anchors=6)))
FAR = BoxNetworkKind(size=192, grids=(Grid(cells=48, anchors=1),))


@dataclass(frozen=True)
class FaceBox:
    """One face.

    Attributes:
        score: How sure the network is, 0 to 1.
        low: Upper left corner, px. Shape (2,).
        high: Lower right corner, px. Shape (2,).
        keypoints: Eyes (the left one of an upright face first), nose, mouth, ears, px.
            Shape (6, 2).
    """

    score: float
    low: F32
    high: F32
    keypoints: F32


class FaceBoxNetwork:
    """A detector.

    Args:
        path: Its ONNX file.
        kind: What the file takes and gives.
        least_score: Guesses below this are no faces.

    Raises:
        WeightsError: The file is no such network.
    """

    def __init__(self, path: Path, kind: BoxNetworkKind, least_score: float) -> None:
        self._session = open_session(path, "a face detector")
        self._size = kind.size
        self._centres = anchor_centres(kind)
        self._least = np.float32(least_score)

    def with_least(self, score: float) -> FaceBoxNetwork:
        """The same network, loaded once, that is surer of what it tells, or less sure."""
        other = copy.copy(self)
        other._least = np.float32(score)
        return other

    def detect(self, image: U8, region: Region | None = None) -> list[FaceBox]:
        """Faces of a picture, surest first.

        Args:
            image: Shape (H, W, 3).
            region: Where faces are looked for, and which way up; the whole picture by default.
        """
        if region is None:
            region = whole_picture(image)
        picture = sample(image, region, self._size, is_black_outside=True)
        raw, logits = self._session.run(None, {"picture": picture})
        # Doubles: the exponential of -100 is beyond single precision.
        scores = (1 / (1 + np.exp(-np.clip(logits, -100, 100).astype(np.float64)))).astype(_F32)
        likely = np.flatnonzero(scores >= self._least)
        if not len(likely):
            return []
        # In the square's unit coordinates: corners of the box, then the keypoints.
        points = raw[likely].reshape(len(likely), 8, 2) / np.float32(self._size)
        half = points[:, 1] / 2
        points += self._centres[likely, None]
        centre = points[:, 0].copy()
        points[:, 0], points[:, 1] = centre - half, centre + half
        is_box = (points[:, 1] >= points[:, 0]).all(1)
        merged, best = merge(points[is_box], scores[likely][is_box])
        return [
            FaceBox(score, placed[:2].min(0), placed[:2].max(0), placed[2:])
            for score, placed in zip(best, map(region.to_picture, merged), strict=True)
        ]


def whole_picture(image: U8, rotation: float = 0.0) -> Region:
    """The square around all of a picture (H, W, 3), turned by radians about its middle."""
    height, width = image.shape[:2]
    return Region(width / 2, height / 2, max(height, width), rotation)


def anchor_centres(kind: BoxNetworkKind) -> F32:
    """Where each guess of a detector is counted from, 0 to 1 of its picture. Shape (N, 2)."""
    centres: list[F32] = []
    for grid in kind.grids:
        middle = (np.arange(grid.cells, dtype=np.float32) + np.float32(0.5)) / grid.cells
        cells = np.stack(np.meshgrid(middle, middle), -1).reshape(-1, 2)
        centres.append(np.repeat(cells, grid.anchors, axis=0).astype(np.float32))
    return np.concatenate(centres)


def merge(points: F32, scores: F32) -> tuple[list[F32], list[float]]:
    """Join guesses of one face, each weighed by its score (arXiv:1907.05047, section 4).

    Args:
        points: Corners of the box, then keypoints. Shape (N, 8, 2).
        scores: Shape (N,).

    Returns:
        Points of each face, shape (8, 2), and its best score, surest first.
    """
    merged: list[F32] = []
    best: list[float] = []
    rest = np.argsort(-scores, kind="stable")
    while len(rest):
        is_same = _iou(points[rest, :2], points[rest[0], :2]) > _SAME_FACE_IOU
        # A box without area overlaps not even itself.
        same = rest[is_same] if is_same.any() else rest[:1]
        weight = scores[same, None, None]
        merged.append(((points[same] * weight).sum(0) / weight.sum()).astype(np.float32))
        best.append(float(scores[rest[0]]))
        rest = rest[~is_same] if is_same.any() else rest[1:]
    return merged, best


def _iou(boxes: F32, one: F32) -> F32:
    """Of boxes (N, 2, 2) with one (2, 2), corners as rows. Shape (N,)."""
    sides = np.minimum(boxes[:, 1], one[1]) - np.maximum(boxes[:, 0], one[0])
    shared = np.maximum(sides, 0).prod(1)
    union = (boxes[:, 1] - boxes[:, 0]).prod(1) + (one[1] - one[0]).prod() - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
