"""`dub train`: setup, fit, save, as plain functions."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dubcli.config import TrainConfig
from dubcli.errors import ConfigError, TrainingError
from dubcli.models.iptalker import NAMED_CONFIGS, IPTalker, IPTalkerConfig
from dubcli.pipeline.device import choose_device, has_fast_bfloat16
from dubcli.training.checkpoints import (
    TrainState,
    list_checkpoints,
    load_into,
    load_weights,
    read_state,
    restore_training,
    save_checkpoint,
)
from dubcli.training.data import load_clips
from dubcli.training.discriminators import Adversary
from dubcli.training.losses import LOSS_PRESETS, LossWeights
from dubcli.training.modes import device_of
from dubcli.training.offsets import correct_offsets
from dubcli.training.render_task import RenderTask
from dubcli.training.run_log import append_row, drop_rows_after, save_picture
from dubcli.training.start import start_from
from dubcli.training.tasks import GeometryTask, Task, half_size

Progress = Callable[[str, int, int], None]
_AVERAGE_DECAY = 0.998
_WARM_UP_STEPS = 100
_CLIP_NORM = 1.0


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One run: its task, what changes with each step, and the sizes it is stored with."""

    config: TrainConfig
    task: Task
    optimizer: torch.optim.Optimizer
    average: dict[str, Tensor]
    adversary: Adversary | None
    model_config: dict[str, Any]
    start: int


