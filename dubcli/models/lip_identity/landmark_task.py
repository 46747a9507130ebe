"""Stage landmarks: the landmark generator alone, sound and reference landmarks to mouths."""

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
from dubcli.models.common.stage_parts import AudioRange, fit_audio_range, fit_mouth_basis
from dubcli.models.lip_identity.config import LipIdentityConfig
from dubcli.models.lip_identity.network import LipIdentity
from dubcli.models.lip_identity.options import LipIdentityOptions
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
class LandmarkRun:
    """Consecutive frames of one clip, F of them, and T moments around each.

    Attributes:
        audio: Augmented steps, one after the other. Shape (L, D).
        places: Steps from the run's first frame to each. Shape (F,), int64.
        rotation: Of the head. Shape (F, 3, 3).
        mouth_offset: True speaking points minus neutral, canonical units, as far as the words are
            heard. Shape (F, S, 3).
        before: Frame before each moment, counted in the run. Shape (F, T), int64.
        share: How far the moment is past it, in frames. Shape (F, T).
        is_known: The run covers the moment. Shape (F, T).
        sets: Reference mouths minus neutral, closed to open. Shape (N_l, S, 3).
    """

    audio: F32
    places: Int
    rotation: F32
    mouth_offset: F32
    before: Int
    share: F32
    is_known: Bool
    sets: F32


def prepare_model(model: LipIdentity, clips: list[TrainClip]) -> None:
    """Fit the mouth basis and the range of the audio to the clips, unless the model has them."""
    listeners: list[AudioRange] = [model.landmarks.audio_encoder]
    if model.rendering.attention is not None:
        listeners.append(model.rendering.attention)
    fit_audio_range(listeners, clips, model.config.audio_kind)
    fit_mouth_basis(model.basis, clips)


class LandmarkBatches(Dataset[Batch]):
    """Runs of frames of several clips, `LandmarkRun` with a leading dimension (B, ...).

    Args:
        clips: With sound.
        config: Of the network.
        size: Of a batch.
    """

    def __init__(self, clips: list[TrainClip], config: LipIdentityConfig, size: BatchSize) -> None:
        self._clips, self._config, self._size = clips, config, size
        self._chances = identity_weights(clips)

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng((self._size.seed, index, 3))
        chosen = rng.choice(len(self._clips), self._size.clips, p=self._chances)
        return stacked([self._run(self._clips[int(number)], rng) for number in chosen])

    def _run(self, clip: TrainClip, rng: np.random.Generator) -> LandmarkRun:
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
        return LandmarkRun(
            audio=hide_stretch(audio, rng, kind=kind),
            places=places,
            rotation=clip.clip.rotation[frames].astype(np.float32),
            mouth_offset=amplitude * clip.mouth_offset[frames] * heard[:, None, None],
            before=before,
            share=share,
            is_known=is_known,
            sets=amplitude * self._sets(clip, frames, rng),
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


class LandmarkTask:
    """The landmark generator.

    Args:
        model: What is trained, on its device.
        clips: With sound.
        size: Of a batch; two frames or more, since neighbours are compared.
        optimization: Of `trained(model)`.
    """

    def __init__(
        self,
        model: LipIdentity,
        clips: list[TrainClip],
        size: BatchSize,
        optimization: Optimization,
    ) -> None:
        prepare_model(model, clips)
        self._model = model
        self.modules: Mapping[str, nn.Module] = {MODEL: model}
        self.optimizers: Mapping[str, Optimization] = {MODEL: optimization}
        self.batches = LandmarkBatches(clips, model.config, size)

    @staticmethod
    def trained(model: LipIdentity) -> list[nn.Parameter]:
        """Parameters of this stage."""
        return list(model.landmarks.parameters())

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
