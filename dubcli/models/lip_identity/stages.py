"""How Lip-and-Identity is trained: landmarks by sound, flows, pictures; and how it ships."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from dubcli.config import TrainConfig
from dubcli.core.errors import TrainingError
from dubcli.models.common.loss_weights import LossWeights
from dubcli.models.lip_identity.adapt import LipIdentityAdapter
from dubcli.models.lip_identity.config import NAMED_CONFIGS, LipIdentityConfig, half_size
from dubcli.models.lip_identity.landmark_task import LandmarkTask
from dubcli.models.lip_identity.lip_render_task import LipRenderTask
from dubcli.models.lip_identity.losses import FLOW_LOSSES, LOSS_PRESETS
from dubcli.models.lip_identity.network import LipIdentity
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

_LANDMARKS, _BASIS = "landmarks.", "basis"
_BASIS_TOLERANCE = 1e-6
# The network is convolutional: its parts may be trained on crops of different size.
_FREE_FIELDS = ("height", "width")


def _needs(*, has_sound: bool) -> Callable[[LipIdentityConfig], DataNeeds]:
    def needs(config: LipIdentityConfig) -> DataNeeds:
        return DataNeeds(
            size=(config.height, config.width),
            features=(config.audio_kind,),
            has_sound=has_sound,
        )

    return needs


def _size(config: TrainConfig) -> BatchSize:
    return BatchSize(seed=config.seed, clips=config.batch_clips, frames=config.frames_per_clip)


def _optimization(parameters: list[nn.Parameter], config: TrainConfig) -> Optimization:
    optimizer = torch.optim.AdamW(
        parameters, lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=1e-4
    )
    return Optimization(optimizer=optimizer, schedule=CosineSchedule(peak=config.learning_rate))


def _critic(config: TrainConfig, device: torch.device) -> tuple[MouthDiscriminator, Optimization]:
    net = MouthDiscriminator().to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=config.learning_rate, betas=(0.5, 0.999))
    schedule = CosineSchedule(peak=config.learning_rate)
    return net, Optimization(optimizer=optimizer, schedule=schedule)


def _landmarks(setup: StageSetup) -> Task:
    optimization = _optimization(LandmarkTask.trained(setup.model), setup.config)
    return LandmarkTask(setup.model, setup.clips, _size(setup.config), optimization)


def _flow(setup: StageSetup) -> Task:
    model = setup.model
    optimization = _optimization(LipRenderTask.trained(model, flow_alone=True), setup.config)
    return LipRenderTask(model, setup.clips, _size(setup.config), optimization, weights=FLOW_LOSSES)


def _render(setup: StageSetup) -> Task:
    model, config = setup.model, setup.config
    device, weights = device_of(model), _weights(setup)
    sentence = told(setup.settings["perceptual"], weights)
    if sentence:
        setup.note(sentence)
    uses_vgg = setup.settings["perceptual"] == PART
    return LipRenderTask(
        model,
        setup.clips,
        _size(config),
        _optimization(LipRenderTask.trained(model), config),
        weights=weights,
        vgg=require_vgg19(device, config.perceptual) if uses_vgg else None,
        critic=_critic(config, device) if weights.gan else None,
    )


def _weights(setup: StageSetup) -> LossWeights:
    if isinstance(setup.losses, LossWeights):
        return setup.losses
    return LOSS_PRESETS[setup.settings["losses"]]


def _render_settings(config: TrainConfig, before: Mapping[str, str] | None) -> dict[str, str]:
    """Which losses, and which features they compare."""
    name = config.losses or "default"
    known = None if before is None else before.get("perceptual")
    features = choose_features(config.perceptual, LOSS_PRESETS[name], known)
    return {"losses": name, "perceptual": features}


def assemble(checkpoints: Sequence[Trained]) -> Assembled:
    """The rendering part of a checkpoint of stage render with a landmark generator.

    Args:
        checkpoints: One of stage render; where it has no trained landmark generator of its own,
            one of stage landmarks as well.

    Raises:
        TrainingError: They are not parts of one model.
    """
    pictures = [one for one in checkpoints if one.state.stage != "landmarks"]
    mouths = [one for one in checkpoints if one.state.stage == "landmarks"]
    if len(pictures) != 1 or len(mouths) > 1:
        raise TrainingError(
            "Two checkpoints make this model, of the stages render and landmarks.",
            "Name one of each.",
        )
    (picture,) = pictures
    if not mouths:
        return Assembled(tensors=picture.tensors, config=picture.state.model_config)
    (mouth,) = mouths
    _check_fit(picture, mouth)
    tensors = {
        name: mouth.tensors[name] if name.startswith(_LANDMARKS) else value
        for name, value in picture.tensors.items()
    }
    return Assembled(tensors=tensors, config=picture.state.model_config)


def _check_fit(picture: Trained, mouth: Trained) -> None:
    """Refuse parts of different models."""
    one, two = picture.state.model_config, mouth.state.model_config
    differing = sorted(
        name for name in {*one, *two} - {*_FREE_FIELDS} if one.get(name) != two.get(name)
    )
    if differing:
        raise TrainingError(
            f"'{picture.path}' and '{mouth.path}' differ in {', '.join(differing)}.",
            "Train both with the same --preset.",
        )
    gap = float((picture.tensors[_BASIS] - mouth.tensors[_BASIS]).abs().max())
    if gap > _BASIS_TOLERANCE:
        raise TrainingError(
            f"'{picture.path}' and '{mouth.path}' have mouth bases that differ by {gap:.2g}.",
            "Train both on the same data, or start one from the other with --init.",
        )


RECIPE = Recipe(
    stages={
        # Neighbours are compared.
        "landmarks": Stage(
            task=_landmarks, needs=_needs(has_sound=True), config=StageConfig(least_frames=2)
        ),
        "flow": Stage(task=_flow, needs=_needs(has_sound=False)),
        "render": Stage(
            task=_render,
            needs=_needs(has_sound=False),
            config=StageConfig(losses=tuple(LOSS_PRESETS)),
            settings=_render_settings,
        ),
    },
    configs=NAMED_CONFIGS,
    default_stage="render",
    network=LipIdentity,
    half_size=half_size,
    assemble=assemble,
    adapter=LipIdentityAdapter(),
)
