"""Stage contrast: E_a and E_m by their matrix's diagonal, and the mouth that the sound draws."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dubcli.core.types import F32, U8, Int
from dubcli.models.common.mouth_basis import coefficients_of
from dubcli.models.common.mouth_losses import frame_losses, point_loss
from dubcli.models.common.sound_runs import Hearing, SoundBatches, SoundRun, SoundTask, draw_run
from dubcli.models.common.stage_parts import fit_audio_range, fit_mouth_basis
from dubcli.models.g4g.config import G4GConfig
from dubcli.models.g4g.inter_modal import MOUTH_HEIGHT, MOUTH_SIZE, contrastive_loss
from dubcli.models.g4g.network import G4G
from dubcli.models.g4g.options import G4GOptions
from dubcli.models.g4g.sound_half import coefficient_head
from dubcli.training.batches import BatchSize
from dubcli.training.data.train_clips import TrainClip, audio_windows, hide_audio
from dubcli.training.device_utils import device_of
from dubcli.training.stage import Batch

# Rows of the matrix, and how far two of one clip are apart at least, frames.
NUM_ROWS, APART = 64, 3
# Stored mouths have a margin for random shifts, px on each side.
_MARGIN = 4
# Where a mouth lies in a crop: the eye distance of the crop's template, share of its height.
_UNIT = 0.28
_ARTICULATION = G4GOptions().articulation
_LIPS = slice(0, 40)
# The head on E_a where the model has none.
HEAD = "head"


def prepare_model(model: G4G, clips: list[TrainClip]) -> None:
    """Fit the mouth basis and the range of the audio to the clips, unless the model has them."""
    fit_audio_range([model.sound.audio_encoder], clips, model.config.audio_kind)
    fit_mouth_basis(model.sound.basis, clips)


def stored_mouths(clip: TrainClip) -> U8:
    """Grey mouths of a clip's frames with their margin; those of unusable frames are black.

    Returns:
        Shape (T, 56, 88), uint8.
    """
    height, width = (side + 2 * _MARGIN for side in MOUTH_SIZE)
    pixel = MOUTH_HEIGHT * _UNIT * clip.clip.size[0] / MOUTH_SIZE[0]
    out = np.zeros((len(clip.clip), height, width), np.uint8)
    lips = clip.neutral[_LIPS].mean(0).astype(np.float64)
    for frame in clip.frames.tolist():
        turned = clip.clip.rotation[frame] @ lips
        centre = clip.clip.scale[frame] * turned + clip.clip.translation[frame]
        start = centre[:2] - pixel * (np.array([width, height]) - 1) / 2
        matrix = np.array([[pixel, 0, start[0]], [0, pixel, start[1]]])
        grey = cv2.cvtColor(clip.clip.picture(frame), cv2.COLOR_RGB2GRAY)
        out[frame] = cv2.warpAffine(
            grey,
            matrix,
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
    return out


class MouthStore:
    """Mouths of clips, cut when first asked for, and the frames in the middle of a run.

    Args:
        clips: With sound.
        reach: Frames on either side of a middle.
    """

    def __init__(self, clips: list[TrainClip], reach: int) -> None:
        self._reach, self._clips = reach, clips
        self._mouths = dict[int, U8]()
        self.middles = [_middles(clip, reach) for clip in clips]

    def windows(self, number: int, frames: Int, rng: np.random.Generator | None) -> U8:
        """Mouths around some frames of a clip.

        Args:
            number: Of the clip.
            frames: Middles. Shape (W,).
            rng: Draws a shift, the same for all; None: none.

        Returns:
            Shape (W, frames, 48, 80), uint8.
        """
        around = frames[:, None] + np.arange(-self._reach, self._reach + 1)
        y, x = (_MARGIN, _MARGIN) if rng is None else rng.integers(0, 2 * _MARGIN + 1, 2)
        height, width = MOUTH_SIZE
        if number not in self._mouths:
            self._mouths[number] = stored_mouths(self._clips[number])
        return self._mouths[number][around, y : y + height, x : x + width]


def _middles(clip: TrainClip, reach: int) -> Int:
    """Usable frames whose neighbours within reach are usable and of the same shot."""
    runs = [np.arange(first + reach, end - reach) for first, end in clip.clip.runs.tolist()]
    return np.concatenate([np.zeros(0, np.int64), *runs])


class ContrastBatches(SoundBatches):
    """`run`: `SoundRun`s with a leading dimension (B, ...); `mouths` and `heard`: the matrix.

    Args:
        clips: With sound.
        config: Of the network.
        size: Of the runs in a batch.
    """

    def __init__(self, clips: list[TrainClip], config: G4GConfig, size: BatchSize) -> None:
        super().__init__(clips, size, stream=6)
        self._config = config
        self._hearing = Hearing(kind=config.audio_kind, width=config.audio_width)
        self._store = MouthStore(clips, config.reach)

    def __getitem__(self, index: int) -> Batch:
        rng = self._random(index)
        return {"run": self._runs(rng), **self.matrix(rng)}

    def run(self, clip: TrainClip, rng: np.random.Generator) -> SoundRun:
        """A run as it is drawn."""
        return draw_run(clip, self._size.frames, self._hearing, rng).augmented(rng)

    def matrix(
        self, rng: np.random.Generator, *, is_augmented: bool = True, rows: int = NUM_ROWS
    ) -> dict[str, Any]:
        """Mouths and sounds of the same moments, in the same order.

        With hard negatives half of them are of one person, with other people each of another; where
        there are too few, more people join, and then people come again.

        Returns:
            `mouths` (R, frames, 48, 80), uint8; `heard` (R, A, D); `shape`, speaking points of the
            middle frames minus neutral, (R, S, 3).
        """
        share = rows // 2 if self._config.negatives == "hard" else 1
        mouths, heard, shape = list[U8](), list[F32](), list[F32]()
        left, seen = rows, set[str]()
        while left:
            number = self._next(rng, seen)
            frames = _apart(self._store.middles[number], min(share, left), rng)
            mouths.append(self._store.windows(number, frames, rng if is_augmented else None))
            heard.append(self._windows(self._clips[number], frames, rng, is_augmented))
            shape.append(self._clips[number].mouth_offset[frames])
            left -= len(frames)
        drawn = {"mouths": mouths, "heard": heard, "shape": shape}
        return {name: np.concatenate(parts) for name, parts in drawn.items()}

    def _next(self, rng: np.random.Generator, seen: set[str]) -> int:
        """A clip of a person who is not in the matrix yet, while there are any."""
        able = np.array([len(middles) > 0 for middles in self._store.middles])
        fresh = np.array([clip.identity not in seen for clip in self._clips])
        if not (able & fresh).any():
            seen.clear()
            fresh[:] = True
        chances = self._chances * (able & fresh)
        number = int(rng.choice(len(self._clips), p=chances / chances.sum()))
        seen.add(self._clips[number].identity)
        return number

    def _windows(
        self, clip: TrainClip, frames: Int, rng: np.random.Generator, is_augmented: bool
    ) -> F32:
        kind, width = self._config.audio_kind, self._config.audio_width
        audio = audio_windows(clip, frames, width, kind=kind).astype(np.float32)
        return hide_audio(audio, rng, kind=kind) if is_augmented else audio


def _apart(middles: Int, most: int, rng: np.random.Generator) -> Int:
    """Up to so many of a clip's middles, at least three frames from one another."""
    chosen: list[int] = []
    taken = np.zeros(int(middles.max()) + 2 * APART, bool)
    for frame in rng.permutation(middles).tolist():
        if len(chosen) == most:
            break
        if not taken[frame]:
            chosen.append(frame)
            taken[max(0, frame - APART + 1) : frame + APART] = True
    return np.array(chosen)


