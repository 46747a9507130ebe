"""Checkpoint directories that a run resumes from exactly.

`step-000500/{model.safetensors, average.safetensors, optimizer.pt, state.json, config.json}`, and
`NAME.safetensors` for each further module of the task; written under a temporary name and renamed
when complete. Format 1, which knew one optimizer and a discriminator, is read too.
"""

from __future__ import annotations

import io
import json
import pickle
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from dubcli.core.atomic_io import place_folder
from dubcli.core.disk_sync import sync_folder
from dubcli.core.errors import TrainingError
from dubcli.core.json_text import parse_json
from dubcli.training.device_utils import device_of, device_rng_state, set_device_rng_state
from dubcli.training.parallel import gathered, is_first, rank

_FORMAT, _FIRST_FORMAT = 2, 1
# What the first format trained with where it does not say, and what it called by other names.
FIRST_LOSSES, FIRST_FEATURES = "no-gan", "substitute"
_MODEL, _CRITIC = "model", "critic"


@dataclass(frozen=True, kw_only=True)
class TrainState:
    """Where a run stands and what makes it this run.

    Attributes:
        step: Completed updates.
        architecture: Of the network.
        stage: What was trained.
        model_config: The network's configuration.
        settings: Options that decide what is trained, by the name of their flag.
    """

    step: int
    architecture: str
    stage: str
    model_config: dict[str, Any]
    settings: dict[str, str] = field(default_factory=dict[str, str])


def save_checkpoint(
    folder: Path,
    *,
    state: TrainState,
    modules: Mapping[str, nn.Module],
    average: Mapping[str, Tensor],
    optimizers: Mapping[str, torch.optim.Optimizer],
    run_config: Mapping[str, Any],
    keep: int = 2,
) -> Path:
    """Write `folder/step-N` and remove all but the newest `keep` checkpoints.

    Whatever interrupts it, earlier checkpoints stay whole and no half-written one is left. Of
    several processes each must call it; the first one writes.

    Args:
        folder: Of the run.
        state: What the checkpoint says of itself.
        modules: Everything with weights; `model` is what ships.
        average: Running average of the weights of `model`.
        optimizers: By name.
        run_config: Options of the run, JSON-ready.
        keep: How many checkpoints stay.

    Raises:
        TrainingError: The disk is full or the folder cannot be written.
    """
    final = folder / f"step-{state.step:06d}"
    training = {
        "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
        "rng": gathered(torch.get_rng_state()),
        "device_rng": gathered(device_rng_state(device_of(modules[_MODEL]))),
    }
    if not is_first():
        return final
    content = {
        f"{name}.safetensors": save(_plain(module.state_dict())) for name, module in modules.items()
    }
    # Written from memory: torch and safetensors report a full disk each in their own way.
    content |= {
        "average.safetensors": save(_plain(average)),
        "optimizer.pt": _pickled(training),
        "state.json": _described(state, modules),
        "config.json": _as_json({"model": state.model_config, "run": dict(run_config)}),
    }
    _write(final, content)
    for old in list_checkpoints(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def _write(final: Path, content: Mapping[str, bytes]) -> None:
    partial = final.with_name(f".{final.name}.part")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, data in content.items():
            (partial / name).write_bytes(data)
        place_folder(partial, final)
        sync_folder(final.parent.parent)  # the first checkpoint made the run's folder
    except OSError as error:
        raise TrainingError(
            f"Checkpoint '{final}' cannot be written: {error.strerror}.",
            "Make room or choose another folder, and run again; earlier checkpoints are intact.",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _described(state: TrainState, modules: Mapping[str, nn.Module]) -> bytes:
    return _as_json(
        {
            "format": _FORMAT,
            "step": state.step,
            "architecture": state.architecture,
            "stage": state.stage,
            "settings": state.settings,
            "modules": list(modules),
        }
    )


def _as_json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=1).encode()


def list_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / "state.json").is_file())


def checkpoint_to_resume(folder: Path, wanted: TrainState, *, resume: bool = True) -> Path | None:
    """The newest checkpoint of a run's folder, which must be of the wanted run.

    Args:
        folder: Of the run.
        wanted: Architecture, stage, configuration and settings; its step is of no matter.
        resume: Go on with what is there.

    Returns:
        None where there is no checkpoint yet.

    Raises:
        TrainingError: The folder belongs to another run, or `resume` is not set.
    """
    found = list_checkpoints(folder)
    if not found:
        return None
    if not resume:
        raise TrainingError(
            f"'{folder}' already holds checkpoints.",
            "Choose another folder, or leave out --no-resume to go on.",
        )
    state = read_state(found[-1])
    if (state.architecture, state.stage) != (wanted.architecture, wanted.stage):
        raise TrainingError(
            f"'{folder}' belongs to {state.architecture}, stage {state.stage}.",
            "Choose another folder.",
        )
    differing = {
        key
        for key, value in wanted.model_config.items()
        if state.model_config.get(key, value) != value
    }
    if differing:
        raise TrainingError(
            f"'{folder}' was trained with another preset or size ({', '.join(sorted(differing))}).",
            "Choose another folder.",
        )
    for key, value in wanted.settings.items():
        known = state.settings.get(key, value)
        if known != value:
            raise TrainingError(
                f"'{folder}' was trained with other {key} ({known}).",
                f"Go on with --{key} {known}, or choose another folder.",
            )
    return found[-1]


