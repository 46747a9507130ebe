"""How PersonaTalk learns one person: pictures by gradient steps, mouths as their style."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from dubcli.core.types import Int
from dubcli.models.api import Motion
from dubcli.models.common.person_learning import (
    all_true_coefficients,
    learned_names,
    person_batch,
    person_optimization,
    person_pictures,
    refuse_sound,
    true_motion,
    widen_last_layers,
)
from dubcli.models.personatalk.dual_render_task import DualRenderTask
from dubcli.models.personatalk.losses import PERSON_LOSSES
from dubcli.models.personatalk.network import PersonaTalk
from dubcli.training.data.train_clips import TrainClip
from dubcli.training.device_utils import device_of
from dubcli.training.stage import MODEL, PersonSetup, Task

# Frames that the style is taken from, at most.
_MOST_FRAMES = 2000


class PersonaTalkAdapter:
    """Fulfils `training.stage.Adapter`."""

    def can_learn(self, config: Mapping[str, Any]) -> bool:
        """Any configuration tells pictures what mouth they show."""
        return True

    def task(self, setup: PersonSetup) -> Task:
        """The renderer; how mouths follow sound is not trained.

        Raises:
            TrainingError: Sound is to be learned.
        """
        refuse_sound(setup, "personatalk takes how a person's mouth moves from the person's style")
        return DualRenderTask(
            setup.model,
            setup.clips,
            person_batch(setup),
            person_optimization(setup, DualRenderTask.trained(setup.model)),
            person_pictures(setup, PERSON_LOSSES),
        )

    def learned_names(self, task: Task) -> list[str]:
        """What is trained, the person's style, and the last layer before the mouth."""
        model = task.modules[MODEL]
        assert isinstance(model, PersonaTalk)
        last = model.geometry.to_coefficients
        return learned_names(task, [*last.parameters(), model.person_style])

    @torch.no_grad()
    def set_mouth(self, model: PersonaTalk, clips: list[TrainClip]) -> bool:
        """Take over the person's style."""
        every = np.concatenate([clip.mouth_offset[clip.frames] for clip in clips])
        rows = np.linspace(0, len(every) - 1, min(_MOST_FRAMES, len(every))).round().astype(int)
        departures = torch.from_numpy(every[rows].astype(np.float32)).to(device_of(model))
        model.person_style.copy_(model.geometry.style_of(departures, model.basis))
        return any(clip.has_audio for clip in clips)

    @torch.no_grad()
    def widen_mouth(self, model: PersonaTalk, clips: list[TrainClip], shown: float) -> None:
        """Open further, around the person's mean mouth, as far as that costs little."""
        if not shown > 0:
            return
        # A style that carries its mean mouth is widened around that already.
        mean = np.zeros(model.config.num_coefficients, np.float32)
        if not model.config.carries_amplitude:
            mean = all_true_coefficients(clips, model.basis).mean(0).cpu().numpy()
        last = [model.geometry.to_coefficients]
        widen_last_layers(last, mean, shown, model.options.articulation)

    def true_motion(self, model: PersonaTalk, clip: TrainClip, frames: Int) -> Motion:
        """The mouths of some frames on the model's basis."""
        return true_motion(model, model.basis, clip, frames)
