"""Read a TensorFlow Lite file into plain values: tensors, operators and their options.

Only what the face networks use is read. The PyPI package `tflite` holds the accessors that were
generated from the format's schema; nothing of TensorFlow is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tflite  # pyright: ignore[reportMissingImports]
from flatbuffers import flexbuffers
from numpy.typing import NDArray

_BUILTIN = {code: name for name, code in vars(tflite.BuiltinOperator).items() if name[0] != "_"}
_DTYPES = {
    tflite.TensorType.FLOAT32: np.dtype("<f4"),
    tflite.TensorType.FLOAT16: np.dtype("<f2"),
    tflite.TensorType.INT32: np.dtype("<i4"),
}
_OPTIONS = {
    "CONV_2D": tflite.Conv2DOptions,
    "DEPTHWISE_CONV_2D": tflite.DepthwiseConv2DOptions,
    "MAX_POOL_2D": tflite.Pool2DOptions,
    "ADD": tflite.AddOptions,
    "MUL": tflite.MulOptions,
    "CONCATENATION": tflite.ConcatenationOptions,
    "RESIZE_BILINEAR": tflite.ResizeBilinearOptions,
    "DEPTH_TO_SPACE": tflite.DepthToSpaceOptions,
}
_SPARSE_INDICES = {
    tflite.SparseIndexVector.Int32Vector: (tflite.Int32Vector, np.int32),
    tflite.SparseIndexVector.Uint16Vector: (tflite.Uint16Vector, np.uint16),
    tflite.SparseIndexVector.Uint8Vector: (tflite.Uint8Vector, np.uint8),
}


@dataclass(frozen=True)
class Tensor:
    """A tensor of the graph; `value` is None where it is computed."""

    name: str
    shape: tuple[int, ...]
    value: NDArray[Any] | None


@dataclass(frozen=True)
class Operator:
    """One operator.

    Attributes:
        kind: Name in the format's schema, or a custom operator's own name.
        inputs: Tensor numbers; -1 where an optional input is missing.
        outputs: Tensor numbers.
        options: The schema's options object, a custom operator's dictionary, or None.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any


@dataclass(frozen=True)
class Graph:
    """The only subgraph of a file."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_graph(content: bytes) -> Graph:
    """Read a file's content.

    Raises:
        ValueError: It has several subgraphs, or a tensor of a type that is not known here.
    """
    model = tflite.Model.GetRootAs(content, 0)
    if model.SubgraphsLength() != 1:
        raise ValueError(f"{model.SubgraphsLength()} subgraphs; one is expected.")
    graph = model.Subgraphs(0)
    return Graph(
        tensors=tuple(_tensor(model, graph.Tensors(i)) for i in range(graph.TensorsLength())),
        operators=tuple(
            _operator(model, graph.Operators(i)) for i in range(graph.OperatorsLength())
        ),
        inputs=tuple(int(i) for i in graph.InputsAsNumpy()),
        outputs=tuple(int(i) for i in graph.OutputsAsNumpy()),
    )


def _tensor(model: Any, stored: Any) -> Tensor:
    shape = tuple(int(side) for side in stored.ShapeAsNumpy()) if stored.ShapeLength() else ()
    name = stored.Name().decode()
    buffer = model.Buffers(stored.Buffer())
    if not buffer.DataLength():
        return Tensor(name, shape, None)
    if stored.Type() not in _DTYPES:
        raise ValueError(f"{name} has type {stored.Type()}, which is not read here.")
    flat = np.frombuffer(buffer.DataAsNumpy().tobytes(), _DTYPES[stored.Type()])
    sparsity = stored.Sparsity()
    value = flat.reshape(shape) if sparsity is None else _dense(flat, shape, sparsity)
    return Tensor(name, shape, value)


def _operator(model: Any, stored: Any) -> Operator:
    code = model.OperatorCodes(stored.OpcodeIndex())
    kind = _BUILTIN[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
    options: Any = None
    if kind == "CUSTOM":
        kind = code.CustomCode().decode()
        if stored.CustomOptionsLength():
            options = flexbuffers.Loads(bytes(stored.CustomOptionsAsNumpy()))
    elif kind in _OPTIONS:
        options = _OPTIONS[kind]()
        table = stored.BuiltinOptions()
        options.Init(table.Bytes, table.Pos)
    return Operator(
        kind=kind,
        inputs=tuple(int(i) for i in stored.InputsAsNumpy()),
        outputs=tuple(int(i) for i in stored.OutputsAsNumpy()),
        options=options,
    )


def _dense(values: NDArray[Any], shape: tuple[int, ...], sparsity: Any) -> NDArray[Any]:
    """Spread a sparse constant. Only the last axis may be compressed, and blocks are not read."""
    rank = len(shape)
    order = [int(axis) for axis in sparsity.TraversalOrderAsNumpy()]
    formats = [sparsity.DimMetadata(axis).Format() for axis in range(rank)]
    is_rows = formats == [tflite.DimensionType.DENSE] * (rank - 1) + [
        tflite.DimensionType.SPARSE_CSR
    ]
    if order != list(range(rank)) or not is_rows:
        raise ValueError(f"Sparse order {order} with formats {formats} is not read here.")
    last = sparsity.DimMetadata(rank - 1)
    starts = _indices(last.ArraySegmentsType(), last.ArraySegments())
    columns = _indices(last.ArrayIndicesType(), last.ArrayIndices())
    dense = np.zeros((int(np.prod(shape[:-1])), shape[-1]), values.dtype)
    rows = np.repeat(np.arange(len(dense)), np.diff(starts))
    dense[rows, columns] = values
    return dense.reshape(shape)


def _indices(kind: int, table: Any) -> NDArray[np.int64]:
    reader, dtype = _SPARSE_INDICES[kind]
    vector = reader()
    vector.Init(table.Bytes, table.Pos)
    return np.asarray(vector.ValuesAsNumpy(), dtype).astype(np.int64)
