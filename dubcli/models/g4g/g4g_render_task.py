"""Stages render and blend: mouths with a little noise, or sound alone, to pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from dubcli.core.types import U8
from dubcli.face.landmarks import SPEAKING
from dubcli.metrics.vgg19 import VGG19
from dubcli.models.api import FaceGeometry
from dubcli.models.common.batch_scene import batch_geometry, scale_points
from dubcli.models.common.loss_weights import LossWeights
from dubcli.models.common.mouth_basis import coefficients_of
from dubcli.models.common.picture_losses import PictureLosses, preview_row, total_loss
from dubcli.models.common.render_samples import RenderSamples, Variation, coefficient_noise
from dubcli.models.g4g.config import SCALES, G4GConfig
from dubcli.models.g4g.contrast_task import prepare_model
from dubcli.models.g4g.inter_modal import contrastive_loss, grey_mouths, resting_centres
from dubcli.models.g4g.losses import LOSS_PRESETS
from dubcli.models.g4g.network import G4G, Painted
from dubcli.models.g4g.painting import scale_masks
from dubcli.models.g4g.stack_state import StackState
from dubcli.training.batches import BatchSize, as_batch, as_pictures, resize_pictures, stacked
from dubcli.training.data.train_clips import TrainClip, longest_run
from dubcli.training.device_utils import device_of, evaluating
from dubcli.training.losses.discriminators import Adversary, MouthDiscriminator, cut_mouths
from dubcli.training.losses.pictures import weighted_l1
from dubcli.training.stage import MODEL, Batch, Optimization

# Modules and optimizers of the discriminators, and the columns of their losses in the log.
CRITIC, PAIR_CRITIC = "critic", "pair_critic"
_FIRST_SHOWN, _NUM_SHOWN = 10**9, 4
_LIPS = slice(0, 40)
Critic = tuple[MouthDiscriminator, Optimization]


@dataclass(frozen=True, kw_only=True)
class StackScene:
    """A batch at the model's size and on its device; T frames of all its clips in a row.

    Attributes:
        targets: Shape (T, 3, H, W), [0, 1].
        landmarks: Crop px. Shape (T, K, 2).
        geometry: Pose and rest; the rest is each frame's own, (T, S, 3).
        resting: Resting speaking points under each pose, crop px. Shape (T, S, 2).
        shown: Speaking points that L_r shows, crop px. Shape (T, S, 2).
        heard: a; zeros where there is no sound. Shape (T, d).
        state: References of each frame.
        scales: Number of each frame's mask. Shape (T,), int64.
    """

    targets: Tensor
    landmarks: Tensor
    geometry: FaceGeometry
    resting: Tensor
    shown: Tensor
    heard: Tensor
    state: StackState
    scales: Tensor


class StackBatches(Dataset[Batch]):
    """Samples of several clips: `RenderSample` by name with a leading dimension (B, ...).

    Beside it `noise`, (B, T, P), for the true coefficients, and `scales`, (B,), masks.

    Args:
        samples: What is drawn, single frames.
        size: Of a batch.
        config: Of the network.
        noise: Spread of the noise.
        rows: Frames that follow each other; None: there are none.
        num_rows: So many samples of a batch are of them, the first ones.
    """

    def __init__(
        self,
        samples: RenderSamples,
        size: BatchSize,
        config: G4GConfig,
        noise: float,
        rows: RenderSamples | None = None,
        num_rows: int = 0,
    ) -> None:
        self._samples, self._size, self._config, self._noise = samples, size, config, noise
        self._rows, self._num_rows = rows, num_rows

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng((self._size.seed, index, 7))
        numbers = range(index * self._size.clips, (index + 1) * self._size.clips)
        drawn = rng.integers(len(SCALES), size=self._size.clips)
        return self.of(list(numbers), drawn if self._config.mask_scales == "several" else None)

    def of(self, numbers: list[int], scales: np.ndarray | None = None) -> dict[str, Any]:
        """The batch of these samples under these masks; None: under the one in use."""
        shape = (self._size.frames, self._config.num_coefficients)
        noise = coefficient_noise(self._noise, shape, self._size.seed, numbers)
        drawn = [
            self._rows[number]
            if self._rows is not None and place < self._num_rows
            else self._samples[number]
            for place, number in enumerate(numbers)
        ]
        if scales is None:
            scales = np.full(len(numbers), self._config.scale_number)
        return stacked(drawn) | {"noise": noise, "scales": scales.astype(np.int64)}


class StackRenderTask:
    """The generator, with or without its blend net.

    Args:
        model: What is trained, on its device.
        clips: Prepared clips.
        size: Of a batch.
        optimization: Of what is trained.
        weights: λ of each loss.
        has_blend: The blend net takes part.
        vgg: What perceptual losses compare; without it their substitutes.
        variation: How samples differ from the footage.
        critic: The discriminator with its optimizer; needed where `weights.gan` is above 0.
        pair_critic: That of consecutive frames, for `weights.gan_pairs`; left out where no clip
            has frames in a row.
    """

    def __init__(
        self,
        model: G4G,
        clips: list[TrainClip],
        size: BatchSize,
        optimization: Optimization,
        *,
        weights: LossWeights = LOSS_PRESETS["default"],
        has_blend: bool = True,
        vgg: VGG19 | None = None,
        variation: Variation | None = None,
        critic: Critic | None = None,
        pair_critic: Critic | None = None,
    ) -> None:
        variation = Variation() if variation is None else variation
        prepare_model(model, clips)
        model.matcher.requires_grad_(False)
        self._model, self._weights, self._has_blend = model, weights, has_blend
        self._frames = size.frames
        rows = _rows(model.config, clips, size, weights, variation)
        self._num_rows = 0 if rows is None else size.clips if weights.contrast else 1
        modules: dict[str, nn.Module] = {MODEL: model}
        optimizers = {MODEL: optimization}
        self._critics: dict[str, Adversary] = {}
        wanted = {CRITIC: critic, PAIR_CRITIC: pair_critic if self._num_rows else None}
        for name, one in wanted.items():
            if one is not None:
                modules[name], optimizers[name] = one
                self._critics[name] = Adversary(one[0])
        self.modules: Mapping[str, nn.Module] = modules
        self.optimizers: Mapping[str, Optimization] = optimizers
        self._pictures = PictureLosses(
            weights,
            box=(model.config.top, model.config.unit_px),
            has_warp=True,
            vgg=vgg,
            adversary=self._critics.get(CRITIC),
        )
        self.batches = StackBatches(
            _samples(model.config, clips, size, variation),
            size,
            model.config,
            variation.noise,
            rows,
            self._num_rows,
        )

    @staticmethod
    def trained(model: G4G) -> list[nn.Parameter]:
        """Parameters of the generator; without a drawn mouth E_a's, too, the blend net's never."""
        parts: list[nn.Module] = [
            model.source_encoder,
            model.reference_encoder,
            model.alignment,
            model.deformation,
            model.decoder,
        ]
        if not model.config.drawn_mouth:
            parts.append(model.sound)
        return [value for part in parts for value in part.parameters()]

    def losses(self, batch: Batch, optimizer: str, step: int) -> dict[str, Tensor]:
        """Losses of the batch, and `loss`, their sum weighted by λ; or what a critic pays."""
        if optimizer in self._critics:
            return {"loss": self._critics[optimizer].critic_loss()}
        scene = set_stack_scene(self._model, batch)
        out = paint_scene(self._model, scene, has_blend=self._has_blend)
        totals = self._pictures(out, scene.targets, scene.landmarks[:, SPEAKING])
        if self._weights.attribute and out.code is not None:
            totals["attribute"] = attribute_loss(out.v, out.code)
        if self._weights.reconstruction:
            totals["reconstruction"] = self._reconstruction(out, scene.targets)
        if self._num_rows:
            totals |= self._row_losses(out, scene)
        totals["loss"] = total_loss(self._weights, totals, step)
        return totals

    def _reconstruction(self, out: Painted, targets: Tensor) -> Tensor:
        """L_r (eq. 15) before and after the blend net, the mean over the masks of training."""
        config = self._model.config
        masks = scale_masks(targets)[:, :, config.top :]
        if config.mask_scales == "one":
            masks = masks[config.scale_number :][:1]
        real = targets[:, :, config.top :]
        costs = [
            weighted_l1(made, real, mask[None].expand(len(real), -1, -1, -1))
            for made in (out.painted, out.rgb)
            for mask in masks
        ]
        return torch.stack(costs).mean()

    def _row_losses(self, out: Painted, scene: StackScene) -> dict[str, Tensor]:
        """Losses of the samples whose frames follow each other."""
        weights, num = self._weights, self._num_rows * self._frames
        losses = dict[str, Tensor]()
        if weights.contrast or weights.contrast_to_real:
            made, real, heard = self._matched(out, scene, num)
            if weights.contrast:
                scale = self._model.matcher.temperature.detach()
                losses["contrast"] = contrastive_loss(made, heard, scale)
            if weights.contrast_to_real:
                below = (real * heard).sum(-1) - (made * heard).sum(-1)
                losses["contrast_to_real"] = functional.relu(below).mean()
        if PAIR_CRITIC in self._critics:
            pairs = self._pairs(out.rgb[:num], scene, num)
            losses["gan_pairs"] = self._critics[PAIR_CRITIC].generator_losses(*pairs)["gan"]
        return losses

    def _matched(self, out: Painted, scene: StackScene, num: int) -> tuple[Tensor, Tensor, Tensor]:
        """Unit vectors of each row's made mouth, of its real one, and of its sound; (R, E)."""
        model, config = self._model, self._model.config
        real = scene.targets[:num]
        made = torch.cat([real[:, :, : config.top], out.rgb[:num].to(real.dtype)], 2)
        centres = resting_centres(scene.resting[:num])
        middle = self._frames // 2
        around = slice(middle - config.reach, middle + config.reach + 1)
        with evaluating(model.matcher):
            seen = [
                model.matcher.see(
                    grey_mouths(x, centres, config.unit_px).unflatten(0, (-1, self._frames))[
                        :, around
                    ]
                )
                for x in (made, real)
            ]
            heard = scene.heard[:num].unflatten(0, (-1, self._frames))[:, middle]
            return seen[0], seen[1].detach(), model.matcher.listen(heard)

    def _pairs(self, made: Tensor, scene: StackScene, num: int) -> tuple[Tensor, Tensor]:
        """Neighbouring mouths as channels, made and real. Shapes (R (F - 1), 6, y, x)."""
        config, frames = self._model.config, self._frames
        first = torch.arange(num, device=made.device)
        first = first[first % frames < frames - 1]
        lips = scene.landmarks[:num, SPEAKING][first][:, _LIPS]
        real = scene.targets[:num, :, config.top :]
        both = [torch.cat([x[first], x[first + 1]], 1) for x in (made, real)]
        one, other = cut_mouths(both, lips, config.unit_px, config.top)
        return one, other

    @torch.no_grad()
    def preview(self) -> U8:
        """Rows of: masked source, the decoder's picture, result, truth."""
        rows, top = [], self._model.config.top
        for index in range(_NUM_SHOWN):
            batch = as_batch(self.batches.of([_FIRST_SHOWN + index]), device_of(self._model))
            with evaluating(self._model):
                scene = set_stack_scene(self._model, batch)
                out = paint_scene(self._model, scene, has_blend=self._has_blend)
            rows.append(preview_row(out, scene.targets, top))
        return np.concatenate(rows)


