"""What the training stages of several models are made of, and how their parts are put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from dubcli.config import TrainConfig
from dubcli.models.common.config_parts import CropConfig
from dubcli.models.common.loss_weights import LossWeights
from dubcli.models.common.picture_task import Critic, PictureSetup
from dubcli.training.batches import BatchSize
from dubcli.training.data.train_clips import TrainClip, audio_range, fit_basis
from dubcli.training.device_utils import device_of
from dubcli.training.losses.discriminators import MouthDiscriminator
from dubcli.training.losses.perceptual_features import PART, choose_features, require_vgg19, told
from dubcli.training.schedule import CosineSchedule
from dubcli.training.stage import DataNeeds, Optimization, Stage, StageConfig, StageSetup, Task


class AudioRange(Protocol):
    """A part that hears audio features brought to mean 0 and spread 1."""

    mean: Tensor
    spread: Tensor


C = TypeVar("C", bound=CropConfig)


def half_size(config: C) -> C:
    """The same network on crops of half the size, for a quick first stage."""
    return replace(config, height=config.height // 2, width=config.width // 2)


def needs_of(*, has_sound: bool) -> Callable[[CropConfig], DataNeeds]:
    """What a stage needs of its data: crops of the network's size, and the sound it hears."""

    def needs(config: CropConfig) -> DataNeeds:
        return DataNeeds(
            size=(config.height, config.width),
            features=(config.audio_kind,),
            has_sound=has_sound,
        )

    return needs


def batch_size(config: TrainConfig) -> BatchSize:
    """How a run draws its batches."""
    return BatchSize(seed=config.seed, clips=config.batch_clips, frames=config.frames_per_clip)


def adam_w(parameters: list[nn.Parameter], config: TrainConfig) -> Optimization:
    """The optimizer of a generator."""
    optimizer = torch.optim.AdamW(
        parameters, lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=1e-4
    )
    return Optimization(optimizer=optimizer, schedule=CosineSchedule(peak=config.learning_rate))


def mouth_critic(
    config: TrainConfig, device: torch.device, second_beta: float, frames: int = 1
) -> Critic:
    """A discriminator of mouths, and its optimizer: Adam with β1 = 0.5 and this β2."""
    net = MouthDiscriminator(frames).to(device)
    optimizer = torch.optim.Adam(
        net.parameters(), lr=config.learning_rate, betas=(0.5, second_beta)
    )
    schedule = CosineSchedule(peak=config.learning_rate)
    return net, Optimization(optimizer=optimizer, schedule=schedule)


def loss_weights(setup: StageSetup, presets: Mapping[str, LossWeights]) -> LossWeights:
    """λ of a run: its own, or those of the preset that it names."""
    if isinstance(setup.losses, LossWeights):
        return setup.losses
    return presets[setup.settings["losses"]]


def loss_settings(
    presets: Mapping[str, LossWeights],
) -> Callable[[TrainConfig, Mapping[str, str] | None], dict[str, str]]:
    """Which losses a run has, and which features they compare; kept by a run that goes on."""

    def settings(config: TrainConfig, before: Mapping[str, str] | None) -> dict[str, str]:
        name = config.losses or "default"
        known = None if before is None else before.get("perceptual")
        features = choose_features(config.perceptual, presets[name], known)
        return {"losses": name, "perceptual": features}

    return settings


def picture_setup(setup: StageSetup, weights: LossWeights, second_beta: float) -> PictureSetup:
    """What a stage trains pictures by; the user is told what perceptual losses compare.

    Args:
        setup: Of the stage.
        weights: λ of the run.
        second_beta: β2 of the discriminator's Adam.
    """
    sentence = told(setup.settings["perceptual"], weights)
    if sentence:
        setup.note(sentence)
    device = device_of(setup.model)
    return PictureSetup(
        weights=weights,
        vgg=require_vgg19(device, setup.config.perceptual)
        if setup.settings["perceptual"] == PART
        else None,
        critic=mouth_critic(setup.config, device, second_beta) if weights.gan else None,
    )


def fit_audio_range(parts: Iterable[AudioRange], clips: list[TrainClip], kind: str) -> None:
    """Set mean and spread of parts that have none yet to those of the clips' sound."""
    for part in parts:
        if bool((part.spread == 1).all()) and any(clip.has_audio for clip in clips):
            mean, spread = audio_range(clips, kind)
            part.mean.copy_(torch.from_numpy(mean))
            part.spread.copy_(torch.from_numpy(spread))


def fit_mouth_basis(basis: Tensor, clips: list[TrainClip]) -> None:
    """Fit a basis (P, S, 3) that is all zeros to the clips' mouths."""
    if not bool(basis.abs().sum() > 0):
        basis.copy_(torch.from_numpy(fit_basis(clips, len(basis))))


def sound_stage(make: Callable[[StageSetup], Task], *, spare: tuple[str, ...] = ()) -> Stage:
    """A stage that learns mouths by sound, from frames in a row.

    Args:
        make: Makes its task.
        spare: `StageConfig.spare`.
    """
    # Neighbours are compared.
    config = StageConfig(least_frames=2, spare=spare)
    return Stage(task=make, needs=needs_of(has_sound=True), config=config)


def picture_stage(
    make: Callable[[StageSetup], Task],
    presets: Mapping[str, LossWeights],
    *,
    needs: Callable[[Any], DataNeeds] | None = None,
    spare: tuple[str, ...] = (),
) -> Stage:
    """A stage that learns pictures, by one of several sets of losses.

    Args:
        make: Makes its task.
        presets: Named λ.
        needs: What it reads; None: crops and the sound they have.
        spare: `StageConfig.spare`.
    """
    return Stage(
        task=make,
        needs=needs_of(has_sound=False) if needs is None else needs,
        config=StageConfig(losses=tuple(presets), spare=spare),
        settings=loss_settings(presets),
    )
