"""Run one face detector over stored scenes and store what it finds.

    python tests/tools/face_networks/detect_scenes.py onnx|mediapipe FOLDER

Each `NAME.npy` of the folder holds a scene's frames, (T, H, W, 3); `NAME.onnx.npz` or
`NAME.mediapipe.npz` is written beside it. Needs nothing but numpy, OpenCV and the detector's own
packages, so it also runs in an environment that has mediapipe and lacks the rest.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dubcli.core.types import U8, Frame
from dubcli.face.landmarks import NUM_KEPT

Box = tuple[float, float, float, float, float]
Boxes = Callable[[U8], list[Box]]
# MediaPipe's detection graphs ignore what they are told and use these.
_LEAST_NEAR, _LEAST_FAR = 0.5, 0.6


def main() -> None:
    """Run over every scene of the folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", choices=("onnx", "mediapipe"))
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    make, near, far = (onnx_parts if arguments.kind == "onnx" else mediapipe_parts)()
    for path in sorted(arguments.folder.glob("*.npy")):
        frames = np.load(path, mmap_mode="r")
        detector = make()
        found: dict[str, Any] = dict(find_landmarks(detector, frames))
        detector.close()
        found |= _boxes("near", near, frames) | _boxes("far", far, frames)
        np.savez(path.with_suffix(f".{arguments.kind}.npz"), **found)


def find_landmarks(detector: Any, frames: U8) -> dict[str, NDArray[Any]]:
    """Frame number and landmarks of each face, and seconds of processor time a frame."""
    numbers: list[int] = []
    landmarks: list[NDArray[np.float32]] = []
    seconds: list[float] = []
    for index, image in enumerate(frames):
        frame = Frame(index=index, pts=index, image=np.ascontiguousarray(image))
        start = time.process_time()
        faces = detector.detect(frame)
        seconds.append(time.process_time() - start)
        numbers += [index] * len(faces)
        landmarks += [face.landmarks for face in faces]
    return {
        "frame": np.array(numbers, np.int64),
        "landmarks": np.array(landmarks, np.float32).reshape(-1, NUM_KEPT, 3),
        "seconds": np.array(seconds),
    }


def _boxes(name: str, find: Boxes, frames: U8) -> dict[str, NDArray[Any]]:
    """Of every tenth frame: its number, score and corners of each box."""
    rows = [
        (index, *box)
        for index in range(0, len(frames), 10)
        for box in find(np.ascontiguousarray(frames[index]))
    ]
    return {name: np.array(rows, np.float64).reshape(-1, 6)}


def onnx_parts() -> tuple[Callable[[], Any], Boxes, Boxes]:
    from dubcli.face.mesh.face_boxes import FAR, NEAR, FaceBoxNetwork
    from dubcli.face.onnx_detector import OnnxFaceDetector
    from dubcli.weights.resolve import part_path

    near = FaceBoxNetwork(part_path("face-near"), NEAR, _LEAST_NEAR)
    far = FaceBoxNetwork(part_path("face-far"), FAR, _LEAST_FAR)

    def of(network: FaceBoxNetwork) -> Boxes:
        return lambda image: [
            (
                box.score,
                float(box.low[0]),
                float(box.low[1]),
                float(box.high[0]),
                float(box.high[1]),
            )
            for box in network.detect(image)
        ]

    return OnnxFaceDetector, of(near), of(far)


def mediapipe_parts() -> tuple[Callable[[], Any], Boxes, Boxes]:
    os.environ["GLOG_minloglevel"] = "2"  # noqa: SIM112
    import mediapipe as mp  # pyright: ignore[reportMissingImports]

    from dubcli.face.mediapipe_detector import MediaPipeDetector

    solutions: Any = mp.solutions  # pyright: ignore[reportAttributeAccessIssue]

    def of(graph: Any) -> Boxes:
        def find(image: U8) -> list[Box]:
            height, width = image.shape[:2]
            boxes: list[Box] = []
            for seen in graph.process(image).detections or ():
                box = seen.location_data.relative_bounding_box
                x, y = box.xmin * width, box.ymin * height
                far = x + box.width * width, y + box.height * height
                boxes.append((seen.score[0], x, y, *far))
            return boxes

        return find

    near, far = (
        of(solutions.face_detection.FaceDetection(model_selection=selection))
        for selection in (0, 1)
    )
    return MediaPipeDetector, near, far


if __name__ == "__main__":
    main()
