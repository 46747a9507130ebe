"""What the sync expert learns from: moments of clips, and what each must be told apart from.

A mouth's window belongs to the sound of its own moment. It is set against the sound of the same
clip up to 15 samples (0.6 s) earlier and later, and against other clips' sound: InfoNCE
(arXiv:1807.03748). The same once more for the mean over a run of moments, which is what offsets
are found by: single moments may be silent, or look like others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from dubcli.core.types import F32, FEATURE_SIZES, Bool, Int
from dubcli.face.landmarks import SPEAKING, mirror_order
from dubcli.sync.network import NUM_USED, SYNC_RATE_HZ, SyncConfig, SyncExpert
from dubcli.sync.scorer import (
    MAX_OFFSET,
    SampledMouth,
    SyncScore,
    SyncScorer,
    audio_steps,
    sample_mouth,
    sound_around,
    summarise,
)
from dubcli.training.data.prepared_clip import STEPS_HZ, features_of, mouth_of
from dubcli.training.data.train_clips import TrainClip, audio_range, identity_weights
from dubcli.training.stage import MODEL, Batch, Optimization

_NUM_OFFSETS = 2 * MAX_OFFSET + 1
# The true moment, and its neighbours, which a step of 40 ms hardly tells apart.
_TARGET, _TARGET_BESIDE = 0.6, 0.2
_MOST_SCALE = 100.0
# Stands where a clip would be told apart from itself; infinity has no gradient times a scale.
_NEVER = -1e4
# Every n-th moment of another clip is enough to be told apart from.
_OTHERS_STRIDE = 4
_HEARD_SHARE = 0.7
_LEAST_RUN = 8
_VARY_STRENGTH, _VARY_REST = 0.3, 0.005


@dataclass(frozen=True, kw_only=True)
class SyncClip:
    """A clip with sound, its mouth at 25 Hz.

    Attributes:
        clip: The clip.
        mouth: Its mouth.
        offset_frames: How much later the picture comes than the sound, 25ths of a second.
    """

    clip: TrainClip
    mouth: SampledMouth
    offset_frames: float = 0.0


@dataclass(frozen=True, kw_only=True)
class SyncBatch:
    """Runs of T moments of B clips, with V - 1 mouth samples and MAX_OFFSET moments around.

    Attributes:
        mouth_offsets: Shape (B, T + V - 1, S, 3).
        audio: Audio steps. Shape (B, L, D).
        places: Step in `audio` at which the window of each moment begins, from MAX_OFFSET moments
            before the run to as many after it. Shape (B, T + 2 MAX_OFFSET).
        counted: The mouth is known and the words are heard. Shape (B, T).
    """

    mouth_offsets: Tensor
    audio: Tensor
    places: Tensor
    counted: Tensor


def sync_clips(clips: list[TrainClip], window: int) -> list[SyncClip]:
    """Clips with sound that show a mouth for longer than `window` samples."""
    made = [
        SyncClip(
            clip=clip,
            mouth=sample_mouth(mouth_of(clip.clip)),
            offset_frames=clip.offset_steps * SYNC_RATE_HZ / float(STEPS_HZ),
        )
        for clip in clips
        if clip.has_audio
    ]
    return [clip for clip in made if clip.mouth.windows(window).sum() >= _LEAST_RUN]


def offset_of(scorer: SyncScorer, clip: SyncClip) -> SyncScore:
    """How far picture and sound of a clip are apart, whatever offset it was given before."""
    cosines = scorer.cosines(clip.mouth, features_of(clip.clip.clip, kind=scorer.audio_kind))
    return summarise(1 - cosines.mean(0), len(cosines))


def with_offset(clip: SyncClip, offset_frames: float) -> SyncClip:
    """The clip, put in step by another offset."""
    return replace(clip, offset_frames=offset_frames)


def fit_expert(expert: SyncExpert, clips: list[SyncClip]) -> None:
    """Fit the mouth's components and the range of the audio to the clips."""
    config, own = expert.config, [clip.clip for clip in clips]
    covariance = np.zeros((NUM_USED * 3, NUM_USED * 3))
    for clip, weight in zip(clips, identity_weights(own), strict=True):
        known = clip.mouth.mouth_offsets[clip.mouth.usable][:, :NUM_USED].astype(np.float64)
        flat = known.reshape(len(known), -1)
        covariance += weight * (flat.T @ flat) / max(1, len(flat))
    values, vectors = np.linalg.eigh(covariance)
    top = np.argsort(values)[::-1][: config.num_components]
    # The least components are noise of the landmarks: they stay below unit variance.
    spread = np.sqrt(values[top] + 1e-3 * values[top[0]] + 1e-12)
    components = (vectors[:, top] / spread).T.reshape(-1, NUM_USED, 3)
    expert.mouth.components.copy_(torch.from_numpy(components))
    mean, deviation = audio_range(own, config.audio_kind)
    expert.sound.mean.copy_(torch.from_numpy(mean))
    expert.sound.spread.copy_(torch.from_numpy(deviation))


