"""Checkpoint directories that a run resumes from exactly.

`step-000500/{model.safetensors, average.safetensors, optimizer.pt, state.json, config.json}`,
written under a temporary name and renamed when complete.
"""

from __future__ import annotations

import io
import json
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from dubcli.core.errors import TrainingError
from dubcli.training.device_utils import device_of, device_rng_state, set_device_rng_state
from dubcli.training.losses.discriminators import Adversary

_FORMAT = 1
# What the first version trained with, whose checkpoints do not say.
FIRST_LOSSES, FIRST_FEATURES = "no-gan", "substitute"


@dataclass(frozen=True, kw_only=True)
class TrainState:
    """Where a run stands: completed steps, architecture, stage, its config and its losses.

    `perceptual` names the features that its losses compare, `vgg19` or `substitute`.
    """

    step: int
    architecture: str
    stage: str
    model_config: dict[str, Any]
    losses: str = FIRST_LOSSES
    perceptual: str = FIRST_FEATURES


def save_checkpoint(
    folder: Path,
    *,
    state: TrainState,
    model: nn.Module,
    average: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    run_config: dict[str, Any],
    adversary: Adversary | None = None,
    keep: int = 2,
) -> Path:
    """Write `folder/step-N` and remove all but the newest `keep` checkpoints.

    Whatever interrupts it, earlier checkpoints stay whole and no half-written one is left.

    Raises:
        TrainingError: The disk is full or the folder cannot be written.
    """
    final = folder / f"step-{state.step:06d}"
    partial = folder / f".{final.name}.part"
    training = {
        "optimizer": optimizer.state_dict(),
        "rng": torch.get_rng_state(),
        "device_rng": device_rng_state(device_of(model)),
        "adversary": None if adversary is None else adversary.state_dict(),
    }
    description = {
        "format": _FORMAT,
        "step": state.step,
        "architecture": state.architecture,
        "stage": state.stage,
        "losses": state.losses,
        "perceptual": state.perceptual,
    }
    configs = {"model": state.model_config, "run": run_config}
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        # Written from memory: torch and safetensors report a full disk each in their own way.
        (partial / "model.safetensors").write_bytes(save(_plain(model.state_dict())))
        (partial / "average.safetensors").write_bytes(save(_plain(average)))
        (partial / "optimizer.pt").write_bytes(_pickled(training))
        (partial / "state.json").write_text(json.dumps(description, indent=1))
        (partial / "config.json").write_text(json.dumps(configs, indent=1))
        shutil.rmtree(final, ignore_errors=True)
        partial.replace(final)
    except OSError as error:
        raise TrainingError(
            f"Checkpoint '{final}' cannot be written: {error.strerror}.",
            "Make room or choose another folder, and run again; earlier checkpoints are intact.",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for old in list_checkpoints(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def list_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / "state.json").is_file())


def read_state(checkpoint: Path) -> TrainState:
    """What a checkpoint says of itself.

    Raises:
        TrainingError: It is missing, damaged or of another format.
    """
    try:
        description = json.loads((checkpoint / "state.json").read_text())
        configs = json.loads((checkpoint / "config.json").read_text())
        if description["format"] != _FORMAT:
            raise TrainingError(
                f"Checkpoint '{checkpoint}' has format {description['format']}.",
                f"This version reads format {_FORMAT}.",
            )
        return TrainState(
            step=description["step"],
            architecture=description["architecture"],
            stage=description["stage"],
            model_config=configs["model"],
            losses=description.get("losses", FIRST_LOSSES),
            perceptual=description.get("perceptual", FIRST_FEATURES),
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(
            f"'{checkpoint}' is no checkpoint: {error}.", "Name a step-NNNNNN directory."
        ) from error


def load_weights(checkpoint: Path, averaged: bool = False) -> dict[str, Tensor]:
    """Weights of a checkpoint on the CPU: as trained, or their running average.

    Raises:
        TrainingError: They are missing or damaged.
    """
    path = checkpoint / ("average.safetensors" if averaged else "model.safetensors")
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error


def load_into(model: nn.Module, checkpoint: Path, averaged: bool = False) -> None:
    """Give a model the weights of a checkpoint.

    Raises:
        TrainingError: They are missing, damaged or of other sizes.
    """
    try:
        model.load_state_dict(load_weights(checkpoint, averaged))
    except RuntimeError as error:
        raise TrainingError(
            f"The weights of '{checkpoint}' do not fit the model's sizes.",
            "Use the preset that they were trained with.",
        ) from error


def restore_training(
    checkpoint: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    adversary: Adversary | None = None,
) -> None:
    """Put optimizer, random state and discriminator back to where the checkpoint was written.

    Raises:
        TrainingError: They are missing, damaged or of another stage.
    """
    with _reading(checkpoint) as saved:
        optimizer.load_state_dict(saved["optimizer"])
        torch.set_rng_state(saved["rng"])
        # Absent from checkpoints of the first version, which knew the CPU only.
        set_device_rng_state(saved.get("device_rng"), device_of(model))
        if adversary is not None:
            adversary.load_state_dict(saved["adversary"])


def restore_discriminator(checkpoint: Path, adversary: Adversary) -> bool:
    """Give a discriminator the weights of another run's; whether that run had one.

    Raises:
        TrainingError: They are missing or damaged.
    """
    with _reading(checkpoint) as saved:
        found = saved.get("adversary")
        if found is not None:
            adversary.load_state_dict(found, with_moments=False)
        return found is not None


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


def _damaged(path: Path, error: Exception) -> TrainingError:
    return TrainingError(
        f"'{path}' cannot be read: {str(error).splitlines()[0] if str(error) else 'it is empty'}.",
        "Delete this checkpoint: the one before it takes its place.",
    )


def _pickled(content: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
