"""Stages render and blend: mouths with a little noise, or sound alone, to pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dubcli.face.landmarks import SPEAKING
from dubcli.models.common.batch_scene import (
    PictureScene,
    batch_scene,
    scale_points,
    sized_pictures,
)
from dubcli.models.common.loss_weights import LossWeights
from dubcli.models.common.mouth_basis import coefficients_of
from dubcli.models.common.picture_task import Critic, PictureSetup, PictureTask, SampleBatches
from dubcli.models.common.render_samples import RenderSample, RenderSamples, Variation
from dubcli.models.g4g.config import SCALES, G4GConfig
from dubcli.models.g4g.contrast_task import prepare_model
from dubcli.models.g4g.inter_modal import contrastive_loss, grey_mouths, resting_centres
from dubcli.models.g4g.network import G4G, Painted
from dubcli.models.g4g.painting import scale_masks
from dubcli.models.g4g.stack_state import StackState
from dubcli.training.batches import BatchSize
from dubcli.training.data.train_clips import TrainClip, longest_run
from dubcli.training.device_utils import evaluating
from dubcli.training.losses.discriminators import cut_mouths
from dubcli.training.losses.pictures import weighted_l1
from dubcli.training.stage import Batch, Optimization

# Module and optimizer of the discriminator of pairs, and the column of its loss in the log.
PAIR_CRITIC = "pair_critic"
_LIPS = slice(0, 40)


@dataclass(frozen=True, kw_only=True)
class StackScene(PictureScene):
    """A batch with what the generator is given.

    Attributes:
        resting: Resting speaking points under each pose, crop px. Shape (T, S, 2).
        shown: Speaking points that L_r shows, crop px. Shape (T, S, 2).
        heard: a; zeros where there is no sound. Shape (T, d).
        state: References of each frame.
        scales: Number of each frame's mask. Shape (T,), int64.
    """

    resting: Tensor
    shown: Tensor
    heard: Tensor
    state: StackState
    scales: Tensor


class StackBatches(SampleBatches):
    """`SampleBatches` with `scales`, (B,), masks; some of the samples are frames in a row.

    Args:
        samples: What is drawn, single frames.
        size: Of a batch.
        config: Of the network.
        rows: Frames that follow each other; None: there are none.
        num_rows: So many samples of a batch are of them, the first ones.
    """

    def __init__(
        self,
        samples: RenderSamples,
        size: BatchSize,
        config: G4GConfig,
        rows: RenderSamples | None = None,
        num_rows: int = 0,
    ) -> None:
        super().__init__(samples, size, config.num_coefficients)
        self._config, self._rows, self._num_rows = config, rows, num_rows

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng((self._size.seed, index, 7))
        drawn = rng.integers(len(SCALES), size=self._size.clips)
        is_drawn = self._config.mask_scales == "several"
        return self.of(self._numbers(index), drawn if is_drawn else None)

    def of(self, numbers: Sequence[int], scales: np.ndarray | None = None) -> dict[str, Any]:
        """The batch of these samples under these masks; None: under the one in use."""
        if scales is None:
            scales = np.full(len(numbers), self._config.scale_number)
        return super().of(numbers) | {"scales": scales.astype(np.int64)}

    def _drawn(self, numbers: Sequence[int]) -> list[RenderSample]:
        num = 0 if self._rows is None else self._num_rows
        in_a_row = [] if self._rows is None else [self._rows[number] for number in numbers[:num]]
        return in_a_row + super()._drawn(numbers[num:])


class StackRenderTask(PictureTask[Painted, StackScene]):
    """The generator, with or without its blend net.

    Args:
        model: What is trained, on its device.
        clips: Prepared clips.
        size: Of a batch.
        optimization: Of what is trained.
        setup: What pictures are trained by.
        has_blend: The blend net takes part.
        pair_critic: The discriminator of consecutive frames, for `weights.gan_pairs`; left out
            where no clip has frames in a row.
    """

    def __init__(
        self,
        model: G4G,
        clips: list[TrainClip],
        size: BatchSize,
        optimization: Optimization,
        setup: PictureSetup,
        *,
        has_blend: bool = True,
        pair_critic: Critic | None = None,
    ) -> None:
        prepare_model(model, clips)
        model.matcher.requires_grad_(False)
        config, weights = model.config, setup.weights
        rows = _rows(config, clips, size, weights, setup.variation)
        num_rows = 0 if rows is None else size.clips if weights.contrast else 1
        samples = _samples(config, clips, size, setup.variation)
        batches = StackBatches(samples, size, config, rows, num_rows)
        super().__init__(
            model,
            config,
            batches,
            optimization,
            setup,
            has_warp=True,
            critics={PAIR_CRITIC: pair_critic if num_rows else None},
        )
        self._model, self._has_blend = model, has_blend
        self._frames, self._num_rows = size.frames, num_rows

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

    def render(self, batch: Batch) -> tuple[Painted, StackScene]:
        """True mouths with a little noise, or those that the sound gives, painted."""
        scene = set_stack_scene(self._model, batch)
        return paint_scene(self._model, scene, has_blend=self._has_blend), scene

    def own_losses(self, out: Painted, scene: StackScene, batch: Batch) -> dict[str, Tensor]:
        """L_v, L_r, and the losses of frames in a row."""
        losses = dict[str, Tensor]()
        if self._weights.attribute and out.code is not None:
            losses["attribute"] = attribute_loss(out.v, out.code)
        if self._weights.reconstruction:
            losses["reconstruction"] = self._reconstruction(out, scene.targets)
        return losses | self._row_losses(out, scene) if self._num_rows else losses

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
    pictures = sized_pictures(batch["references"], factor)
    points = scale_points(batch["reference_points"], factor)
    state = model.encode_references(pictures.unflatten(0, (clips, -1)), points)
    scene = batch_scene(batch, factor)
    geometry = scene.geometry
    canonical = resting = geometry.place(geometry.neutral)
    if config.drawn_mouth:
        true = coefficients_of(batch["mouth_offset"].flatten(0, 1), model.sound.basis)
        noisy = true + batch["noise"].flatten(0, 1)
        canonical = geometry.place(model.sound.speaking_points(noisy, geometry.neutral))
    has_audio = batch["has_audio"].repeat_interleave(frames)[:, None]
    return StackScene(
        **vars(scene),
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
