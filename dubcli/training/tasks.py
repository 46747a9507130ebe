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
from dubcli.face.landmarks import SPEAKING
from dubcli.models.base import FaceGeometry, to_images, to_tensor
from dubcli.models.iptalker import IPTalker, IPTalkerConfig, ReferenceState, Rendered
from dubcli.models.masks import mouth_mask
from dubcli.models.mouth_map import INNER_BOTTOM, INNER_TOP, draw_mouth, pixel_grid
from dubcli.training.data import (
    RenderSample,
    RenderSamples,
    TrainClip,
    audio_windows,
    augment_audio,
    fit_basis,
    identity_weights,
    project,
    stored_to_crop,
    with_sound,
)
from dubcli.training.losses import (
    correlation_loss,
    gradient_l1,
    pyramid_loss,
    ssim_loss,
    weighted_l1,
)
from dubcli.training.modes import device_of, evaluating
from dubcli.types import F32, U8

_MOUTH_WEIGHT = 4.0
_COEFFICIENT_NOISE = 0.1
_TOKEN_DROPOUT = 0.5
_SILENT_SHARE = 0.1
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
    """Fit the mouth basis to the clips unless the model has one."""
    if not bool(model.alignment.basis.abs().sum() > 0):
        basis = fit_basis(clips, model.config.num_coefficients)
        model.alignment.basis.copy_(torch.from_numpy(basis))


