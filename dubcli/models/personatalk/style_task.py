"""Stage geometry: sound and style to mouths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from dubcli.core.types import F32, Bool, Int
from dubcli.models.common.moments import at_known_moments, known_moments, moments_of_frames
from dubcli.models.common.mouth_basis import coefficients_of, opening_basis, point_loss
from dubcli.models.common.stage_parts import fit_audio_range, fit_mouth_basis
from dubcli.models.personatalk.config import PersonaTalkConfig
from dubcli.models.personatalk.network import PersonaTalk
from dubcli.models.personatalk.options import PersonaTalkOptions
from dubcli.training.batches import BatchSize, stacked
from dubcli.training.data.prepared_clip import STEPS_HZ
from dubcli.training.data.train_clips import (
    TrainClip,
    audio_stretch,
    frames_of_run,
    heard_share,
    hide_stretch,
    identity_weights,
)
from dubcli.training.losses.pictures import correlation_loss, spread_loss
from dubcli.training.stage import MODEL, Batch, Optimization

# A shift of the audio by up to this many steps, both ways, that costs nothing.
_JITTER_STEPS = 1
# A run lasts as long as its frames do at this rate; slower videos give fewer frames of it.
_LEAST_FPS = 25
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
class StyledRun:
    """Consecutive frames of one clip, F of them, T moments around each, and the person's style.

    Attributes:
        audio: Augmented steps, one after the other. Shape (L, D).
        places: Steps from the run's first frame to each. Shape (F,), int64.
        mouth_offset: True speaking points minus neutral, canonical units, as far as the words are
            heard. Shape (F, S, 3).
        before: Frame before each moment, counted in the run. Shape (F, T), int64.
        share: How far the moment is past it, in frames. Shape (F, T).
        is_known: The run covers the moment. Shape (F, T).
        style: Departures from rest of frames of the same person. Shape (M, S, 3).
        has_style: They are shown. Shape ().
        neutral: The person's rest. Shape (S, 3).
    """

    audio: F32
    places: Int
    mouth_offset: F32
    before: Int
    share: F32
    is_known: Bool
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


class StyledBatches(Dataset[Batch]):
    """Runs of frames of several clips, `StyledRun` with a leading dimension (B, ...).

    Args:
        clips: With sound.
        config: Of the network.
        size: Of a batch.
    """

    def __init__(self, clips: list[TrainClip], config: PersonaTalkConfig, size: BatchSize) -> None:
        self._clips, self._config, self._size = clips, config, size
        self._chances = identity_weights(clips)
        self._of_person: dict[str, list[TrainClip]] = {}
        for clip in clips:
            self._of_person.setdefault(clip.identity, []).append(clip)

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng((self._size.seed, index, 3))
        chosen = rng.choice(len(self._clips), self._size.clips, p=self._chances)
        return stacked([self._run(self._clips[int(number)], rng) for number in chosen])

    def _run(self, clip: TrainClip, rng: np.random.Generator) -> StyledRun:
        config, num = self._config, self._size.frames
        length = round(num * float(STEPS_HZ) / _LEAST_FPS)
        start = int(rng.integers(0, max(1, len(clip.frames) - num + 1)))
        frames, places = frames_of_run(clip, start, num, length)
        version = int(rng.integers(clip.clip.num_versions))
        shift = int(rng.integers(-_JITTER_STEPS, _JITTER_STEPS + 1))
        kind, reach = config.audio_kind, config.moment_steps[-1]
        audio = audio_stretch(
            clip, frames[0], length + config.mouth_width - 1 + 2 * reach,
            config.mouth_width // 2 + reach - shift, kind=kind, version=version,
        )  # fmt: skip
        amplitude = np.float32(np.exp(rng.uniform(-_AMPLITUDE, _AMPLITUDE)))
        heard = heard_share(clip, frames, version)
        before, share, is_known = known_moments(places, np.array(config.moment_steps))
        return StyledRun(
            audio=hide_stretch(audio, rng, kind=kind),
            places=places,
            mouth_offset=amplitude * clip.mouth_offset[frames] * heard[:, None, None],
            before=before,
            share=share,
            is_known=is_known,
            style=amplitude * self._style(clip, frames, rng),
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


class StyleTask:
    """The geometry half.

    Args:
        model: What is trained, on its device.
        clips: With sound.
        size: Of a batch; two frames or more, since neighbours are compared.
        optimization: Of `trained(model)`.
    """

    def __init__(
        self,
        model: PersonaTalk,
        clips: list[TrainClip],
        size: BatchSize,
        optimization: Optimization,
    ) -> None:
        prepare_model(model, clips)
        self._model = model
        self.modules: Mapping[str, nn.Module] = {MODEL: model}
        self.optimizers: Mapping[str, Optimization] = {MODEL: optimization}
        self.batches = StyledBatches(clips, model.config, size)

    @staticmethod
    def trained(model: PersonaTalk) -> list[nn.Parameter]:
        """Parameters of this stage."""
        return list(model.geometry.parameters())

    def losses(self, batch: Batch, optimizer: str, step: int) -> dict[str, Tensor]:
        """Point, velocity, correlation and spread losses; all moments count by their points."""
        made = self._predicted(batch)
        # Correlations need more digits than mixed precision has.
        with torch.autocast(made.device.type, enabled=False):
            return self._costs(made, batch)

    def _costs(self, made: Tensor, batch: Batch) -> dict[str, Tensor]:
        basis, middle = self._model.basis, self._model.config.num_moments // 2
        true = coefficients_of(batch["mouth_offset"], basis)
        centre, gap = made[:, :, middle], opening_basis(basis)
        error = centre - true
        all_errors = (made - at_known_moments(true, batch))[batch["is_known"]]
        losses = {
            "points": point_loss(error.flatten(0, 1), basis),
            "moments": point_loss(all_errors, basis),
            "velocity": point_loss(error.diff(dim=1).flatten(0, 1), basis),
            "r": correlation_loss(centre @ gap, true @ gap),
            "spread": spread_loss(_ARTICULATION * (centre @ gap), true @ gap),
        }
        losses["loss"] = (
            0.5 * (losses["points"] + losses["moments"])
            + losses["velocity"]
            + 0.6 * losses["r"]
            + 0.3 * losses["spread"]
        )
        return losses

    def preview(self) -> None:
        """Nothing to look at."""

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
