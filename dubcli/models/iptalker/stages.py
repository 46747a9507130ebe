"""How IPTalker is trained: the motion part, the rendering part, both together; and how it ships."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from dubcli.config import TrainConfig
from dubcli.core.errors import ConfigError, TrainingError
from dubcli.models.common.loss_weights import LossWeights
from dubcli.models.iptalker.adapt import IPTalkerAdapter
from dubcli.models.iptalker.config import NAMED_CONFIGS, IPTalkerConfig
from dubcli.models.iptalker.geometry_task import GeometryTask, half_size
from dubcli.models.iptalker.losses import LOSS_PRESETS
from dubcli.models.iptalker.network import IPTalker
from dubcli.models.iptalker.offsets import correct_offsets
from dubcli.models.iptalker.render_task import FrozenNetworks, RenderTask
from dubcli.sync.network import SyncExpert
from dubcli.sync.scorer import SyncScorer
from dubcli.training.batches import BatchSize
from dubcli.training.device_utils import device_of
from dubcli.training.losses.discriminators import MouthDiscriminator
from dubcli.training.losses.perceptual_features import PART, choose_features, require_vgg19, told
from dubcli.training.schedule import CosineSchedule
from dubcli.training.stage import (
    Assembled,
    DataNeeds,
    Optimization,
    Recipe,
    Stage,
    StageConfig,
    StageSetup,
    Task,
    Trained,
)

_ALIGNMENT, _BASIS = "alignment.", "alignment.basis"
_BASIS_TOLERANCE = 1e-6
# The network is convolutional: its parts may be trained on crops of different size.
_FREE_FIELDS = ("height", "width")


def _check(config: IPTalkerConfig, stage: str) -> None:
    """Only with the map can the parts be trained apart."""
    if stage != "joint" and not config.geometry_map:
        raise ConfigError(
            "This preset has no mouth map, so its parts cannot be trained apart.",
            "Use --stage joint.",
        )


def _needs(*, has_sound: bool) -> Callable[[IPTalkerConfig], DataNeeds]:
    def needs(config: IPTalkerConfig) -> DataNeeds:
        return DataNeeds(
            size=(config.height, config.width),
            features=(config.audio_kind,),
            has_sound=has_sound,
        )

    return needs


def _render_settings(config: TrainConfig, before: Mapping[str, str] | None) -> dict[str, str]:
    """Which losses, and which features they compare."""
    name = config.losses or "default"
    known = None if before is None else before.get("perceptual")
    return {
        "losses": name,
        "perceptual": choose_features(config.perceptual, LOSS_PRESETS[name], known),
    }


def _batch_size(config: TrainConfig) -> BatchSize:
    return BatchSize(seed=config.seed, clips=config.batch_clips, frames=config.frames_per_clip)


def _optimization(parameters: list[nn.Parameter], config: TrainConfig) -> Optimization:
    optimizer = torch.optim.AdamW(
        parameters, lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=1e-4
    )
    return Optimization(optimizer=optimizer, schedule=CosineSchedule(peak=config.learning_rate))


def _critic(config: TrainConfig, device: torch.device) -> tuple[MouthDiscriminator, Optimization]:
    net = MouthDiscriminator().to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=config.learning_rate, betas=(0.5, 0.99))
    schedule = CosineSchedule(peak=config.learning_rate)
    return net, Optimization(optimizer=optimizer, schedule=schedule)


def _geometry(setup: StageSetup) -> Task:
    model, clips = setup.model, setup.clips
    if setup.started:
        # Untrained weights cannot judge; those of an earlier run put sound and picture in step.
        clips = correct_offsets(model, clips)
    optimization = _optimization(GeometryTask.trained(model), setup.config)
    return GeometryTask(model, clips, _batch_size(setup.config), optimization)


def _pictures(*, joint: bool) -> Callable[[StageSetup], Task]:
    def task(setup: StageSetup) -> Task:
        model, config = setup.model, setup.config
        device, weights = device_of(model), _weights(setup)
        uses_vgg = setup.settings["perceptual"] == PART
        sentence = told(setup.settings["perceptual"], weights)
        if sentence:
            setup.note(sentence)
        frozen = FrozenNetworks(
            vgg=require_vgg19(device, config.perceptual) if uses_vgg else None,
            sync=_sync_expert(setup, weights) if joint else None,
        )
        return RenderTask(
            model,
            setup.clips,
            _batch_size(config),
            _optimization(RenderTask.trained(model, joint), config),
            joint=joint,
            weights=weights,
            frozen=frozen,
            critic=_critic(config, device) if weights.gan else None,
        )

    return task


def _weights(setup: StageSetup) -> LossWeights:
    if isinstance(setup.losses, LossWeights):
        return setup.losses
    return LOSS_PRESETS[setup.settings["losses"]]


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
            if name.startswith(_ALIGNMENT) and value.is_floating_point()
            else value
            for name, value in first.tensors.items()
        }
    return Assembled(tensors=tensors, config=first.state.model_config)


def _with_alignment(first: Trained, other: Trained) -> dict[str, Tensor]:
    """The first model with the other one's alignment module."""
    _check_fit(first, other)
    if set(first.tensors) != set(other.tensors):
        raise TrainingError(
            f"'{first.path}' and '{other.path}' hold different tensors.",
            "Train both with the same --preset.",
        )
    gap = float((first.tensors[_BASIS] - other.tensors[_BASIS]).abs().max())
    if gap > _BASIS_TOLERANCE:
        raise TrainingError(
            f"'{first.path}' and '{other.path}' have mouth bases that differ by {gap:.2g}.",
            "Train both on the same data, or start one from the other with --init.",
        )
    return {
        name: other.tensors[name] if name.startswith(_ALIGNMENT) else value
        for name, value in first.tensors.items()
    }


def _check_fit(first: Trained, other: Trained) -> None:
    """Refuse parts of different models."""
    if other.state.stage == "render":
        raise TrainingError(
            f"'{other.path}' is of stage render, which does not train the alignment module.",
            "Name a checkpoint of stage geometry or joint.",
        )
    one, two = first.state.model_config, other.state.model_config
    names = {*one, *two} - {*_FREE_FIELDS}
    differing = sorted(name for name in names if one.get(name) != two.get(name))
    if differing:
        raise TrainingError(
            f"'{first.path}' and '{other.path}' differ in {', '.join(differing)}.",
            "Train both with the same --preset.",
        )


RECIPE = Recipe(
    stages={
        "geometry": Stage(
            task=_geometry,
            needs=_needs(has_sound=True),
            # Neighbours are compared. Weights with another E_a lend everything else.
            config=StageConfig(least_frames=2, spare=("alignment.audio_encoder.",)),
        ),
        "render": Stage(
            task=_pictures(joint=False),
            needs=_needs(has_sound=False),
            # The rendering part works with any motion part, and trains none.
            config=StageConfig(losses=tuple(LOSS_PRESETS), spare=("alignment.audio_encoder.",)),
            settings=_render_settings,
        ),
        "joint": Stage(
            task=_pictures(joint=True),
            needs=_needs(has_sound=True),
            config=StageConfig(losses=tuple(LOSS_PRESETS)),
            settings=_render_settings,
        ),
    },
    configs=NAMED_CONFIGS,
    default_stage="render",
    network=IPTalker,
    check=_check,
    half_size=half_size,
    assemble=assemble,
    adapter=IPTalkerAdapter(),
)
