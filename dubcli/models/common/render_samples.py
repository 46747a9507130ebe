"""Training samples from prepared clips: deterministic, in memory, augmented.

Sample `i` depends on the seed and on `i` alone, so any sample can be found again and a resumed
run sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dubcli.core.types import F32, F64, U8, Int, References
from dubcli.face.landmarks import SPEAKING, mirror_order
from dubcli.training.data.prepared_clip import PreparedClip, margin_of
from dubcli.training.data.train_clips import (
    TrainClip,
    audio_windows,
    hide_audio,
    identity_weights,
    run_starts,
)

# Height of a crop for which random shifts are told in px.
_SHIFT_HEIGHT = 208


@dataclass(frozen=True, kw_only=True)
class RenderSample:
    """Frames and references of one clip, as numpy, crop px.

    Attributes:
        targets: Real crops. Shape (T, H, W, 3), uint8.
        backgrounds: Time-shifted crops of the same clip. Shape (T, H, W, 3), uint8.
        background_points: Their speaking points. Shape (T, S, 2).
        landmarks: Kept points of the targets. Shape (T, K, 2).
        references: Shape (N, H, W, 3), uint8.
        reference_points: Speaking points. Shape (N, S, 2).
        scale: Crop px per canonical unit. Shape (T,).
        rotation: Of the head. Shape (T, 3, 3).
        translation: Crop px. Shape (T, 3).
        neutral: Shape (S, 3).
        mouth_offset: True speaking points minus neutral. Shape (T, S, 3).
        around: The same of the frames around each, itself in the middle. Shape (T, 2 k + 1, S, 3).
        audio: Audio windows. Shape (T, A, D).
        has_audio: The windows belong to the pictures.
    """

    targets: U8
    backgrounds: U8
    background_points: F32
    landmarks: F32
    references: U8
    reference_points: F32
    scale: F64
    rotation: F64
    translation: F64
    neutral: F32
    mouth_offset: F32
    around: F32
    audio: F32
    has_audio: bool


@dataclass(frozen=True, kw_only=True)
class Variation:
    """How samples differ from the footage; strangers ask for more of it than one known person.

    Attributes:
        jitter: Of zoom, turn and shift, 1 in full.
        is_mirrored: Half of the samples are mirrored.
        is_coloured: Light and colours change.
        noise: Spread of what is added to true mouth coefficients, which sound never tells exactly.
        references: What every sample refers to, as it is; None draws them from the sample's clip.
    """

    jitter: float = 1.0
    is_mirrored: bool = True
    is_coloured: bool = True
    noise: float = 0.1
    references: References | None = None

    def __post_init__(self) -> None:
        if self.references is not None and self.is_mirrored:
            raise ValueError("mirrored faces need references of their own")


class RenderSamples:
    """Draws frames with references, the same jitter for all pictures of a sample.

    Args:
        clips: Prepared clips.
        num_frames: Frames per sample.
        num_references: References per sample.
        audio_kind: Features of the sound.
        audio_width: Steps of them per frame.
        seed: With the sample number, all randomness.
        variation: How samples differ from the footage.
        reach: k, frames on either side whose mouths are told, too.
        in_a_row: The frames of a sample follow each other, where the clip has so many in a row.
    """

    def __init__(
        self,
        clips: list[TrainClip],
        *,
        num_frames: int,
        num_references: int,
        audio_kind: str,
        audio_width: int,
        seed: int,
        variation: Variation | None = None,
        reach: int = 0,
        in_a_row: bool = False,
    ) -> None:
        self._clips, self._reach, self._in_a_row = clips, reach, in_a_row
        self.variation = Variation() if variation is None else variation
        self._chances = identity_weights(clips)
        self._num_frames = num_frames
        self._num_references = num_references
        self._audio_kind, self._audio_width = audio_kind, audio_width
        self._seed = seed
        self._mirror = mirror_order()

    def __getitem__(self, index: int) -> RenderSample:
        """Sample number `index`; every number, however large, is a sample."""
        rng = np.random.default_rng((self._seed, index))
        clip = self._clips[rng.choice(len(self._clips), p=self._chances)]
        frames = self._draw_frames(clip, rng)
        fixed = self.variation.references
        drawn = self._draw_references(clip, frames, rng) if fixed is None else frames[:0]
        backgrounds = _shifted(clip, frames, rng)
        mirrored = bool(rng.random() < 0.5) and self.variation.is_mirrored
        colour = _random_colour(rng) if self.variation.is_coloured else _same_colour()
        size = clip.clip.size
        jitter = _random_jitter(rng, size, self.variation.jitter)

        def pictures(which: Int, matrices: list[F64]) -> U8:
            return np.stack(
                [
                    _cut(clip.clip.picture(int(i)), m, size, mirrored, colour)
                    for i, m in zip(which, matrices, strict=True)
                ]
            )

        same = [jitter] * len(frames)
        own = [_random_jitter(rng, size, 0.3) for _ in drawn]
        marks = self._points(clip, frames, same, mirrored)
        if fixed is None:
            references = pictures(drawn, own)
            reference_points = self._points(clip, drawn, own, mirrored)[:, SPEAKING]
        else:
            references, reference_points = fixed.crops, fixed.landmarks[:, SPEAKING, :2]
        scale, rotation, translation = _jitter_pose(clip.clip, frames, jitter, mirrored)
        around = clip.mouth_offset[_around(clip, frames, self._reach)]
        around = self._flip(around) if mirrored else around
        return RenderSample(
            targets=pictures(frames, same),
            backgrounds=pictures(backgrounds, same),
            background_points=self._points(clip, backgrounds, same, mirrored)[:, SPEAKING],
            landmarks=marks,
            references=references,
            reference_points=reference_points,
            scale=scale,
            rotation=rotation,
            translation=translation,
            neutral=self._flip(clip.neutral) if mirrored else clip.neutral,
            mouth_offset=around[:, self._reach],
            around=around,
            audio=self._audio(clip, frames, rng),
            has_audio=clip.has_audio,
        )

    def _draw_frames(self, clip: TrainClip, rng: np.random.Generator) -> Int:
        starts = run_starts(clip, self._num_frames) if self._in_a_row else clip.frames[:0]
        if len(starts):
            return int(rng.choice(starts)) + np.arange(self._num_frames)
        return np.sort(_draw(clip.frames, self._num_frames, rng))

    def _audio(self, clip: TrainClip, frames: Int, rng: np.random.Generator) -> F32:
        kind = self._audio_kind
        return hide_audio(audio_windows(clip, frames, self._audio_width, kind=kind), rng, kind=kind)

    def _draw_references(self, clip: TrainClip, frames: Int, rng: np.random.Generator) -> Int:
        """A closed, an open and random mouths, away in time from the targets where possible."""
        gap = np.abs(clip.frames[:, None] - frames[None]).min(1)
        pool = clip.frames[gap >= min(8, np.median(gap))]
        pool = _draw(pool if len(pool) else clip.frames, 24, rng)
        pool = pool[np.argsort(clip.opening[pool], kind="stable")]
        chosen = [pool[0], pool[-1], *_draw(pool, self._num_references, rng)]
        chosen = np.array(chosen[: self._num_references])
        return rng.permutation(chosen)

    def _points(self, clip: TrainClip, frames: Int, matrices: list[F64], mirrored: bool) -> F32:
        marks = clip.clip.landmarks[frames][..., :2].astype(np.float64)
        out = np.stack([p @ m[:, :2].T + m[:, 2] for p, m in zip(marks, matrices, strict=True)])
        if mirrored:
            out = out[:, self._mirror]
            out[..., 0] = clip.clip.size[1] - 1 - out[..., 0]
        return out.astype(np.float32)

    def _flip(self, speaking: F32) -> F32:
        order = self._mirror[SPEAKING] - SPEAKING.start
        flipped = speaking[..., order, :].copy()
        flipped[..., 0] *= -1
        return flipped


def _draw(pool: Int, num: int, rng: np.random.Generator) -> Int:
    return rng.choice(pool, num, replace=len(pool) < num)


def _shifted(clip: TrainClip, frames: Int, rng: np.random.Generator) -> Int:
    """A usable neighbour 3 to 15 frames away of each frame, in its shot."""
    out = []
    for frame in frames:
        away = np.abs(clip.frames - frame)
        same_shot = clip.clip.shot[clip.frames] == clip.clip.shot[frame]
        near = clip.frames[(away >= 3) & (away <= 15) & same_shot]
        out.append(rng.choice(near) if len(near) else frame)
    return np.array(out)


def _around(clip: TrainClip, frames: Int, reach: int) -> Int:
    """Frames around each of some (T,); past the end of its usable run the last one stays.

    Shape (T, 2 k + 1).
    """
    usable = np.zeros(len(clip.clip), bool)
    usable[clip.frames] = True
    out = np.repeat(frames[:, None], 2 * reach + 1, 1)
    for side in (-1, 1):
        last = frames
        for far in range(1, reach + 1):
            wanted = frames + side * far
            inside = wanted.clip(0, len(usable) - 1)
            follows = (
                (inside == wanted)
                & usable[inside]
                & (clip.clip.shot[inside] == clip.clip.shot[frames])
                & (last == wanted - side)
            )
            last = np.where(follows, wanted, last)
            out[:, reach + side * far] = last
    return out


def _random_jitter(rng: np.random.Generator, size: tuple[int, int], strength: float = 1.0) -> F64:
    """Stored-crop px to crop px with a random zoom, turn and shift. Shape (2, 3)."""
    zoom = np.exp(strength * rng.uniform(-0.08, 0.08))
    turn = np.radians(strength * rng.uniform(-5, 5))
    height, width = size
    shift = strength * rng.uniform(-8, 8, 2) * (height / _SHIFT_HEIGHT)
    cos, sin = zoom * np.cos(turn), zoom * np.sin(turn)
    linear = np.array([[cos, -sin], [sin, cos]])
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    stored = centre + np.array(margin_of(size)[::-1])
    return np.concatenate([linear, (centre + shift - linear @ stored)[:, None]], 1)


def _random_colour(rng: np.random.Generator) -> U8:
    """A lookup table per channel: gain, gamma and lift. Shape (256, 3), uint8."""
    x = np.linspace(0, 1, 256)[:, None]
    gamma = np.exp(rng.uniform(-0.2, 0.2) + rng.uniform(-0.05, 0.05, 3))
    gain = np.exp(rng.uniform(-0.2, 0.1) + rng.uniform(-0.06, 0.06, 3))
    return np.clip(255 * gain * x**gamma, 0, 255).astype(np.uint8)


def _same_colour() -> U8:
    """The lookup table that changes nothing. Shape (256, 3), uint8."""
    return np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, 1)


def _cut(stored: U8, matrix: F64, size: tuple[int, int], mirrored: bool, colour: U8) -> U8:
    height, width = size
    crop = cv2.warpAffine(
        stored, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    crop = np.asarray(cv2.LUT(crop, colour[None]), np.uint8)
    return np.ascontiguousarray(crop[:, ::-1]) if mirrored else crop


def _jitter_pose(
    clip: PreparedClip, frames: Int, matrix: F64, mirrored: bool
) -> tuple[F64, F64, F64]:
    """Pose of the jittered, perhaps mirrored frames, in crop px."""
    zoom = np.sqrt(np.linalg.det(matrix[:, :2]))
    turn = np.eye(3)
    turn[:2, :2] = matrix[:, :2] / zoom
    rotation = turn @ clip.rotation[frames]
    translation = clip.translation[frames].copy()
    translation[:, :2] = translation[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    translation[:, 2] *= zoom
    if mirrored:
        flip = np.diag([-1.0, 1, 1])
        rotation = flip @ rotation @ flip
        translation[:, 0] = clip.size[1] - 1 - translation[:, 0]
    return clip.scale[frames] * zoom, rotation, translation


def coefficient_noise(
    spread: float, shape: tuple[int, int], seed: int, numbers: Sequence[int]
) -> F32:
    """Noise on the mouth coefficients of some samples, the same for a sample in every run.

    Args:
        spread: Its standard deviation.
        shape: Frames of a sample, and coefficients.
        seed: Of the run.
        numbers: Of the samples.

    Returns:
        Shape (B, T, P).
    """
    drawn = [np.random.default_rng((seed, number, 1)).standard_normal(shape) for number in numbers]
    return (spread * np.stack(drawn)).astype(np.float32)
