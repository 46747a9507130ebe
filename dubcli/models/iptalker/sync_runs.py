"""The sync losses of the joint stage: runs of consecutive frames, heard and judged by the expert.

Pictures of a batch are single frames, but being in step is a matter of time. So the sync losses
draw runs of their own and ask for the landmarks that the sound gives; no picture is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dubcli.audio.windows import gather_windows
from dubcli.core.types import F32, U8, Int
from dubcli.models.iptalker.config import IPTalkerConfig
from dubcli.models.iptalker.geometry_task import random_references, reference_boxes
from dubcli.models.iptalker.network import IPTalker
from dubcli.sync.losses import mouth_windows, relative_sync_loss, sync_loss
from dubcli.sync.network import SYNC_RATE_HZ, SyncConfig, SyncExpert
from dubcli.training.batches import stacked
from dubcli.training.data.prepared_clip import STEPS_HZ
from dubcli.training.data.train_clips import TrainClip, audio_windows, hide_audio, identity_weights

# Moments of a run that are judged.
_NUM_MOMENTS = 9


@dataclass(frozen=True, kw_only=True)
class SyncRun:
    """Consecutive frames of one shot, and the sound around them.

    Attributes:
        audio: Augmented windows of the model. Shape (T, A, D).
        mouth_offset: True speaking points minus neutral. Shape (T, S, 3), canonical units.
        times_s: When the sound that belongs to each frame is heard. Shape (T,), float64.
        references: Crops for E_v. Shape (N, H, W, 3), uint8; N is 0 where it sees none.
        heard: What the expert hears, one step after the other. Shape (L, D).
        first_step: Step of the sound that `heard` begins with. Shape ().
    """

    audio: F32
    mouth_offset: F32
    times_s: np.ndarray
    references: U8
    heard: F32
    first_step: np.int64


class SyncRuns:
    """Draws runs.

    Args:
        clips: Prepared clips.
        config: Of the network, which has a mouth map.
        expert: Of the sync expert.
        seed: With the run's number, all randomness.

    Raises:
        TrainingError: The clips were prepared without what the expert hears.
    """

    def __init__(
        self, clips: list[TrainClip], config: IPTalkerConfig, expert: SyncConfig, seed: int
    ) -> None:
        self._config, self._expert, self._seed = config, expert, seed
        length_s = (expert.window + _NUM_MOMENTS - 2) / SYNC_RATE_HZ
        self._num_steps = int(np.ceil(length_s * float(STEPS_HZ))) + 1
        found = [(clip, self._starts(clip)) for clip in clips if clip.has_audio]
        for clip, _ in found:
            clip.clip.sound(expert.audio_kind)
        self._runs = [(clip, starts) for clip, starts in found if len(starts)]
        self._chances = identity_weights([clip for clip, _ in self._runs]) if self._runs else None

    def __bool__(self) -> bool:
        """Whether any clip shows a mouth for long enough."""
        return bool(self._runs)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """Run number `index`: `SyncRun` by name, with a leading dimension of 1."""
        rng = np.random.default_rng((self._seed, index, 4))
        clip, starts = self._runs[int(rng.choice(len(self._runs), p=self._chances))]
        frames = self._frames(clip, int(rng.choice(starts)))
        config, kind = self._config, self._config.heard_kind
        audio = hide_audio(
            audio_windows(clip, frames, config.audio_width, kind=kind), rng, kind=kind
        )
        num = config.num_references * (config.alignment == "full")
        times = _seconds(clip, frames)
        heard, first = self._sound(clip, times)
        run = SyncRun(
            audio=audio,
            mouth_offset=clip.mouth_offset[frames],
            times_s=times,
            references=random_references(clip, num, rng)
            if num
            else np.zeros((0, *clip.clip.size, 3), np.uint8),
            heard=heard,
            first_step=np.int64(first),
        )
        return stacked([run])

    def _sound(self, clip: TrainClip, times: np.ndarray) -> tuple[F32, int]:
        """All steps that the expert may hear, (L, D), and the number of the first."""
        sound, width = clip.clip.sound(self._expert.audio_kind), self._expert.audio_width
        first = int(np.floor(times[0] * float(STEPS_HZ))) - width
        last = int(np.ceil(times[-1] * float(STEPS_HZ))) + width
        return gather_windows(sound.version(0), sound.fill, np.arange(first, last), 1)[:, 0], first

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


def run_losses(model: IPTalker, expert: SyncExpert, run: dict[str, Tensor]) -> dict[str, Tensor]:
    """`sync` (IPTalker eq. 12) and `sync_to_real` of a run.

    Args:
        model: With a mouth map; gradients reach its alignment module.
        expert: Frozen.
        run: `SyncRun` by name, each with a leading dimension of 1, on the model's device.
    """
    real = run["mouth_offset"][0]
    both = torch.stack([_mouth_offsets(model, run), real])
    windows, middles = mouth_windows(both, run["times_s"].expand(2, -1), expert.config.window)
    audio = _around(run, middles[0], expert.config.audio_width)
    made, real = windows
    return {
        "sync": sync_loss(expert, made, audio),
        "sync_to_real": relative_sync_loss(expert, made, real, audio),
    }


def _mouth_offsets(model: IPTalker, run: dict[str, Tensor]) -> Tensor:
    """What the sound makes of the mouth at rest. Shape (T, S, 3)."""
    alignment, config = model.alignment, model.config
    audio, references = run["audio"][0], run["references"][0]
    tokens = audio.new_zeros(config.num_references, config.token_size)
    if len(references):
        tokens = alignment.encode_references(reference_boxes(model, references))
    coefficients = alignment.to_coefficients(alignment(audio, tokens))
    return torch.einsum("tp,psc->tsc", coefficients, alignment.basis)


def _around(run: dict[str, Tensor], seconds: Tensor, width: int) -> Tensor:
    """What the expert hears around moments (W,) of the sound. Shape (W, A, D)."""
    steps = (seconds.double() * float(STEPS_HZ)).round().long() - run["first_step"][0]
    around = torch.arange(width, device=steps.device) - width // 2
    return run["heard"][0][steps[:, None] + around]


def _seconds(clip: TrainClip, frames: Int) -> np.ndarray:
    """When the sound that belongs to each frame is heard. Shape (T,), float64."""
    return (clip.clip.steps[frames] - clip.offset_steps) / float(STEPS_HZ)
