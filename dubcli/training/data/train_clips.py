"""Prepared clips and what training derives from them: mouth offsets, the mouth basis, sound."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dubcli.audio.windows import gather_windows
from dubcli.core.errors import TrainingError
from dubcli.core.types import F32, F64, FEATURE_SIZES, Int
from dubcli.face.landmarks import SPEAKING, mouth_open
from dubcli.face.neutral import rest_shape
from dubcli.training.data.clip_file import load_clip
from dubcli.training.data.mapped_array import ClipArray, opened
from dubcli.training.data.prepared_clip import (
    INDEX_NAME,
    STEPS_HZ,
    FrameRanges,
    PreparedClip,
    ranges_from_text,
    runs_of,
)

_MIN_FRAMES = 20
# Steps of a recogniser's features that are hidden at most, and one more.
_LONGEST_HIDDEN = 16
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainClip:
    """A prepared clip with what training derives from it.

    Attributes:
        clip_id: Name.
        identity: Person.
        clip: The prepared data.
        frames: Usable frame numbers. Shape (U,).
        neutral: Rest shape. Shape (S, 3), canonical units.
        mouth_offset: Speaking points minus neutral, canonical units. Shape (T, S, 3); a numpy
            array of the frames that it is indexed by.
        opening: Mouth opening. Shape (T,).
        offset_steps: How many audio steps the picture lags the sound.
        is_in_step: That was measured when the set was prepared.
    """

    clip_id: str
    identity: str
    clip: PreparedClip
    frames: Int
    neutral: F32
    mouth_offset: ClipArray
    opening: F32
    offset_steps: int = 0
    is_in_step: bool = False

    @property
    def has_audio(self) -> bool:
        """Whether the clip has sound that belongs to its mouth."""
        return self.clip.has_sound


@dataclass(frozen=True)
class MouthOffsets:
    """Speaking points minus neutral, computed where they are indexed by frames."""

    canonical: ClipArray
    neutral: F32

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, S, 3)."""
        return (len(self.canonical), *self.neutral.shape)

    def __len__(self) -> int:
        return len(self.canonical)

    def __getitem__(self, frames: Any, /) -> F32:
        return self.canonical[frames][..., SPEAKING, :] - self.neutral


def load_clips(folder: Path, warn: Callable[[str], None] = _LOG.warning) -> list[TrainClip]:
    """Every prepared clip of a folder, in the order of its index; damaged ones are left out.

    Args:
        folder: What `dub prepare` made.
        warn: Called with the message of each damaged clip.

    Raises:
        TrainingError: No index, a damaged one, or no clip in it that can be used.
    """
    index = folder / INDEX_NAME
    if not index.is_file():
        raise TrainingError(
            f"'{folder}' holds no prepared clips.", "Make them with 'dub prepare CLIPS -o DIR'."
        )
    clips: list[TrainClip] = []
    damaged: list[TrainingError] = []
    for row in _rows(index):
        try:
            clips.append(_derive(row, load_clip(folder / f"{row['clip']}.npz")))
        except TrainingError as error:
            damaged.append(error)
    clips = [clip for clip in clips if len(clip.frames) >= _MIN_FRAMES]
    forms = sorted({(clip.clip.template, *clip.clip.size) for clip in clips})
    if len(forms) > 1:
        sizes = ", ".join(f"{height} x {width} ({name})" for name, height, width in forms)
        raise TrainingError(
            f"'{folder}' holds crops of different sizes: {sizes}.",
            "Run 'dub prepare' again with -y and one --size.",
        )
    if not clips:
        none = f"No clip of '{folder}' can be used."
        raise (damaged or [TrainingError(none, "See the column 'dropped' of its index.csv.")])[0]
    for error in damaged:
        warn(f"{error.cause} It is left out. {error.next_step}")
    return clips


