"""The sync losses of the joint stage: runs of consecutive frames, heard and judged by the expert.

Pictures of a batch are single frames, but being in step is a matter of time. So the sync losses
draw runs of their own and ask for the landmarks that the sound gives; no picture is needed.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dubcli.audio.windows import gather_windows
from dubcli.core.types import FEATURE_SIZES, Int
from dubcli.models.iptalker.geometry_task import reference_boxes
from dubcli.models.iptalker.network import IPTalker
from dubcli.sync.losses import mouth_windows, relative_sync_loss, sync_loss
from dubcli.sync.network import SYNC_RATE_HZ, SyncExpert
from dubcli.training.data.prepared_clip import STEPS_HZ
from dubcli.training.data.train_clips import TrainClip, audio_windows, hide_audio, identity_weights
from dubcli.training.device_utils import device_of

# Moments of a run that are judged.
_NUM_MOMENTS = 9


class SyncRuns:
    """Draws runs and says what they cost.

    Args:
        model: With a mouth map; gradients reach its alignment module.
        clips: Prepared clips.
        expert: Frozen.
        seed: With the run's number, all randomness.
    """

    def __init__(
        self, model: IPTalker, clips: list[TrainClip], expert: SyncExpert, seed: int
    ) -> None:
        self._model, self._expert, self._seed = model, expert, seed
        length_s = (expert.config.window + _NUM_MOMENTS - 2) / SYNC_RATE_HZ
        self._num_steps = int(np.ceil(length_s * float(STEPS_HZ))) + 1
        found = [(clip, self._starts(clip)) for clip in clips if clip.has_audio]
        self._runs = [(clip, starts) for clip, starts in found if len(starts)]
        self._chances = identity_weights([clip for clip, _ in self._runs]) if self._runs else None

    def __bool__(self) -> bool:
        """Whether any clip shows a mouth for long enough."""
        return bool(self._runs)

    def losses(self, index: int) -> dict[str, Tensor]:
        """`sync` (IPTalker eq. 12) and `sync_to_real` of run number `index`."""
        rng = np.random.default_rng((self._seed, index, 4))
        clip, starts = self._runs[int(rng.choice(len(self._runs), p=self._chances))]
        frames = self._frames(clip, int(rng.choice(starts)))
        device = device_of(self._model)
        real = torch.from_numpy(clip.departure[frames]).to(device)
        both = torch.stack([self._departures(clip, frames, rng), real])
        times = torch.from_numpy(_seconds(clip, frames)).to(device)
        windows, middles = mouth_windows(both, times.expand(2, -1), self._expert.config.window)
        audio = self._sound(clip, middles[0])
        made, real = windows
        return {
            "sync": sync_loss(self._expert, made, audio),
            "sync_to_real": relative_sync_loss(self._expert, made, real, audio),
        }

    def _departures(self, clip: TrainClip, frames: Int, rng: np.random.Generator) -> Tensor:
        """What the sound makes of the mouth at rest. Shape (T, S, 3)."""
        alignment, config = self._model.alignment, self._model.config
        device, kind = device_of(self._model), config.audio_kind
        audio = audio_windows(clip, frames, config.audio_width, kind=kind)
        audio = torch.from_numpy(hide_audio(audio, rng, kind=kind)).to(device)
        tokens = torch.zeros(config.num_references, config.embedding, device=device)
        if config.alignment == "full":
            tokens = alignment.encode_references(reference_boxes(self._model, clip, rng))
        coefficients = alignment.to_coefficients(alignment(audio, tokens))
        return torch.einsum("tp,psc->tsc", coefficients, alignment.basis)

    def _sound(self, clip: TrainClip, seconds: Tensor) -> Tensor:
        """What the expert hears around moments (W,) of the sound. Shape (W, A, D)."""
        config = self._expert.config
        size = FEATURE_SIZES[config.audio_kind]
        steps = (seconds.double() * float(STEPS_HZ)).round().long().cpu().numpy()
        values, fill = clip.clip.voices[0][:, -size:], clip.clip.fill[-size:]
        audio = gather_windows(values, fill, steps, config.audio_width)
        return torch.from_numpy(audio).to(seconds.device)

    def _starts(self, clip: TrainClip) -> Int:
        """Places in `clip.frames` from which a run of usable frames of one shot begins."""
        frames, steps, shot = clip.frames, clip.clip.steps[clip.frames], clip.clip.shot[clip.frames]
        breaks = np.flatnonzero((np.diff(frames) != 1) | (np.diff(shot) != 0)) + 1
        ends = np.append(breaks, len(frames))
        last = ends[np.searchsorted(ends, np.arange(len(frames)), side="right")] - 1
        return np.flatnonzero(steps[last] - steps >= self._num_steps)

    def _frames(self, clip: TrainClip, start: int) -> Int:
        """Frames of a run, one a step at most: fast video shows several."""
        frames = clip.frames[start:]
        steps = clip.clip.steps[frames]
        stop = int(np.searchsorted(steps, steps[0] + self._num_steps)) + 1
        return frames[np.unique(steps[:stop], return_index=True)[1]]


def _seconds(clip: TrainClip, frames: Int) -> np.ndarray:
    """When the sound that belongs to each frame is heard. Shape (T,), float64."""
    return (clip.clip.steps[frames] - clip.offset_steps) / float(STEPS_HZ)
