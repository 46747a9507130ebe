"""TensorFlow Lite's operators as ONNX nodes.

TensorFlow Lite keeps pictures as (1, H, W, C), ONNX as (1, C, H, W): values of rank 4 are kept in
ONNX's order here and turned where an operator sees the order (reshapes, slices).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tflite  # pyright: ignore[reportMissingImports]
from numpy.typing import NDArray
from onnx_graph import GraphBuilder
from tflite_graph import Graph, Operator

# Channels that ONNX Runtime keeps together where it has the widest vectors.
_BLOCK = 16
_TO_NCHW, _TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)
_Lower = Callable[["Lowering", Operator], str]


class Lowering:
    """Turns the operators of one graph into nodes of a builder.

    Args:
        graph: The network that is read.
        builder: The network that is made.
        picture: The value that the graph's input takes, (1, C, H, W).
    """

    def __init__(self, graph: Graph, builder: GraphBuilder, picture: str) -> None:
        self.graph = graph
        self.builder = builder
        self._values = {graph.inputs[0]: picture}
        self._constants: dict[int, NDArray[Any]] = {
            number: tensor.value
            for number, tensor in enumerate(graph.tensors)
            if tensor.value is not None
        }

    def run(self, custom: dict[str, _Lower]) -> None:
        """Lower every operator in order.

        Raises:
            ValueError: An operator is of a kind, or has options, that are not known here.
        """
        known = {**_BUILTIN, **custom}
        for operator in self.graph.operators:
            if operator.kind in ("DEQUANTIZE", "DENSIFY"):
                # Constants are already dense, and their half precision is kept.
                self._constants[operator.outputs[0]] = self._constants[operator.inputs[0]]
            elif operator.kind in known:
                self._values[operator.outputs[0]] = known[operator.kind](self, operator)
            else:
                raise ValueError(f"Operator {operator.kind} is not converted here.")

    def value(self, number: int) -> str:
        """The node value of a tensor; a constant of rank 4 is turned to (N, C, H, W)."""
        if number in self._values:
            return self._values[number]
        constant = self._constants[number]
        return self.builder.constant(
            constant.transpose(_TO_NCHW) if constant.ndim == 4 else constant
        )

    def constant(self, number: int) -> NDArray[Any]:
        """The value of a constant tensor, in the file's order and precision."""
        return self._constants[number]

    def shape(self, number: int) -> tuple[int, ...]:
        """A tensor's shape in the file's order."""
        return self.graph.tensors[number].shape

    def in_file_order(self, number: int) -> str:
        """A computed value in the file's order of axes."""
        value, shape = self.value(number), self.shape(number)
        if len(shape) == 4 and shape[1:3] != (1, 1):
            return self.builder.add("Transpose", value, perm=_TO_NHWC)
        return value


def _activate(lowering: Lowering, value: str, function: int) -> str:
    if function == tflite.ActivationFunctionType.NONE:
        return value
    if function == tflite.ActivationFunctionType.RELU:
        return lowering.builder.add("Relu", value)
    raise ValueError(f"Activation {function} is not converted here.")


