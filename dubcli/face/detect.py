"""Find faces and their landmarks in one frame: the protocol, the choice, what backends share.

`face.onnx_detector` runs MediaPipe's networks by ONNX Runtime; `face.mediapipe_detector` runs the
package they come from, where it is installed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np

from dubcli.core.errors import DeviceError
from dubcli.core.types import DETECTORS, F32, F64, U8, FaceObservation, Frame

if TYPE_CHECKING:
    from dubcli.face.onnx_detector import FaceNetworks

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


class VideoFaceDetector(FaceDetector, Protocol):
    """A detector that follows faces through a video; leaving its context closes it."""

    def reset(self) -> None:
        """Forget the faces that were followed: what comes next is of another video."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def open_detector(
    kind: str = DETECTORS[0], max_faces: int = MAX_FACES, networks: FaceNetworks | None = None
) -> VideoFaceDetector:
    """A face detector.

    Args:
        kind: One of `DETECTORS`.
        max_faces: How many faces are followed at once.
        networks: Of the detector `onnx`, in memory; read from their files by default.

    Raises:
        DeviceError: mediapipe is asked for and not installed, or lacks a system library.
        WeightsError: A network's file is missing or damaged.
    """
    require_detector(kind)
    # Imported here: both import this module, and mediapipe takes seconds.
    if kind == "mediapipe":
        from dubcli.face.mediapipe_detector import MediaPipeDetector

        return MediaPipeDetector(max_faces)
    from dubcli.face.onnx_detector import OnnxFaceDetector

    return OnnxFaceDetector(max_faces, networks)


def require_detector(kind: str) -> None:
    """Refuse a detector whose package is not installed, without loading it.

    Raises:
        DeviceError: mediapipe is asked for and not installed.
    """
    if kind == "mediapipe" and importlib.util.find_spec("mediapipe") is None:
        raise DeviceError(
            "--detector mediapipe needs the package mediapipe, which is not installed.",
            "Leave it out, or on Python 3.11 or 3.12: pip install 'dubcli[mediapipe]'.",
        )


def look_closer(
    image: U8, boxes: Iterable[tuple[F64, F64]], find: Callable[[U8], list[F32]]
) -> list[F32]:
    """Landmarks of faces that are too small for the whole picture to show them.

    Args:
        image: Shape (H, W, 3).
        boxes: Corners of the faces, px.
        find: Landmarks in a picture that shows little but the face; px, corner at (0, 0).

    Returns:
        Landmarks in px of the image. Shapes (K, 3).
    """
    size = np.array(image.shape[1::-1])
    points: list[F32] = []
    for low, high in boxes:
        reach = float((high - low).max()) * (0.5 + _RETRY_MARGIN)
        centre = (low + high) / 2
        x0, y0 = np.maximum(centre - reach, 0).astype(int)
        x1, y1 = np.minimum(centre + reach, size).astype(int)
        if min(x1 - x0, y1 - y0) < _MIN_FACE_PX:
            continue
        for inside in find(np.ascontiguousarray(image[y0:y1, x0:x1])):
            inside[:, :2] += (x0, y0)
            points.append(inside)
    return points


def observe(frame: Frame, found: list[F32]) -> list[FaceObservation]:
    """Faces that are large enough, largest first, in display px.

    Args:
        frame: Where they were found.
        found: Landmarks in px of its image, corner at (0, 0). Shapes (K, 3).
    """
    observations = [_observe(frame, points, 1.0) for points in found]
    observations = [seen for seen in observations if _side(seen) >= _MIN_FACE_PX]
    return sorted(observations, key=_side, reverse=True)


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
