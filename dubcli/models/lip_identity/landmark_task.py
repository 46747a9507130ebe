"""Stage landmarks: the landmark generator alone, sound and reference landmarks to mouths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dubcli.core.types import F32, Int
from dubcli.models.common.moments import moments_of_frames
from dubcli.models.common.mouth_basis import coefficients_of
from dubcli.models.common.mouth_losses import moment_losses
from dubcli.models.common.sound_runs import Hearing, MomentRun, SoundBatches, SoundTask, draw_run
from dubcli.models.common.stage_parts import fit_audio_range, fit_mouth_basis
from dubcli.models.lip_identity.config import LipIdentityConfig
from dubcli.models.lip_identity.network import LipIdentity
from dubcli.models.lip_identity.options import LipIdentityOptions
from dubcli.training.batches import BatchSize
from dubcli.training.data.train_clips import TrainClip
from dubcli.training.stage import Batch

# Reference mouths keep away from the run by so many frames, else it is copied from them.
_AWAY = 8
# At least so many different reference mouths are shown; the places of others repeat them.
_LEAST_SETS = 4
# One factor, its logarithm up to this, moves a run's mouths and its reference mouths: how far a
# person's mouth moves is then told by the references alone.
_AMPLITUDE = 0.35
_SET_NOISE = 0.1
_HAS_NO_SETS = 0.15
_ARTICULATION = LipIdentityOptions().articulation


@dataclass(frozen=True, kw_only=True)
class LandmarkRun(MomentRun):
    """A run, how the head is turned, and reference mouths of the same person.

    Attributes:
        rotation: Of the head. Shape (F, 3, 3).
        sets: Reference mouths minus neutral, closed to open. Shape (N_l, S, 3).
    """

    rotation: F32
    sets: F32


def prepare_model(model: LipIdentity, clips: list[TrainClip]) -> None:
    """Fit the mouth basis and the range of the audio to the clips, unless the model has them."""
    fit_audio_range([model.landmarks.audio_encoder], clips, model.config.audio_kind)
    if model.rendering.attention is not None:
        fit_audio_range([model.rendering.attention], clips, model.config.attended_kind)
    fit_mouth_basis(model.basis, clips)


class LandmarkBatches(SoundBatches):
    """`LandmarkRun`s of several clips.

    Args:
        clips: With sound.
        config: Of the network.
        size: Of a batch.
    """

    def __init__(self, clips: list[TrainClip], config: LipIdentityConfig, size: BatchSize) -> None:
        super().__init__(clips, size, stream=3)
        self._config = config
        self._hearing = Hearing(
            kind=config.audio_kind, width=config.mouth_width, moments=config.moment_steps
        )

    def run(self, clip: TrainClip, rng: np.random.Generator) -> LandmarkRun:
        """A run whose mouths and reference mouths move as far as one another."""
        drawn = draw_run(clip, self._size.frames, self._hearing, rng)
        amplitude = np.float32(np.exp(rng.uniform(-_AMPLITUDE, _AMPLITUDE)))
        return LandmarkRun(
            **vars(drawn.with_moments(rng, amplitude)),
            rotation=clip.clip.rotation[drawn.frames].astype(np.float32),
            sets=amplitude * self._sets(clip, drawn.frames, rng),
        )

    def _sets(self, clip: TrainClip, frames: Int, rng: np.random.Generator) -> F32:
        """Reference mouths at even steps of random frames sorted by opening."""
        num = self._config.num_landmark_sets
        if rng.random() < _HAS_NO_SETS:
            return np.zeros((num, *clip.neutral.shape), np.float32)
        away = (clip.frames < frames.min() - _AWAY) | (clip.frames > frames.max() + _AWAY)
        pool = clip.frames[away] if away.any() else clip.frames
        shown = rng.choice(pool, int(rng.integers(min(_LEAST_SETS, num), num + 1)))
        shown = shown[np.argsort(clip.opening[shown], kind="stable")]
        shown = shown[np.linspace(0, len(shown) - 1, num).round().astype(int)]
        return clip.mouth_offset[shown]


class LandmarkTask(SoundTask[LipIdentity]):
    """The landmark generator."""

    @staticmethod
    def trained(model: LipIdentity) -> list[nn.Parameter]:
        """Parameters of this stage."""
        return list(model.landmarks.parameters())

    def losses(self, batch: Batch, optimizer: str, step: int) -> dict[str, Tensor]:
        """Point, velocity, correlation and spread losses; all moments count by their points."""
        return moment_losses(self._predicted(batch), batch, self._model.basis, _ARTICULATION)

    def _predicted(self, batch: Batch) -> Tensor:
        """Coefficients of all moments. Shape (B, F, T, P)."""
        landmarks, config = self._model.landmarks, self._model.config
        over = landmarks.audio_encoder.over_sequence(batch["audio"])
        heard = moments_of_frames(
            over, batch["places"] + config.moment_steps[-1], config.moment_steps
        )
        runs, frames = heard.shape[:2]
        sets = coefficients_of(batch["sets"], self._model.basis)
        is_shown = (sets != 0).any(-1, keepdim=True)
        sets = sets + _SET_NOISE * is_shown * torch.randn_like(sets)
        made = landmarks(
            heard.flatten(0, 1),
            batch["rotation"].flatten(0, 1),
            sets.repeat_interleave(frames, 0),
        )
        return made.float().unflatten(0, (runs, frames))
