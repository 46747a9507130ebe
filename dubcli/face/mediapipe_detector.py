"""The other face detector: the package mediapipe 0.10.21, an extra of Python before 3.13."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from dubcli.core.closing import Closeable
from dubcli.core.errors import DeviceError
from dubcli.core.types import F32, F64, U8, FaceObservation, Frame
from dubcli.face.detect import MAX_FACES, look_closer, observe
from dubcli.face.landmarks import KEPT


class MediaPipeDetector(Closeable):
    """Face mesh in video mode; where it sees nothing, far faces are looked for and cut out.

    Args:
        max_faces: How many faces are followed at once.

    Raises:
        DeviceError: A system library that mediapipe needs is missing.
    """

    def __init__(self, max_faces: int = MAX_FACES) -> None:
        with _silenced_stderr():
            solutions = _import_solutions()
            self._mesh = solutions.face_mesh.FaceMesh(
                static_image_mode=False,
                max_num_faces=max_faces,
                refine_landmarks=True,
                min_detection_confidence=0.4,
                min_tracking_confidence=0.5,
            )
            # Release 0.10.21 ignores the confidence that this graph is given: it is always 0.6.
            self._far = solutions.face_detection.FaceDetection(
                model_selection=1, min_detection_confidence=0.6
            )
            self._still_mesh = solutions.face_mesh.FaceMesh(
                static_image_mode=True, max_num_faces=1, refine_landmarks=True
            )
            # The graphs print while they start; that must happen inside the silence.
            blank = np.zeros((64, 64, 3), np.uint8)
            for graph in (self._mesh, self._far, self._still_mesh):
                graph.process(blank)

    def close(self) -> None:
        """Release the graphs."""
        for graph in (self._mesh, self._far, self._still_mesh):
            graph.close()

    def reset(self) -> None:
        """Forget the faces that were followed: what comes next is of another video."""
        for graph in (self._mesh, self._far, self._still_mesh):
            graph.reset()

    def detect(self, frame: Frame) -> list[FaceObservation]:
        """Faces of one frame, largest first, in display px.

        Args:
            frame: Upright picture; consecutive calls must follow the video's order.
        """
        found = _mesh_points(self._mesh, frame.image)
        if not found:
            found = self._detect_far(frame.image)
        return observe(frame, found)

    def _detect_far(self, image: U8) -> list[F32]:
        height, width = image.shape[:2]
        result = self._far.process(image)
        boxes: list[tuple[F64, F64]] = []
        for detection in result.detections or ():
            box = detection.location_data.relative_bounding_box
            low: F64 = np.array([box.xmin * width, box.ymin * height], np.float64)
            size: F64 = np.array([box.width * width, box.height * height], np.float64)
            boxes.append((low, low + size))
        return look_closer(image, boxes, lambda cut: _mesh_points(self._still_mesh, cut))


def _mesh_points(mesh: Any, image: U8) -> list[F32]:
    """Kept points of each face, xyz, image px. Shapes (K, 3)."""
    height, width = image.shape[:2]
    result = mesh.process(image)
    faces: list[F32] = []
    for face in result.multi_face_landmarks or ():
        marks = face.landmark
        faces.append(
            np.array(
                [(marks[i].x * width, marks[i].y * height, marks[i].z * width) for i in KEPT],
                dtype=np.float32,
            )
        )
    return faces


def _import_solutions() -> Any:
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import mediapipe.python.solutions.face_detection  # pyright: ignore[reportMissingImports]
        import mediapipe.python.solutions.face_mesh  # noqa: F401  # pyright: ignore[reportMissingImports]
        from mediapipe.python import solutions  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        library = str(error).split(":")[0]
        raise DeviceError(
            f"The face detector cannot start: {library} is missing.",
            "Install it, e.g. 'apt-get install libgl1 libglib2.0-0'.",
        ) from error
    return solutions


@contextlib.contextmanager
def _silenced_stderr() -> Iterator[None]:
    """Hide what the C++ side prints on start; Python's own stderr is flushed first."""
    sys.stderr.flush()
    saved = os.dup(2)
    with open(os.devnull, "wb") as sink:
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