def check_form(
    clips: list[TrainClip], size: tuple[int, int], template: str, kinds: Sequence[str]
) -> None:
    """Whether a set's crops and sound are what a network can be given.

    Args:
        clips: Of one set.
        size: Height and width of the network's crops, px; the set's may be larger or smaller.
        template: How they are aligned.
        kinds: Of sound features.

    Raises:
        TrainingError: Crops of another shape or template, or a kind is missing.
    """
    first = clips[0].clip
    found, wanted = (f"{height}x{width}" for height, width in (first.size, size))
    if first.size[0] * size[1] != first.size[1] * size[0]:
        raise TrainingError(
            f"Crops of the set are of {found} px, the model's {wanted}.",
            f"Run 'dub prepare --size {wanted}' into another folder.",
        )
    if first.template != template:
        raise TrainingError(
            f"Crops of the set are aligned by the template '{first.template}', the model's by "
            f"'{template}'.",
            "Prepare the clips into another folder.",
        )
    for clip in clips:
        for kind in kinds:
            clip.clip.sound(kind)


def _rows(index: Path) -> list[dict[str, str]]:
    """Clips of an index that were not dropped."""
    try:
        with index.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        # Sets of earlier versions tell neither offsets nor quality.
        return [
            {name: row[name] for name in ("clip", "identity")}
            | {name: row.get(name) or "" for name in ("offset_ms", "sound_dropped", "low_quality")}
            for row in rows
            if not row["dropped"]
        ]
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(
            f"'{index}' cannot be read: {error}.", "Run 'dub prepare' again with -y."
        ) from error


def longest_run(clip: TrainClip) -> int:
    """Most usable frames of one shot in a row."""
    return int(np.diff(_runs(clip), axis=1).max(initial=0))


def run_starts(clip: TrainClip, length: int) -> Int:
    """Frames from which `length` usable frames of one shot follow each other. Shape (N,)."""
    starts = [np.arange(first, end - length + 1) for first, end in _runs(clip).tolist()]
    return np.concatenate([np.zeros(0, np.int64), *starts])


def _runs(clip: TrainClip) -> Int:
    usable = np.zeros(len(clip.clip), bool)
    usable[clip.frames] = True
    return runs_of(usable, clip.clip.shot)


def with_sound(clips: list[TrainClip]) -> list[TrainClip]:
    """The clips that teach how mouths follow sound.

    Raises:
        TrainingError: There are none.
    """
    kept = [clip for clip in clips if clip.has_audio]
    if not kept:
        raise TrainingError(
            "No prepared clip has sound that fits its mouth.",
            "Add clips with their own sound, or train --stage render, which needs none.",
        )
    return kept


def _derive(row: dict[str, str], clip: PreparedClip) -> TrainClip:
    if row["sound_dropped"]:
        clip = clip.without_sound()
    clip = clip.without_frames(_poor_frames(row))
    is_usable = bool(clip.valid.any())
    canonical = opened(clip.canonical)
    neutral = rest_shape(canonical, clip.valid) if is_usable else canonical[0, SPEAKING]
    derived = derive_clip(row["clip"], row["identity"], clip, neutral.copy())
    return replace(derived, offset_steps=_offset_steps(row), is_in_step=bool(row["offset_ms"]))


def derive_clip(clip_id: str, identity: str, clip: PreparedClip, neutral: F32) -> TrainClip:
    """What follows from a prepared clip and a resting mouth (S, 3); picture and sound in step."""
    return TrainClip(
        clip_id=clip_id,
        identity=identity,
        clip=clip,
        frames=np.flatnonzero(clip.valid),
        neutral=neutral,
        mouth_offset=MouthOffsets(clip.canonical, neutral),
        opening=mouth_open(clip.canonical[:]),
    )


def _poor_frames(row: dict[str, str]) -> FrameRanges:
    try:
        return ranges_from_text(row["low_quality"])
    except ValueError as error:
        raise TrainingError(
            f"The ranges of low quality of clip '{row['clip']}' are none: '{row['low_quality']}'.",
            "Run 'dub prepare' again with -y.",
        ) from error


def _offset_steps(row: dict[str, str]) -> int:
    try:
        return round(float(row["offset_ms"] or 0) / 1000 * STEPS_HZ)
    except ValueError as error:
        raise TrainingError(
            f"The offset of clip '{row['clip']}' is no number: '{row['offset_ms']}'.",
            "Run 'dub prepare' again with -y.",
        ) from error


