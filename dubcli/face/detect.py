"""Find faces and their landmarks in one frame: a small protocol and the default backend.

The default backend is MediaPipe 0.10's face mesh (Kartynnik et al. 2019, arXiv:1907.06724, with
the attention mesh of arXiv:2006.10962 for lips and eyes); its models lie inside the wheel.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from dubcli.core.closing import Closeable
from dubcli.core.errors import DeviceError
from dubcli.core.types import F32, U8, FaceObservation, Frame
from dubcli.face.landmarks import KEPT

MAX_FACES = 6
# The landmark network looks at 256 px; pictures of a longer side than this only cost time.
MAX_SIDE = 960
# A face found by the far-range detector is cut out with this margin before the mesh looks at it.
_RETRY_MARGIN = 0.6
_MIN_FACE_PX = 24


class FaceDetector(Protocol):
    """What the pipeline needs of a detector."""

    def detect(self, frame: Frame) -> list[FaceObservation]:
        """Faces of one frame, in display px."""
        ...

    def close(self) -> None:
        """Release the backend's resources."""
        ...


class MediaPipeDetector(Closeable):
    """Face mesh in video mode; where it sees nothing, far faces are looked for and cut out.

    Args:
        max_faces: How many faces are followed at once.

    Raises:
        DeviceError: A system library that the detector needs is missing.
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
            self._far = solutions.face_detection.FaceDetection(
                model_selection=1, min_detection_confidence=0.4
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
        observations = [_observe(frame, points, 1.0) for points in found]
        observations = [seen for seen in observations if _side(seen) >= _MIN_FACE_PX]
        return sorted(observations, key=_side, reverse=True)

    def _detect_far(self, image: U8) -> list[F32]:
        height, width = image.shape[:2]
        result = self._far.process(image)
        points: list[F32] = []
        for detection in result.detections or ():
            box = detection.location_data.relative_bounding_box
            side = max(box.width * width, box.height * height) * (1 + 2 * _RETRY_MARGIN)
            cx, cy = (box.xmin + box.width / 2) * width, (box.ymin + box.height / 2) * height
            x0, y0 = int(max(0, cx - side / 2)), int(max(0, cy - side / 2))
            x1, y1 = int(min(width, cx + side / 2)), int(min(height, cy + side / 2))
            if min(x1 - x0, y1 - y0) < _MIN_FACE_PX:
                continue
            cut = np.ascontiguousarray(image[y0:y1, x0:x1])
            for inside in _mesh_points(self._still_mesh, cut):
                inside[:, :2] += (x0, y0)
                points.append(inside)
        return points


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


def _observe(frame: Frame, points: F32, score: float) -> FaceObservation:
    # MediaPipe measures from the picture's corner, this project from the first pixel's centre.
    landmarks = points * np.float32(frame.scale)
    landmarks[:, :2] -= np.float32(0.5)
    low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
    return FaceObservation(
        frame_index=frame.index,
        box=np.concatenate([low, high + 1]).astype(np.float32),
        landmarks=landmarks,
        score=score,
    )


def _side(seen: FaceObservation) -> float:
    return float(max(seen.box[2] - seen.box[0], seen.box[3] - seen.box[1]))


def _import_solutions() -> Any:
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import mediapipe.python.solutions.face_detection
        import mediapipe.python.solutions.face_mesh  # noqa: F401
        from mediapipe.python import solutions
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