class SyncBatches(Dataset[Batch]):
    """Runs of moments of several clips: `SyncBatch` by name.

    Args:
        config: Of the expert.
        clips: Clips with sound.
        num_clips: Clips in a batch.
        num_moments: Moments of each.
        seed: With the batch's number, all randomness.
    """

    def __init__(
        self,
        config: SyncConfig,
        clips: list[SyncClip],
        *,
        num_clips: int,
        num_moments: int,
        seed: int,
    ) -> None:
        self._config, self._clips = config, clips
        self._chances = identity_weights([clip.clip for clip in clips])
        self._num_clips, self._num_moments, self._seed = num_clips, num_moments, seed
        self._mirror = mirror_order()[SPEAKING] - SPEAKING.start

    def __getitem__(self, index: int) -> Batch:
        """Batch number `index`."""
        rng = np.random.default_rng((self._seed, index, 3))
        chosen = rng.choice(len(self._clips), self._num_clips, p=self._chances)
        runs = [self._run(self._clips[number], rng) for number in chosen]
        names = [field.name for field in fields(SyncBatch)]
        return {
            name: torch.from_numpy(np.stack(part))
            for name, part in zip(names, zip(*runs, strict=True), strict=True)
        }

    def _run(self, clip: SyncClip, rng: np.random.Generator) -> tuple[F32, F32, Int, Bool]:
        """Departures, audio, places and what counts, of a run of moments of one clip."""
        config, num, around = self._config, self._num_moments, self._config.window - 1
        known = clip.mouth.windows(config.window)
        start = int(rng.integers(0, max(1, len(known) - num + 1)))
        samples = np.clip(np.arange(start, start + num + around), 0, len(known) + around - 1)
        mouth_offsets = self._vary(clip.mouth.mouth_offsets[samples], rng)
        version = int(rng.integers(clip.clip.clip.num_versions))
        features = features_of(clip.clip.clip, version, kind=config.audio_kind)
        centre = start + config.window // 2
        moments = np.arange(centre - MAX_OFFSET, centre + num + MAX_OFFSET)
        first_s = clip.mouth.first_s - clip.offset_frames / SYNC_RATE_HZ
        steps = audio_steps(first_s, moments, features)
        # Steps are rounded: runs of as many moments may differ by one, their sound must not.
        span = int(np.ceil(len(moments) * float(features.rate_hz) / SYNC_RATE_HZ))
        audio = sound_around(features, steps[0] + np.array([0, span]), config)
        heard = clip.clip.clip.heard[version]
        own = np.clip(steps[MAX_OFFSET : MAX_OFFSET + num], 0, len(heard) - 1)
        place = np.arange(start, start + num)
        counted = (place < len(known)) & known[np.minimum(place, len(known) - 1)]
        counted &= heard[own] > _HEARD_SHARE
        return mouth_offsets, hide_sound(audio, rng), steps - steps[0], counted

    def _vary(self, mouth_offsets: F32, rng: np.random.Generator) -> F32:
        """Another face: mirrored, livelier or calmer, its landmarks a little off."""
        if rng.random() < 0.5:
            mouth_offsets = mouth_offsets[:, self._mirror] * np.array([-1, 1, 1], np.float32)
        strength = np.exp(rng.uniform(-_VARY_STRENGTH, _VARY_STRENGTH))
        off = rng.normal(0, _VARY_REST, (1, *mouth_offsets.shape[1:]))
        return (mouth_offsets * strength + off).astype(np.float32)


