"""`dub train`: one stage of any model that has a recipe."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dubcli.config import TrainConfig
from dubcli.core.errors import ConfigError, TrainingError
from dubcli.core.progress import Progress
from dubcli.pipeline.device import choose_device, has_fast_bfloat16
from dubcli.training.checkpoint import (
    TrainState,
    checkpoint_to_resume,
    list_checkpoints,
    read_run_config,
    read_state,
)
from dubcli.training.data.train_clips import (
    TrainClip,
    check_form,
    load_clips,
    longest_run,
    with_sound,
)
from dubcli.training.init_weights import start_beside, start_from
from dubcli.training.loop import Loop, LoopSettings
from dubcli.training.parallel import is_first, process_group, world_size
from dubcli.training.recipes import find_recipe
from dubcli.training.run_folder import Notes
from dubcli.training.stage import MODEL, DataNeeds, Recipe, Stage, StageSetup

# Key of a checkpoint's `config.json` beside the options of the run.
_PROCESSES = "processes"


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """What experiments put in place of what the configuration names; None leaves it.

    Attributes:
        clips: In place of those of `config.data`.
        sizes: Configuration of the network in place of `config.preset` and `config.half_size`.
        losses: In place of those of `config.losses`.
    """

    clips: list[TrainClip] | None = None
    sizes: Any = None
    losses: object | None = None


def train(
    config: TrainConfig, progress: Progress | None = None, overrides: Overrides | None = None
) -> Path:
    """Train one stage of a model and return the last checkpoint.

    A folder that holds checkpoints of the same model and stage is gone on with, exactly as if
    the run had not been interrupted. Under `torchrun` the processes share each step.

    Args:
        config: The run.
        progress: Told of every step.
        overrides: For experiments that no option offers.

    Raises:
        ConfigError: Unknown model, stage, preset or losses.
        DeviceError: The device is not there, or cannot be shared by the processes.
        TrainingError: No usable data, a checkpoint of another model, NaN, full disk.
        WeightsError: Weights that were asked for cannot be had.
    """
    overrides = Overrides() if overrides is None else overrides
    recipe = find_recipe(config.model)
    name, stage = _stage(recipe, config)
    sizes = overrides.sizes or _sizes(recipe, config, name)
    if config.threads:
        torch.set_num_threads(config.threads)
    with process_group(choose_device(config.device)) as device:
        torch.manual_seed(config.seed)
        notes = Notes()
        state, resumed = _state(config, stage, name, sizes)
        model = recipe.network(sizes).to(device)
        untrained: list[str] = []
        if config.init is not None:
            untrained = start_from(
                model, config.init, config.model, spare=stage.config.spare, stages=stage.init
            )
        clips = overrides.clips or load_clips(config.data, notes.add)
        setup = StageSetup(
            model=_channels_last(model),
            clips=_usable(clips, stage.needs(sizes), config, notes.add),
            config=config,
            settings=state.settings,
            started=config.init is not None and not untrained,
            losses=overrides.losses,
            note=notes.add,
        )
        loop = Loop(stage.task(setup), state, _settings(config, stage, device))
        if config.init is not None:
            beside = {key: value for key, value in loop.task.modules.items() if key != MODEL}
            start_beside(beside, config.init)
        if resumed is not None:
            loop.resume(resumed)
            _note_share(resumed, config, notes.add)
        if is_first():
            notes.write(config.output)
        return loop.run(progress)


def _stage(recipe: Recipe, config: TrainConfig) -> tuple[str, Stage]:
    """The stage that is asked for, which must know the options that are given.

    Raises:
        ConfigError: It does not.
    """
    name = config.stage or recipe.default_stage
    if name not in recipe.stages:
        raise ConfigError(f"Unknown stage '{name}'.", f"Use {_either(recipe.stages)}.")
    stage = recipe.stages[name]
    known = stage.config.losses
    if config.losses is not None and not known:
        raise ConfigError(f"Stage {name} has one set of losses.", "Leave out --losses.")
    if config.losses is not None and config.losses not in known:
        raise ConfigError(f"Unknown losses '{config.losses}'.", f"Known: {', '.join(known)}.")
    if config.perceptual != "auto" and not known:
        raise ConfigError(f"Stage {name} compares no features.", "Leave out --perceptual.")
    if config.frames_per_clip < stage.config.least_frames:
        raise ConfigError(
            f"{config.frames_per_clip} frames of each clip.",
            f"Use {stage.config.least_frames} or more in stage {name}.",
        )
    return name, stage


def _either(names: Mapping[str, object]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def _sizes(recipe: Recipe, config: TrainConfig, stage: str) -> Any:
    name = config.preset or next(iter(recipe.configs))
    if name not in recipe.configs:
        raise ConfigError(f"Unknown preset '{name}'.", f"Known: {', '.join(recipe.configs)}.")
    sizes = recipe.configs[name]
    recipe.check(sizes, stage)
    if not config.half_size:
        return sizes
    if recipe.half_size is None:
        raise ConfigError(f"'{config.model}' has no half size.", "Leave out --half-size.")
    return recipe.half_size(sizes)


def _state(
    config: TrainConfig, stage: Stage, name: str, sizes: Any
) -> tuple[TrainState, Path | None]:
    """What makes the run this run, and the checkpoint to go on from."""
    wanted = TrainState(step=0, architecture=config.model, stage=name, model_config=asdict(sizes))
    found = list_checkpoints(config.output)
    before = None
    if found and config.resume:
        known = read_state(found[-1])
        if (known.architecture, known.stage) == (config.model, name):
            before = known.settings
    state = replace(wanted, settings=stage.settings(config, before))
    return state, checkpoint_to_resume(config.output, state, resume=config.resume)


def _usable(
    clips: list[TrainClip], needs: DataNeeds, config: TrainConfig, note: Callable[[str], None]
) -> list[TrainClip]:
    """The clips that a stage can learn from.

    Args:
        clips: Of the prepared set.
        needs: Of the stage.
        config: The run.
        note: Called where crops will be enlarged.

    Raises:
        TrainingError: There are none, or the set is of another form.
    """
    first = clips[0].clip
    check_form(clips, needs.size, needs.template, needs.features)
    if first.size[0] < needs.size[0]:
        found, wanted = (f"{height}x{width}" for height, width in (first.size, needs.size))
        note(
            f"The set's crops of {found} px are enlarged, which adds no detail. "
            f"Run 'dub prepare --size {wanted}' into another folder."
        )
    clips = with_sound(clips) if needs.has_sound else clips
    run = needs.run(config.frames_per_clip)
    kept = [clip for clip in clips if longest_run(clip) >= run]
    if not kept:
        raise TrainingError(
            f"No prepared clip has {run} usable frames in a row.",
            "Use fewer --frames-per-clip, or add longer clips (index.csv, column longest_run).",
        )
    return kept


def _channels_last(model: nn.Module) -> nn.Module:
    return model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def _settings(config: TrainConfig, stage: Stage, device: torch.device) -> LoopSettings:
    return LoopSettings(
        steps=config.steps,
        folder=config.output,
        minutes=config.minutes,
        accumulate=config.accumulate,
        workers=config.workers,
        is_bfloat16=use_bfloat16(config.precision, device),
        average_decay=stage.config.average_decay,
        checkpoint_every=config.checkpoint_every,
        preview_every=config.sample_every,
        seed=config.seed,
        run_config={
            **{key: str(value) for key, value in asdict(config).items()},
            _PROCESSES: str(world_size()),
        },
    )


def _note_share(checkpoint: Path, config: TrainConfig, note: Callable[[str], None]) -> None:
    """Tell that updates take more or fewer batches than before, where they do."""
    before = read_run_config(checkpoint)
    stated = [before.get(key, "1") for key in ("accumulate", _PROCESSES)]
    past = math.prod(int(value) if value.isdigit() else 1 for value in stated)
    now = config.accumulate * world_size()
    if past != now:
        note(
            f"An update took {past} batches up to '{checkpoint.name}' and takes {now} from now on: "
            "change --accumulate or the number of processes if that is not meant."
        )


def use_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether to compute in bfloat16: `auto` only where the device does it fast."""
    return has_fast_bfloat16(device) if precision == "auto" else precision == "bfloat16"
