"""How Lip-and-Identity is trained: landmarks by sound, flows, pictures; and how it ships."""

from __future__ import annotations

from collections.abc import Sequence

from dubcli.core.errors import TrainingError
from dubcli.models.common.picture_task import PictureSetup
from dubcli.models.common.stage_parts import (
    adam_w,
    batch_size,
    half_size,
    loss_settings,
    loss_weights,
    needs_of,
    picture_setup,
    require_same_basis,
    require_same_network,
)
from dubcli.models.lip_identity.adapt import LipIdentityAdapter
from dubcli.models.lip_identity.config import NAMED_CONFIGS
from dubcli.models.lip_identity.landmark_task import LandmarkTask
from dubcli.models.lip_identity.lip_render_task import LipRenderTask
from dubcli.models.lip_identity.losses import FLOW_LOSSES, LOSS_PRESETS
from dubcli.models.lip_identity.network import LipIdentity
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
    optimization = adam_w(LipRenderTask.trained(setup.model, flow_alone=True), setup.config)
    size, pictures = batch_size(setup.config), PictureSetup(weights=FLOW_LOSSES)
    return LipRenderTask(setup.model, setup.clips, size, optimization, pictures)


def _render(setup: StageSetup) -> Task:
    optimization = adam_w(LipRenderTask.trained(setup.model), setup.config)
    pictures = picture_setup(setup, loss_weights(setup, LOSS_PRESETS), _CRITIC_BETA)
    size = batch_size(setup.config)
    return LipRenderTask(setup.model, setup.clips, size, optimization, pictures)


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
