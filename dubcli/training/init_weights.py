"""Where a run starts from: another run, a weight file, or weights that the manifest names."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from dubcli.core.errors import ConfigError, TrainingError
from dubcli.training.checkpoint import (
    list_checkpoints,
    load_module,
    load_weights,
    read_state,
)
from dubcli.weights.entry import WeightEntry
from dubcli.weights.load import load_state
from dubcli.weights.resolve import resolve

_LOG = logging.getLogger(__name__)
_WAYS = "Name a run, a step-NNNNNN directory, a .safetensors file, or a model of dub models list."


def start_from(
    model: nn.Module,
    source: Path,
    architecture: str,
    *,
    spare: tuple[str, ...] = (),
    stages: tuple[str, ...] = (),
) -> None:
    """Take the weights of a run (its running average), of a file, or of the manifest.

    Args:
        model: What gets the weights.
        source: A run's folder, a checkpoint, a safetensors file, or a name such as `iptalker`
            or `iptalker.v1`. What exists on the disk comes first.
        architecture: What the weights must be of.
        spare: Starts of the names of parameters that the run does not use: where they do not fit,
            the model keeps its own.
        stages: Stages of which a run must be; any where empty.

    Raises:
        TrainingError: There is no such thing, it is of another model, or it does not fit.
        WeightsError: The named weights are missing or damaged.
    """
    state = _read(source, architecture, stages)
    own = model.state_dict()
    fitting = {
        name: value.float() if value.dtype.is_floating_point else value
        for name, value in state.items()
        if not name.startswith(spare) or (name in own and own[name].shape == value.shape)
    }
    kept = {name: value for name, value in own.items() if name.startswith(spare)}
    left_out = sorted(name for name in kept if name not in fitting)
    if left_out:
        _LOG.warning(
            "'%s' has no %s of this preset; they stay untrained.", source, ", ".join(left_out)
        )
    try:
        model.load_state_dict({**kept, **fitting})
    except RuntimeError as error:
        raise TrainingError(
            f"The weights of '{source}' do not fit the model's sizes.",
            "Use the preset that they were trained with.",
        ) from error


def start_beside(modules: Mapping[str, nn.Module], source: Path) -> None:
    """Let what a task trains beside its model go on from another run's, where that run had one.

    Args:
        modules: Without the model.
        source: As in `start_from`; only runs have such weights.

    Raises:
        TrainingError: They are damaged or do not fit.
    """
    if source.is_dir():
        for name, module in modules.items():
            load_module(module, name, _checkpoint(source))


def _checkpoint(folder: Path) -> Path:
    return (list_checkpoints(folder) or [folder])[-1]


def _read(source: Path, architecture: str, stages: tuple[str, ...]) -> dict[str, Tensor]:
    if source.is_dir():
        checkpoint = _checkpoint(source)
        state = read_state(checkpoint)
        _check_architecture(str(checkpoint), state.architecture, architecture)
        if stages and state.stage not in stages:
            raise TrainingError(
                f"'{checkpoint}' is of stage {state.stage}.",
                f"Start from a run of stage {' or '.join(stages)}.",
            )
        return load_weights(checkpoint, averaged=True)
    if source.is_file():
        return _read_file(source)
    entry = _named(source)
    _check_architecture(entry.name, entry.architecture, architecture)
    return load_state(entry)


def _check_architecture(name: str, found: str, wanted: str) -> None:
    if found != wanted:
        raise TrainingError(
            f"'{name}' holds '{found}', not '{wanted}'.",
            "Name a checkpoint of the model that is trained.",
        )


def _read_file(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"'{path}' is no weight file: {error}.", _WAYS) from error


def _named(source: Path) -> WeightEntry:
    try:
        return resolve(str(source))
    except ConfigError as error:
        raise TrainingError(f"There is no '{source}' to start from.", _WAYS) from error
