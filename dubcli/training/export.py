"""Checkpoints to the weight file that ships: half precision, averaged, all parts in one.

    python -m dubcli.training.export CHECKPOINT... --tag NAME

writes `dubcli/assets/ARCHITECTURE.NAME.safetensors` and prints its entry for the weights manifest.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from dubcli.core.atomic_io import write_whole
from dubcli.core.errors import ConfigError, DubError, TrainingError
from dubcli.models.registry import PARTS, create_model
from dubcli.training.checkpoint import load_weights, read_state
from dubcli.training.recipes import assembly_of
from dubcli.training.stage import Trained

_PACKAGE = Path(__file__).parent.parent


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """What the manifest says of a weight file.

    Attributes:
        sha256: Hex digest of the file.
        num_bytes: Its size.
        config: Arguments of the model's configuration.
    """

    sha256: str
    num_bytes: int
    config: dict[str, Any]


def export_weights(
    checkpoints: Sequence[Path], output: Path, *, averaged: bool = True
) -> WeightFile:
    """Write the weights of one or several checkpoints in half precision.

    Args:
        checkpoints: Of one architecture, whose recipe says how several are joined.
        output: File to write, safetensors.
        averaged: Take the running average in place of the last step's weights.

    Raises:
        TrainingError: A checkpoint cannot be read, they do not fit each other or the model,
            a weight is too large for half precision, or the file cannot be written.
    """
    parts = [
        Trained(path=path, state=read_state(path), tensors=load_weights(path, averaged))
        for path in checkpoints
    ]
    first = parts[0]
    for other in parts[1:]:
        if other.state.architecture != first.state.architecture:
            raise TrainingError(
                f"'{first.path}' holds '{first.state.architecture}', "
                f"'{other.path}' '{other.state.architecture}'.",
                "Name checkpoints of one architecture.",
            )
    assembled = assembly_of(first.state.architecture)(parts)
    tensors = {name: _half(name, value) for name, value in assembled.tensors.items()}
    _check_loads(first, assembled.config, tensors)
    content = save(tensors)
    write_whole(output, content)
    return WeightFile(
        sha256=hashlib.sha256(content).hexdigest(),
        num_bytes=len(content),
        config=assembled.config,
    )


def _half(name: str, tensor: Tensor) -> Tensor:
    if not tensor.dtype.is_floating_point:
        return tensor
    half = tensor.half()
    if not bool(torch.isfinite(half).all()):
        raise TrainingError(
            f"Weights '{name}' do not fit half precision.", "Name an earlier checkpoint."
        )
    return half


def _check_loads(first: Trained, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Prove that a user's strict loading will work."""
    architecture = first.state.architecture
    try:
        create_model(architecture, config).load_state_dict(tensors, strict=True)
    except (ConfigError, RuntimeError) as error:
        raise TrainingError(
            f"'{first.path}' does not fit '{architecture}': {error}",
            "Use the version of dubcli that trained it.",
        ) from error


def manifest_entry(
    architecture: str, file: WeightFile, package: str, licence: str, source: str
) -> dict[str, Any]:
    """An entry of the weights manifest for a file inside the package."""
    return {
        "architecture": architecture,
        "role": "part" if architecture in PARTS else "model",
        "package": package,
        "sources": [],
        "sha256": file.sha256,
        "bytes": file.num_bytes,
        "config": file.config,
        "license": licence,
        "commercial": None,
        "needed_by": ["dub"],
        "source": source,
        "metrics": {},
    }


def main(arguments: Sequence[str] | None = None, package: Path = _PACKAGE) -> int:
    """Export into the package and print the manifest entry as JSON; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m dubcli.training.export",
        description="Write the weight file of checkpoints and print its manifest entry.",
    )
    parser.add_argument(
        "checkpoints",
        type=Path,
        nargs="+",
        metavar="CHECKPOINT",
        help="step-NNNNNN directory; several are joined as the model's recipe says",
    )
    parser.add_argument("--tag", required=True, help="name of these weights, such as hdtf-v1")
    parser.add_argument("--license", default="", help="licence of the weights")
    parser.add_argument("--source", default="", help="what they were trained on, in words")
    parser.add_argument(
        "--last", action="store_true", help="take the last step, not the running average"
    )
    options = parser.parse_args(arguments)
    try:
        architecture = read_state(options.checkpoints[0]).architecture
        name = f"{architecture}.{options.tag}"
        place = f"assets/{name}.safetensors"
        if (package / place).exists():
            raise ConfigError(
                f"'{package / place}' exists, and a published tag never changes.",
                "Choose another --tag, or delete the file if it was never published.",
            )
        file = export_weights(options.checkpoints, package / place, averaged=not options.last)
    except DubError as error:
        print(f"dub: {error}", file=sys.stderr)
        return error.exit_code
    entry = manifest_entry(architecture, file, place, options.license, options.source)
    print(json.dumps({name: entry}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
