"""Stage geometry: sound and style to mouths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dubcli.core.types import F32, Int
from dubcli.models.common.moments import moments_of_frames
from dubcli.models.common.mouth_losses import moment_losses
from dubcli.models.common.sound_runs import Hearing, MomentRun, SoundBatches, SoundTask, draw_run
from dubcli.models.common.stage_parts import fit_audio_range, fit_mouth_basis
from dubcli.models.personatalk.config import PersonaTalkConfig
from dubcli.models.personatalk.network import PersonaTalk
from dubcli.models.personatalk.options import PersonaTalkOptions
from dubcli.training.batches import BatchSize
from dubcli.training.data.train_clips import TrainClip, identity_weights
from dubcli.training.stage import Batch

# Style keeps this far away from the run, frames, else its spread would tell the answer.
_AWAY = 25
# Fewest and most frames in a row that style is taken from, and how many of them are looked at.
_STYLE_FRAMES, _STYLE_SAMPLES = (75, 250), 64
# One factor, its logarithm up to this, moves a run's mouths and its style alike: how far a
# person's mouth moves is then told by the style alone.
_AMPLITUDE = 0.5
_HAS_NO_STYLE = 0.2
_TEMPLATE_NOISE = 0.02
_ARTICULATION = PersonaTalkOptions().articulation


@dataclass(frozen=True, kw_only=True)
class StyledRun(MomentRun):
    """A run, and the person's style.

    Attributes:
        style: Departures from rest of frames of the same person. Shape (M, S, 3).
        has_style: They are shown. Shape ().
        neutral: The person's rest. Shape (S, 3).
    """

    style: F32
    has_style: np.bool_
    neutral: F32


def prepare_model(model: PersonaTalk, clips: list[TrainClip]) -> None:
    """Fit mouth basis, mean face and the range of the audio, unless the model has them."""
    fit_audio_range([model.geometry.audio_encoder], clips, model.config.audio_kind)
    fit_mouth_basis(model.basis, clips)
    if not bool(model.mean_face.abs().sum() > 0):
        weights = identity_weights(clips)
        mean = sum(weight * clip.neutral for clip, weight in zip(clips, weights, strict=True))
        model.mean_face.copy_(torch.from_numpy(np.asarray(mean, np.float32)))


class StyledBatches(SoundBatches):
    """`StyledRun`s of several clips.

    Args:
        clips: With sound.
        config: Of the network.
        size: Of a batch.
    """

    def __init__(self, clips: list[TrainClip], config: PersonaTalkConfig, size: BatchSize) -> None:
        super().__init__(clips, size, stream=3)
        self._hearing = Hearing(
            kind=config.audio_kind, width=config.mouth_width, moments=config.moment_steps
        )
        self._of_person: dict[str, list[TrainClip]] = {}
        for clip in clips:
            self._of_person.setdefault(clip.identity, []).append(clip)

    def run(self, clip: TrainClip, rng: np.random.Generator) -> StyledRun:
        """A run whose mouths and style move as far as one another."""
        drawn = draw_run(clip, self._size.frames, self._hearing, rng)
        amplitude = np.float32(np.exp(rng.uniform(-_AMPLITUDE, _AMPLITUDE)))
        return StyledRun(
            **vars(drawn.with_moments(rng, amplitude)),
            style=amplitude * self._style(clip, drawn.frames, rng),
            has_style=np.bool_(rng.random() >= _HAS_NO_STYLE),
            neutral=clip.neutral
            + rng.normal(0, _TEMPLATE_NOISE, clip.neutral.shape).astype(np.float32),
        )

    def _style(self, clip: TrainClip, frames: Int, rng: np.random.Generator) -> F32:
        """Mouths of frames in a row of the same person: another clip's, or away from the run."""
        others = [one for one in self._of_person[clip.identity] if one is not clip]
        if others and rng.random() < 0.5:
            clip = others[int(rng.integers(len(others)))]
            pool = clip.frames
        else:
            gap = np.maximum(frames.min() - clip.frames, clip.frames - frames.max()).clip(0)
            pool = clip.frames[gap >= min(_AWAY, max(1, gap.max() // 2))]
            pool = pool if len(pool) else clip.frames
        length = min(len(pool), int(rng.integers(_STYLE_FRAMES[0], _STYLE_FRAMES[1] + 1)))
        first = int(rng.integers(0, len(pool) - length + 1))
        rows = np.linspace(first, first + length - 1, _STYLE_SAMPLES).round().astype(int)
        return clip.mouth_offset[pool[rows]]


class StyleTask(SoundTask[PersonaTalk]):
    """The geometry half."""

    @staticmethod
    def trained(model: PersonaTalk) -> list[nn.Parameter]:
        """Parameters of this stage."""
        return list(model.geometry.parameters())

    def losses(self, batch: Batch, optimizer: str, step: int) -> dict[str, Tensor]:
        """Point, velocity, correlation and spread losses; all moments count by their points."""
        return moment_losses(self._predicted(batch), batch, self._model.basis, _ARTICULATION)

    def _predicted(self, batch: Batch) -> Tensor:
        """Coefficients of all moments. Shape (B, F, T, P)."""
        geometry, steps = self._model.geometry, self._model.config.moment_steps
        over = geometry.audio_encoder.over_sequence(batch["audio"])
        heard = moments_of_frames(over, batch["places"] + steps[-1], steps)
        runs, frames = heard.shape[:2]
        style = geometry.mean_style.expand(runs, -1)
        if self._model.config.has_style:
            own = geometry.style_encoder(batch["style"], self._model.basis)
            style = torch.where(batch["has_style"][:, None], own, style)
        template = batch["neutral"] - self._model.mean_face
        made = geometry(
            heard.flatten(0, 1),
            style.repeat_interleave(frames, 0),
            template.repeat_interleave(frames, 0),
        )
        return made.float().unflatten(0, (runs, frames))
