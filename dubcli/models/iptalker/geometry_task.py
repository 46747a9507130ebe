"""One task per architecture and stage: what to draw, what to predict, what it costs.

The training loop knows only this: a task gives a batch by number and a dict of losses with the
key `loss`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dubcli.config import TrainConfig
from dubcli.core.types import F32, U8
from dubcli.models.api import to_tensor
from dubcli.models.common.mouth_map import INNER_BOTTOM, INNER_TOP
from dubcli.models.iptalker.network import IPTalker, IPTalkerConfig
from dubcli.training.data.train_clips import (
    TrainClip,
    audio_range,
    audio_windows,
    fit_basis,
    heard_share,
    hide_audio,
    identity_weights,
    project,
    stored_to_crop,
    with_sound,
)
from dubcli.training.device_utils import device_of
from dubcli.training.losses.pictures import (
    correlation_loss,
)

_TOKEN_DROPOUT = 0.5
# A shift of the audio by up to this many steps, both ways, that costs nothing.
_JITTER_STEPS = 1
# Inner lips count most: they are what a viewer reads.
_POINT_WEIGHTS = [1.0] * 20 + [2.0] * 20 + [0.7] * 21 + [0.4] * 41


class Task(Protocol):
    """What the loop needs."""

    @property
    def model(self) -> nn.Module:
        """What is trained."""
        ...

    def parameters(self) -> list[nn.Parameter]:
        """Parameters this stage trains."""
        ...

    def losses(self, step: int) -> dict[str, Tensor]:
        """Losses of batch number `step`; `loss` is what is minimised."""
        ...

    def picture(self) -> U8 | None:
        """A sheet of samples to look at, RGB."""
        ...


def prepare_model(model: IPTalker, clips: list[TrainClip]) -> None:
    """Fit the mouth basis and the range of the audio to the clips, unless the model has them."""
    encoder = model.alignment.audio_encoder
    if bool((encoder.spread == 1).all()) and any(clip.has_audio for clip in clips):
        mean, spread = audio_range(clips, model.config.audio_kind)
        encoder.mean.copy_(torch.from_numpy(mean))
        encoder.spread.copy_(torch.from_numpy(spread))
    if not bool(model.alignment.basis.abs().sum() > 0):
        basis = fit_basis(clips, model.config.num_coefficients)
        model.alignment.basis.copy_(torch.from_numpy(basis))


class GeometryTask:
    """Sound half: audio windows and references to mouth coefficients."""

    def __init__(self, model: IPTalker, clips: list[TrainClip], config: TrainConfig) -> None:
        prepare_model(model, clips)
        self.model = model
        self.clips = with_sound(clips)
        self._chances = identity_weights(self.clips)
        self._seed = config.seed
        self._num_clips = config.batch_clips
        self._num_frames = config.frames_per_clip
        device = device_of(model)
        self._true = [coefficients_of(clip.departure, model).to(device) for clip in self.clips]

    def parameters(self) -> list[nn.Parameter]:
        """The alignment module's."""
        return list(self.model.alignment.parameters())

    def losses(self, step: int) -> dict[str, Tensor]:
        """Point, velocity and correlation losses over short runs of frames."""
        rng = np.random.default_rng((self._seed, step, 2))
        chosen = rng.choice(len(self.clips), self._num_clips, p=self._chances)
        predicted, true = [], []
        for number in chosen:
            p, t = self._run(int(number), rng)
            predicted.append(p)
            true.append(t)
        made, wanted = torch.stack(predicted), torch.stack(true)
        basis = self.model.alignment.basis
        error = made - wanted
        gap = _opening_basis(basis)
        losses = {
            "points": point_loss(error.flatten(0, 1), basis),
            "velocity": point_loss(error.diff(dim=1).flatten(0, 1), basis),
            "r": correlation_loss(made @ gap, wanted @ gap),
        }
        losses["loss"] = losses["points"] + losses["velocity"] + 0.3 * losses["r"]
        return losses

    def _run(self, number: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Predicted and true coefficients (T, P) of a run of frames of one clip."""
        clip, num = self.clips[number], self._num_frames
        start = int(rng.integers(0, max(1, len(clip.frames) - num)))
        frames = clip.frames[(start + np.arange(num)) % len(clip.frames)]
        true = self._true[number][frames]
        alignment, config, device = self.model.alignment, self.model.config, true.device
        version = int(rng.integers(len(clip.clip.voices)))
        audio = audio_windows(
            clip,
            frames,
            config.audio_width,
            int(rng.integers(-_JITTER_STEPS, _JITTER_STEPS + 1)),
            kind=config.audio_kind,
            version=version,
        )
        audio = hide_audio(audio, rng, kind=config.audio_kind)
        heard = torch.from_numpy(heard_share(clip, frames, version)).to(device)
        true = true * heard[:, None]
        tokens = torch.zeros(config.num_references, config.embedding, device=device)
        if config.alignment == "full" and rng.random() >= _TOKEN_DROPOUT:
            tokens = alignment.encode_references(reference_boxes(self.model, clip, rng))
        v_alg = alignment(torch.from_numpy(audio).to(device), tokens)
        return alignment.to_coefficients(v_alg), true

    def picture(self) -> None:
        """Nothing to look at."""


def reference_boxes(model: IPTalker, clip: TrainClip, rng: np.random.Generator) -> Tensor:
    """What E_v sees of random references. Shape (N, 3, h, w)."""
    config = model.config
    chosen = rng.choice(clip.frames, config.num_references)
    crops = np.stack([stored_to_crop(clip.clip.picture(int(i))) for i in chosen])
    pictures = to_tensor(crops, device_of(model))
    return resize_pictures(pictures, config.height / crops.shape[1])[:, :, config.visual_row :]


def coefficients_of(departure: F32, model: IPTalker) -> Tensor:
    """Mouth coefficients (T, P) on the CPU of departures from rest (T, S, 3)."""
    basis = model.alignment.basis.cpu().numpy()
    return torch.from_numpy(project(departure, basis).astype(np.float32))


def point_loss(error: Tensor, basis: Tensor) -> Tensor:
    """Smooth L1 of speaking points, in hundredths of the inter-ocular distance.

    Args:
        error: Coefficient errors. Shape (B, P).
        basis: Shape (P, S, 3).
    """
    weights = error.new_tensor(_POINT_WEIGHTS)
    moved = 100 * torch.einsum("bp,psc->bsc", error, basis)
    cost = functional.smooth_l1_loss(moved, torch.zeros_like(moved), reduction="none", beta=2.0)
    return (cost * weights[:, None]).mean() / 2


def _opening_basis(basis: Tensor) -> Tensor:
    """How each coefficient opens the mouth. Shape (P,)."""
    return 10 * (basis[:, INNER_BOTTOM, 1] - basis[:, INNER_TOP, 1])


def resize_pictures(pictures: Tensor, factor: float) -> Tensor:
    """Pictures (B, C, H, W) `factor` times as large, channels last."""
    if factor == 1:
        return pictures.contiguous(memory_format=torch.channels_last)
    size = (round(pictures.shape[2] * factor), round(pictures.shape[3] * factor))
    return functional.interpolate(pictures, size, mode="area").contiguous(
        memory_format=torch.channels_last
    )


def half_size(config: IPTalkerConfig) -> IPTalkerConfig:
    """The same network on crops of half the size, for a quick first stage."""
    return replace(config, height=config.height // 2, width=config.width // 2)
