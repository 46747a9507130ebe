"""Checkpoints to the weight file that ships: half precision, averaged, both halves in one.

    python -m dubcli.training.export RENDER_CHECKPOINT --geometry GEOMETRY_CHECKPOINT... --tag NAME

writes `dubcli/assets/iptalker.NAME.safetensors` and prints its entry for the weights manifest.
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
from dubcli.training.checkpoint import TrainState, load_weights, read_state

_PACKAGE = Path(__file__).parent.parent
_ALIGNMENT, _BASIS = "alignment.", "alignment.basis"
_BASIS_TOLERANCE = 1e-6
# The network is convolutional: its halves may be trained on crops of different size.
_FREE_FIELDS = ("height", "width")


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
    checkpoint: Path, output: Path, *, geometry: Sequence[Path] = (), averaged: bool = True
) -> WeightFile:
    """Write the weights of a checkpoint in half precision.

    Args:
        checkpoint: Checkpoint of the whole model; its configuration is the file's.
        output: File to write, safetensors.
        geometry: Checkpoints of the geometry stage, of which the mean alignment module is taken:
            runs that began from one another are better together (arXiv:2203.05482).
        averaged: Take the running average in place of the last step's weights.

    Raises:
        TrainingError: A checkpoint cannot be read, the two do not fit each other or the model,
            a weight is too large for half precision, or the file cannot be written.
    """
    state = read_state(checkpoint)
    tensors = load_weights(checkpoint, averaged)
    halves = []
    for other in geometry:
        _check_fit(checkpoint, state, other, read_state(other))
        loaded = load_weights(other, averaged)
        halves.append(_with_alignment(tensors, loaded, checkpoint, other))
    if halves:
        tensors = {
            name: torch.stack([half[name] for half in halves]).mean(0)
            if name.startswith(_ALIGNMENT)
            else value
            for name, value in tensors.items()
        }
    tensors = {name: _half(name, value) for name, value in tensors.items()}
    _check_loads(state, tensors, checkpoint)
    content = save(tensors)
    write_whole(output, content)
    return WeightFile(
        sha256=hashlib.sha256(content).hexdigest(),
        num_bytes=len(content),
        config=state.model_config,
    )


def _check_fit(checkpoint: Path, state: TrainState, geometry: Path, other: TrainState) -> None:
    """Refuse halves of different models."""
    if other.stage == "render":
        raise TrainingError(
            f"'{geometry}' is of stage render, which does not train the alignment module.",
            "Name a checkpoint of stage geometry or joint.",
        )
    if state.architecture != other.architecture:
        raise TrainingError(
            f"'{checkpoint}' holds '{state.architecture}', '{geometry}' '{other.architecture}'.",
            "Name two checkpoints of one architecture.",
        )
    names = {*state.model_config, *other.model_config} - {*_FREE_FIELDS}
    differing = sorted(
        name for name in names if state.model_config.get(name) != other.model_config.get(name)
    )
    if differing:
        raise TrainingError(
            f"'{checkpoint}' and '{geometry}' differ in {', '.join(differing)}.",
            "Train both with the same --preset.",
        )


def _with_alignment(
    tensors: dict[str, Tensor], other: dict[str, Tensor], checkpoint: Path, geometry: Path
) -> dict[str, Tensor]:
    """The first model with the second one's alignment module."""
    if set(tensors) != set(other):
        raise TrainingError(
            f"'{checkpoint}' and '{geometry}' hold different tensors.",
            "Train both with the same --preset.",
        )
    gap = float((tensors[_BASIS] - other[_BASIS]).abs().max())
    if gap > _BASIS_TOLERANCE:
        raise TrainingError(
            f"'{checkpoint}' and '{geometry}' have mouth bases that differ by {gap:.2g}.",
            "Train both on the same data, or start one from the other with --init.",
        )
    return {
        name: other[name] if name.startswith(_ALIGNMENT) else value
        for name, value in tensors.items()
    }


def _half(name: str, tensor: Tensor) -> Tensor:
    if not tensor.dtype.is_floating_point:
        return tensor
    half = tensor.half()
    if not bool(torch.isfinite(half).all()):
        raise TrainingError(
            f"Weights '{name}' do not fit half precision.", "Name an earlier checkpoint."
        )
    return half


def _check_loads(state: TrainState, tensors: dict[str, Tensor], checkpoint: Path) -> None:
    """Prove that a user's strict loading will work."""
    try:
        create_model(state.architecture, state.model_config).load_state_dict(tensors, strict=True)
    except (ConfigError, RuntimeError) as error:
        raise TrainingError(
            f"'{checkpoint}' does not fit '{state.architecture}': {error}",
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
        description="Write the weight file of a checkpoint and print its manifest entry.",
    )
    parser.add_argument("checkpoint", type=Path, help="step-NNNNNN directory")
    parser.add_argument(
        "--geometry",
        type=Path,
        nargs="*",
        default=[],
        help="step-NNNNNN directories of stage geometry; the mean of several is taken",
    )
    parser.add_argument("--tag", required=True, help="name of these weights, such as hdtf-v1")
    parser.add_argument("--license", default="", help="licence of the weights")
    parser.add_argument("--source", default="", help="what they were trained on, in words")
    parser.add_argument(
        "--last", action="store_true", help="take the last step, not the running average"
    )
    options = parser.parse_args(arguments)
    try:
        architecture = read_state(options.checkpoint).architecture
        name = f"{architecture}.{options.tag}"
        place = f"assets/{name}.safetensors"
        if (package / place).exists():
            raise ConfigError(
                f"'{package / place}' exists, and a published tag never changes.",
                "Choose another --tag, or delete the file if it was never published.",
            )
        file = export_weights(
            options.checkpoint,
            package / place,
            geometry=options.geometry,
            averaged=not options.last,
        )
    except DubError as error:
        print(f"dub: {error}", file=sys.stderr)
        return error.exit_code
    entry = manifest_entry(architecture, file, place, options.license, options.source)
    print(json.dumps({name: entry}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
