"""How IPTalker learns one person: the picture part by gradient steps, the mouth in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from dubcli.core.errors import TrainingError
from dubcli.core.types import F32, F64, Int
from dubcli.models.api import Motion
from dubcli.models.common.mouth_map import INNER_BOTTOM, INNER_TOP
from dubcli.models.common.own_mouth import fold_mapping, mouth_mapping
from dubcli.models.common.person_learning import person_variation, true_coefficients, widening
from dubcli.models.iptalker.losses import PERSON_LOSSES
from dubcli.models.iptalker.network import IPTalker
from dubcli.models.iptalker.render_task import FrozenNetworks, RenderTask
from dubcli.sync.network import SyncExpert
from dubcli.training.batches import BatchSize
from dubcli.training.data.prepared_clip import STEPS_HZ
from dubcli.training.data.train_clips import TrainClip, audio_windows
from dubcli.training.device_utils import device_of, evaluating
from dubcli.training.stage import MODEL, Optimization, PersonSetup, Task

_BATCH = 64


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
        parameters = RenderTask.trained(setup.model, setup.learn_sound)
        optimizer = torch.optim.AdamW(parameters, lr=setup.schedule.peak, betas=(0.9, 0.98))
        sync = setup.sync if isinstance(setup.sync, SyncExpert) and setup.learn_sound else None
        return RenderTask(
            setup.model,
            setup.clips,
            BatchSize(seed=setup.seed, clips=1, frames=setup.frames),
            Optimization(optimizer=optimizer, schedule=setup.schedule),
            joint=setup.learn_sound,
            weights=PERSON_LOSSES,
            frozen=FrozenNetworks(sync=sync),
            variation=person_variation(setup.references),
        )

    def learned_names(self, task: Task) -> list[str]:
        """What is trained, and the last layer before the mouth, see `set_mouth`."""
        model = task.modules[MODEL]
        assert isinstance(model, IPTalker)
        trained = {id(value) for value in task.optimizers[MODEL].parameters}
        last = {id(x) for layer in model.alignment.last_layers for x in layer.parameters()}
        by_id = [(name, id(value)) for name, value in model.named_parameters()]
        names = [name for group in (trained, last) for name, value in by_id if value in group]
        return list(dict.fromkeys(names))

    def set_mouth(self, model: IPTalker, clips: list[TrainClip]) -> bool:
        """Mean shape and spread of the person's mouth, see `set_mouth`."""
        return set_mouth(model, clips)

    def widen_mouth(self, model: IPTalker, clips: list[TrainClip], shown: float) -> None:
        """Open further where pictures show too little, see `widen_mouth`."""
        widen_mouth(model, clips, shown)

    def true_motion(self, model: IPTalker, clip: TrainClip, frames: Int) -> Motion:
        """The mouths of some frames on the model's basis."""
        device = device_of(model)
        neutral = torch.from_numpy(np.asarray(clip.neutral, np.float32)).to(device)
        return model.motion_of(true_coefficients(clip, frames, model.alignment.basis), neutral)


def set_mouth(model: IPTalker, clips: list[TrainClip]) -> bool:
    """Let the predicted mouth take this person's mean shape, and open as far as the person does.

    Sound alone still decides when the mouth moves. The mapping is folded into the last layer, so
    the motion part needs no training.

    Returns:
        Whether there was sound to compare with; the model stays as it is otherwise.
    """
    heard = [clip for clip in clips if clip.has_audio and len(clip.frames)]
    if not heard:
        return False
    predicted = np.concatenate([_predicted(model, clip) for clip in heard])
    true = np.concatenate(
        [
            true_coefficients(clip, clip.frames, model.alignment.basis).cpu().numpy()
            for clip in heard
        ]
    )
    seconds = sum(len(clip.frames) * _frame_s(clip) for clip in heard)
    basis = model.alignment.basis.cpu().numpy()
    opening = basis[:, INNER_BOTTOM, 1] - basis[:, INNER_TOP, 1]
    gain, shift = mouth_mapping(predicted, true, opening, seconds)
    _fold(model, gain, shift)
    return True


def widen_mouth(model: IPTalker, clips: list[TrainClip], shown: float) -> None:
    """Make up for pictures that open less than their landmarks, as far as that costs little.

    Args:
        model: After `set_mouth`.
        clips: What was learned from.
        shown: Spread of the opening in generated pictures over the true one; NaN changes nothing.
    """
    heard = [clip for clip in clips if clip.has_audio and len(clip.frames)]
    if not heard or not shown > 0:
        return
    factor = widening(shown)
    mean = np.concatenate([_predicted(model, clip) for clip in heard]).mean(0)
    _fold(model, factor, (1 - factor) * mean)


def _fold(model: IPTalker, gain: float, shift: F32 | F64) -> None:
    """Make the last layers give `gain * c + shift` where they gave the coefficients `c`."""
    for last in model.alignment.last_layers:
        fold_mapping(last, gain, shift, model.options.articulation)


@torch.inference_mode()
def _predicted(model: IPTalker, clip: TrainClip) -> F32:
    """Coefficients that the clip's sound asks for. Shape (U, P)."""
    device, spec, config = device_of(model), model.spec, model.config
    tokens = torch.zeros(config.num_references, config.token_size, device=device)
    parts = []
    with evaluating(model):
        for start in range(0, len(clip.frames), _BATCH):
            frames = clip.frames[start : start + _BATCH]
            audio = audio_windows(clip, frames, spec.audio.width, kind=spec.audio.kind)
            made = model.coefficients(torch.from_numpy(audio).to(device), tokens)
            parts.append(made.cpu().numpy())
    return np.concatenate(parts)


def _frame_s(clip: TrainClip) -> float:
    """Seconds from frame to frame."""
    steps = np.diff(clip.clip.steps)
    return float(np.median(steps)) / float(STEPS_HZ) if len(steps) else 0.0
