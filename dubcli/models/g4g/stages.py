"""How G4G is trained: sound against mouths, pictures, blend net and discriminators."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from dubcli.core.errors import ConfigError
from dubcli.models.common.assembly import SoundPart, join_stages
from dubcli.models.common.stage_parts import (
    adam_w,
    batch_size,
    half_size,
    loss_weights,
    mouth_critic,
    needs_of,
    picture_setup,
    picture_stage,
    sound_stage,
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
    StageSetup,
    Task,
    Trained,
)

_CRITIC_BETA = 0.999
_HEARING = SoundPart(stage="contrast", prefixes=("sound.", "matcher."), shared=("sound.basis",))
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
    return join_stages(checkpoints, _HEARING, ["render", "blend"])


def _needs(config: G4GConfig) -> DataNeeds:
    """Without a drawn mouth the pictures are learned from the sound."""
    return needs_of(has_sound=not config.drawn_mouth)(config)


RECIPE = Recipe(
    stages={
        "contrast": sound_stage(_contrast),
        "render": picture_stage(_pictures(has_blend=False), LOSS_PRESETS, needs=_needs),
        "blend": picture_stage(_pictures(has_blend=True), LOSS_PRESETS, needs=_needs),
    },
    configs=NAMED_CONFIGS,
    default_stage="render",
    network=G4G,
    check=_check,
    half_size=half_size,
    assemble=assemble,
    adapter=G4GAdapter(),
)
