"""The default face detector: MediaPipe 0.10.21's networks, run by ONNX Runtime.

It finds what mediapipe finds, without that package: see docs/faces.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dubcli.core.closing import Closeable
from dubcli.core.types import F32, U8, FaceObservation, Frame
from dubcli.face.detect import MAX_FACES, look_closer, observe
from dubcli.face.landmarks import KEPT
from dubcli.face.mesh.face_boxes import FAR, NEAR, FaceBoxNetwork, whole_picture
from dubcli.face.mesh.face_mesh import FaceMesh, LandmarkNetwork
from dubcli.face.mesh.far_search import FarSearch
from dubcli.face.mesh.orientation import QUARTER_TURNS, FaceCheck
from dubcli.face.usability import MIN_FACE_PX

if TYPE_CHECKING:
    from dubcli.weights.manifest import Manifest

# How sure the networks must be of a face: the near detector in a whole picture and in one that
# was cut out, the far one, and the mesh.
_LEAST_NEAR, _LEAST_NEAR_IN_CUT, _LEAST_FAR, _LEAST_PRESENCE = 0.4, 0.5, 0.6, 0.5
# The check tells surer guesses from less sure ones by itself.
_LEAST_IN_CHECK = 0.1
# Beside others, faces smaller than this share of what can be dubbed are passed over.
_LEAST_SIZE = 0.75
# Where no upright face is seen, pictures are turned at most so many frames later: half a second.
_LONGEST_WAIT = 12


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
    """Face mesh that follows faces, and a look for far ones, which are cut out.

    Where no face is seen every frame is searched for far ones; beside faces that are, `FarSearch`
    looks now and then, and what it finds is followed too.

    Where nothing is found, the picture is turned: somebody may lie, or the video may lack
    its rotation tag.

    Args:
        max_faces: How many faces are followed at once.
        networks: In memory; read from the files of this installation by default.

    Raises:
        WeightsError: A network's file is missing or damaged.
    """

    def __init__(self, max_faces: int = MAX_FACES, networks: FaceNetworks | None = None) -> None:
        networks = networks or FaceNetworks.load()
        near, landmarks = networks.near, networks.landmarks
        self._far_network, self._far = networks.far, FarSearch(networks.far)
        check = FaceCheck(near.with_least(_LEAST_IN_CHECK))
        self._near = near
        self._mesh = FaceMesh(near, landmarks, check, max_faces, _LEAST_PRESENCE, follows=True)
        self._still_mesh = FaceMesh(
            near.with_least(_LEAST_NEAR_IN_CUT), landmarks, check, 1, _LEAST_PRESENCE, follows=False
        )
        self._turned = _Waiting(_LONGEST_WAIT)

    def close(self) -> None:
        """Forget the faces; the networks are freed with the detector."""
        self.reset()

    def reset(self) -> None:
        """Forget the faces that were followed: what comes next is of another video."""
        self._mesh.reset()
        self._far.reset()
        self._turned.reset()

    def detect(self, frame: Frame) -> list[FaceObservation]:
        """Faces of one frame, largest first, in display px.

        Args:
            frame: Upright picture; consecutive calls must follow the video's order.
        """
        image = frame.image
        found = self._mesh.process(image)
        if not found:
            found = look_closer(image, self._far.whole(image), self._still_mesh.process)
        else:
            least = _LEAST_SIZE * MIN_FACE_PX / frame.scale
            boxes = self._far.beside(image, found, self._mesh.has_changed, least)
            for points in look_closer(image, boxes, self._still_mesh.process):
                self._mesh.follow(points)
                found.append(points)
        if not found and self._turned.is_due():
            found = self._detect_turned(frame.image)
        if found:
            self._turned.reset()
        return observe(frame, _kept(found))

    def _detect_turned(self, image: U8) -> list[F32]:
        """Faces that lie on their side or upside down."""
        for turn in QUARTER_TURNS[1:]:
            region = whole_picture(image, turn)
            boxes = [
                box for net in (self._near, self._far_network) for box in net.detect(image, region)
            ]
            found = self._mesh.take_up(image, boxes)
            if found:
                return found
        return []


class _Waiting:
    """Says when to try again what failed: after one frame, three, and so on.

    Args:
        longest: Frames between two tries at most.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self.reset()

    def reset(self) -> None:
        """Try at the next frame."""
        self._wait = self._left = 0

    def is_due(self) -> bool:
        """Whether to try at this frame; asked once a frame."""
        if self._left:
            self._left -= 1
            return False
        self._wait = min(2 * self._wait + 1, self._longest - 1)
        self._left = self._wait
        return True


def _kept(faces: list[F32]) -> list[F32]:
    return [points[list(KEPT)].astype(np.float32) for points in faces]
