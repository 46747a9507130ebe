"""How IPTalker is trained: the motion part, the rendering part, both together; and how it ships."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dubcli.core.errors import ConfigError, TrainingError
from dubcli.models.common.assembly import SoundPart
from dubcli.models.common.loss_weights import LossWeights
from dubcli.models.common.stage_parts import (
    adam_w,
    batch_size,
    half_size,
    loss_weights,
    needs_of,
    picture_setup,
    picture_stage,
    sound_stage,
)
from dubcli.models.iptalker.adapt import IPTalkerAdapter
from dubcli.models.iptalker.config import NAMED_CONFIGS, IPTalkerConfig
from dubcli.models.iptalker.geometry_task import GeometryBatches, GeometryTask, prepare_model
from dubcli.models.iptalker.losses import LOSS_PRESETS
from dubcli.models.iptalker.network import IPTalker
from dubcli.models.iptalker.offsets import correct_offsets
from dubcli.models.iptalker.render_task import RenderTask
from dubcli.sync.network import SyncExpert
from dubcli.sync.scorer import SyncScorer
from dubcli.training.device_utils import device_of
from dubcli.training.stage import (
    Assembled,
    Recipe,
    StageSetup,
    Task,
    Trained,
)

_ALIGNMENT = SoundPart(stage="geometry", prefixes=("alignment.",), shared=("alignment.basis",))
# Weights with another E_a lend everything else.
_SPARE = ("alignment.audio_encoder.",)
# Of the discriminator's Adam.
_CRITIC_BETA = 0.99


def _check(config: IPTalkerConfig, stage: str) -> None:
    """Only with the map can the parts be trained apart; two alignment modules, one at a time."""
    if stage == "geometry" and config.second_audio_kind is not None:
        raise ConfigError(
            "This preset has two alignment modules, which are trained one at a time.",
            "Train --preset sound-alone and --preset whisper, then join them "
            "(tests/tools/pair_iptalker.py).",
        )
    if stage != "joint" and not config.geometry_map:
        raise ConfigError(
            "This preset has no mouth map, so its parts cannot be trained apart.",
            "Use --stage joint.",
        )


def _geometry(setup: StageSetup) -> Task:
    model, clips = setup.model, setup.clips
    if setup.started:
        # Untrained weights cannot judge; those of an earlier run put sound and picture in step.
        clips = correct_offsets(model, clips)
    optimization = adam_w(GeometryTask.trained(model), setup.config)
    prepare_model(model, clips)
    batches = GeometryBatches(clips, model.config, batch_size(setup.config))
    return GeometryTask(model, batches, optimization)


def _pictures(*, joint: bool) -> Callable[[StageSetup], Task]:
    def task(setup: StageSetup) -> Task:
        model, config = setup.model, setup.config
        weights = loss_weights(setup, LOSS_PRESETS)
        sync = _sync_expert(setup, weights) if joint else None
        return RenderTask(
            model,
            setup.clips,
            batch_size(config),
            adam_w(RenderTask.trained(model, joint), config),
            picture_setup(setup, weights, _CRITIC_BETA),
            joint=joint,
            sync=sync,
        )

    return task


def _sync_expert(setup: StageSetup, weights: LossWeights) -> SyncExpert | None:
    """The expert of the sync losses; told where they cannot be computed."""
    if not (weights.sync or weights.sync_to_real):
        return None
    if not setup.model.config.geometry_map:
        setup.note("The sync losses are left out: they judge landmarks, and no map predicts them.")
        return None
    scorer = SyncScorer.load("train", device_of(setup.model))
    if scorer is None:
        setup.note("The sync losses are left out: this installation has no sync expert.")
        return None
    return scorer.expert


def assemble(checkpoints: Sequence[Trained]) -> Assembled:
    """The whole model of the first checkpoint, with the mean alignment module of the others.

    Runs that began from one another are better together (arXiv:2203.05482).

    Args:
        checkpoints: The first is of the whole model, the others of stage geometry or joint.

    Raises:
        TrainingError: They are not parts of one model.
    """
    first, *others = checkpoints
    parts = [_with_alignment(first, other) for other in others]
    tensors = first.tensors
    if parts:
        tensors = {
            name: torch.stack([part[name] for part in parts]).mean(0)
            if name.startswith(_ALIGNMENT.prefixes) and value.is_floating_point()
            else value
            for name, value in first.tensors.items()
        }
    return Assembled(tensors=tensors, config=first.state.model_config)


def _with_alignment(first: Trained, other: Trained) -> dict[str, Tensor]:
    """The first model with the other one's alignment module."""
    if other.state.stage == "render":
        raise TrainingError(
            f"'{other.path}' is of stage render, which does not train the alignment module.",
            "Name a checkpoint of stage geometry or joint.",
        )
    return _ALIGNMENT.taken_over(first, other)


RECIPE = Recipe(
    stages={
        "geometry": sound_stage(_geometry, spare=_SPARE),
        # The rendering part works with any motion part, and trains none.
        "render": picture_stage(_pictures(joint=False), LOSS_PRESETS, spare=_SPARE),
        "joint": picture_stage(_pictures(joint=True), LOSS_PRESETS, needs=needs_of(has_sound=True)),
    },
    configs=NAMED_CONFIGS,
    default_stage="render",
    network=IPTalker,
    check=_check,
    half_size=half_size,
    assemble=assemble,
    adapter=IPTalkerAdapter(),
)
