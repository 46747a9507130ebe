"""How Lip-and-Identity learns one person: pictures by gradient steps, mouths as references."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from dubcli.core.errors import TrainingError
from dubcli.core.types import Int
from dubcli.models.api import Motion
from dubcli.models.common.mouth_basis import opening_basis
from dubcli.models.common.person_learning import person_variation, true_coefficients, widening
from dubcli.models.lip_identity.lip_render_task import LipRenderTask
from dubcli.models.lip_identity.losses import PERSON_LOSSES
from dubcli.models.lip_identity.network import LipIdentity, even_steps
from dubcli.training.batches import BatchSize
from dubcli.training.data.train_clips import TrainClip
from dubcli.training.device_utils import device_of
from dubcli.training.stage import MODEL, Optimization, PersonSetup, Task

_SETS = "person_sets"


class LipIdentityAdapter:
    """Fulfils `training.stage.Adapter`."""

    def can_learn(self, config: Mapping[str, Any]) -> bool:
        """Any configuration tells pictures what mouth they show."""
        return True

    def task(self, setup: PersonSetup) -> Task:
        """Alignment and rendering; how mouths follow sound is not trained.

        Raises:
            TrainingError: Sound is to be learned.
        """
        if setup.learn_sound:
            raise TrainingError(
                "lip-identity takes how a person's mouth moves from reference landmarks, "
                "and trains nothing for it.",
                "Leave out --learn-sound.",
            )
        optimizer = torch.optim.AdamW(
            LipRenderTask.trained(setup.model), lr=setup.schedule.peak, betas=(0.9, 0.98)
        )
        return LipRenderTask(
            setup.model,
            setup.clips,
            BatchSize(seed=setup.seed, clips=1, frames=setup.frames),
            Optimization(optimizer=optimizer, schedule=setup.schedule),
            weights=PERSON_LOSSES,
            variation=person_variation(setup.references),
        )

    def learned_names(self, task: Task) -> list[str]:
        """What is trained, the person's landmarks, and the last layer before the mouth."""
        model = task.modules[MODEL]
        trained = {id(value) for value in task.optimizers[MODEL].parameters}
        last = ("landmarks.to_coefficients.", _SETS)
        return [
            name
            for name, value in model.state_dict(keep_vars=True).items()
            if id(value) in trained or name.startswith(last)
        ]

    @torch.no_grad()
    def set_mouth(self, model: LipIdentity, clips: list[TrainClip]) -> bool:
        """Take over the person's reference landmarks; they tell how far a mouth opens."""
        true = torch.cat(
            [
                true_coefficients(clip, clip.frames, model.basis)
                for clip in clips
                if len(clip.frames)
            ]
        )
        order = (true @ opening_basis(model.basis)).argsort(stable=True)
        chosen = even_steps(len(order), model.config.num_landmark_sets)
        model.person_sets.copy_(true[order[chosen.to(order.device)]])
        return any(clip.has_audio for clip in clips)

    @torch.no_grad()
    def widen_mouth(self, model: LipIdentity, clips: list[TrainClip], shown: float) -> None:
        """Open further, around the mean of the reference landmarks, as far as that costs little."""
        if not shown > 0:
            return
        factor = widening(shown)
        last = model.landmarks.to_coefficients
        mean = model.person_sets.mean(0) / model.options.articulation
        last.weight.mul_(factor)
        last.bias.mul_(factor).add_((1 - factor) * mean)

    def true_motion(self, model: LipIdentity, clip: TrainClip, frames: Int) -> Motion:
        """The mouths of some frames on the model's basis."""
        neutral = torch.from_numpy(np.asarray(clip.neutral, np.float32)).to(device_of(model))
        return model.motion_of(true_coefficients(clip, frames, model.basis), neutral)