def read_state(checkpoint: Path) -> TrainState:
    """What a checkpoint says of itself.

    Raises:
        TrainingError: It is missing, damaged or of another format.
    """
    try:
        description = parse_json((checkpoint / "state.json").read_text())
        configs = parse_json((checkpoint / "config.json").read_text())
        if description["format"] not in (_FORMAT, _FIRST_FORMAT):
            raise TrainingError(
                f"Checkpoint '{checkpoint}' has format {description['format']}.",
                f"This version reads formats {_FIRST_FORMAT} and {_FORMAT}.",
            )
        return TrainState(
            step=description["step"],
            architecture=description["architecture"],
            stage=description["stage"],
            model_config=configs["model"],
            settings=_settings(description),
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(
            f"'{checkpoint}' is no checkpoint: {error}.", "Name a step-NNNNNN directory."
        ) from error


def read_run_config(checkpoint: Path) -> dict[str, str]:
    """The options that a checkpoint's run was started with, as text; empty where it has none."""
    try:
        stated = parse_json((checkpoint / "config.json").read_text())["run"]
        return {str(key): str(value) for key, value in stated.items()}
    except (OSError, KeyError, TypeError, ValueError, AttributeError):
        return {}


def _settings(description: dict[str, Any]) -> dict[str, str]:
    if description["format"] == _FORMAT:
        return dict(description["settings"])
    return {
        "losses": description.get("losses", FIRST_LOSSES),
        "perceptual": description.get("perceptual", FIRST_FEATURES),
    }


def load_weights(checkpoint: Path, averaged: bool = False) -> dict[str, Tensor]:
    """Weights of a checkpoint's model on the CPU: as trained, or their running average.

    Raises:
        TrainingError: They are missing or damaged.
    """
    return _load(checkpoint / ("average.safetensors" if averaged else f"{_MODEL}.safetensors"))


def load_into(model: nn.Module, checkpoint: Path, averaged: bool = False) -> None:
    """Give a model the weights of a checkpoint.

    Raises:
        TrainingError: They are missing, damaged or of other sizes.
    """
    try:
        model.load_state_dict(load_weights(checkpoint, averaged))
    except RuntimeError as error:
        raise misfit(checkpoint) from error


def load_module(module: nn.Module, name: str, checkpoint: Path) -> bool:
    """Give a module beside the model the weights of a checkpoint; whether that has one.

    Raises:
        TrainingError: They are damaged or of other sizes.
    """
    path = checkpoint / f"{name}.safetensors"
    if path.exists():
        weights = _load(path)
    elif name == _CRITIC:
        with _reading(checkpoint) as saved:
            first = saved.get("adversary")
        if first is None:
            return False
        weights = first["net"]
    else:
        return False
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise misfit(checkpoint) from error
    return True


def restore_training(
    checkpoint: Path,
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
) -> None:
    """Put weights, optimizers and random state back to where the checkpoint was written.

    Args:
        checkpoint: Of either format.
        modules: Everything with weights; `model` is what ships.
        optimizers: By name.

    Raises:
        TrainingError: They are missing, damaged or of another stage.
    """
    for name, module in modules.items():
        if name == _MODEL:
            load_into(module, checkpoint)
        elif not load_module(module, name, checkpoint):
            raise _damaged(checkpoint / f"{name}.safetensors", KeyError(name))
    with _reading(checkpoint) as saved:
        moments = saved["optimizers"] if "optimizers" in saved else _first_moments(saved)
        for name, optimizer in optimizers.items():
            optimizer.load_state_dict(moments[name])
        _restore_random(saved, device_of(modules[_MODEL]))


def _first_moments(saved: dict[str, Any]) -> dict[str, Any]:
    """Optimizers of format 1 by the names of today."""
    adversary = saved.get("adversary")
    critic = {} if adversary is None else {_CRITIC: adversary["optimizer"]}
    return {_MODEL: saved["optimizer"], **critic}


def _restore_random(saved: dict[str, Any], device: torch.device) -> None:
    """Go on with the random numbers of this process, or new ones where it had none."""
    # Format 1 has the state of one process, and before GPUs were known none of theirs.
    numbers, device_numbers = (
        list(value) if isinstance(value, list) else [value]
        for value in (saved["rng"], saved.get("device_rng"))
    )
    own = rank()
    if own < len(numbers):
        torch.set_rng_state(cast(Tensor, numbers[own]))
    else:
        torch.manual_seed(torch.initial_seed() + own)
    if own < len(device_numbers):
        set_device_rng_state(device_numbers[own], device)


@contextmanager
def _reading(checkpoint: Path) -> Iterator[dict[str, Any]]:
    """The content of `optimizer.pt`; what goes wrong with it names it."""
    path = checkpoint / "optimizer.pt"
    try:
        yield torch.load(path, map_location="cpu", weights_only=True)
    except (
        *(OSError, EOFError, KeyError, TypeError, ValueError, RuntimeError),
        pickle.PickleError,
    ) as error:
        raise _damaged(path, error) from error


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error


def misfit(checkpoint: Path) -> TrainingError:
    """The error for weights of another size than the module's."""
    return TrainingError(
        f"The weights of '{checkpoint}' do not fit the model's sizes.",
        "Use the preset that they were trained with.",
    )


def _damaged(path: Path, error: Exception) -> TrainingError:
    return TrainingError(
        f"'{path}' cannot be read: {str(error).splitlines()[0] if str(error) else 'it is empty'}.",
        "Delete this checkpoint: the one before it takes its place.",
    )


def _pickled(content: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