class ContrastTask(SoundTask[G4G]):
    """E_a with its head, E_m, g_v, g_a and τ.

    Args:
        model: What is trained, on its device.
        clips: With sound.
        size: Of the runs in a batch; two frames or more, since neighbours are compared.
        make: Makes the optimizer of some parameters.
    """

    def __init__(
        self,
        model: G4G,
        clips: list[TrainClip],
        size: BatchSize,
        make: Any,
    ) -> None:
        prepare_model(model, clips)
        parameters = [*model.sound.parameters(), *model.matcher.parameters()]
        beside, head = dict[str, nn.Module](), model.sound.to_coefficients
        if head is None:
            head = beside[HEAD] = coefficient_head(model.config).to(device_of(model))
            parameters += list(head.parameters())
        self._head: nn.Module = head
        super().__init__(
            model, ContrastBatches(clips, model.config, size), make(parameters), beside
        )

    def losses(self, batch: Batch, optimizer: str, step: int) -> dict[str, Tensor]:
        """L_con (eq. 10), and point, velocity, correlation and spread losses of drawn mouths.

        One head reads mouths off both vectors, so that they mean the same to begin with: by L_con
        alone the matrix stayed at chance on this amount of data.
        """
        model, run = self._model, batch["run"]
        heard = model.sound.at_places(run["audio"], run["places"])
        made = self._head(heard.flatten(0, 1)).float().unflatten(0, tuple(heard.shape[:2]))
        mouths = _lit(batch["mouths"].float() / 255)
        looked = model.matcher.mouth_encoder(mouths)
        shape = self._head(looked).float()
        seen = functional.normalize(model.matcher.g_v(looked).float(), dim=-1)
        matched = model.matcher.listen(model.sound(batch["heard"].float()))
        # Correlations need more digits than mixed precision has.
        with torch.autocast(made.device.type, enabled=False):
            basis = model.sound.basis
            drawn = coefficients_of(run["mouth_offset"], basis)
            losses = frame_losses(made, drawn, basis, _ARTICULATION)
            true = coefficients_of(batch["shape"], basis)
            losses["seen"] = point_loss(shape - true, basis)
            losses["contrast"] = contrastive_loss(seen, matched, model.matcher.temperature)
        with torch.no_grad():
            best = (seen @ matched.T).argmax(1)
            hits = best == torch.arange(len(best), device=best.device)
        losses["loss"] = losses["loss"] + losses["seen"] + losses["contrast"]
        losses["top1"] = hits.float().mean()
        return losses


def _lit(mouths: Tensor) -> Tensor:
    """Mouths (N, frames, y, x) under other gamma, with noise."""
    num = len(mouths)
    gamma = (0.4 * (torch.rand(num, 1, 1, 1, device=mouths.device) - 0.5)).exp()
    return mouths.clamp_min(1e-3) ** gamma + 0.02 * torch.randn_like(mouths)
