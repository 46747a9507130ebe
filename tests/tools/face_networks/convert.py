"""Convert MediaPipe's face networks to ONNX files that ship with the package.

    pip download --no-deps --python-version 3.11 --only-binary :all: mediapipe==0.10.21
    python -m venv tools && tools/bin/pip install onnx tflite
    tools/bin/python tests/tools/face_networks/convert.py mediapipe-0.10.21-*.whl dubcli/assets

It prints each file's size and sha256, which stand in `weights_manifest.json`. Weights keep the
half precision in which the wheel holds them, so nothing is lost.
"""

from __future__ import annotations

import argparse
import hashlib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import attention
from onnx import TensorProto  # pyright: ignore[reportMissingImports]
from onnx_graph import GraphBuilder
from operators import Lowering
from tflite_graph import read_graph

_FACTS = {
    "license": "Apache-2.0",
    "copyright": "The MediaPipe Authors",
    "source": "wheel mediapipe 0.10.21",
}


@dataclass(frozen=True)
class Network:
    """One network of the wheel.

    Attributes:
        member: Its file in the wheel.
        sha256: Of that file.
        name: Its file in the package.
        lowest: What the network takes for black; it takes 1 for white.
        finish: Names the outputs: value and shape of each.
    """

    member: str
    sha256: str
    name: str
    lowest: float
    finish: Callable[[Lowering], dict[str, tuple[str, tuple[int, ...]]]]


def _detections(lowering: Lowering) -> dict[str, tuple[str, tuple[int, ...]]]:
    boxes, scores = lowering.graph.outputs
    count, values = lowering.shape(boxes)[1:]
    build = lowering.builder
    return {
        "boxes": (
            build.add("Reshape", lowering.value(boxes), build.ints(count, values)),
            (count, values),
        ),
        "logits": (build.add("Reshape", lowering.value(scores), build.ints(count)), (count,)),
    }


def _points(lowering: Lowering) -> dict[str, tuple[str, tuple[int, ...]]]:
    build = lowering.builder
    presence = lowering.value(lowering.graph.outputs[6])
    return {
        "points": (attention.join_points(lowering), (attention.NUM_POINTS, 3)),
        "logit": (build.add("Reshape", presence, build.ints(1)), (1,)),
    }


NETWORKS = (
    Network(
        member="mediapipe/modules/face_detection/face_detection_short_range.tflite",
        sha256="bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
        name="face-near.v1.onnx",
        lowest=-1.0,
        finish=_detections,
    ),
    Network(
        member="mediapipe/modules/face_detection/face_detection_full_range_sparse.tflite",
        sha256="2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
        name="face-far.v1.onnx",
        lowest=-1.0,
        finish=_detections,
    ),
    Network(
        member="mediapipe/modules/face_landmark/face_landmark_with_attention.tflite",
        sha256="e06a804e0144f9929eda782122916b35d60c697c3c9344013ca2bbe76a6ce2b4",
        name="face-mesh.v1.onnx",
        lowest=0.0,
        finish=_points,
    ),
)
_CUSTOM = {
    "Landmarks2TransformMatrix": attention.placement,
    "TransformTensorBilinear": attention.sample,
    "TransformLandmarks": attention.place_back,
}


def convert(content: bytes, network: Network) -> bytes:
    """One network's ONNX file; its input is `picture`, RGB bytes of shape (H, W, 3)."""
    graph = read_graph(content)
    build = GraphBuilder()
    planes = build.add("Transpose", "picture", perm=[2, 0, 1])
    planes = build.add("Unsqueeze", planes, build.ints(0))
    values = build.add("Cast", planes, to=TensorProto.FLOAT)
    values = build.add("Mul", values, build.floats((1 - network.lowest) / 255))
    if network.lowest != 0:
        values = build.add("Add", values, build.floats(network.lowest))
    lowering = Lowering(graph, build, values)
    lowering.run(_CUSTOM)
    outputs = network.finish(lowering)
    inputs = {"picture": graph.tensors[graph.inputs[0]].shape[1:]}
    return build.build(Path(network.name).stem, inputs, outputs, _FACTS)


def main() -> None:
    """Read the wheel, write the networks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("wheel", type=Path, help="the wheel of mediapipe 0.10.21")
    parser.add_argument("folder", type=Path, help="where the ONNX files are written")
    arguments = parser.parse_args()
    with zipfile.ZipFile(arguments.wheel) as wheel:
        for network in NETWORKS:
            content = wheel.read(network.member)
            if hashlib.sha256(content).hexdigest() != network.sha256:
                raise SystemExit(f"{network.member} is not the file of mediapipe 0.10.21.")
            made = convert(content, network)
            (arguments.folder / network.name).write_bytes(made)
            print(f"{network.name}  {len(made)} bytes  sha256 {hashlib.sha256(made).hexdigest()}")


if __name__ == "__main__":
    main()
