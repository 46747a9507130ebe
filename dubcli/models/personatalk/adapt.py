"""How PersonaTalk learns one person: pictures by gradient steps, mouths as their style."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from dubcli.core.errors import TrainingError
from dubcli.core.types import Int
from dubcli.models.api import Motion
from dubcli.models.common.person_learning import person_variation, true_coefficients, widening
from dubcli.models.personatalk.dual_render_task import DualRenderTask
from dubcli.models.personatalk.losses import PERSON_LOSSES
from dubcli.models.personatalk.network import PersonaTalk
from dubcli.training.batches import BatchSize
from dubcli.training.data.train_clips import TrainClip
from dubcli.training.device_utils import device_of
from dubcli.training.stage import MODEL, Optimization, PersonSetup, Task

_STYLE = "person_style"
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
        if setup.learn_sound:
            raise TrainingError(
                "personatalk takes how a person's mouth moves from the person's style, "
                "and trains nothing for it.",
                "Leave out --learn-sound.",
            )
        optimizer = torch.optim.AdamW(
            DualRenderTask.trained(setup.model), lr=setup.schedule.peak, betas=(0.9, 0.98)
        )
        return DualRenderTask(
            setup.model,
            setup.clips,
            BatchSize(seed=setup.seed, clips=1, frames=setup.frames),
            Optimization(optimizer=optimizer, schedule=setup.schedule),
            weights=PERSON_LOSSES,
            variation=person_variation(setup.references),
        )

    def learned_names(self, task: Task) -> list[str]:
        """What is trained, the person's style, and the last layer before the mouth."""
        model = task.modules[MODEL]
        trained = {id(value) for value in task.optimizers[MODEL].parameters}
        last = ("geometry.to_coefficients.", _STYLE)
        return [
            name
            for name, value in model.state_dict(keep_vars=True).items()
            if id(value) in trained or name.startswith(last)
        ]

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
        factor = widening(shown)
        last = model.geometry.to_coefficients
        true = [true_coefficients(clip, clip.frames, model.basis) for clip in clips]
        mean = torch.cat(true).mean(0) / model.options.articulation
        last.weight.mul_(factor)
        last.bias.mul_(factor)
        if not model.config.carries_amplitude:
            last.bias.add_((1 - factor) * mean)

    def true_motion(self, model: PersonaTalk, clip: TrainClip, frames: Int) -> Motion:
        """The mouths of some frames on the model's basis."""
        neutral = torch.from_numpy(np.asarray(clip.neutral, np.float32)).to(device_of(model))
        return model.motion_of(true_coefficients(clip, frames, model.basis), neutral)
