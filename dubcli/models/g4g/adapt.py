"""How G4G learns one person: pictures by gradient steps, the mouth in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from dubcli.core.errors import TrainingError
from dubcli.core.types import F32, Int
from dubcli.models.api import Motion
from dubcli.models.common.mouth_basis import opening_basis
from dubcli.models.common.own_mouth import fold_mapping, mouth_mapping
from dubcli.models.common.person_learning import person_variation, true_coefficients, widening
from dubcli.models.g4g.g4g_render_task import StackRenderTask
from dubcli.models.g4g.losses import PERSON_LOSSES
from dubcli.models.g4g.network import G4G
from dubcli.training.batches import BatchSize
from dubcli.training.data.prepared_clip import STEPS_HZ
from dubcli.training.data.train_clips import TrainClip, audio_windows
from dubcli.training.device_utils import device_of, evaluating
from dubcli.training.stage import MODEL, Optimization, PersonSetup, Task

_BATCH = 64


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
        if setup.learn_sound:
            raise TrainingError(
                "g4g takes mean and reach of a person's mouth from the footage in closed form, "
                "and trains nothing for it.",
                "Leave out --learn-sound.",
            )
        model: G4G = setup.model
        blend = [] if model.blend is None else list(model.blend.parameters())
        optimizer = torch.optim.AdamW(
            [*StackRenderTask.trained(model), *blend], lr=setup.schedule.peak, betas=(0.9, 0.98)
        )
        return StackRenderTask(
            model,
            setup.clips,
            BatchSize(seed=setup.seed, clips=1, frames=setup.frames),
            Optimization(optimizer=optimizer, schedule=setup.schedule),
            weights=PERSON_LOSSES,
            variation=person_variation(setup.references),
        )

    def learned_names(self, task: Task) -> list[str]:
        """What is trained, and the last layer before the mouth."""
        model = task.modules[MODEL]
        assert isinstance(model, G4G)
        kept = {id(value) for value in task.optimizers[MODEL].parameters}
        kept |= {id(value) for value in _last_layer(model).parameters()}
        return [name for name, value in model.named_parameters() if id(value) in kept]

    def set_mouth(self, model: G4G, clips: list[TrainClip]) -> bool:
        """Mean shape and spread of the person's mouth, folded into the last layer."""
        heard = [clip for clip in clips if clip.has_audio and len(clip.frames)]
        if not heard:
            return False
        basis = model.sound.basis
        true = [true_coefficients(clip, clip.frames, basis).cpu().numpy() for clip in heard]
        seconds = sum(len(clip.frames) * _frame_s(clip) for clip in heard)
        gain, shift = mouth_mapping(
            np.concatenate([_predicted(model, clip) for clip in heard]),
            np.concatenate(true),
            opening_basis(basis).cpu().numpy(),
            seconds,
        )
        fold_mapping(_last_layer(model), gain, shift, model.options.articulation)
        return True

    def widen_mouth(self, model: G4G, clips: list[TrainClip], shown: float) -> None:
        """Open further where pictures show too little, as far as that costs little."""
        heard = [clip for clip in clips if clip.has_audio and len(clip.frames)]
        if not heard or not shown > 0:
            return
        factor = widening(shown)
        mean = np.concatenate([_predicted(model, clip) for clip in heard]).mean(0)
        shift = (1 - factor) * mean
        fold_mapping(_last_layer(model), factor, shift, model.options.articulation)

    def true_motion(self, model: G4G, clip: TrainClip, frames: Int) -> Motion:
        """The mouths of some frames on the model's basis."""
        neutral = torch.from_numpy(np.asarray(clip.neutral, np.float32)).to(device_of(model))
        return model.motion_of(true_coefficients(clip, frames, model.sound.basis), neutral)


def _last_layer(model: G4G) -> nn.Linear:
    head = model.sound.to_coefficients
    assert head is not None
    last = head[-1]
    assert isinstance(last, nn.Linear)
    return last


@torch.inference_mode()
def _predicted(model: G4G, clip: TrainClip) -> F32:
    """Coefficients that the clip's sound asks for. Shape (U, P)."""
    device, spec = device_of(model), model.spec
    parts = []
    with evaluating(model):
        for start in range(0, len(clip.frames), _BATCH):
            frames = clip.frames[start : start + _BATCH]
            audio = audio_windows(clip, frames, spec.audio.width, kind=spec.audio.kind)
            made = model.sound.smoothed(torch.from_numpy(audio).to(device))
            parts.append((model.options.articulation * made).cpu().numpy())
    return np.concatenate(parts)


def _frame_s(clip: TrainClip) -> float:
    """Seconds from frame to frame."""
    steps = np.diff(clip.clip.steps)
    return float(np.median(steps)) / float(STEPS_HZ) if len(steps) else 0.0
