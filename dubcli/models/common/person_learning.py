"""What learning one person is made of, whichever model learns."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from dubcli.core.errors import TrainingError
from dubcli.core.types import F32, Int, References
from dubcli.models.api import AudioSpec, Motion
from dubcli.models.common.loss_weights import LossWeights
from dubcli.models.common.mouth_basis import coefficients_of, opening_basis
from dubcli.models.common.own_mouth import fold_mapping, mouth_mapping
from dubcli.models.common.picture_task import PictureSetup
from dubcli.models.common.render_samples import Variation
from dubcli.training.batches import BatchSize
from dubcli.training.data.prepared_clip import STEPS_HZ
from dubcli.training.data.train_clips import TrainClip, audio_windows
from dubcli.training.device_utils import device_of, evaluating
from dubcli.training.stage import MODEL, Optimization, PersonSetup, Task

# What of a spread that pictures do not show is made up for (all of it costs 0.5 dB, this much 0.2),
# and its limits.
_WIDENED_SHARE, _WIDENED_RANGE = 0.6, (0.8, 1.4)
# One person varies less than all people: the camera's frame, not the light or the side.
_JITTER = 0.5
# More makes pictures distrust their landmarks: mouths open less.
_NOISE = 0.05
# Frames whose sound is heard at once.
_BATCH = 64


class MotionModel(Protocol):
    """A model whose mouths are coefficients of a basis."""

    def motion_of(self, coefficients: Tensor, neutral: Tensor) -> Motion:
        """Mouths of coefficients (T, P) of a person at rest (S, 3)."""
        ...


def person_variation(references: References | None) -> Variation:
    """How samples of one person differ from the footage."""
    return Variation(
        jitter=_JITTER,
        is_mirrored=False,
        is_coloured=False,
        noise=_NOISE,
        references=references,
    )


def refuse_sound(setup: PersonSetup, what: str) -> None:
    """Refuse to learn how a mouth follows sound.

    Args:
        setup: What is to be learned.
        what: Which model takes a person's mouth from what, as the beginning of a sentence.

    Raises:
        TrainingError: Sound is to be learned.
    """
    if setup.learn_sound:
        raise TrainingError(f"{what}, and trains nothing for it.", "Leave out --learn-sound.")


def person_batch(setup: PersonSetup) -> BatchSize:
    """One clip a batch."""
    return BatchSize(seed=setup.seed, clips=1, frames=setup.frames)


def person_optimization(setup: PersonSetup, parameters: list[nn.Parameter]) -> Optimization:
    """The optimizer of a person's pictures."""
    optimizer = torch.optim.AdamW(parameters, lr=setup.schedule.peak, betas=(0.9, 0.98))
    return Optimization(optimizer=optimizer, schedule=setup.schedule)


def person_pictures(setup: PersonSetup, weights: LossWeights) -> PictureSetup:
    """What a person's pictures are trained by."""
    return PictureSetup(weights=weights, variation=person_variation(setup.references))


def learned_names(task: Task, beside: Iterable[Tensor]) -> list[str]:
    """Names of what a task trains, and of other parameters and buffers of its model."""
    kept = {id(value) for value in (*task.optimizers[MODEL].parameters, *beside)}
    tensors = task.modules[MODEL].state_dict(keep_vars=True)
    return [name for name, value in tensors.items() if id(value) in kept]


def true_coefficients(clip: TrainClip, frames: Int, basis: Tensor) -> Tensor:
    """Coefficients (T, P), on a basis (P, S, 3), of the mouths that a clip shows."""
    mouth_offset = torch.from_numpy(clip.mouth_offset[frames].astype(np.float32))
    return coefficients_of(mouth_offset.to(basis.device), basis)


def all_true_coefficients(clips: list[TrainClip], basis: Tensor) -> Tensor:
    """Coefficients (U, P) of the mouths that all usable frames of some clips show."""
    shown = [clip for clip in clips if len(clip.frames)]
    return torch.cat([true_coefficients(clip, clip.frames, basis) for clip in shown])


def true_motion(model: MotionModel, basis: Tensor, clip: TrainClip, frames: Int) -> Motion:
    """The mouths of some frames of a clip on a model's basis (P, S, 3)."""
    neutral = torch.from_numpy(np.asarray(clip.neutral, np.float32)).to(basis.device)
    return model.motion_of(true_coefficients(clip, frames, basis), neutral)


def widen_last_layers(last: list[nn.Linear], mean: F32, shown: float, articulation: float) -> None:
    """Let mouths open further around their mean, as far as making up for pictures costs little.

    Args:
        last: The mean of their outputs times the articulation is the coefficients (..., P).
        mean: Coefficients. Shape (P,).
        shown: Spread of the opening in generated pictures over the true one, above 0.
        articulation: Factor that is applied after the layer.
    """
    factor = float(np.clip(shown**-_WIDENED_SHARE, *_WIDENED_RANGE))
    for layer in last:
        fold_mapping(layer, factor, (1 - factor) * mean, articulation)


@dataclass(frozen=True, kw_only=True)
class ClosedFormMouth:
    """A person's mean mouth and reach, folded into the last layers before the coefficients.

    Sound alone still decides when the mouth moves.

    Attributes:
        model: Whose mouth it is.
        audio: What the model hears of a frame.
        last: The mean of their outputs times the articulation is the coefficients (..., P).
        basis: Shape (P, S, 3).
        articulation: Factor that is applied after the layer.
        hear: Coefficients (T, P), articulation included, that windows (T, A, D) ask for.
    """

    model: nn.Module
    audio: AudioSpec
    last: list[nn.Linear]
    basis: Tensor
    articulation: float
    hear: Callable[[Tensor], Tensor]

    def set(self, clips: list[TrainClip]) -> bool:
        """Take over mean shape and reach, as far as the footage outweighs no change.

        Returns:
            Whether there was sound to compare with; the model stays as it is otherwise.
        """
        heard = _audible(clips)
        if not heard:
            return False
        gain, shift = mouth_mapping(
            self._predicted(heard),
            all_true_coefficients(heard, self.basis).cpu().numpy(),
            opening_basis(self.basis).cpu().numpy(),
            sum(len(clip.frames) * _frame_s(clip) for clip in heard),
        )
        for layer in self.last:
            fold_mapping(layer, gain, shift, self.articulation)
        return True

    def widen(self, clips: list[TrainClip], shown: float) -> None:
        """Make up for pictures that open less than their landmarks; NaN changes nothing."""
        heard = _audible(clips)
        if heard and shown > 0:
            widen_last_layers(self.last, self._predicted(heard).mean(0), shown, self.articulation)

    @torch.inference_mode()
    def _predicted(self, clips: list[TrainClip]) -> F32:
        """Coefficients that the clips' sound asks for. Shape (U, P)."""
        device, parts = device_of(self.model), list[F32]()
        with evaluating(self.model):
            for clip in clips:
                for start in range(0, len(clip.frames), _BATCH):
                    frames = clip.frames[start : start + _BATCH]
                    audio = audio_windows(clip, frames, self.audio.width, kind=self.audio.kind)
                    parts.append(self.hear(torch.from_numpy(audio).to(device)).cpu().numpy())
        return np.concatenate(parts)


def _audible(clips: list[TrainClip]) -> list[TrainClip]:
    return [clip for clip in clips if clip.has_audio and len(clip.frames)]


def _frame_s(clip: TrainClip) -> float:
    """Seconds from frame to frame."""
    steps = np.diff(clip.clip.steps)
    return float(np.median(steps)) / float(STEPS_HZ) if len(steps) else 0.0
