"""How Lip-and-Identity is trained: landmarks by sound, flows, pictures; and how it ships."""

from __future__ import annotations

from collections.abc import Sequence

from dubcli.models.common.assembly import SoundPart, join_stages
from dubcli.models.common.picture_task import PictureSetup
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
from dubcli.models.lip_identity.adapt import LipIdentityAdapter
from dubcli.models.lip_identity.config import NAMED_CONFIGS
from dubcli.models.lip_identity.landmark_task import LandmarkBatches, LandmarkTask, prepare_model
from dubcli.models.lip_identity.lip_render_task import LipRenderTask
from dubcli.models.lip_identity.losses import FLOW_LOSSES, LOSS_PRESETS
from dubcli.models.lip_identity.network import LipIdentity
from dubcli.training.stage import (
    Assembled,
    Recipe,
    Stage,
    StageSetup,
    Task,
    Trained,
)

_GENERATOR = SoundPart(stage="landmarks", prefixes=("landmarks.",), shared=("basis",))
# Of the discriminator's Adam.
_CRITIC_BETA = 0.999


def _landmarks(setup: StageSetup) -> Task:
    optimization = adam_w(LandmarkTask.trained(setup.model), setup.config)
    prepare_model(setup.model, setup.clips)
    batches = LandmarkBatches(setup.clips, setup.model.config, batch_size(setup.config))
    return LandmarkTask(setup.model, batches, optimization)


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
    return join_stages(checkpoints, _GENERATOR, ["render"])


RECIPE = Recipe(
    stages={
        "landmarks": sound_stage(_landmarks),
        "flow": Stage(task=_flow, needs=needs_of(has_sound=False)),
        "render": picture_stage(_render, LOSS_PRESETS),
    },
    configs=NAMED_CONFIGS,
    default_stage="render",
    network=LipIdentity,
    half_size=half_size,
    assemble=assemble,
    adapter=LipIdentityAdapter(),
)
