"""Small faces beside others that are followed: looked for part by part of the picture.

A face that just can be dubbed is a dozen pixels high where the far detector sees the whole picture,
and is not seen. In a square of `_TILE` of the shorter side it is. So that this costs little, all
parts are looked at when a face came or went (a cut, as a rule), and else one part now and then.
"""

from __future__ import annotations

import math

import numpy as np

from dubcli.core.types import F32, F64, U8
from dubcli.face.mesh.face_boxes import FaceBoxNetwork

# Side of a part, share of the picture's shorter side, and how much of it the next part shows too.
_TILE, _OVERLAP = 0.7, 0.22
# Frames between two parts, and at least between two looks at all of them.
_EVERY, _ALL_EVERY = 5, 10

Box = tuple[F64, F64]
Corners = tuple[int, int, int, int]


class FarSearch:
    """Which parts of which frames are looked at, and what is seen there.

    Args:
        network: Of the far detector.
    """

    def __init__(self, network: FaceBoxNetwork) -> None:
        self._network = network
        self.reset()

    def reset(self) -> None:
        """What comes next is of another video."""
        self._frame = self._next = 0
        self._since_all = _ALL_EVERY
        self._is_all_due = True

    def whole(self, image: U8) -> list[Box]:
        """Faces where the whole picture is looked at.

        Args:
            image: Shape (H, W, 3).

        Returns:
            Upper left and lower right corners, px.
        """
        return self._in_part(image, (0, 0, image.shape[1], image.shape[0]))

    def beside(self, image: U8, seen: list[F32], has_changed: bool, least_px: float) -> list[Box]:
        """Faces that were not seen yet, where it is time to look.

        Args:
            image: The next frame. Shape (H, W, 3).
            seen: Landmarks of the faces that were, px. Shapes (M, 3).
            has_changed: A face came or went since the frame before.
            least_px: Smaller ones are left out.
        """
        self._frame += 1
        self._since_all += 1
        self._is_all_due |= has_changed
        parts = parts_of(image.shape[0], image.shape[1])
        if self._is_all_due and self._since_all >= _ALL_EVERY:
            self._is_all_due, self._since_all = False, 0
        elif self._frame % _EVERY == 0:
            self._next = (self._next + 1) % len(parts)
            parts = [parts[self._next]]
        else:
            return []
        known: list[Box] = [
            (points[:, :2].min(0).astype(np.float64), points[:, :2].max(0).astype(np.float64))
            for points in seen
        ]
        found: list[Box] = []
        for box in (box for part in parts for box in self._in_part(image, part)):
            is_large = float((box[1] - box[0]).max()) >= least_px
            if is_large and not any(_is_same(box, other) for other in known):
                known.append(box)
                found.append(box)
        return found

    def _in_part(self, image: U8, part: Corners) -> list[Box]:
        x0, y0, x1, y1 = part
        shift = np.array((x0, y0), np.float64)
        boxes = self._network.detect(np.ascontiguousarray(image[y0:y1, x0:x1]))
        return [(box.low + shift, box.high + shift) for box in boxes]


def parts_of(height: int, width: int) -> list[Corners]:
    """Left, top, right and bottom of the parts of a picture; the first is all of it.

    Args:
        height: Of the picture, px.
        width: Of the picture, px.
    """
    side = max(1, round(_TILE * min(height, width)))
    columns, rows = _starts(width, side), _starts(height, side)
    tiles = [(x, y, x + side, y + side) for y in rows for x in columns]
    return [(0, 0, width, height), *tiles]


def _starts(length: int, side: int) -> list[int]:
    count = math.ceil((length - side) / ((1 - _OVERLAP) * side)) + 1
    return np.linspace(0, length - side, count).round().astype(int).tolist()


def _is_same(one: Box, other: Box) -> bool:
    """Whether one of two boxes holds the other's middle."""
    return _holds(one, (other[0] + other[1]) / 2) or _holds(other, (one[0] + one[1]) / 2)


def _holds(box: Box, point: F64) -> bool:
    return bool((box[0] <= point).all() and (point <= box[1]).all())
