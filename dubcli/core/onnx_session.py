"""Open a network that ONNX Runtime runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dubcli.core.errors import WeightsError


def open_session(path: Path, what: str) -> Any:
    """A session on one core of the processor, whatever else is installed.

    Args:
        path: An `.onnx` or `.ort` file.
        what: What the file should be, for the message.

    Returns:
        An `onnxruntime.InferenceSession`; several threads may run it at once.

    Raises:
        WeightsError: The file is no such network.
    """
    # When it is imported it would start a telemetry client, which leaves a file in TMPDIR.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    # Imported here: it takes a tenth of a second that other commands need not pay.
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # Threads that wait must not keep a core busy that torch or the codecs could use.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # ONNX Runtime's exceptions share no base class of their own.
        raise WeightsError(
            f"'{path}' is not {what}: {str(error).splitlines()[0]}.", "Install dubcli again."
        ) from error