def identity_weights(clips: list[TrainClip]) -> F64:
    """Chance of drawing each clip: people count alike up to the square root of their footage."""
    total: dict[str, int] = {}
    for clip in clips:
        total[clip.identity] = total.get(clip.identity, 0) + len(clip.frames)
    weights = np.array(
        [len(clip.frames) / np.sqrt(total[clip.identity]) for clip in clips], np.float64
    )
    return weights / weights.sum()


def fit_basis(clips: list[TrainClip], num: int) -> F32:
    """Principal components of mouth offsets from neutral, scaled to unit variance of coefficients.

    Returns:
        Shape (num, S, 3); `mouth_offset = coefficients @ basis`.
    """
    size = clips[0].neutral.size
    covariance = np.zeros((size, size))
    for clip, weight in zip(clips, identity_weights(clips), strict=True):
        flat = clip.mouth_offset[clip.frames].reshape(len(clip.frames), -1).astype(np.float64)
        covariance += weight / len(flat) * (flat.T @ flat)
    values, vectors = np.linalg.eigh(covariance)
    top = np.argsort(values)[::-1][:num]
    basis = vectors[:, top].T * np.sqrt(np.maximum(values[top], 1e-12))[:, None]
    return basis.reshape(num, -1, 3).astype(np.float32)


def project(mouth_offset: F32, basis: F32) -> F32:
    """Coefficients (T, P) of mouth offsets (T, S, 3)."""
    flat = basis.reshape(len(basis), -1)
    return mouth_offset.reshape(len(mouth_offset), -1) @ (flat / (flat**2).sum(1, keepdims=True)).T


def audio_windows(
    clip: TrainClip,
    frames: Int,
    width: int,
    shift: int = 0,
    *,
    kind: str = "speech",
    version: int = 0,
) -> F32:
    """Audio steps around frames, offset corrected.

    Args:
        clip: A clip with sound.
        frames: Frame numbers. Shape (T,).
        width: Steps in a window.
        shift: Steps to look ahead of the frames.
        kind: A key of `core.types.FEATURE_SIZES`.
        version: Which changed copy of the sound; 0 is the recording itself.

    Returns:
        Shape (T, width, D).
    """
    sound = clip.clip.sound(kind)
    values = sound.version(version) if clip.has_audio else np.zeros((0, len(sound.fill)))
    return gather_windows(values, sound.fill, _centres(clip, frames) + shift, width)


def audio_stretch(
    clip: TrainClip,
    frame: int,
    length: int,
    before: int,
    *,
    kind: str = "speech",
    version: int = 0,
) -> F32:
    """Consecutive audio steps from some before a frame's own on, offset corrected.

    Args:
        clip: A clip with sound.
        frame: Frame number.
        length: Steps.
        before: Steps before the frame's own.
        kind: A key of `core.types.FEATURE_SIZES`.
        version: Which changed copy of the sound; 0 is the recording itself.

    Returns:
        Shape (length, D).
    """
    sound = clip.clip.sound(kind)
    centre = _centres(clip, np.array([frame])) - before + length // 2
    return gather_windows(sound.version(version), sound.fill, centre, length)[0]


def audio_range(clips: list[TrainClip], kind: str) -> tuple[F32, F32]:
    """Mean and spread of each audio feature over people alike. Two of shape (D,)."""
    heard = [clip for clip in clips if clip.has_audio]
    mean = square = np.zeros(FEATURE_SIZES[kind])
    for clip, weight in zip(heard, identity_weights(heard), strict=True):
        values = clip.clip.sound(kind).version(0).astype(np.float64)
        mean = mean + weight * values.mean(0)
        square = square + weight * (values**2).mean(0)
    spread = np.sqrt(np.maximum(square - mean**2, 1e-6))
    return np.asarray(mean, np.float32), np.asarray(spread, np.float32)


def heard_share(clip: TrainClip, frames: Int, version: int) -> F32:
    """How much of the words a changed copy leaves in at each frame. Shape (T,)."""
    heard = clip.clip.heard[version]
    return heard[np.clip(_centres(clip, frames), 0, len(heard) - 1)].astype(np.float32)


def _centres(clip: TrainClip, frames: Int) -> Int:
    return clip.clip.steps[frames] - clip.offset_steps


