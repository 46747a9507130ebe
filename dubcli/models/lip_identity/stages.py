"""How Lip-and-Identity is trained: landmarks by sound, flows, pictures; and how it ships."""

from __future__ import annotations

from collections.abc import Sequence

from dubcli.core.errors import TrainingError
from dubcli.models.common.stage_parts import (
    adam_w,
    batch_size,
    half_size,
    loss_settings,
    loss_weights,
    mouth_critic,
    needs_of,
    perceptual_network,
    require_same_basis,
    require_same_network,
)
from dubcli.models.lip_identity.adapt import LipIdentityAdapter
from dubcli.models.lip_identity.config import NAMED_CONFIGS
from dubcli.models.lip_identity.landmark_task import LandmarkTask
from dubcli.models.lip_identity.lip_render_task import LipRenderTask
from dubcli.models.lip_identity.losses import FLOW_LOSSES, LOSS_PRESETS
from dubcli.models.lip_identity.network import LipIdentity
from dubcli.training.device_utils import device_of
from dubcli.training.stage import (
    Assembled,
    Recipe,
    Stage,
    StageConfig,
    StageSetup,
    Task,
    Trained,
)

_LANDMARKS, _BASIS = "landmarks.", "basis"
# Of the discriminator's Adam.
_CRITIC_BETA = 0.999


def _landmarks(setup: StageSetup) -> Task:
    optimization = adam_w(LandmarkTask.trained(setup.model), setup.config)
    return LandmarkTask(setup.model, setup.clips, batch_size(setup.config), optimization)


def _flow(setup: StageSetup) -> Task:
    model = setup.model
    optimization = adam_w(LipRenderTask.trained(model, flow_alone=True), setup.config)
    return LipRenderTask(
        model, setup.clips, batch_size(setup.config), optimization, weights=FLOW_LOSSES
    )


def _render(setup: StageSetup) -> Task:
    model, config = setup.model, setup.config
    weights = loss_weights(setup, LOSS_PRESETS)
    return LipRenderTask(
        model,
        setup.clips,
        batch_size(config),
        adam_w(LipRenderTask.trained(model), config),
        weights=weights,
        vgg=perceptual_network(setup, weights),
        critic=mouth_critic(config, device_of(model), _CRITIC_BETA) if weights.gan else None,
    )


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
    require_same_network(picture, mouth)
    require_same_basis(picture, mouth, _BASIS)
    tensors = {
        name: mouth.tensors[name] if name.startswith(_LANDMARKS) else value
        for name, value in picture.tensors.items()
    }
    return Assembled(tensors=tensors, config=picture.state.model_config)


RECIPE = Recipe(
    stages={
        # Neighbours are compared.
        "landmarks": Stage(
            task=_landmarks, needs=needs_of(has_sound=True), config=StageConfig(least_frames=2)
        ),
        "flow": Stage(task=_flow, needs=needs_of(has_sound=False)),
        "render": Stage(
            task=_render,
            needs=needs_of(has_sound=False),
            config=StageConfig(losses=tuple(LOSS_PRESETS)),
            settings=loss_settings(LOSS_PRESETS),
        ),
    },
    configs=NAMED_CONFIGS,
    default_stage="render",
    network=LipIdentity,
    half_size=half_size,
    assemble=assemble,
    adapter=LipIdentityAdapter(),
)
