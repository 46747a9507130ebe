"""How PersonaTalk is trained: mouths by sound and style, pictures; and how it ships."""

from __future__ import annotations

from collections.abc import Sequence

from dubcli.core.errors import TrainingError
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
from dubcli.models.personatalk.adapt import PersonaTalkAdapter
from dubcli.models.personatalk.config import NAMED_CONFIGS
from dubcli.models.personatalk.dual_render_task import DualRenderTask
from dubcli.models.personatalk.losses import LOSS_PRESETS
from dubcli.models.personatalk.network import PersonaTalk
from dubcli.models.personatalk.style_task import StyleTask
from dubcli.training.stage import (
    Assembled,
    Recipe,
    Stage,
    StageConfig,
    StageSetup,
    Task,
    Trained,
)

_GEOMETRY, _BASIS, _FACE = "geometry.", "basis", "mean_face"
# Of the discriminator's Adam.
_CRITIC_BETA = 0.999


def _geometry(setup: StageSetup) -> Task:
    optimization = adam_w(StyleTask.trained(setup.model), setup.config)
    return StyleTask(setup.model, setup.clips, batch_size(setup.config), optimization)


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
    pictures = [one for one in checkpoints if one.state.stage == "render"]
    mouths = [one for one in checkpoints if one.state.stage == "geometry"]
    if len(pictures) != 1 or len(mouths) > 1:
        raise TrainingError(
            "Two checkpoints make this model, of the stages render and geometry.",
            "Name one of each.",
        )
    (picture,) = pictures
    if not mouths:
        return Assembled(tensors=picture.tensors, config=picture.state.model_config)
    (mouth,) = mouths
    require_same_network(picture, mouth)
    for name in (_BASIS, _FACE):
        require_same_basis(picture, mouth, name)
    tensors = {
        **{key: value for key, value in picture.tensors.items() if not key.startswith(_GEOMETRY)},
        **{key: value for key, value in mouth.tensors.items() if key.startswith(_GEOMETRY)},
    }
    return Assembled(tensors=tensors, config=picture.state.model_config)


RECIPE = Recipe(
    stages={
        # Neighbours are compared.
        "geometry": Stage(
            task=_geometry, needs=needs_of(has_sound=True), config=StageConfig(least_frames=2)
        ),
        "render": Stage(
            task=_render,
            needs=needs_of(has_sound=False),
            config=StageConfig(losses=tuple(LOSS_PRESETS)),
            settings=loss_settings(LOSS_PRESETS),
        ),
    },
    configs=NAMED_CONFIGS,
    default_stage="render",
    network=PersonaTalk,
    half_size=half_size,
    assemble=assemble,
    adapter=PersonaTalkAdapter(),
)
