"""Checkpoint directories that a run resumes from exactly.

`step-000500/{model.safetensors, average.safetensors, optimizer.pt, state.json, config.json}`,
written under a temporary name and renamed when complete.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dubcli.errors import TrainingError

_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class TrainState:
    """Where a run stands: completed steps, architecture, stage and its config."""

    step: int
    architecture: str
    stage: str
    model_config: dict[str, Any]


def save_checkpoint(
    folder: Path,
    *,
    state: TrainState,
    model: nn.Module,
    average: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    run_config: dict[str, Any],
    keep: int = 2,
) -> Path:
    """Write `folder/step-N` and remove all but the newest `keep` checkpoints.

    Raises:
        TrainingError: The disk is full or the folder cannot be written.
    """
    final = folder / f"step-{state.step:06d}"
    partial = folder / f".{final.name}.part"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file(_plain(model.state_dict()), partial / "model.safetensors")
        save_file(_plain(average), partial / "average.safetensors")
        torch.save(
            {"optimizer": optimizer.state_dict(), "rng": torch.get_rng_state()},
            partial / "optimizer.pt",
        )
        description = {
            "format": _FORMAT,
            "step": state.step,
            "architecture": state.architecture,
            "stage": state.stage,
        }
        (partial / "state.json").write_text(json.dumps(description, indent=1))
        configs = {"model": state.model_config, "run": run_config}
        (partial / "config.json").write_text(json.dumps(configs, indent=1))
        shutil.rmtree(final, ignore_errors=True)
        partial.replace(final)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise TrainingError(
            f"Checkpoint '{final}' cannot be written: {error.strerror}.",
            "Free some disk space and run again; the last checkpoint is intact.",
        ) from error
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
        )
    except (OSError, KeyError, ValueError) as error:
        raise TrainingError(
            f"'{checkpoint}' is no checkpoint: {error}.", "Name a step-NNNNNN directory."
        ) from error


def load_weights(checkpoint: Path, averaged: bool = False) -> dict[str, Tensor]:
    """Weights of a checkpoint: as trained, or their running average."""
    return load_file(checkpoint / ("average.safetensors" if averaged else "model.safetensors"))


def restore(checkpoint: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put model, optimizer and random state back to where the checkpoint was written."""
    model.load_state_dict(load_weights(checkpoint))
    saved = torch.load(checkpoint / "optimizer.pt", weights_only=True)
    optimizer.load_state_dict(saved["optimizer"])
    torch.set_rng_state(saved["rng"])


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
