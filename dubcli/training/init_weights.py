"""Where a run starts from: another run, a weight file, or weights that the manifest names."""

from __future__ import annotations

import logging
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from dubcli.core.errors import ConfigError, TrainingError
from dubcli.training.checkpoint import (
    list_checkpoints,
    load_weights,
    read_state,
    restore_discriminator,
)
from dubcli.training.losses.discriminators import Adversary
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
    adversary: Adversary | None = None,
    spare: str | None = None,
) -> None:
    """Take the weights of a run (its running average), of a file, or of the manifest.

    A discriminator goes on from the run's own, where that run had one.

    Args:
        model: What gets the weights.
        source: A run's folder, a checkpoint, a safetensors file, or a name such as `iptalker`
            or `iptalker.v1`. What exists on the disk comes first.
        architecture: What the weights must be of.
        adversary: The run's discriminator.
        spare: Start of the names of parameters that the run does not use: where they do not fit,
            the model keeps its own.

    Raises:
        TrainingError: There is no such thing, it is of another model, or it does not fit.
        WeightsError: The named weights are missing or damaged.
    """
    state = _read(source, architecture)
    if adversary is not None and source.is_dir():
        restore_discriminator(_checkpoint(source), adversary)
    own = model.state_dict()
    fitting = {
        name: value.float() if value.dtype.is_floating_point else value
        for name, value in state.items()
        if spare is None
        or not name.startswith(spare)
        or (name in own and own[name].shape == value.shape)
    }
    kept = {name: value for name, value in own.items() if spare and name.startswith(spare)}
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


def _checkpoint(folder: Path) -> Path:
    return (list_checkpoints(folder) or [folder])[-1]


def _read(source: Path, architecture: str) -> dict[str, Tensor]:
    if source.is_dir():
        checkpoint = _checkpoint(source)
        _check_architecture(str(checkpoint), read_state(checkpoint).architecture, architecture)
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
