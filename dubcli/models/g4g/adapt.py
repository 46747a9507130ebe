"""How G4G learns one person: pictures by gradient steps, the mouth in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from dubcli.core.types import Int
from dubcli.models.api import Motion
from dubcli.models.common.person_learning import (
    ClosedFormMouth,
    learned_names,
    person_batch,
    person_optimization,
    person_pictures,
    refuse_sound,
    true_motion,
)
from dubcli.models.g4g.g4g_render_task import StackRenderTask
from dubcli.models.g4g.losses import PERSON_LOSSES
from dubcli.models.g4g.network import G4G
from dubcli.training.data.train_clips import TrainClip
from dubcli.training.stage import MODEL, PersonSetup, Task


class G4GAdapter:
    """Fulfils `training.stage.Adapter`."""

    def can_learn(self, config: Mapping[str, Any]) -> bool:
        """Only a drawn mouth tells pictures what mouth they show."""
        return bool(config.get("drawn_mouth", True))

    def task(self, setup: PersonSetup) -> Task:
        """The generator with its blend net; how mouths follow sound is not trained.

        Raises:
            TrainingError: Sound is to be learned.
        """
        refuse_sound(
            setup, "g4g takes mean and reach of a person's mouth from the footage in closed form"
        )
        model: G4G = setup.model
        blend = [] if model.blend is None else list(model.blend.parameters())
        return StackRenderTask(
            model,
            setup.clips,
            person_batch(setup),
            person_optimization(setup, [*StackRenderTask.trained(model), *blend]),
            person_pictures(setup, PERSON_LOSSES),
        )

    def learned_names(self, task: Task) -> list[str]:
        """What is trained, and the last layer before the mouth."""
        model = task.modules[MODEL]
        assert isinstance(model, G4G)
        return learned_names(task, _last_layer(model).parameters())

    def set_mouth(self, model: G4G, clips: list[TrainClip]) -> bool:
        """Mean shape and spread of the person's mouth, folded into the last layer."""
        return _mouth(model).set(clips)

    def widen_mouth(self, model: G4G, clips: list[TrainClip], shown: float) -> None:
        """Open further where pictures show too little, as far as that costs little."""
        _mouth(model).widen(clips, shown)

    def true_motion(self, model: G4G, clip: TrainClip, frames: Int) -> Motion:
        """The mouths of some frames on the model's basis."""
        return true_motion(model, model.sound.basis, clip, frames)


def _last_layer(model: G4G) -> nn.Linear:
    head = model.sound.to_coefficients
    assert head is not None
    last = head[-1]
    assert isinstance(last, nn.Linear)
    return last


def _mouth(model: G4G) -> ClosedFormMouth:
    factor = model.options.articulation
    return ClosedFormMouth(
        model=model,
        audio=model.spec.audio,
        last=[_last_layer(model)],
        basis=model.sound.basis,
        articulation=factor,
        hear=lambda audio: factor * model.sound.smoothed(audio),
    )