def frames_of_run(clip: TrainClip, start: int, num: int, length: int) -> tuple[Int, Int]:
    """Usable frames from one on, and their audio steps after the first's.

    Where the clip, or `length` steps, end before there are `num`, the last one is repeated.
    """
    frames = clip.frames[start : start + num]
    places = clip.clip.steps[frames] - clip.clip.steps[frames[0]]
    frames, places = frames[places < length], places[places < length]
    missing = num - len(frames)
    return np.pad(frames, (0, missing), mode="edge"), np.pad(places, (0, missing), mode="edge")


def hide_audio(audio: F32, rng: np.random.Generator, *, kind: str) -> F32:
    """Hide what could be learnt by heart: the same change for all windows (T, A, D) of a clip.

    A stretch of time goes from the recogniser's part, and log-mel is changed on its own. Windows
    that are too short for that, of networks that hear nothing, stay as they are.
    """
    mels = FEATURE_SIZES["mel"]
    if audio.shape[1] <= _LONGEST_HIDDEN:
        return audio
    if kind == "mel":
        return augment_audio(audio, rng)
    tokens, mel = audio[..., :-mels].copy(), augment_audio(audio[..., -mels:], rng)
    if rng.random() < 0.5:
        start, length = (
            rng.integers(0, audio.shape[1] - _LONGEST_HIDDEN),
            rng.integers(2, _LONGEST_HIDDEN),
        )
        tokens[:, start : start + length] = tokens.mean((0, 1))
    return np.concatenate([tokens, mel], -1)


def hide_stretch(audio: F32, rng: np.random.Generator, *, kind: str) -> F32:
    """Hide parts of consecutive steps (L, D), at no cost of their timing.

    A stretch of time goes from the recogniser's part; log-mel is made louder or quieter, tilted,
    and loses a band.
    """
    audio, mels = audio.copy(), FEATURE_SIZES["mel"]
    tokens, mel = audio[:, :-mels], audio[:, -mels:]
    if kind != "mel" and rng.random() < 0.5:
        start, length = rng.integers(0, len(audio) - 24), rng.integers(6, 24)
        tokens[start : start + length] = tokens.mean(0)
    scale = mel.std()
    mel += scale * (rng.normal(0, 0.3) + np.linspace(-1, 1, mels) * rng.normal(0, 0.3))
    low, size = rng.integers(0, mels - 14), rng.integers(0, 14)
    mel[:, low : low + size] = mel.mean()
    return audio


def augment_audio(audio: F32, rng: np.random.Generator) -> F32:
    """Another voice in another room: the same change for all mel windows (T, A, 80) of a clip.

    Speed changes about each window's centre, so the centre stays the frame's own moment.
    """
    _, width, bands = audio.shape
    speed, pitch = np.exp(rng.uniform(-0.15, 0.15)), rng.uniform(-5, 5)
    rows = (np.arange(width) - width // 2) * speed + width // 2
    columns = np.arange(bands) * np.exp(rng.uniform(-0.08, 0.08)) + pitch
    across, down = np.meshgrid(columns.astype(np.float32), rows.astype(np.float32))
    bent = [
        cv2.remap(x, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for x in audio
    ]
    audio = np.asarray(bent, np.float32)
    level = rng.uniform(-0.12, 0.12)
    ramp = np.linspace(-1, 1, bands)
    tilt = ramp * rng.uniform(-0.15, 0.15) + np.cos(3 * ramp + rng.uniform(0, 6)) * 0.05
    audio = audio + np.float32(level) + tilt.astype(np.float32)
    if rng.random() < 0.5:
        hiss = rng.uniform(-0.8, 0.1) + 0.06 * rng.standard_normal(audio.shape)
        audio = np.maximum(audio, hiss.astype(np.float32))
    return _mask_audio(audio.astype(np.float32), rng)


def _mask_audio(audio: F32, rng: np.random.Generator) -> F32:
    """SpecAugment (arXiv:1904.08779): hide some bands and some stretches of time."""
    _, width, bands = audio.shape
    for _ in range(2):
        low, size = rng.integers(0, bands - 14), rng.integers(0, 14)
        audio[..., low : low + size] = audio.mean()
        start, length = rng.integers(0, width - 14), rng.integers(0, 14)
        audio[:, start : start + length] = audio.mean()
    return audio
