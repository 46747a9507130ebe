"""Build an ONNX graph node by node."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx  # pyright: ignore[reportMissingImports]
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper  # pyright: ignore[reportMissingImports]

OPSET = 17
IR_VERSION = 8


class GraphBuilder:
    """Collects nodes and constants; names are made here, so they never collide."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output, whose name is returned."""
        output = f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, value: NDArray[Any]) -> str:
        """Store an array as it is; half precision is cast to float32 when the graph is loaded.

        ONNX Runtime folds the cast away, so it costs no time when the graph runs.
        """
        value = np.ascontiguousarray(value)
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self._known:
            name = f"constant_{len(self._constants)}"
            self._constants.append(numpy_helper.from_array(value, name))
            is_half = value.dtype == np.float16
            self._known[key] = self.add("Cast", name, to=TensorProto.FLOAT) if is_half else name
        return self._known[key]

    def floats(self, *values: float) -> str:
        """A float32 constant. Shape (len(values),), or () for a single one."""
        array = np.array(values, np.float32)
        return self.constant(array if len(values) > 1 else array.reshape(()))

    def ints(self, *values: int) -> str:
        """An int64 constant. Shape (len(values),)."""
        return self.constant(np.array(values, np.int64))

    def build(
        self,
        name: str,
        inputs: dict[str, tuple[int, ...]],
        outputs: dict[str, tuple[str, tuple[int, ...]]],
        facts: dict[str, str],
    ) -> bytes:
        """Serialise the graph.

        Args:
            name: Name of the graph.
            inputs: Shape of each input, unsigned bytes.
            outputs: Of each output the value that it shows, and its shape; float32.
            facts: Metadata of the model, such as its licence.

        Returns:
            The content of an ONNX file.
        """
        for output, (value, _) in outputs.items():
            self._nodes.append(helper.make_node("Identity", [value], [output]))
        graph = helper.make_graph(
            self._nodes,
            name,
            [helper.make_tensor_value_info(n, TensorProto.UINT8, s) for n, s in inputs.items()],
            [
                helper.make_tensor_value_info(n, TensorProto.FLOAT, s)
                for n, (_, s) in outputs.items()
            ],
            self._constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = IR_VERSION
        model.producer_name = "dubcli"
        helper.set_model_props(model, facts)
        onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString(deterministic=True)
