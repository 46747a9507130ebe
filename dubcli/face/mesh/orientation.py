"""Which way up a face is, and whether landmarks lie on it.

The box detectors and the mesh know faces that are upright or tilted. On a face that lies on its
side or hangs upside down they often see one all the same, with lips on its forehead. A near
detector that looks at the same square in all four quarter turns is surest where the face is
upright, and there its eyes, nose and mouth must be those of the mesh.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from dubcli.core.types import F32, U8
from dubcli.face.mesh.face_boxes import FaceBox, FaceBoxNetwork
from dubcli.face.mesh.region import Region, around

QUARTER_TURNS = tuple(turn * math.pi / 2 for turn in range(4))

# Chosen on the training clips, see docs/faces.md. For landmarks that are surely a face's: the
# detector's least score, and how far its eyes, nose and mouth may lie from the mesh's, in distances
# of the eyes. Faces in profile reach less.
_SURE_SCORE, _SURE_APART = 0.75, 0.5
# For landmarks that may be a face's. Another way up may score better by the last figure.
_LEAST_SCORE, _MOST_APART, _MOST_BEHIND = 0.5, 0.9, 0.15
# Around a box of the detector: the whole head.
_HEAD = 2.0
# A face in another turn is the one that was found where its box has at least this share of that
# one's side and its middle lies within this many sides: what is smaller or farther off is another
# face, beside what was taken for one. Chosen on the training clips too.
_LEAST_SHARE, _MOST_OFF = 0.45, 0.7
# Mesh points of the detector's first four keypoints.
_LEFT_EYE, _RIGHT_EYE, _NOSE, _MOUTH = (33, 133), (362, 263), (1,), (13, 14)


@dataclass(frozen=True)
class Evidence:
    """How well a detector agrees with landmarks.

    Attributes:
        score: How sure it is of a face that is upright as the landmarks have it, 0 to 1.
        lead: By how much it is less sure of any other way up, or at least so much.
        apart: How far its eyes, nose and mouth lie from those of the landmarks at most, distances
            of the eyes.
    """

    score: float
    lead: float
    apart: float

    @property
    def is_sure(self) -> bool:
        """The landmarks lie on a face, eyes up and mouth down."""
        return self.score >= _SURE_SCORE and self.lead >= 0 and self.apart <= _SURE_APART

    @property
    def is_possible(self) -> bool:
        """Nothing speaks against it."""
        return (
            self.score >= _LEAST_SCORE and self.lead >= -_MOST_BEHIND and self.apart <= _MOST_APART
        )


class FaceCheck:
    """Tells which way up a found face may be, and whether landmarks lie on it.

    Args:
        boxes: The near detector, with a low least score.
    """

    def __init__(self, boxes: FaceBoxNetwork) -> None:
        self._boxes = boxes

    def turned(self, image: U8, box: FaceBox) -> list[Region]:
        """Squares for the landmarks of a face that is not upright, the likeliest first.

        Args:
            image: Shape (H, W, 3).
            box: Where a detector found the face.
        """
        x, y = (float(value) for value in (box.low + box.high) / 2)
        side = _HEAD * float((box.high - box.low).max())
        seen = [self._surest(image, Region(x, y, side, turn)) for turn in QUARTER_TURNS[1:]]
        likely = [
            found
            for found in seen
            if found is not None and found.score >= _SURE_SCORE and _is_there(found, box)
        ]
        likely.sort(key=lambda found: found.score, reverse=True)
        return [around(one.low, one.high, one.keypoints[0], one.keypoints[1]) for one in likely]

    def evidence(self, image: U8, points: F32) -> Evidence:
        """What the detector says to landmarks.

        Args:
            image: Shape (H, W, 3).
            points: The mesh's, px. Shape (478, 3).
        """
        return self._seen(image, points, is_followed=False)

    def is_possible(self, image: U8, points: F32) -> bool:
        """The evidence's `is_possible`, where that alone is asked: most often by a single look.

        Args:
            image: Shape (H, W, 3).
            points: The mesh's, px. Shape (478, 3).
        """
        return self._seen(image, points, is_followed=True).is_possible

    def _seen(self, image: U8, points: F32, is_followed: bool) -> Evidence:
        plane = points[:, :2]
        left, right = (plane[list(eye)].mean(0) for eye in (_LEFT_EYE, _RIGHT_EYE))
        region = around(plane.min(0), plane.max(0), left, right)
        upright = self._surest(image, region) if region.is_finite else None
        if upright is None:
            return Evidence(score=0, lead=-1, apart=math.inf)
        marks = np.stack([left, right, plane[list(_NOSE)].mean(0), plane[list(_MOUTH)].mean(0)])
        apart = float(np.linalg.norm(upright.keypoints[:4] - marks, axis=1).max())
        apart /= max(float(np.linalg.norm(right - left)), 1e-6)
        # No score is above 1, so this much is led by whatever the other turns show.
        lead = upright.score - 1
        is_open = upright.score >= _LEAST_SCORE and apart <= _MOST_APART
        if is_open and not (is_followed and lead >= -_MOST_BEHIND):
            lead = upright.score - max(self._turned_scores(image, region), default=0.0)
        return Evidence(score=upright.score, lead=lead, apart=apart)

    def _turned_scores(self, image: U8, region: Region) -> list[float]:
        """How surely the face is one that lies or hangs upside down."""
        turned = (replace(region, rotation=region.rotation + turn) for turn in QUARTER_TURNS[1:])
        seen = (self._surest(image, other) for other in turned)
        return [box.score for box in seen if box is not None]

    def _surest(self, image: U8, region: Region) -> FaceBox | None:
        return next(iter(self._boxes.detect(image, region)), None)


def _is_there(found: FaceBox, box: FaceBox) -> bool:
    """Whether a face in another turn may be the one that a box was for."""
    side = float((box.high - box.low).max())
    off = np.abs(found.low + found.high - box.low - box.high).max() / 2
    share = float((found.high - found.low).max())
    return bool(share >= _LEAST_SHARE * side and off <= _MOST_OFF * side)
