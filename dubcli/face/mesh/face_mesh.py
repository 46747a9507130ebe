"""The 478 points of each face: found once, then followed from frame to frame.

The graph of MediaPipe's face mesh (Kartynnik et al. 2019, arXiv:1907.06724): a detector finds
faces, a network sees the landmarks in a square around each, and the landmarks say where the square
lies in the next frame. The network is the attention mesh (Grishchenko et al. 2020,
arXiv:2006.10962), which looks at lips and eyes a second time. Nothing is smoothed in time.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dubcli.core.onnx_session import open_session
from dubcli.core.types import F32, U8
from dubcli.face.mesh.face_boxes import FaceBoxNetwork
from dubcli.face.mesh.region import Region, around, without_doubles
from dubcli.face.mesh.region_sampling import sample

_SIZE = 192
# Outer corners of the eyes: a region is turned so that they lie level.
_EYES = (33, 263)


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
    """Finds and follows faces.

    Args:
        boxes: Finds faces that are not followed yet.
        landmarks: Sees a face's landmarks.
        max_faces: The detector looks for more only while fewer are followed.
        least_presence: A face is one where the network is surer than this.
        follows: Pictures are a video's frames in order; else each stands for itself.
    """

    def __init__(
        self,
        boxes: FaceBoxNetwork,
        landmarks: LandmarkNetwork,
        max_faces: int,
        least_presence: float,
        follows: bool,
    ) -> None:
        self._boxes = boxes
        self._landmarks = landmarks
        self._max_faces = max_faces
        self._least = least_presence
        self._follows = follows
        self._followed: list[Region] = []
        self._shape: tuple[int, ...] = ()

    def reset(self) -> None:
        """Forget the faces that were followed."""
        self._followed = []

    def process(self, image: U8) -> list[F32]:
        """Landmarks of each face.

        Args:
            image: Shape (H, W, 3).

        Returns:
            x, y and depth in px, (0, 0) being the picture's corner. Shapes (478, 3).
        """
        if image.shape != self._shape:
            self.reset()
        self._shape = image.shape
        found: list[Region] = []
        if len(self._followed) < self._max_faces:
            found = [
                around(box.low, box.high, box.keypoints[0], box.keypoints[1])
                for box in self._boxes.detect(image)[: self._max_faces]
            ]
        faces: list[F32] = []
        regions: list[Region] = []
        # Those that are followed come last, so they take the place of what was found again.
        for region in without_doubles([*found, *self._followed]):
            if not region.is_finite:
                continue
            points, presence = self._landmarks.see(image, region)
            if presence <= self._least:
                continue
            faces.append(points)
            plane = points[:, :2]
            regions.append(around(plane.min(0), plane.max(0), *plane[list(_EYES)]))
        if self._follows:
            self._followed = regions
        return faces
