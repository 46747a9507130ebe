"""How Lip-and-Identity learns one person: pictures by gradient steps, mouths as references."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from dubcli.core.types import Int
from dubcli.models.api import Motion
from dubcli.models.common.mouth_basis import opening_basis
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
from dubcli.models.lip_identity.lip_render_task import LipRenderTask
from dubcli.models.lip_identity.losses import PERSON_LOSSES
from dubcli.models.lip_identity.network import LipIdentity, even_steps
from dubcli.training.data.train_clips import TrainClip
from dubcli.training.stage import MODEL, PersonSetup, Task


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
        refuse_sound(
            setup, "lip-identity takes how a person's mouth moves from reference landmarks"
        )
        return LipRenderTask(
            setup.model,
            setup.clips,
            person_batch(setup),
            person_optimization(setup, LipRenderTask.trained(setup.model)),
            person_pictures(setup, PERSON_LOSSES),
        )

    def learned_names(self, task: Task) -> list[str]:
        """What is trained, the person's landmarks, and the last layer before the mouth."""
        model = task.modules[MODEL]
        assert isinstance(model, LipIdentity)
        last = model.landmarks.to_coefficients
        return learned_names(task, [*last.parameters(), model.person_sets])

    @torch.no_grad()
    def set_mouth(self, model: LipIdentity, clips: list[TrainClip]) -> bool:
        """Take over the person's reference landmarks; they tell how far a mouth opens."""
        true = all_true_coefficients(clips, model.basis)
        order = (true @ opening_basis(model.basis)).argsort(stable=True)
        chosen = even_steps(len(order), model.config.num_landmark_sets)
        model.person_sets.copy_(true[order[chosen.to(order.device)]])
        return any(clip.has_audio for clip in clips)

    @torch.no_grad()
    def widen_mouth(self, model: LipIdentity, clips: list[TrainClip], shown: float) -> None:
        """Open further, around the mean of the reference landmarks, as far as that costs little."""
        if shown > 0:
            mean = model.person_sets.mean(0).cpu().numpy()
            last = model.landmarks.to_coefficients
            widen_last_layers([last], mean, shown, model.options.articulation)

    def true_motion(self, model: LipIdentity, clip: TrainClip, frames: Int) -> Motion:
        """The mouths of some frames on the model's basis."""
        return true_motion(model, model.basis, clip, frames)