def attribute_loss(v: Tensor, code: Tensor) -> Tensor:
    """L_v (eq. 12): 1 - cosine of v with l_r, both (T, d). Gradients flow into v alone."""
    return (1 - functional.cosine_similarity(v.float(), code.detach().float(), dim=-1)).mean()


def _samples(
    config: G4GConfig,
    clips: list[TrainClip],
    size: BatchSize,
    variation: Variation,
    *,
    in_a_row: bool = False,
) -> RenderSamples:
    return RenderSamples(
        clips,
        num_frames=size.frames,
        num_references=config.num_references,
        audio_kind=config.audio_kind,
        audio_width=config.audio_width,
        seed=size.seed,
        variation=variation,
        in_a_row=in_a_row,
    )


def _rows(
    config: G4GConfig,
    clips: list[TrainClip],
    size: BatchSize,
    weights: LossWeights,
    variation: Variation,
) -> RenderSamples | None:
    """Samples whose frames follow each other, of clips with sound; None where no loss asks."""
    is_wanted = weights.contrast or weights.contrast_to_real or weights.gan_pairs
    long = [clip for clip in clips if clip.has_audio and longest_run(clip) >= size.frames]
    if not (is_wanted and long) or size.clips < 2 or size.frames < config.mouth_frames:
        return None
    return _samples(config, long, size, variation, in_a_row=True)


