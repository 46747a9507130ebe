"""A square of a picture, turned as its face is.

Coordinates inside `dubcli.face.mesh` are MediaPipe's: px, with the picture's upper left corner at
(0, 0), so the first pixel's centre lies at (0.5, 0.5).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from dubcli.core.types import F32

# Around a face, by the longer side of the box around its points.
_MARGIN = 1.5
# Squares that share more than this of their union show one face.
_ONE_FACE_IOU = 0.5


@dataclass(frozen=True)
class Region:
    """A square.

    Attributes:
        centre_x: px.
        centre_y: px.
        side: px.
        rotation: Radians, from the picture's x axis towards its y axis.
    """

    centre_x: float
    centre_y: float
    side: float
    rotation: float

    @property
    def is_finite(self) -> bool:
        """Whether it is a place at all."""
        values = (self.centre_x, self.centre_y, self.side, self.rotation)
        return all(map(math.isfinite, values)) and self.side > 0

    def to_picture(self, points: F32) -> F32:
        """Take points from the square's unit coordinates to the picture's px.

        Args:
            points: x and y in 0 to 1 across and down the square. Shape (N, 2).

        Returns:
            px. Shape (N, 2).
        """
        cosine, sine = math.cos(self.rotation), math.sin(self.rotation)
        turn = np.array([[cosine, sine], [-sine, cosine]], np.float32)
        centre = np.array([self.centre_x, self.centre_y], np.float32)
        turned = (points - np.float32(0.5)) @ turn
        return np.asarray(turned * np.float32(self.side) + centre, np.float32)


def around(low: F32, high: F32, left: F32, right: F32) -> Region:
    """The square that a face's landmarks are looked for in.

    Args:
        low: Least x and y of the face, px. Shape (2,).
        high: Greatest x and y of the face, px. Shape (2,).
        left: A point of the face on the picture's left. Shape (2,).
        right: The point that lies level with it where the head is upright. Shape (2,).
    """
    x, y = (float(value) for value in (low + high) / 2)
    step_x, step_y = (float(value) for value in right - left)
    return Region(
        centre_x=x,
        centre_y=y,
        side=float((high - low).max()) * _MARGIN,
        rotation=math.atan2(step_y, step_x),
    )


def without_doubles(regions: Iterable[Region]) -> list[Region]:
    """One region a face; of those that show the same one, the last stays, at the list's end."""
    kept: list[Region] = []
    for region in regions:
        kept = [other for other in kept if _iou(other, region) <= _ONE_FACE_IOU]
        kept.append(region)
    return kept


def _iou(one: Region, other: Region) -> float:
    """Of the squares as if neither were turned."""
    shared = 1.0
    for a, b in ((one.centre_x, other.centre_x), (one.centre_y, other.centre_y)):
        ends = min(a + one.side / 2, b + other.side / 2), max(a - one.side / 2, b - other.side / 2)
        shared *= max(0.0, ends[0] - ends[1])
    return shared / (one.side**2 + other.side**2 - shared)
