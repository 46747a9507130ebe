"""The default face detector: MediaPipe 0.10.21's networks, run by ONNX Runtime.

It finds what mediapipe finds, without that package: see docs/faces.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dubcli.core.closing import Closeable
from dubcli.core.types import F32, FaceObservation, Frame
from dubcli.face.detect import MAX_FACES, look_closer, observe
from dubcli.face.landmarks import KEPT
from dubcli.face.mesh.face_boxes import FAR, NEAR, FaceBoxNetwork
from dubcli.face.mesh.face_mesh import FaceMesh, LandmarkNetwork

if TYPE_CHECKING:
    from dubcli.weights.manifest import Manifest

# How sure the networks must be of a face: the near detector in a whole picture and in one that
# was cut out, the far one, and the mesh.
_LEAST_NEAR, _LEAST_NEAR_IN_CUT, _LEAST_FAR, _LEAST_PRESENCE = 0.4, 0.5, 0.6, 0.5


@dataclass(frozen=True, kw_only=True)
class FaceNetworks:
    """The networks in memory; they know no faces, so any number of detectors share them.

    Attributes:
        near: Finds faces that fill a good part of the picture.
        far: Finds smaller ones.
        landmarks: Sees the landmarks of one face.
    """

    near: FaceBoxNetwork
    far: FaceBoxNetwork
    landmarks: LandmarkNetwork

    @classmethod
    def load(cls, manifest: Manifest | None = None) -> FaceNetworks:
        """Read each file once.

        Args:
            manifest: Names the files; the one of this installation by default.

        Raises:
            WeightsError: A file is missing or damaged.
        """
        # Imported here: weights know models, which know landmarks.
        from dubcli.weights.manifest import load_manifest
        from dubcli.weights.resolve import part_path

        manifest = manifest or load_manifest()
        return cls(
            near=FaceBoxNetwork(part_path("face-near", manifest), NEAR, _LEAST_NEAR),
            far=FaceBoxNetwork(part_path("face-far", manifest), FAR, _LEAST_FAR),
            landmarks=LandmarkNetwork(part_path("face-mesh", manifest)),
        )


class OnnxFaceDetector(Closeable):
    """Face mesh that follows faces; where it sees nothing, far faces are looked for and cut out.

    Args:
        max_faces: How many faces are followed at once.
        networks: In memory; read from the files of this installation by default.

    Raises:
        WeightsError: A network's file is missing or damaged.
    """

    def __init__(self, max_faces: int = MAX_FACES, networks: FaceNetworks | None = None) -> None:
        networks = networks or FaceNetworks.load()
        near, landmarks = networks.near, networks.landmarks
        self._far = networks.far
        self._mesh = FaceMesh(near, landmarks, max_faces, _LEAST_PRESENCE, follows=True)
        self._still_mesh = FaceMesh(
            near.with_least(_LEAST_NEAR_IN_CUT), landmarks, 1, _LEAST_PRESENCE, follows=False
        )

    def close(self) -> None:
        """Forget the faces; the networks are freed with the detector."""
        self.reset()

    def reset(self) -> None:
        """Forget the faces that were followed: what comes next is of another video."""
        self._mesh.reset()

    def detect(self, frame: Frame) -> list[FaceObservation]:
        """Faces of one frame, largest first, in display px.

        Args:
            frame: Upright picture; consecutive calls must follow the video's order.
        """
        found = _kept(self._mesh.process(frame.image))
        if not found:
            boxes = (
                (box.low.astype(np.float64), box.high.astype(np.float64))
                for box in self._far.detect(frame.image)
            )
            found = look_closer(
                frame.image, boxes, lambda cut: _kept(self._still_mesh.process(cut))
            )
        return observe(frame, found)


def _kept(faces: list[F32]) -> list[F32]:
    return [points[list(KEPT)].astype(np.float32) for points in faces]
