"""How PersonaTalk is trained: mouths by sound and style, pictures; and how it ships."""

from __future__ import annotations

from collections.abc import Sequence

from dubcli.models.common.assembly import SoundPart, join_stages
from dubcli.models.common.stage_parts import (
    adam_w,
    batch_size,
    half_size,
    loss_weights,
    picture_setup,
    picture_stage,
    sound_stage,
)
from dubcli.models.personatalk.adapt import PersonaTalkAdapter
from dubcli.models.personatalk.config import NAMED_CONFIGS
from dubcli.models.personatalk.dual_render_task import DualRenderTask
from dubcli.models.personatalk.fitted_clips import fit_clips
from dubcli.models.personatalk.losses import LOSS_PRESETS
from dubcli.models.personatalk.network import PersonaTalk
from dubcli.models.personatalk.style_task import StyledBatches, StyleTask, prepare_model
from dubcli.training.stage import (
    Assembled,
    Recipe,
    StageSetup,
    Task,
    Trained,
)

_GEOMETRY = SoundPart(stage="geometry", prefixes=("geometry.",), shared=("basis", "mean_face"))
# Of the discriminator's Adam.
_CRITIC_BETA = 0.999


def _geometry(setup: StageSetup) -> Task:
    model, clips = setup.model, setup.clips
    prepare_model(model, clips)
    if model.config.geometry == "fitted":
        clips = fit_clips(model, clips)
    batches = StyledBatches(clips, model.config, batch_size(setup.config))
    return StyleTask(model, batches, adam_w(StyleTask.trained(model), setup.config))


def _render(setup: StageSetup) -> Task:
    optimization = adam_w(DualRenderTask.trained(setup.model), setup.config)
    pictures = picture_setup(setup, loss_weights(setup, LOSS_PRESETS), _CRITIC_BETA)
    size = batch_size(setup.config)
    return DualRenderTask(setup.model, setup.clips, size, optimization, pictures)


def assemble(checkpoints: Sequence[Trained]) -> Assembled:
    """The renderer of a checkpoint of stage render with a geometry half.

    Args:
        checkpoints: One of stage render; where it has no trained geometry half of its own, one of
            stage geometry as well.

    Raises:
        TrainingError: They are not parts of one model.
    """
    return join_stages(checkpoints, _GEOMETRY, ["render"])


RECIPE = Recipe(
    stages={
        "geometry": sound_stage(_geometry),
        "render": picture_stage(_render, LOSS_PRESETS),
    },
    configs=NAMED_CONFIGS,
    default_stage="render",
    network=PersonaTalk,
    half_size=half_size,
    assemble=assemble,
    adapter=PersonaTalkAdapter(),
)
