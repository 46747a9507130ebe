"""How G4G is trained: sound against mouths, pictures, blend net and discriminators."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from dubcli.core.errors import ConfigError, TrainingError
from dubcli.models.common.stage_parts import (
    adam_w,
    batch_size,
    half_size,
    loss_settings,
    loss_weights,
    mouth_critic,
    picture_setup,
    require_same_basis,
    require_same_network,
)
from dubcli.models.g4g.adapt import G4GAdapter
from dubcli.models.g4g.config import NAMED_CONFIGS, G4GConfig
from dubcli.models.g4g.contrast_task import ContrastTask
from dubcli.models.g4g.g4g_render_task import StackRenderTask
from dubcli.models.g4g.losses import LOSS_PRESETS
from dubcli.models.g4g.network import G4G
from dubcli.training.device_utils import device_of
from dubcli.training.schedule import CosineSchedule
from dubcli.training.stage import (
    RATE_SHARE,
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

_CRITIC_BETA = 0.999
_HEARING, _BASIS = ("sound.", "matcher."), "sound.basis"
# Of the generator's rate while the blend net learns.
_BESIDE_BLEND = 0.1


def _check(config: G4GConfig, stage: str) -> None:
    """Without a blend net there is no stage for it."""
    if stage == "blend" and not config.has_blend:
        raise ConfigError("This preset has no blend net.", "Use --stage contrast or render.")


def _contrast(setup: StageSetup) -> Task:
    def make(parameters: list[nn.Parameter]) -> Optimization:
        return adam_w(parameters, setup.config)

    return ContrastTask(setup.model, setup.clips, batch_size(setup.config), make)


def _pictures(*, has_blend: bool) -> Callable[[StageSetup], Task]:
    def task(setup: StageSetup) -> Task:
        model, config = setup.model, setup.config
        weights = loss_weights(setup, LOSS_PRESETS)
        generator = StackRenderTask.trained(model)
        return StackRenderTask(
            model,
            setup.clips,
            batch_size(config),
            _beside_blend(model, generator, config.learning_rate)
            if has_blend
            else adam_w(generator, config),
            picture_setup(setup, weights, _CRITIC_BETA),
            has_blend=has_blend,
            pair_critic=mouth_critic(config, device_of(model), _CRITIC_BETA, frames=2)
            if weights.gan_pairs
            else None,
        )

    return task


def _beside_blend(model: G4G, generator: list[nn.Parameter], rate: float) -> Optimization:
    """One optimizer of the blend net, and of the generator at a tenth of the rate."""
    assert model.blend is not None
    groups = [
        {"params": list(model.blend.parameters())},
        {"params": generator, RATE_SHARE: _BESIDE_BLEND},
    ]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), weight_decay=1e-4)
    return Optimization(optimizer=optimizer, schedule=CosineSchedule(peak=rate))


def assemble(checkpoints: Sequence[Trained]) -> Assembled:
    """The pictures of one checkpoint, with a longer run of stage contrast where there is one.

    The generator hears a: what is joined should be trained on by stage blend.

    Args:
        checkpoints: One of stage render or blend, and at most one of stage contrast.

    Raises:
        TrainingError: They are not parts of one model.
    """
    pictures = [one for one in checkpoints if one.state.stage != "contrast"]
    sounds = [one for one in checkpoints if one.state.stage == "contrast"]
    if len(pictures) != 1 or len(sounds) > 1:
        raise TrainingError(
            "One checkpoint of stage render or blend, with at most one of contrast, is a model.",
            "Name one of stage render or blend.",
        )
    (picture,) = pictures
    tensors = picture.tensors
    for sound in sounds:
        require_same_network(picture, sound)
        require_same_basis(picture, sound, _BASIS)
        tensors = {
            name: sound.tensors[name] if name.startswith(_HEARING) else value
            for name, value in tensors.items()
        }
    return Assembled(tensors=tensors, config=picture.state.model_config)


def _needs(config: G4GConfig) -> DataNeeds:
    """Without a drawn mouth the pictures are learned from the sound."""
    return DataNeeds(
        size=(config.height, config.width),
        features=(config.audio_kind,),
        has_sound=not config.drawn_mouth,
    )


def _sound_needs(config: G4GConfig) -> DataNeeds:
    size = (config.height, config.width)
    return DataNeeds(size=size, features=(config.audio_kind,), has_sound=True)


_LOSSES = StageConfig(losses=tuple(LOSS_PRESETS))
RECIPE = Recipe(
    stages={
        # Neighbours are compared.
        "contrast": Stage(task=_contrast, needs=_sound_needs, config=StageConfig(least_frames=2)),
        "render": Stage(
            task=_pictures(has_blend=False),
            needs=_needs,
            config=_LOSSES,
            settings=loss_settings(LOSS_PRESETS),
        ),
        "blend": Stage(
            task=_pictures(has_blend=True),
            needs=_needs,
            config=_LOSSES,
            settings=loss_settings(LOSS_PRESETS),
        ),
    },
    configs=NAMED_CONFIGS,
    default_stage="render",
    network=G4G,
    check=_check,
    half_size=half_size,
    assemble=assemble,
    adapter=G4GAdapter(),
)
