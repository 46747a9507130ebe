"""Runs of frames with their sound, which stages learn mouths from, and what such stages share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from torch import nn
from torch.utils.data import Dataset

from dubcli.core.types import F32, Bool, Int
from dubcli.models.common.moments import known_moments
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
from dubcli.training.stage import MODEL, Batch, Optimization

# A shift of the audio by up to this many steps, both ways, that costs nothing.
_JITTER_STEPS = 1
# A run lasts as long as its frames do at this rate; slower videos give fewer frames of it.
_LEAST_FPS = 25
_AS_IT_IS = np.float32(1)
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class Hearing:
    """What a network hears of each frame.

    Attributes:
        kind: A key of `core.types.FEATURE_SIZES`.
        width: Feature steps around a moment.
        moments: Steps from a frame to the moments around it, in order, as many on either side.
    """

    kind: str
    width: int
    moments: tuple[int, ...] = (0,)


@dataclass(frozen=True, kw_only=True)
class SoundRun:
    """Consecutive frames of one clip, F of them.

    Attributes:
        audio: Augmented steps, one after the other. Shape (L, D).
        places: Steps from the run's first frame to each. Shape (F,), int64.
        mouth_offset: True speaking points minus neutral, canonical units, as far as the words are
            heard. Shape (F, S, 3).
    """

    audio: F32
    places: Int
    mouth_offset: F32


@dataclass(frozen=True, kw_only=True)
class MomentRun(SoundRun):
    """A run, and T moments around each of its frames.

    Attributes:
        before: Frame before each moment, counted in the run. Shape (F, T), int64.
        share: How far the moment is past it, in frames. Shape (F, T).
        is_known: The run covers the moment. Shape (F, T).
    """

    before: Int
    share: F32
    is_known: Bool


@dataclass(frozen=True, kw_only=True)
class DrawnRun:
    """A stretch of a clip, before anything of it is hidden.

    Attributes:
        frames: Of the clip; the last one may come again. Shape (F,), int64.
        places: Steps from the first frame to each. Shape (F,), int64.
        audio: Steps of one version of the sound. Shape (L, D).
        mouth_offset: True speaking points minus neutral, canonical units. Shape (F, S, 3).
        heard: How much of the words this version leaves in. Shape (F,).
        hearing: What is heard of each frame.
    """

    frames: Int
    places: Int
    audio: F32
    mouth_offset: F32
    heard: F32
    hearing: Hearing

    def augmented(self, rng: np.random.Generator, amplitude: np.float32 = _AS_IT_IS) -> SoundRun:
        """The run that a network is shown, its mouths moved `amplitude` times as far."""
        return SoundRun(
            audio=hide_stretch(self.audio, rng, kind=self.hearing.kind),
            places=self.places,
            mouth_offset=amplitude * self.mouth_offset * self.heard[:, None, None],
        )

    def with_moments(self, rng: np.random.Generator, amplitude: np.float32) -> MomentRun:
        """The same with the moments around each frame."""
        before, share, is_known = known_moments(self.places, np.array(self.hearing.moments))
        return MomentRun(
            **vars(self.augmented(rng, amplitude)), before=before, share=share, is_known=is_known
        )


def draw_run(clip: TrainClip, num: int, hearing: Hearing, rng: np.random.Generator) -> DrawnRun:
    """Frames in a row from a random one of a clip on, and a random version of their sound."""
    length = round(num * float(STEPS_HZ) / _LEAST_FPS)
    start = int(rng.integers(0, max(1, len(clip.frames) - num + 1)))
    frames, places = frames_of_run(clip, start, num, length)
    version = int(rng.integers(clip.clip.num_versions))
    shift = int(rng.integers(-_JITTER_STEPS, _JITTER_STEPS + 1))
    reach = hearing.moments[-1]
    audio = audio_stretch(
        clip, frames[0], length + hearing.width - 1 + 2 * reach,
        hearing.width // 2 + reach - shift, kind=hearing.kind, version=version,
    )  # fmt: skip
    return DrawnRun(
        frames=frames,
        places=places,
        audio=audio,
        mouth_offset=clip.mouth_offset[frames],
        heard=heard_share(clip, frames, version),
        hearing=hearing,
    )


class SoundBatches(Dataset[Batch], ABC):
    """Runs of several clips, each drawn by `run`, with a leading dimension (B, ...).

    Args:
        clips: With sound.
        size: Of a batch.
        stream: Number of the stage's own random numbers.
    """

    def __init__(self, clips: list[TrainClip], size: BatchSize, stream: int) -> None:
        self._clips, self._size, self._stream = clips, size, stream
        self._chances = identity_weights(clips)

    def __getitem__(self, index: int) -> Batch:
        return self._runs(self._random(index))

    @abstractmethod
    def run(self, clip: TrainClip, rng: np.random.Generator) -> SoundRun:
        """A run of one clip."""

    def _random(self, index: int) -> np.random.Generator:
        return np.random.default_rng((self._size.seed, index, self._stream))

    def _runs(self, rng: np.random.Generator) -> Batch:
        chosen = rng.choice(len(self._clips), self._size.clips, p=self._chances)
        return stacked([self.run(self._clips[int(number)], rng) for number in chosen])


class SoundTask(Generic[M]):
    """A stage in which one optimizer moves what predicts mouths; there is nothing to look at.

    Args:
        model: What is trained, on its device, its basis and range of audio fitted.
        batches: What it is shown; two frames or more of a run, since neighbours are compared.
        optimization: Of the parameters of this stage.
        beside: What is trained beside the model, by name.
    """

    def __init__(
        self,
        model: M,
        batches: SoundBatches,
        optimization: Optimization,
        beside: Mapping[str, nn.Module] | None = None,
    ) -> None:
        self._model = model
        self.modules: Mapping[str, nn.Module] = {MODEL: model, **(beside or {})}
        self.optimizers: Mapping[str, Optimization] = {MODEL: optimization}
        self.batches = batches

    def preview(self) -> None:
        """Nothing to look at."""