def _pads(sizes: tuple[int, int], window: tuple[int, int], stride: int, padding: int) -> list[int]:
    """Rows above, columns left, rows below, columns right."""
    if padding == tflite.Padding.VALID:
        return [0, 0, 0, 0]
    totals = [
        max((-(-size // stride) - 1) * stride + side - size, 0)
        for size, side in zip(sizes, window, strict=True)
    ]
    before = [total // 2 for total in totals]
    return before + [total - first for total, first in zip(totals, before, strict=True)]


def _convolve(lowering: Lowering, operator: Operator) -> str:
    options = operator.options
    weight = lowering.constant(operator.inputs[1])
    is_depthwise = operator.kind == "DEPTHWISE_CONV_2D"
    if options.DilationHFactor() != 1 or options.StrideH() != options.StrideW():
        raise ValueError("Dilated convolutions and uneven strides are not converted here.")
    if is_depthwise and options.DepthMultiplier() != 1:
        raise ValueError("Depth multipliers are not converted here.")
    height, width, channels = lowering.shape(operator.inputs[0])[1:]
    stride, window = options.StrideH(), (weight.shape[1], weight.shape[2])
    value = lowering.builder.add(
        "Conv",
        lowering.value(operator.inputs[0]),
        lowering.builder.constant(weight.transpose((3, 0, 1, 2) if is_depthwise else _TO_NCHW)),
        lowering.builder.constant(lowering.constant(operator.inputs[2])),
        kernel_shape=list(window),
        strides=[stride, stride],
        pads=_pads((height, width), window, stride, options.Padding()),
        group=channels if is_depthwise else 1,
    )
    return _activate(lowering, value, options.FusedActivationFunction())


def _pool(lowering: Lowering, operator: Operator) -> str:
    options = operator.options
    window, stride = (options.FilterHeight(), options.FilterWidth()), options.StrideH()
    height, width = lowering.shape(operator.inputs[0])[1:3]
    value = lowering.builder.add(
        "MaxPool",
        lowering.value(operator.inputs[0]),
        kernel_shape=list(window),
        strides=[stride, stride],
        pads=_pads((height, width), window, stride, options.Padding()),
    )
    return _activate(lowering, value, options.FusedActivationFunction())


def _arithmetic(lowering: Lowering, operator: Operator) -> str:
    kind = {"ADD": "Add", "MUL": "Mul"}[operator.kind]
    value = lowering.builder.add(kind, *(lowering.value(number) for number in operator.inputs))
    return _activate(lowering, value, operator.options.FusedActivationFunction())


def _rectify(lowering: Lowering, operator: Operator) -> str:
    return lowering.builder.add("Relu", lowering.value(operator.inputs[0]))


def _rectify_with_slope(lowering: Lowering, operator: Operator) -> str:
    """max(x, 0) + a min(x, 0), as x + max((a - 1) x, 0), or x - max((1 - a) x, 0) where a > 1.

    The products are depthwise convolutions: ONNX Runtime runs those in the blocked layout of the
    convolutions around them, the rectifier and the sum with them. It has no fast PRelu.
    """
    build = lowering.builder
    slope = lowering.constant(operator.inputs[1])
    if slope.shape[:2] != (1, 1):
        raise ValueError("Slopes that differ by place are not converted here.")
    value, channels = lowering.value(operator.inputs[0]), slope.shape[2]
    slope = slope.reshape(-1, 1, 1, 1)
    sign = np.where(slope > 1, -1, 1).astype(np.float16)
    weight = build.add(
        "Mul",
        build.constant(sign),
        build.add("Sub", build.constant(slope), build.floats(1.0)),
    )
    below = build.add("Conv", value, weight, kernel_shape=[1, 1], group=channels)
    below = build.add("Relu", below)
    below = build.add("Conv", below, build.constant(sign), kernel_shape=[1, 1], group=channels)
    return build.add("Add", value, below)


def _pad(lowering: Lowering, operator: Operator) -> str:
    before, after = lowering.constant(operator.inputs[1])[list(_TO_NCHW)].T
    channels = lowering.shape(operator.inputs[0])[3]
    is_blocked = channels % _BLOCK == 0 and int(after[1]) % _BLOCK == 0
    if is_blocked and after.nonzero()[0].tolist() == [1] and not before.any():
        # As a convolution it stays in the blocked layout, and the sum after it is one with it.
        weight = np.eye(channels + int(after[1]), channels, dtype=np.float16)[..., None, None]
        return lowering.builder.add(
            "Conv",
            lowering.value(operator.inputs[0]),
            lowering.builder.constant(weight),
            kernel_shape=[1, 1],
        )
    return lowering.builder.add(
        "Pad",
        lowering.value(operator.inputs[0]),
        lowering.builder.ints(*(int(count) for count in (*before, *after))),
    )


def _reshape(lowering: Lowering, operator: Operator) -> str:
    shape = lowering.shape(operator.outputs[0])
    if len(shape) == 4:
        if shape[1:3] != (1, 1):
            raise ValueError(f"A reshape to {shape} is not converted here.")
        shape = (shape[0], shape[3], 1, 1)
    return lowering.builder.add(
        "Reshape", lowering.in_file_order(operator.inputs[0]), lowering.builder.ints(*shape)
    )


def _whole_slice(lowering: Lowering, operator: Operator) -> str:
    if lowering.shape(operator.inputs[0]) != lowering.shape(operator.outputs[0]):
        raise ValueError("Slices that leave something out are not converted here.")
    return lowering.value(operator.inputs[0])


def _concatenate(lowering: Lowering, operator: Operator) -> str:
    if len(lowering.shape(operator.outputs[0])) == 4:
        raise ValueError("Pictures are not joined in any network that is converted here.")
    values = (lowering.value(number) for number in operator.inputs)
    return lowering.builder.add("Concat", *values, axis=operator.options.Axis())


def _resize(lowering: Lowering, operator: Operator) -> str:
    options = operator.options
    if options.AlignCorners() or not options.HalfPixelCenters():
        raise ValueError("Only resizing by half pixel centres is converted here.")
    height, width = lowering.shape(operator.inputs[0])[1:3]
    new_height, new_width = lowering.shape(operator.outputs[0])[1:3]
    return lowering.builder.add(
        "Resize",
        lowering.value(operator.inputs[0]),
        "",
        lowering.builder.floats(1.0, 1.0, new_height / height, new_width / width),
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )


def _depth_to_space(lowering: Lowering, operator: Operator) -> str:
    return lowering.builder.add(
        "DepthToSpace",
        lowering.value(operator.inputs[0]),
        blocksize=operator.options.BlockSize(),
        mode="DCR",
    )


_BUILTIN: dict[str, _Lower] = {
    "CONV_2D": _convolve,
    "DEPTHWISE_CONV_2D": _convolve,
    "MAX_POOL_2D": _pool,
    "ADD": _arithmetic,
    "MUL": _arithmetic,
    "RELU": _rectify,
    "PRELU": _rectify_with_slope,
    "PAD": _pad,
    "RESHAPE": _reshape,
    "STRIDED_SLICE": _whole_slice,
    "CONCATENATION": _concatenate,
    "RESIZE_BILINEAR": _resize,
    "DEPTH_TO_SPACE": _depth_to_space,
}