def set_stack_scene(model: G4G, batch: Batch) -> StackScene:
    """A batch (B, T, ...) of `StackBatches` at the model's size, its references encoded."""
    config = model.config
    factor = config.height / batch["targets"].shape[2]
    clips, frames = batch["targets"].shape[:2]
    pictures = resize_pictures(as_pictures(batch["references"].flatten(0, 1)), factor)
    points = scale_points(batch["reference_points"], factor)
    state = model.encode_references(pictures.unflatten(0, (clips, -1)), points)
    geometry = batch_geometry(batch, factor)
    canonical = resting = geometry.place(geometry.neutral)
    if config.drawn_mouth:
        true = coefficients_of(batch["mouth_offset"].flatten(0, 1), model.sound.basis)
        noisy = true + batch["noise"].flatten(0, 1)
        canonical = geometry.place(model.sound.speaking_points(noisy, geometry.neutral))
    has_audio = batch["has_audio"].repeat_interleave(frames)[:, None]
    return StackScene(
        targets=resize_pictures(as_pictures(batch["targets"].flatten(0, 1)), factor),
        landmarks=scale_points(batch["landmarks"].flatten(0, 1), factor),
        geometry=geometry,
        resting=resting,
        shown=canonical,
        heard=_heard(model, batch["audio"].flatten(0, 1)) * has_audio,
        state=state.repeated(frames),
        scales=batch["scales"].repeat_interleave(frames),
    )


def _heard(model: G4G, audio: Tensor) -> Tensor:
    """A of windows (T, A, D): frozen where the mouth is drawn, else trained with the pictures."""
    if not model.config.drawn_mouth:
        return model.sound(audio.float())
    with torch.no_grad(), evaluating(model.sound):
        return model.sound(audio.float())


def paint_scene(model: G4G, scene: StackScene, *, has_blend: bool = True) -> Painted:
    """A scene's mouths, painted over its own pictures."""
    return model.paint(
        scene.targets,
        scene.targets,
        scene.shown,
        scene.heard,
        scene.state,
        scene.scales,
        has_blend=has_blend,
    )