class SyncTask:
    """What the loop trains: the expert, told apart moments from sounds that are not theirs.

    Args:
        model: On its device, fitted to the clips by `fit_expert`.
        batches: What it is shown.
        optimization: Of all its parameters.
    """

    def __init__(self, model: SyncExpert, batches: SyncBatches, optimization: Optimization) -> None:
        self.modules: Mapping[str, nn.Module] = {MODEL: model}
        self.optimizers: Mapping[str, Optimization] = {MODEL: optimization}
        self.batches: Dataset[Batch] = batches
        self._model = model

    def losses(self, batch: Batch, optimizer: str, step: int) -> dict[str, Tensor]:
        """Losses of a batch; `loss` is what is minimised."""
        return contrast_losses(self._model, SyncBatch(**batch))

    def preview(self) -> None:
        """Nothing to look at."""


def hide_sound(audio: F32, rng: np.random.Generator) -> F32:
    """Hide stretches of time and bands of a run (L, D); log-mel stands at the end of a step.

    Nothing is moved in time: that is what is to be learnt.
    """
    mels = FEATURE_SIZES["mel"]
    audio = audio.copy()
    mel = audio[:, -mels:]
    for _ in range(2):
        low, size = int(rng.integers(0, mels - 12)), int(rng.integers(0, 12))
        mel[:, low : low + size] = mel.mean()
    mel += np.float32(rng.uniform(-0.12, 0.12))
    for _ in range(int(rng.integers(0, 3))):
        start, length = int(rng.integers(0, len(audio))), int(rng.integers(2, 14))
        audio[start : start + length] = audio.mean(0)
    return audio


def contrast_losses(expert: SyncExpert, batch: SyncBatch) -> dict[str, Tensor]:
    """InfoNCE of single moments and of whole runs.

    Returns:
        `moment`, `run`, their sum `loss`, and `right`: the share of moments whose best offset is
        the true one or beside it.
    """
    seen = expert.see(batch.mouth_offsets)
    heard = expert.listen(batch.audio)
    places = batch.places[..., None].expand(-1, -1, heard.shape[-1])
    heard = heard.gather(1, places)
    num = seen.shape[1]
    offsets = range(_NUM_OFFSETS)
    own = torch.stack([(seen * heard[:, i : i + num]).sum(-1) for i in offsets], -1)
    centre = heard[:, MAX_OFFSET : MAX_OFFSET + num]
    counted = batch.counted
    losses = {
        "moment": _moment_loss(expert, seen, centre, own, counted),
        "run": _run_loss(expert, seen, centre, own, counted),
    }
    losses["loss"] = losses["moment"] + losses["run"]
    best = own.argmax(-1) - MAX_OFFSET
    losses["right"] = _mean((best.abs() <= 1).float(), counted)
    return losses


def _moment_loss(
    expert: SyncExpert, seen: Tensor, centre: Tensor, own: Tensor, counted: Tensor
) -> Tensor:
    """Each moment against its clip's other offsets and other clips' moments."""
    others = torch.einsum("bte,cue->btcu", seen, centre[:, ::_OTHERS_STRIDE])
    others = others.masked_fill(_same_clip(seen)[:, None, :, None], _NEVER)
    scale = expert.scale.exp().clamp(max=_MOST_SCALE)
    logits = torch.cat([own, others.flatten(2)], -1) * scale
    return _mean(_cross_entropy(logits), counted)


def _run_loss(
    expert: SyncExpert, seen: Tensor, centre: Tensor, own: Tensor, counted: Tensor
) -> Tensor:
    """The mean over each run against its other offsets and other clips' runs."""
    share = counted.float() / counted.sum(1, keepdim=True).clamp(min=1)
    runs = torch.einsum("bto,bt->bo", own, share)
    others = torch.einsum("bte,cte,bt->bc", seen, centre, share)
    others = others.masked_fill(_same_clip(seen), _NEVER)
    scale = expert.run_scale.exp().clamp(max=_MOST_SCALE)
    cost = _cross_entropy(torch.cat([runs, others], -1) * scale)
    return _mean(cost, counted.sum(1) >= _LEAST_RUN)


def _same_clip(seen: Tensor) -> Tensor:
    return torch.eye(len(seen), dtype=torch.bool, device=seen.device)


def _cross_entropy(logits: Tensor) -> Tensor:
    """Against the middle one of the first offsets, softened. (..., C) to (...)."""
    log_share = logits.log_softmax(-1)
    middle, beside = log_share[..., MAX_OFFSET], (MAX_OFFSET - 1, MAX_OFFSET + 1)
    return -(_TARGET * middle + _TARGET_BESIDE * log_share[..., beside].sum(-1))


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    return (values * counted).sum() / counted.sum().clamp(min=1)
