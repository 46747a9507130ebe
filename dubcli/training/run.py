"""`dub train`: setup, fit, save, as plain functions."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dubcli.config import TrainConfig
from dubcli.core.errors import ConfigError, TrainingError
from dubcli.models.iptalker.geometry_task import GeometryTask, Task, half_size
from dubcli.models.iptalker.network import NAMED_CONFIGS, IPTalker, IPTalkerConfig
from dubcli.models.iptalker.render_task import Judges, RenderTask
from dubcli.pipeline.device import choose_device, has_fast_bfloat16
from dubcli.sync.network import SyncExpert
from dubcli.sync.offset import correct_offsets
from dubcli.sync.scorer import SyncJudge
from dubcli.training.checkpoint import (
    TrainState,
    list_checkpoints,
    load_into,
    read_state,
    restore_training,
    save_checkpoint,
)
from dubcli.training.data.train_clips import TrainClip, load_clips
from dubcli.training.device_utils import device_of
from dubcli.training.init_weights import start_from
from dubcli.training.losses.discriminators import Adversary
from dubcli.training.losses.perceptual_features import PART, choose_features, require_vgg19, told
from dubcli.training.losses.pictures import LOSS_PRESETS, LossWeights
from dubcli.training.optim_step import take_step
from dubcli.training.run_folder import Notes, append_row, drop_rows_after, save_picture
from dubcli.training.weight_average import begin_average, restore_average, update_average

Progress = Callable[[str, int, int], None]
_AVERAGE_DECAY = 0.998
_WARM_UP_STEPS = 100


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """What experiments put in place of what the configuration names; None leaves it.

    Attributes:
        clips: In place of those of `config.data`.
        sizes: In place of those of `config.preset` and `config.half_size`.
        weights: In place of those of `config.losses`.
    """

    clips: list[TrainClip] | None = None
    sizes: IPTalkerConfig | None = None
    weights: LossWeights | None = None


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One run: its task, what changes with each step, and the sizes it is stored with."""

    config: TrainConfig
    task: Task
    optimizer: torch.optim.Optimizer
    average: dict[str, Tensor]
    adversary: Adversary | None
    model_config: dict[str, Any]
    perceptual: str
    start: int


def train(
    config: TrainConfig, progress: Progress | None = None, overrides: Overrides | None = None
) -> Path:
    """Train one stage of a model and return the last checkpoint.

    A folder that holds checkpoints of the same model and stage is gone on with, exactly as if
    the run had not been interrupted.

    Args:
        config: The run.
        progress: Told of every step.
        overrides: For experiments that no option offers.

    Raises:
        ConfigError: Unknown model, preset or losses.
        DeviceError: The device is not there.
        TrainingError: No usable data, a checkpoint of another model, NaN, full disk.
        WeightsError: VGG-19 was asked for and cannot be had.
    """
    overrides = Overrides() if overrides is None else overrides
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    device = choose_device(config.device)
    sizes = overrides.sizes or _sizes(config)
    resumed = _checkpoint_to_resume(config, sizes)
    notes = Notes()
    weights = LossWeights() if config.stage == "geometry" else _loss_weights(config, overrides)
    perceptual = _features(config, weights, resumed, notes)
    model = IPTalker(sizes).to(device)
    judges = Judges(
        adversary=Adversary(device) if weights.gan else None,
        vgg=require_vgg19(device, config.perceptual) if perceptual == PART else None,
        sync=_sync_expert(config, weights, sizes, device, notes),
    )
    clips = overrides.clips or load_clips(config.data, notes.add)
    task = _task(config, model, clips, weights, judges, resumed)
    optimizer = torch.optim.AdamW(
        task.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=1e-4
    )
    run = _Run(
        config=config,
        task=task,
        optimizer=optimizer,
        average=begin_average(task.model),
        adversary=judges.adversary,
        model_config=asdict(sizes),
        perceptual=perceptual,
        start=0 if resumed is None else read_state(resumed).step,
    )
    if resumed is not None:
        _restore(run, resumed)
    drop_rows_after(config.output, run.start)
    notes.write(config.output)
    return _fit(run, progress)


def _restore(run: _Run, checkpoint: Path) -> None:
    """Go on exactly: moments, random state, discriminator and running average."""
    restore_training(checkpoint, run.task.model, run.optimizer, run.adversary)
    restore_average(run.average, checkpoint)


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


def _loss_weights(config: TrainConfig, overrides: Overrides) -> LossWeights:
    if overrides.weights is not None:
        return overrides.weights
    if config.losses not in LOSS_PRESETS:
        raise ConfigError(
            f"Unknown losses '{config.losses}'.", f"Known: {', '.join(LOSS_PRESETS)}."
        )
    return LOSS_PRESETS[config.losses]


def _features(config: TrainConfig, weights: LossWeights, resumed: Path | None, notes: Notes) -> str:
    """What perceptual losses compare; told where they are used."""
    before = None if resumed is None else read_state(resumed).perceptual
    chosen = choose_features(config.perceptual, weights, before)
    sentence = told(chosen, weights)
    if sentence:
        notes.add(sentence)
    return chosen


def _sync_expert(
    config: TrainConfig,
    weights: LossWeights,
    sizes: IPTalkerConfig,
    device: torch.device,
    notes: Notes,
) -> SyncExpert | None:
    """The expert that the sync losses ask; told where they cannot."""
    if config.stage != "joint" or not (weights.sync or weights.sync_to_real):
        return None
    if not sizes.geometry_map:
        notes.add("The sync losses are left out: they judge landmarks, and no map predicts them.")
        return None
    judge = SyncJudge.load("train", device)
    if judge is None:
        notes.add("The sync losses are left out: this installation has no sync expert.")
        return None
    return judge.expert


def _task(
    config: TrainConfig,
    model: IPTalker,
    clips: list[TrainClip],
    weights: LossWeights,
    judges: Judges,
    resumed: Path | None,
) -> Task:
    """Model on its device with the weights it starts from, and what is trained."""
    if config.init is not None:
        # The picture half works with any sound half, and trains none.
        spare = "alignment.audio_encoder." if config.stage == "render" else None
        start_from(model, config.init, config.model, adversary=judges.adversary, spare=spare)
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
        weights=weights,
        judges=judges,
    )


def _fit(run: _Run, progress: Progress | None) -> Path:
    config = run.config
    deadline = time.monotonic() + 60 * config.minutes if config.minutes else math.inf
    saved = config.output / f"step-{run.start:06d}"
    for step in range(run.start, config.steps):
        began = time.monotonic()
        values = _step(run, step)
        update_average(run.average, run.task.model, step, _AVERAGE_DECAY)
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
            perceptual=run.perceptual,
        ),
        model=run.task.model,
        average=run.average,
        optimizer=run.optimizer,
        run_config={key: str(value) for key, value in asdict(config).items()},
        adversary=run.adversary,
    )


def _step(run: _Run, step: int) -> dict[str, float]:
    """One update; the weights stay as they were if it cannot be computed."""
    config = run.config
    rate = learning_rate(config, step)
    values = take_step(
        run.task,
        run.optimizer,
        step,
        rate=rate,
        is_half=use_bfloat16(config.precision, device_of(run.task.model)),
        fail=lambda what: _diverged(config, what, step),
    )
    if run.adversary is None:
        return values
    values |= run.adversary.learn(rate)
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
