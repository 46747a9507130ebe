"""How IPTalker learns one person: the picture part by gradient steps, the mouth in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from dubcli.core.errors import TrainingError
from dubcli.core.types import Int
from dubcli.models.api import Motion
from dubcli.models.common.person_learning import (
    ClosedFormMouth,
    learned_names,
    person_batch,
    person_optimization,
    person_pictures,
    true_motion,
)
from dubcli.models.iptalker.losses import PERSON_LOSSES
from dubcli.models.iptalker.network import IPTalker
from dubcli.models.iptalker.render_task import RenderTask
from dubcli.sync.network import SyncExpert
from dubcli.training.data.train_clips import TrainClip
from dubcli.training.device_utils import device_of
from dubcli.training.stage import MODEL, PersonSetup, Task


class IPTalkerAdapter:
    """Fulfils `training.stage.Adapter`."""

    def can_learn(self, config: Mapping[str, Any]) -> bool:
        """Only the mouth map tells pictures what mouth they show."""
        return bool(config.get("geometry_map", True))

    def task(self, setup: PersonSetup) -> Task:
        """The picture part, or with `learn_sound` all of it, guarded by the sync expert.

        Raises:
            TrainingError: Sound is to be learned, and the footage has none.
        """
        if setup.learn_sound and not any(clip.has_audio for clip in setup.clips):
            raise TrainingError(
                "The footage has no sound that fits the mouth, so how it follows cannot be "
                "learned.",
                "Leave out --learn-sound.",
            )
        sync = setup.sync if isinstance(setup.sync, SyncExpert) and setup.learn_sound else None
        return RenderTask(
            setup.model,
            setup.clips,
            person_batch(setup),
            person_optimization(setup, RenderTask.trained(setup.model, setup.learn_sound)),
            person_pictures(setup, PERSON_LOSSES),
            joint=setup.learn_sound,
            sync=sync,
        )

    def learned_names(self, task: Task) -> list[str]:
        """What is trained, and the last layer before the mouth, see `set_mouth`."""
        model = task.modules[MODEL]
        assert isinstance(model, IPTalker)
        last = [x for layer in model.alignment.last_layers for x in layer.parameters()]
        return learned_names(task, last)

    def set_mouth(self, model: IPTalker, clips: list[TrainClip]) -> bool:
        """Mean shape and spread of the person's mouth, folded into the last layer."""
        return _mouth(model).set(clips)

    def widen_mouth(self, model: IPTalker, clips: list[TrainClip], shown: float) -> None:
        """Open further where pictures show too little, as far as that costs little."""
        _mouth(model).widen(clips, shown)

    def true_motion(self, model: IPTalker, clip: TrainClip, frames: Int) -> Motion:
        """The mouths of some frames on the model's basis."""
        return true_motion(model, model.alignment.basis, clip, frames)


def _mouth(model: IPTalker) -> ClosedFormMouth:
    config = model.config
    tokens = torch.zeros(config.num_references, config.token_size, device=device_of(model))
    return ClosedFormMouth(
        model=model,
        audio=model.spec.audio,
        last=model.alignment.last_layers,
        basis=model.alignment.basis,
        articulation=model.options.articulation,
        hear=lambda audio: model.coefficients(audio, tokens),
    )
