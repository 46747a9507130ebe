"""Are lips and sound in step? A sync expert's judgement of a face's mouth over time.

Two experts ship: `train` finds offsets and teaches generators, `judge` scores results and teaches
nobody. An offset is how much the picture comes later than the sound.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from dubcli.core.errors import ConfigError
from dubcli.core.types import F32, F64, AudioFeatures, Bool, FaceTrack, Int
from dubcli.face.landmarks import SPEAKING
from dubcli.face.pose import Pose, to_canonical
from dubcli.media.video.timeline import FrameTimes
from dubcli.models.common.mouth_map import INNER_BOTTOM, INNER_TOP
from dubcli.sync.network import SYNC_RATE_HZ, SyncConfig, SyncExpert
from dubcli.weights.load import load_state
from dubcli.weights.manifest import Manifest, load_manifest
from dubcli.weights.resolve import resolve

_LOG = logging.getLogger(__name__)

# Largest offset that is looked for, mouth samples at 25 Hz: 0.6 s.
MAX_OFFSET = 15
# Fewer windows than these (2 s) give an offset by chance; with fewer than `_LEAST` none is given.
SURE_WINDOWS = 50
LEAST_WINDOWS = 5
# Confidence that sound of another moment or person hardly ever reaches: this much over 100 windows,
# and the less the more there are, as the noise of a mean; but never less than the last.
_SURE_CONFIDENCE, _SURE_AT_WINDOWS, _LEAST_SURE = 0.3, 100, 0.2
# Frames further apart than this do not tell what the mouth did between them, seconds.
_MAX_GAP_S = 0.1
_CLOSED_SHARE = 0.2
# Speech features end with log-mel.
_HOLDS = ("speech", "mel")


@dataclass(frozen=True, kw_only=True)
class MouthClip:
    """One mouth over time.

    Attributes:
        points: Speaking points without pose, canonical units. Shape (T, S, 3), float32.
        times: When each is shown, seconds on the clock of the sound, increasing. Shape (T,).
        usable: Whether the points are known, all where None. Shape (T,).
        shot: Shot of each frame, one shot where None. Shape (T,).
    """

    points: F32
    times: F64
    usable: Bool | None = None
    shot: Int | None = None

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True, kw_only=True)
class SampledMouth:
    """A mouth at 25 Hz.

    Attributes:
        mouth_offsets: Speaking points minus neutral, canonical units. Shape (L, S, 3), float32.
        usable: The points are known at this moment. Shape (L,).
        first_s: Time of the first sample, seconds.
    """

    mouth_offsets: F32
    usable: Bool
    first_s: float

    def windows(self, length: int) -> Bool:
        """Which windows of `length` samples are known throughout. Shape (L - length + 1,)."""
        if len(self.usable) < length:
            return np.zeros(0, np.bool_)
        total = np.concatenate([[0], np.cumsum(self.usable)])
        return total[length:] - total[:-length] == length


@dataclass(frozen=True, kw_only=True)
class SyncScore:
    """How well a mouth and a sound agree, as SyncNet defines it (doi:10.1007/978-3-319-54427-4_19).

    Attributes:
        confidence: Median minus least distance over offsets; higher is better.
        distance: Least distance over offsets, 1 minus the cosine, in [0, 2]; lower is better.
        offset_frames: How much later the picture comes than the sound, 25ths of a second.
        num_windows: How many moments were looked at. Where it is 0 the rest is NaN.
    """

    confidence: float
    distance: float
    offset_frames: float
    num_windows: int

    @property
    def offset_ms(self) -> float:
        """How much later the picture comes than the sound, milliseconds."""
        return 1000 * self.offset_frames / SYNC_RATE_HZ

    @property
    def is_sure(self) -> bool:
        """Whether the offset can be relied on; one at the edge of the search may lie beyond it."""
        if self.num_windows < SURE_WINDOWS or abs(self.offset_frames) > MAX_OFFSET - 0.5:
            return False
        needed = _SURE_CONFIDENCE * math.sqrt(_SURE_AT_WINDOWS / self.num_windows)
        return self.confidence >= max(_LEAST_SURE, needed)


class SyncScorer:
    """A trained expert and the measurements made with it.

    Args:
        expert: In evaluation mode.
    """

    def __init__(self, expert: SyncExpert) -> None:
        self.expert = expert

    @classmethod
    def load(cls, role: str, device: torch.device, manifest: Manifest | None = None) -> Self | None:
        """The shipped expert `train` or `judge`; None where its weights are not in the package.

        Args:
            role: Which of them.
            device: Where it runs.
            manifest: The one of this installation by default.

        Raises:
            ConfigError: Another role.
            WeightsError: The weights are damaged.
        """
        if role not in ("train", "judge"):
            raise ConfigError(f"Unknown sync expert '{role}'.", "Known: train, judge.")
        name = f"sync-{role}"
        manifest = load_manifest() if manifest is None else manifest
        if name not in manifest.default:
            return None
        entry = resolve(name, manifest, role="part")
        expert = SyncExpert(SyncConfig(**entry.config))
        expert.load_state_dict(load_state(entry))
        return cls(expert.to(device).eval().requires_grad_(False))

    @property
    def audio_kind(self) -> str:
        """Features that the expert listens to, a key of `core.types.FEATURE_SIZES`."""
        return self.expert.config.audio_kind

    def score(self, mouths: MouthClip, features: AudioFeatures) -> SyncScore:
        """Best offset between a mouth and a sound, and how clear it is.

        Args:
            mouths: The mouth.
            features: The sound, on the same clock. Features that hold the expert's kind at their
                end, as `speech` holds `mel`, do as well.

        Raises:
            ConfigError: Features of another kind.
        """
        cosines = self.cosines(sample_mouth(mouths), features)
        return summarise(1 - cosines.mean(0), len(cosines)) if len(cosines) else _UNKNOWN

    @torch.no_grad()
    def cosines(self, mouth: SampledMouth, features: AudioFeatures) -> F32:
        """Agreement of each known window with the sound at each offset.

        Args:
            mouth: The mouth.
            features: The sound, on the same clock.

        Returns:
            Shape (N, 2 * MAX_OFFSET + 1); column i is the sound `i - MAX_OFFSET` samples later.

        Raises:
            ConfigError: Features of another kind.
        """
        config = self.expert.config
        known = mouth.windows(config.window)
        if known.sum() < LEAST_WINDOWS:
            return np.empty((0, 2 * MAX_OFFSET + 1), np.float32)
        device = self.expert.scale.device
        centre, num = config.window // 2, len(known)
        moments = np.arange(centre - MAX_OFFSET, centre + num + MAX_OFFSET)
        steps = audio_steps(mouth.first_s, moments, features)
        audio = torch.from_numpy(sound_around(features, steps, config)).to(device)
        heard = self.expert.listen(audio[None])[0, torch.from_numpy(steps - steps[0]).to(device)]
        seen = self.expert.see(torch.from_numpy(mouth.mouth_offsets).to(device)[None])[0]
        offsets = range(2 * MAX_OFFSET + 1)
        all_of = torch.stack([(seen * heard[i : i + num]).sum(-1) for i in offsets], -1)
        return all_of.cpu().numpy()[known]


_UNKNOWN = SyncScore(confidence=math.nan, distance=math.nan, offset_frames=math.nan, num_windows=0)


def sample_mouth(mouths: MouthClip) -> SampledMouth:
    """A mouth at 25 Hz, linearly between its frames, as mouth offsets from its neutral mouth."""
    num = len(mouths)
    usable = np.ones(num, np.bool_) if mouths.usable is None else mouths.usable
    if num < 2 or not usable.any():
        empty = np.zeros((0, *mouths.points.shape[1:]), np.float32)
        return SampledMouth(mouth_offsets=empty, usable=np.zeros(0, np.bool_), first_s=0.0)
    times = mouths.times.astype(np.float64)
    wanted = np.arange(times[0], times[-1] + 1e-9, 1 / SYNC_RATE_HZ)
    right = np.clip(np.searchsorted(times, wanted), 1, num - 1)
    left = right - 1
    # Two frames may be shown at one rounded time.
    apart = np.maximum(times[right] - times[left], 1e-9)
    share = ((wanted - times[left]) / apart)[:, None, None]
    mouth_offsets = mouths.points - _neutral(mouths.points[usable])
    sampled = mouth_offsets[left] * (1 - share) + mouth_offsets[right] * share
    known = usable[left] & usable[right] & (times[right] - times[left] <= _MAX_GAP_S)
    if mouths.shot is not None:
        known &= mouths.shot[left] == mouths.shot[right]
    return SampledMouth(
        mouth_offsets=sampled.astype(np.float32), usable=known, first_s=float(times[0])
    )


def _neutral(points: F32) -> F32:
    """Mean of the shapes (T, S, 3) in which the mouth is most closed, as `face.neutral` has it."""
    gap = np.linalg.norm(points[:, INNER_TOP] - points[:, INNER_BOTTOM], axis=-1)
    closed = np.argsort(gap, kind="stable")[: max(1, round(_CLOSED_SHARE * len(points)))]
    return points[closed].mean(0)


def audio_steps(first_s: float, moments: Int, features: AudioFeatures) -> Int:
    """Nearest audio step of mouth samples, counted from the one at `first_s`. Shape (N,)."""
    seconds = first_s + moments / SYNC_RATE_HZ - float(features.start_s)
    return np.floor(seconds * float(features.rate_hz) + 0.5).astype(np.int64)


def sound_around(features: AudioFeatures, steps: Int, config: SyncConfig) -> F32:
    """Audio from half a window before the first to half a window after the last of `steps`.

    Returns:
        Shape (last - first + config.audio_width, D); silence stands beyond the sound's ends.

    Raises:
        ConfigError: Features of another kind than the expert's.
    """
    size = config.audio_dim
    if features.kind != config.audio_kind and (features.kind, config.audio_kind) != _HOLDS:
        raise ConfigError(
            f"This sync expert listens to {config.audio_kind} features, not {features.kind}.",
            "Extract features of its own kind.",
        )
    half = config.audio_width // 2
    index = np.arange(steps[0] - half, steps[-1] + half + 1)
    values, fill = features.values[:, -size:], features.fill[-size:]
    if len(values) == 0:
        return np.broadcast_to(fill, (len(index), size)).astype(np.float32)
    inside = (index >= 0) & (index < len(values))
    chosen = values[np.clip(index, 0, len(values) - 1)]
    return np.where(inside[:, None], chosen, fill).astype(np.float32)


def summarise(distances: F32, num_windows: int) -> SyncScore:
    """The score of mean distances over offsets.

    Args:
        distances: Of the sound -MAX_OFFSET to MAX_OFFSET samples later. Shape (2 MAX_OFFSET + 1,).
        num_windows: How many windows they are the mean of.
    """
    best = int(distances.argmin())
    between = 0.0
    if 0 < best < len(distances) - 1:
        # The vertex of the parabola through the least distance and its neighbours.
        before, at, after = (float(d) for d in distances[best - 1 : best + 2])
        bend = before - 2 * at + after
        between = 0.5 * (before - after) / bend if bend > 1e-9 else 0.0
    return SyncScore(
        confidence=float(np.median(distances) - distances[best]),
        distance=float(distances[best]),
        offset_frames=MAX_OFFSET - best - between,
        num_windows=num_windows,
    )


def mouth_of_track(track: FaceTrack, pose: Pose, times: FrameTimes) -> MouthClip:
    """A followed face's mouth on the video's clock, which is also its own sound's."""
    seconds = [float(pts * times.time_base) for pts in times.pts]
    return MouthClip(
        points=to_canonical(track.landmarks, pose)[:, SPEAKING],
        times=np.array(seconds[track.start : track.start + len(track)]),
        usable=track.valid,
        shot=track.shot,
    )