class RenderTask:
    """Picture half: true landmarks (with a little noise) to pixels; needs no sound.

    With `joint`, sound drives the landmarks (or, without the map, the AdaIN code), and every
    parameter is trained.
    """

    def __init__(
        self, model: IPTalker, clips: list[TrainClip], config: TrainConfig, *, joint: bool
    ) -> None:
        prepare_model(model, clips)
        self.model = model
        self._joint = joint
        self._seed = config.seed
        self._batch = config.batch_clips
        self._samples = RenderSamples(
            with_sound(clips) if joint else clips,
            num_frames=config.frames_per_clip,
            num_references=model.config.num_references,
            audio_width=model.config.audio_width,
            seed=config.seed,
        )

    def parameters(self) -> list[nn.Parameter]:
        """All, or with true landmarks all but the alignment module's."""
        skip = () if self._joint else ("alignment.",)
        return [value for name, value in self.model.named_parameters() if not name.startswith(skip)]

    def losses(self, step: int) -> dict[str, Tensor]:
        """Mean losses over the batch's clips."""
        totals: dict[str, Tensor] = {}
        for index in range(step * self._batch, (step + 1) * self._batch):
            for name, value in self._clip_losses(index).items():
                totals[name] = totals.get(name, value.new_zeros(())) + value / self._batch
        return totals

    def _clip_losses(self, index: int) -> dict[str, Tensor]:
        sample = self._samples[index]
        out, targets, speaking, departure = self._forward(sample, index)
        top = self.model.config.top
        mask = mouth_mask("fixed", targets, torch.empty(0))[:, :, top:]
        grid = pixel_grid(out.rgb.shape[-2], out.rgb.shape[-1], 1, (top, 0))
        lips = draw_mouth(speaking, grid[::4, ::4], 0.1 * self.model.config.unit_px, refine=4)
        weight = 0.2 + mask + _MOUTH_WEIGHT * lips[:, :1]
        real = targets[:, :, top:]
        losses = {
            "picture": pyramid_loss(out.rgb, real, weight),
            "ssim": ssim_loss(out.rgb, real, weight),
            # L_w: the flow must carry the references' pixels to the right place.
            "warp": weighted_l1(out.warped, real, weight) + gradient_l1(out.warped, real, weight),
        }
        losses["loss"] = losses["picture"] + 0.15 * losses["ssim"] + 0.5 * losses["warp"]
        if self.model.config.geometry_map:
            # Without a loss of its own the decoder would starve behind a gate that opens early.
            losses["painted"] = pyramid_loss(out.painted, real, weight)
            losses["loss"] = losses["loss"] + 0.5 * losses["painted"]
        if self._joint and departure is not None:
            losses["geometry"] = departure
            losses["loss"] = losses["loss"] + departure
        return losses

    def _forward(
        self, sample: RenderSample, index: int
    ) -> tuple[Rendered, Tensor, Tensor, Tensor | None]:
        model, config, device = self.model, self.model.config, device_of(self.model)
        factor = config.height / sample.targets.shape[1]
        targets, backgrounds, references = (
            _resize(to_tensor(x, device), factor)
            for x in (sample.targets, sample.backgrounds, sample.references)
        )
        state = model.encode_references(
            references,
            _scale_points(torch.from_numpy(sample.reference_points).to(device), factor),
        )
        geometry = sample_geometry(sample, factor, device)
        landmarks = _scale_points(torch.from_numpy(sample.landmarks).to(device), factor)
        coefficients, code, departure = self._drive(sample, state, index)
        canonical = model.alignment.speaking_points(coefficients, geometry.neutral)
        speaking = geometry.place(canonical)
        shown = speaking if config.geometry_map else None
        out = model.render(targets, backgrounds, landmarks, shown, code, state)
        return out, targets, landmarks[:, SPEAKING], departure

    def _drive(
        self, sample: RenderSample, state: ReferenceState, index: int
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Coefficients, AdaIN code and the cost of the predicted geometry."""
        model, device = self.model, device_of(self.model)
        true = coefficients_of(sample.departure, model).to(device)
        if not self._joint:
            rng = np.random.default_rng((self._seed, index, 1))
            noise = rng.standard_normal(true.shape) * _COEFFICIENT_NOISE
            noisy = true + torch.from_numpy(noise.astype(np.float32)).to(device)
            return noisy, model.coefficient_code(noisy), None
        v_alg = model.alignment(torch.from_numpy(sample.audio).to(device), state.tokens)
        if not model.config.geometry_map:
            return true, v_alg, None
        predicted = model.alignment.to_coefficients(v_alg)
        cost = point_loss(predicted - true, model.alignment.basis)
        return predicted, model.coefficient_code(predicted), cost

    @torch.no_grad()
    def picture(self) -> U8:
        """Rows of: masked source, warped references, result, truth."""
        rows = []
        for index in range(4):
            sample = self._samples[10**9 + index]
            with evaluating(self.model):
                out, targets, _, _ = self._forward(sample, index)
            top = self.model.config.top
            hidden = targets * (1 - mouth_mask("fixed", targets, torch.empty(0)))
            warped, made = targets.clone(), targets.clone()
            warped[:, :, top:], made[:, :, top:] = out.warped, out.rgb
            row = torch.cat([hidden[:2], warped[:2], made[:2], targets[:2]])
            rows.append(np.concatenate(list(to_images(row)), 1))
        return np.concatenate(rows)


class GeometryTask:
    """Sound half: mel windows and references to mouth coefficients."""

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
        audio = audio_windows(clip, frames, self.model.config.audio_width, int(rng.integers(-1, 2)))
        if rng.random() < _SILENT_SHARE:
            floor = rng.uniform(-1.0, -0.4)
            audio = np.maximum(clip.clip.fill, floor + 0.03 * rng.standard_normal(audio.shape))
            audio, true = audio.astype(np.float32), torch.zeros_like(true)
        else:
            audio = augment_audio(audio, rng)
        alignment, device = self.model.alignment, device_of(self.model)
        config = self.model.config
        tokens = torch.zeros(config.num_references, config.embedding, device=device)
        if config.align_to_references and rng.random() >= _TOKEN_DROPOUT:
            tokens = alignment.visual_encoder(self._reference_boxes(clip, rng))
        v_alg = alignment(torch.from_numpy(audio).to(device), tokens)
        return alignment.to_coefficients(v_alg), true

    def _reference_boxes(self, clip: TrainClip, rng: np.random.Generator) -> Tensor:
        """Lower halves of random references. Shape (N, 3, h, w)."""
        config = self.model.config
        chosen = rng.choice(clip.frames, config.num_references)
        crops = np.stack([stored_to_crop(clip.clip.picture(int(i))) for i in chosen])
        pictures = to_tensor(crops, device_of(self.model))
        return _resize(pictures, config.height / crops.shape[1])[:, :, config.top :]

    def picture(self) -> None:
        """Nothing to look at."""


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


def sample_geometry(
    sample: RenderSample, factor: float, device: torch.device | str = "cpu"
) -> FaceGeometry:
    """Pose of a sample for crops resized by `factor`."""
    translation = torch.from_numpy(sample.translation).float()
    translation = translation * factor
    translation[:, :2] += (factor - 1) / 2
    return FaceGeometry(
        scale=torch.from_numpy(sample.scale).float().to(device) * factor,
        rotation=torch.from_numpy(sample.rotation).float().to(device),
        translation=translation.to(device),
        neutral=torch.from_numpy(sample.neutral).to(device),
    )


def _scale_points(points: Tensor, factor: float) -> Tensor:
    return points * factor + (factor - 1) / 2


def _resize(pictures: Tensor, factor: float) -> Tensor:
    if factor == 1:
        return pictures.contiguous(memory_format=torch.channels_last)
    size = (round(pictures.shape[2] * factor), round(pictures.shape[3] * factor))
    return functional.interpolate(pictures, size, mode="area").contiguous(
        memory_format=torch.channels_last
    )


def half_size(config: IPTalkerConfig) -> IPTalkerConfig:
    """The same network on crops of half the size, for a quick first stage."""
    return replace(config, height=config.height // 2, width=config.width // 2)
