"""The 478 points of each face: found once, then followed from frame to frame.

The graph of MediaPipe's face mesh (Kartynnik et al. 2019, arXiv:1907.06724): a detector finds
faces, a network sees the landmarks in a square around each, and the landmarks say where the square
lies in the next frame. The network is the attention mesh (Grishchenko et al. 2020,
arXiv:2006.10962), which looks at lips and eyes a second time. Nothing is smoothed in time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dubcli.core.onnx_session import open_session
from dubcli.core.types import F32, U8
from dubcli.face.mesh.face_boxes import FaceBox, FaceBoxNetwork
from dubcli.face.mesh.orientation import FaceCheck
from dubcli.face.mesh.region import Region, around, without_doubles
from dubcli.face.mesh.region_sampling import sample

_SIZE = 192
# Outer corners of the eyes: a region is turned so that they lie level.
_EYES = (33, 263)
# Corners and middles of the lips.
_MOUTH = (61, 291, 0, 17)
# Faces that are followed are checked in every so many pictures: landmarks may slip off a face.
_CHECKED_EVERY = 8
# Two pictures are of different shots where sparse pixels differ by more than this in the mean, of
# 255. Most that differ by as much are not: looking once more changes nothing but the time.
_SPARSE, _MOST_ALIKE = 16, 10.0


class LandmarkNetwork:
    """Sees the landmarks of one face.

    Args:
        path: Its ONNX file.

    Raises:
        WeightsError: The file is no such network.
    """

    def __init__(self, path: Path) -> None:
        self._session = open_session(path, "the face mesh")

    def see(self, image: U8, region: Region) -> tuple[F32, float]:
        """Landmarks in a square around a face.

        Args:
            image: Shape (H, W, 3).
            region: Where the face is, px.

        Returns:
            x and y in px of the image, and depth in the same unit, shape (478, 3); and how surely
            there is a face, 0 to 1.
        """
        picture = sample(image, region, _SIZE, is_black_outside=False)
        points, logit = self._session.run(None, {"picture": picture})
        points = points / np.float32(_SIZE)
        points[:, :2] = region.to_picture(points[:, :2])
        points[:, 2] *= np.float32(region.side)
        return points, float(1 / (1 + np.exp(-np.float64(logit[0]))))


class FaceMesh:
    """Finds and follows faces, whichever way up.

    Args:
        boxes: Finds faces that are not followed yet.
        landmarks: Sees a face's landmarks.
        check: Tells which way up faces are, and whether landmarks lie on them.
        max_faces: The detector looks for more only while fewer are followed, and then in every
            other picture and after cuts.
        least_presence: A face is one where the network is surer than this.
        follows: Pictures are a video's frames in order; else each stands for itself.
    """

    def __init__(
        self,
        boxes: FaceBoxNetwork,
        landmarks: LandmarkNetwork,
        check: FaceCheck,
        max_faces: int,
        least_presence: float,
        follows: bool,
    ) -> None:
        self._boxes = boxes
        self._landmarks = landmarks
        self._check = check
        self._max_faces = max_faces
        self._least = least_presence
        self._follows = follows
        self._followed: list[Region] = []
        self._looks = _Looks()
        self.has_changed = False
        self._shape: tuple[int, ...] = ()
        self._num_seen = 0

    def reset(self) -> None:
        """Forget the faces that were followed."""
        self._followed = []
        self._looks.reset()
        self._num_seen = 0

    def follow(self, points: F32) -> None:
        """Follow one more face, from the next picture on, if there is room for it.

        Args:
            points: Its landmarks in the last picture, px. Shape (478, 3).
        """
        if len(self._followed) < self._max_faces:
            self._followed.append(_region_of(points))

    def process(self, image: U8) -> list[F32]:
        """Landmarks of each face.

        Args:
            image: Shape (H, W, 3).

        Returns:
            x, y and depth in px, (0, 0) being the picture's corner. Shapes (478, 3). Then
            `has_changed` tells whether a face was found or lost since the last picture.
        """
        if image.shape != self._shape:
            self.reset()
        self._shape = image.shape
        found: list[FaceBox] = []
        is_due = self._looks.is_due(image) or self.has_changed or not self._followed
        if is_due and len(self._followed) < self._max_faces:
            found = self._boxes.detect(image)[: self._max_faces]
        return self._see(image, found)

    def take_up(self, image: U8, found: Sequence[FaceBox]) -> list[F32]:
        """Landmarks of faces that another detector found, in any turn of a picture.

        Only what is surely a face counts; it is followed from the next picture on.

        Args:
            image: The picture that `process` was given last. Shape (H, W, 3).
            found: Where faces may be.

        Returns:
            As `process`.
        """
        return self._see(image, found[: self._max_faces], only_sure=True)

    def _see(self, image: U8, found: Sequence[FaceBox], only_sure: bool = False) -> list[F32]:
        is_due = self._num_seen % _CHECKED_EVERY == 0
        self._num_seen += 1
        boxes = {
            around(box.low, box.high, box.keypoints[0], box.keypoints[1]): box for box in found
        }
        # By where they lie in the next picture.
        faces: dict[Region, F32] = {}
        new: set[Region] = set()
        self.has_changed = False
        # Those that are followed come last, so they take the place of what was found again.
        for region in without_doubles([*boxes, *self._followed]):
            if region in boxes:
                points = self._look_at_found(image, region, boxes[region], only_sure)
                if points is not None:
                    new.add(_region_of(points))
            else:
                points = self._look(image, region)
                if points is not None and is_due and not self._is_kept(image, points):
                    points = None
                self.has_changed |= points is None
            if points is not None:
                faces[_region_of(points)] = points
        # Squares apart may have shown one face.
        seen = without_doubles(faces)
        self.has_changed |= not new.isdisjoint(seen)
        if self._follows:
            self._followed = seen
        return [faces[region] for region in seen]

    def _look_at_found(
        self, image: U8, region: Region, box: FaceBox, only_sure: bool
    ) -> F32 | None:
        """Landmarks of a face that nobody has followed: as it was found, or turned."""
        points = self._look(image, region)
        evidence = None if points is None else self._check.evidence(image, points)
        if evidence is not None and evidence.is_sure:
            return points
        for turned in self._check.turned(image, box):
            others = self._look(image, turned)
            if others is not None and self._check.evidence(image, others).is_sure:
                return others
        if points is None or evidence is None or only_sure:
            return None
        return points if _leaves(image, points) or evidence.is_possible else None

    def _is_kept(self, image: U8, points: F32) -> bool:
        """Whether landmarks of a face that is followed are told of."""
        return _leaves(image, points) or self._check.is_possible(image, points)

    def _look(self, image: U8, region: Region) -> F32 | None:
        if not region.is_finite:
            return None
        points, presence = self._landmarks.see(image, region)
        return points if presence > self._least else None


class _Looks:
    """Says in which pictures more faces are looked for while some are followed.

    In every other one, and in the first one after a cut: a face that comes into a shot is seen one
    picture late at most.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """What comes next is of another video."""
        self._last: NDArray[np.int16] = np.zeros((0, 0, 3), np.int16)
        self._was_due = False

    def is_due(self, image: U8) -> bool:
        """Whether to look at this picture; asked once a picture. Takes (H, W, 3)."""
        sparse = image[::_SPARSE, ::_SPARSE].astype(np.int16)
        is_cut = (
            sparse.shape != self._last.shape or np.abs(sparse - self._last).mean() > _MOST_ALIKE
        )
        self._was_due = bool(is_cut) or not self._was_due
        self._last = sparse
        return self._was_due


def _region_of(points: F32) -> Region:
    """Where a face lies in the next picture. Takes (478, 3)."""
    plane = points[:, :2]
    return around(plane.min(0), plane.max(0), *plane[list(_EYES)])


def _leaves(image: U8, points: F32) -> bool:
    """Whether the mouth lies outside the picture in part.

    Half a face at the picture's edge can be confirmed by no detector. It is told of though not
    surely a face's: it is never dubbed, and the user is told why.
    """
    mouth = points[list(_MOUTH), :2]
    return bool((mouth < 0).any() or (mouth > image.shape[1::-1]).any())
