"""Which way up a face is, and whether landmarks lie on it.

The box detectors and the mesh know faces that are upright or tilted. On a face that lies on its
side or hangs upside down they often see one all the same, with lips on its forehead. A near
detector that looks at the same square in all four quarter turns is surest where the face is
upright, and there its eyes, nose and mouth must be those of the mesh.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from dubcli.core.types import F32, U8
from dubcli.face.mesh.face_boxes import FaceBox, FaceBoxNetwork
from dubcli.face.mesh.region import Region, around

QUARTER_TURNS = tuple(turn * math.pi / 2 for turn in range(4))

# Chosen on the training clips, see docs/faces.md. The detector's least score on a face whose
# landmarks are right, and how far its eyes, nose and mouth may lie from those of the mesh, in
# distances of the eyes.
_LEAST_SCORE, _MOST_APART = 0.5, 1.0
# Around a box of the detector: the whole head.
_HEAD = 2.0
# Mesh points of the detector's first four keypoints.
_LEFT_EYE, _RIGHT_EYE, _NOSE, _MOUTH = (33, 133), (362, 263), (1,), (13, 14)


class FaceCheck:
    """Tells where landmarks of a found face may lie, and whether those that were seen do.

    Args:
        boxes: The near detector, with a low least score.
    """

    def __init__(self, boxes: FaceBoxNetwork) -> None:
        self._boxes = boxes

    def regions(self, image: U8, box: FaceBox) -> Iterator[Region]:
        """Squares in which the landmarks of a face may be seen, the likeliest first.

        Args:
            image: Shape (H, W, 3).
            box: Where a detector found the face.
        """
        yield around(box.low, box.high, box.keypoints[0], box.keypoints[1])
        x, y = (float(value) for value in (box.low + box.high) / 2)
        side = _HEAD * float((box.high - box.low).max())
        seen = [self._surest(image, Region(x, y, side, turn)) for turn in QUARTER_TURNS]
        for found in sorted(filter(None, seen), key=lambda one: one.score, reverse=True):
            yield around(found.low, found.high, found.keypoints[0], found.keypoints[1])

    def is_face(self, image: U8, points: F32) -> bool:
        """Whether landmarks lie on a face, its eyes up and its mouth down as they have it.

        Args:
            image: Shape (H, W, 3).
            points: The mesh's, px. Shape (478, 3).
        """
        plane = points[:, :2]
        left, right = (plane[list(eye)].mean(0) for eye in (_LEFT_EYE, _RIGHT_EYE))
        region = around(plane.min(0), plane.max(0), left, right)
        if not region.is_finite:
            return False
        upright, *turned = (
            self._surest(image, Region(region.centre_x, region.centre_y, region.side, rotation))
            for rotation in (region.rotation + turn for turn in QUARTER_TURNS)
        )
        if upright is None or upright.score < _LEAST_SCORE:
            return False
        if any(other is not None and other.score > upright.score for other in turned):
            return False
        marks = np.stack([left, right, plane[list(_NOSE)].mean(0), plane[list(_MOUTH)].mean(0)])
        apart = np.linalg.norm(upright.keypoints[:4] - marks, axis=1).max()
        return float(apart) <= _MOST_APART * max(float(np.linalg.norm(right - left)), 1e-6)

    def _surest(self, image: U8, region: Region) -> FaceBox | None:
        return next(iter(self._boxes.detect(image, region)), None)
