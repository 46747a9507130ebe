"""How well a model does a person in footage that it did not learn from: this decides what is kept.

Frames go through the model as in a dub: sound in, pictures out. Where the footage has no sound the
true mouth shapes drive instead, which tells of looks, and whether pictures follow their landmarks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from dubcli.core.types import F32, U8, Frame, Int, References
from dubcli.face.detect import FaceDetector
from dubcli.face.landmarks import LIPS_OUTER, mouth_open
from dubcli.face.pose import mouth_box
from dubcli.metrics.mouth_fidelity import fill_outline, fine_structure, psnr, texture_energy
from dubcli.models.conversion import to_images
from dubcli.personalize.clip_windows import clip_window, frames_around, windows_of
from dubcli.personalize.person_subject import person_subject
from dubcli.training.data.prepared_clip import without_margin
from dubcli.training.data.train_clips import TrainClip
from dubcli.training.device_utils import device_of, evaluating
from dubcli.training.stage import Adapter

# Frames that are looked at, evenly spread: enough for a correlation, few enough for a laptop.
MAX_FRAMES = 48
_LEAST_FOR_R = 8
# A mouth that moves less, inter-ocular distances, is followed by chance.
_LEAST_MOTION = 0.01
_SHOWN = 6


@dataclass(frozen=True, kw_only=True)
class ValidationScore:
    """Scores on footage that was not learnt from.

    Attributes:
        psnr: Of the mouth box, dB.
        texture: Energy of fine structure inside the lips over the true one; 1 is right.
        sync: Pearson r of the mouth opening, found in the generated pictures, with the true one;
            NaN where too little is seen, or too little moves.
    """

    psnr: float
    texture: float
    sync: float


class Validation:
    """Footage kept apart.

    Args:
        clips: Their frames are those kept apart, as prepared crops.
        references: The identity's.
        adapter: Of the model.
        find_faces: Opens a detector.
    """

    def __init__(
        self,
        clips: list[TrainClip],
        references: References,
        adapter: Adapter,
        find_faces: Callable[[], AbstractContextManager[FaceDetector]],
    ) -> None:
        self._references, self._find_faces = references, find_faces
        self._adapter = adapter
        self._parts = _spread(clips, MAX_FRAMES)
        self.has_sound = all(clip.has_audio for clip, _ in self._parts)

    def __len__(self) -> int:
        return sum(len(frames) for _, frames in self._parts)

    def score(self, model: Any) -> ValidationScore:
        """Scores of a model's pictures."""
        decibels, energies, openings = [], [], []
        for clip, frames in self._parts:
            made = self._paint(model, clip, frames)
            for index, picture in zip(frames.tolist(), made, strict=True):
                truth, size = clip.clip.crop(index), clip.clip.size
                box = mouth_box(size)
                decibels.append(psnr(picture[box], truth[box]))
                outline = clip.clip.crop_points(np.array([index]))[0, LIPS_OUTER]
                inside = fill_outline(outline, size)
                energies.append(
                    [texture_energy(fine_structure(x), inside) for x in (picture, truth)]
                )
            openings.append(self._openings(clip, frames, made))
        both = np.nanmean(np.array(energies), 0)
        return ValidationScore(
            psnr=float(np.mean(decibels)),
            texture=float(both[0] / max(both[1], 1e-6)),
            sync=_correlation(openings),
        )

    def shown_spread(self, model: Any) -> float:
        """Spread of the opening found in generated pictures over the true one; NaN if unknown."""
        both = np.concatenate(
            [
                self._openings(clip, frames, self._paint(model, clip, frames))
                for clip, frames in self._parts
            ],
            axis=1,
        )
        if both.shape[1] < _LEAST_FOR_R or both[1].std() < _LEAST_MOTION:
            return math.nan
        return float(both[0].std() / both[1].std())

    def pictures(self, model: Any) -> list[U8]:
        """A few generated crops, the same frames at every call."""
        return [
            picture for clip, frames in self._few() for picture in self._paint(model, clip, frames)
        ]

    def truth(self) -> list[U8]:
        """The real crops of `pictures`."""
        few = self._few()
        return [clip.clip.crop(int(i)) for clip, frames in few for i in frames]

    def _few(self) -> list[tuple[TrainClip, Int]]:
        return _spread([replace(clip, frames=frames) for clip, frames in self._parts], _SHOWN)

    @torch.inference_mode()
    def _paint(self, model: Any, clip: TrainClip, frames: Int) -> U8:
        """Generated crops of some frames. Shape (T, H, W, 3)."""
        device, spec = device_of(model), model.spec
        parts = []
        with evaluating(model):
            neutral = self._parts[0][0].neutral
            state = model.prepare(person_subject(spec, self._references, neutral, device))
            for wanted in windows_of(spec, frames):
                shown = frames_around(clip, wanted, spec.context)
                if self.has_sound:
                    heard = frames_around(clip, shown, spec.motion_context)
                    motion = model.predict_motion(clip_window(model, clip, heard, shown), state)
                else:
                    motion = self._adapter.true_motion(model, clip, shown)
                patches = model.render(clip_window(model, clip, shown, wanted), motion, state)
                parts.append(to_images(patches.rgb))
        return np.concatenate(parts)

    def _openings(self, clip: TrainClip, frames: Int, made: U8) -> F32:
        """Mouth openings that a detector finds in generated pictures, and true. Shape (2, T)."""
        seen = np.full(len(frames), np.nan, np.float32)
        with self._find_faces() as detector:
            for number, (index, picture) in enumerate(zip(frames.tolist(), made, strict=True)):
                whole = clip.clip.picture(index).copy()
                without_margin(whole)[:] = picture
                faces = detector.detect(Frame(index=number, pts=number, image=whole))
                if faces:
                    largest = max(faces, key=lambda face: float(face.box[3] - face.box[1]))
                    seen[number] = mouth_open(largest.landmarks[None])[0]
        both = np.stack([seen, clip.opening[frames]])
        return both[:, np.isfinite(both).all(0)]


def _spread(clips: list[TrainClip], most: int) -> list[tuple[TrainClip, Int]]:
    """At most so many frames, evenly spread over all clips' frames."""
    ends = np.cumsum([len(clip.frames) for clip in clips])
    total = int(ends[-1])
    chosen = np.unique(np.linspace(0, total - 1, min(most, total)).round().astype(np.int64))
    parts = []
    for clip, end in zip(clips, ends.tolist(), strict=True):
        first = end - len(clip.frames)
        own = chosen[(chosen >= first) & (chosen < end)] - first
        if len(own):
            parts.append((clip, clip.frames[own]))
    return parts


def _correlation(openings: list[F32]) -> float:
    """Pearson r of (seen, true) openings (2, T) over all clips, each clip's mean taken out."""
    known = [pair - pair.mean(1, keepdims=True) for pair in openings if pair.shape[1]]
    if sum(pair.shape[1] for pair in known) < _LEAST_FOR_R:
        return math.nan
    one, other = np.concatenate(known, 1).astype(np.float64)
    if other.std() < _LEAST_MOTION:
        return math.nan
    scale = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / scale if scale > 1e-9 else math.nan
