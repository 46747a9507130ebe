"""`dub train`: setup, fit, save, as plain functions."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import Tensor, nn

from dubcli.config import TrainConfig
from dubcli.errors import ConfigError, TrainingError
from dubcli.models.iptalker import NAMED_CONFIGS, IPTalker, IPTalkerConfig
from dubcli.training.checkpoints import (
    TrainState,
    list_checkpoints,
    load_weights,
    read_state,
    restore,
    save_checkpoint,
)
from dubcli.training.data import load_clips
from dubcli.training.offsets import correct_offsets
from dubcli.training.tasks import GeometryTask, RenderTask, Task, half_size

Progress = Callable[[str, int, int], None]
_AVERAGE_DECAY = 0.998
_WARM_UP_STEPS = 100
_CLIP_NORM = 1.0


def train(config: TrainConfig, progress: Progress | None = None) -> Path:
    """Train one stage of a model and return the last checkpoint.

    Raises:
        ConfigError: Unknown model or preset.
        TrainingError: No usable data, a checkpoint of another model, NaN, full disk.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    task, model_config = _setup(config)
    task.model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(
        task.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=1e-4
    )
    average = {key: value.clone() for key, value in task.model.state_dict().items()}
    start = _resume(config, task.model, optimizer, average)
    return _fit(config, task, optimizer, average, start, model_config, progress)


def _setup(config: TrainConfig) -> tuple[Task, dict[str, Any]]:
    if config.model != "iptalker":
        raise ConfigError(f"'{config.model}' cannot be trained.", "Known: iptalker.")
    name = config.preset or "default"
    if name not in NAMED_CONFIGS:
        raise ConfigError(f"Unknown preset '{name}'.", f"Known: {', '.join(NAMED_CONFIGS)}.")
    sizes: IPTalkerConfig = NAMED_CONFIGS[name]
    if config.half_size:
        sizes = half_size(sizes)
    if config.stage != "joint" and not sizes.geometry_map:
        raise ConfigError(
            f"Preset '{name}' has no mouth map, so its halves cannot be trained apart.",
            "Use --stage joint.",
        )
    model = IPTalker(sizes)
    if config.init is not None:
        _start_from(model, config.init)
    clips = load_clips(config.data)
    task: Task
    if config.stage == "geometry":
        # Untrained weights cannot judge; those of an earlier run put sound and picture in step.
        clips = correct_offsets(model, clips) if config.init else clips
        task = GeometryTask(model, clips, config)
    else:
        task = RenderTask(model, clips, config, joint=config.stage == "joint")
    return task, asdict(sizes)


def _start_from(model: nn.Module, checkpoint: Path) -> None:
    """Take the averaged weights of another run, which must fit."""
    state = read_state(checkpoint)
    if state.architecture != "iptalker":
        raise TrainingError(
            f"'{checkpoint}' holds '{state.architecture}', not 'iptalker'.",
            "Name a checkpoint of the model that is trained.",
        )
    try:
        model.load_state_dict(load_weights(checkpoint, averaged=True))
    except RuntimeError as error:
        raise TrainingError(
            f"The weights of '{checkpoint}' do not fit the model's sizes.",
            "Use the preset that they were trained with.",
        ) from error


def _resume(
    config: TrainConfig,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: dict[str, Tensor],
) -> int:
    """Continue the newest checkpoint of the output folder, if there is one."""
    found = list_checkpoints(config.output)
    if not found:
        return 0
    if not config.resume:
        raise TrainingError(
            f"'{config.output}' already holds checkpoints.",
            "Choose another folder, or leave out --no-resume to go on.",
        )
    state = read_state(found[-1])
    if (state.architecture, state.stage) != (config.model, config.stage):
        raise TrainingError(
            f"'{config.output}' belongs to {state.architecture}, stage {state.stage}.",
            "Choose another folder.",
        )
    restore(found[-1], model, optimizer)
    average.update(load_weights(found[-1], averaged=True))
    return state.step


def _fit(
    config: TrainConfig,
    task: Task,
    optimizer: torch.optim.Optimizer,
    average: dict[str, Tensor],
    start: int,
    model_config: dict[str, Any],
    progress: Progress | None,
) -> Path:
    deadline = time.monotonic() + 60 * config.minutes if config.minutes else math.inf
    saved = config.output / f"step-{start:06d}"

    def save(step: int) -> Path:
        state = TrainState(
            step=step, architecture=config.model, stage=config.stage, model_config=model_config
        )
        return save_checkpoint(
            config.output,
            state=state,
            model=task.model,
            average=average,
            optimizer=optimizer,
            run_config={k: str(v) for k, v in asdict(config).items()},
        )

    for step in range(start, config.steps):
        began = time.monotonic()
        values = _step(config, task, optimizer, step)
        _update_average(average, task.model, step)
        _log(config.output, step + 1, values, time.monotonic() - began)
        if progress is not None:
            progress("train", step + 1, config.steps)
        last = step + 1 == config.steps or time.monotonic() >= deadline
        if last or (step + 1) % config.checkpoint_every == 0:
            saved = save(step + 1)
        if last or (step + 1) % config.sample_every == 0:
            _save_picture(task, config.output / f"sample-{step + 1:06d}.jpg")
        if last:
            break
    return saved


def _step(
    config: TrainConfig, task: Task, optimizer: torch.optim.Optimizer, step: int
) -> dict[str, float]:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(config, step)
    with torch.autocast("cpu", torch.bfloat16, enabled=use_bfloat16(config.precision)):
        losses = task.losses(step)
    values = {name: float(value.detach()) for name, value in losses.items()}
    if not math.isfinite(values["loss"]):
        raise TrainingError(
            f"The loss is {values['loss']} at step {step + 1}.",
            f"The last good checkpoint is in '{config.output}'; lower --learning-rate and go on.",
        )
    optimizer.zero_grad(set_to_none=True)
    losses["loss"].backward()
    nn.utils.clip_grad_norm_(task.parameters(), _CLIP_NORM)
    optimizer.step()
    return values


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then a cosine down to a tenth at the last step."""
    warm = min(1.0, (step + 1) / _WARM_UP_STEPS)
    share = step / max(1, config.steps)
    return config.learning_rate * warm * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * share)))


def use_bfloat16(precision: str) -> bool:
    """Whether to compute in bfloat16: `auto` only where the processor has matrix tiles for it.

    Without them bfloat16 is emulated and ten times slower than float32.
    """
    if precision != "auto":
        return precision == "bfloat16"
    check = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(check and check())


def _update_average(average: dict[str, Tensor], model: nn.Module, step: int) -> None:
    decay = min(_AVERAGE_DECAY, (1 + step) / (10 + step))
    for key, value in model.state_dict().items():
        if value.dtype.is_floating_point:
            average[key].lerp_(value, 1 - decay)
        else:
            average[key].copy_(value)


def _log(folder: Path, step: int, values: dict[str, float], seconds: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "log.csv"
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(["step", "seconds", *values])
        writer.writerow([step, f"{seconds:.3f}", *(f"{value:.5f}" for value in values.values())])


def _save_picture(task: Task, path: Path) -> None:
    picture = task.picture()
    if picture is not None:
        cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