def train(config: TrainConfig, progress: Progress | None = None) -> Path:
    """Train one stage of a model and return the last checkpoint.

    A folder that holds checkpoints of the same model and stage is gone on with, exactly as if
    the run had not been interrupted.

    Raises:
        ConfigError: Unknown model, preset or losses.
        DeviceError: The device is not there.
        TrainingError: No usable data, a checkpoint of another model, NaN, full disk.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    device = choose_device(config.device)
    sizes = _sizes(config)
    has_adversary = config.stage != "geometry" and _loss_weights(config).gan > 0
    resumed = _checkpoint_to_resume(config, sizes)
    model = IPTalker(sizes)
    adversary = Adversary(device) if has_adversary else None
    task = _task(config, model, device, adversary, resumed)
    optimizer = torch.optim.AdamW(
        task.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=1e-4
    )
    average = {key: value.clone() for key, value in task.model.state_dict().items()}
    start = 0
    if resumed is not None:
        restore_training(resumed, task.model, optimizer, adversary)
        for key, value in load_weights(resumed, averaged=True).items():
            average[key].copy_(value)
        start = read_state(resumed).step
    drop_rows_after(config.output, start)
    run = _Run(
        config=config,
        task=task,
        optimizer=optimizer,
        average=average,
        adversary=adversary,
        model_config=asdict(sizes),
        start=start,
    )
    return _fit(run, progress)


def _sizes(config: TrainConfig) -> IPTalkerConfig:
    if config.model != "iptalker":
        raise ConfigError(f"'{config.model}' cannot be trained.", "Known: iptalker.")
    name = config.preset or "default"
    if name not in NAMED_CONFIGS:
        raise ConfigError(f"Unknown preset '{name}'.", f"Known: {', '.join(NAMED_CONFIGS)}.")
    sizes = NAMED_CONFIGS[name]
    if config.stage != "joint" and not sizes.geometry_map:
        raise ConfigError(
            f"Preset '{name}' has no mouth map, so its halves cannot be trained apart.",
            "Use --stage joint.",
        )
    return half_size(sizes) if config.half_size else sizes


def _checkpoint_to_resume(config: TrainConfig, sizes: IPTalkerConfig) -> Path | None:
    """The newest checkpoint of the output folder, which must be of this run."""
    found = list_checkpoints(config.output)
    if not found:
        return None
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
    differing = {
        key for key, value in asdict(sizes).items() if state.model_config.get(key, value) != value
    }
    if differing:
        raise TrainingError(
            f"'{config.output}' was trained with another preset or size "
            f"({', '.join(sorted(differing))}).",
            "Choose another folder, and --init to start from those weights.",
        )
    if config.stage != "geometry" and state.losses != config.losses:
        raise TrainingError(
            f"'{config.output}' was trained with other losses ({state.losses}).",
            f"Go on with --losses {state.losses}, or start in another folder with --init.",
        )
    return found[-1]


def _loss_weights(config: TrainConfig) -> LossWeights:
    if config.losses not in LOSS_PRESETS:
        raise ConfigError(
            f"Unknown losses '{config.losses}'.", f"Known: {', '.join(LOSS_PRESETS)}."
        )
    return LOSS_PRESETS[config.losses]


def _task(
    config: TrainConfig,
    model: IPTalker,
    device: torch.device,
    adversary: Adversary | None,
    resumed: Path | None,
) -> Task:
    """Model on its device with the weights it starts from, data, and what is trained."""
    if config.init is not None:
        # The picture half works with any sound half, and trains none.
        spare = "alignment.audio_encoder." if config.stage == "render" else None
        start_from(model, config.init, config.model, adversary=adversary, spare=spare)
    model.to(device)
    clips = load_clips(config.data)
    if config.stage == "geometry" and config.init is not None:
        # Untrained weights cannot judge; those of an earlier run put sound and picture in step.
        clips = correct_offsets(model, clips)
    if resumed is not None:
        load_into(model, resumed)
    model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    if config.stage == "geometry":
        return GeometryTask(model, clips, config)
    return RenderTask(
        model,
        clips,
        config,
        joint=config.stage == "joint",
        weights=_loss_weights(config),
        adversary=adversary,
    )


def _fit(run: _Run, progress: Progress | None) -> Path:
    config = run.config
    deadline = time.monotonic() + 60 * config.minutes if config.minutes else math.inf
    saved = config.output / f"step-{run.start:06d}"
    for step in range(run.start, config.steps):
        began = time.monotonic()
        values = _step(run, step)
        _update_average(run.average, run.task.model, step)
        append_row(config.output, step + 1, time.monotonic() - began, values)
        if progress is not None:
            progress("train", step + 1, config.steps)
        is_last = step + 1 == config.steps or time.monotonic() >= deadline
        if is_last or (step + 1) % config.checkpoint_every == 0:
            saved = _save(run, step + 1)
        if is_last or (step + 1) % config.sample_every == 0:
            picture = run.task.picture()
            if picture is not None:
                save_picture(picture, config.output / f"sample-{step + 1:06d}.jpg")
        if is_last:
            break
    return saved


def _save(run: _Run, step: int) -> Path:
    config = run.config
    return save_checkpoint(
        config.output,
        state=TrainState(
            step=step,
            architecture=config.model,
            stage=config.stage,
            model_config=run.model_config,
            losses=config.losses,
        ),
        model=run.task.model,
        average=run.average,
        optimizer=run.optimizer,
        run_config={key: str(value) for key, value in asdict(config).items()},
        adversary=run.adversary,
    )


def _step(run: _Run, step: int) -> dict[str, float]:
    """One update; the weights stay as they were if it cannot be computed."""
    config, device = run.config, device_of(run.task.model)
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(config, step)
    is_half = use_bfloat16(config.precision, device)
    with torch.autocast(device.type, torch.bfloat16, enabled=is_half):
        losses = run.task.losses(step)
    values = {name: float(value.detach()) for name, value in losses.items()}
    if not math.isfinite(values["loss"]):
        raise _diverged(config, f"The loss is {values['loss']}", step)
    run.optimizer.zero_grad(set_to_none=True)
    losses["loss"].backward()
    norm = float(nn.utils.clip_grad_norm_(run.task.parameters(), _CLIP_NORM))
    if not math.isfinite(norm):
        raise _diverged(config, f"The gradient is {norm}", step)
    run.optimizer.step()
    if run.adversary is None:
        return values
    values |= run.adversary.learn(learning_rate(config, step))
    if not math.isfinite(values["critic"]):
        raise _diverged(config, "The discriminator's loss or gradient is not finite", step)
    return values


def _diverged(config: TrainConfig, what: str, step: int) -> TrainingError:
    found = list_checkpoints(config.output)
    where = f"The last good checkpoint is '{found[-1]}'" if found else "There is no checkpoint yet"
    return TrainingError(
        f"{what} at step {step + 1}.", f"{where}; lower --learning-rate and run again."
    )


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then a cosine down to a tenth at the last step."""
    warm = min(1.0, (step + 1) / _WARM_UP_STEPS)
    share = step / max(1, config.steps)
    return config.learning_rate * warm * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * share)))


def use_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether to compute in bfloat16: `auto` only where the device does it fast."""
    return has_fast_bfloat16(device) if precision == "auto" else precision == "bfloat16"


def _update_average(average: dict[str, Tensor], model: nn.Module, step: int) -> None:
    decay = min(_AVERAGE_DECAY, (1 + step) / (10 + step))
    for key, value in model.state_dict().items():
        if value.dtype.is_floating_point:
            average[key].lerp_(value, 1 - decay)
        else:
            average[key].copy_(value)
