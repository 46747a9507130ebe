"""The render stage, and the joint one: what a batch shows, what is predicted, what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from dubcli.core.types import U8
from dubcli.face.landmarks import SPEAKING
from dubcli.metrics.vgg19 import VGG19
from dubcli.models.api import FaceGeometry
from dubcli.models.common.batch_scene import batch_geometry, scale_points
from dubcli.models.common.loss_weights import LossWeights
from dubcli.models.common.mouth_basis import coefficients_of
from dubcli.models.common.mouth_losses import point_loss
from dubcli.models.common.picture_losses import PictureLosses, preview_row, total_loss
from dubcli.models.common.render_samples import RenderSamples, Variation, coefficient_noise
from dubcli.models.iptalker.geometry_task import prepare_model
from dubcli.models.iptalker.losses import LOSS_PRESETS
from dubcli.models.iptalker.network import IPTalker, ReferenceState, Rendered
from dubcli.models.iptalker.sync_runs import SyncRuns, run_losses
from dubcli.sync.network import SyncExpert
from dubcli.training.batches import BatchSize, as_batch, as_pictures, resize_pictures, stacked
from dubcli.training.data.train_clips import TrainClip, with_sound
from dubcli.training.device_utils import device_of, evaluating
from dubcli.training.losses.discriminators import Adversary, MouthDiscriminator
from dubcli.training.stage import MODEL, Batch, Optimization

# The module and optimizer of the discriminator, and the column of its loss in the log.
CRITIC = "critic"
# Samples that previews show: far from those that are learned from.
_FIRST_SHOWN, _NUM_SHOWN = 10**9, 4


@dataclass(frozen=True, kw_only=True)
class FrozenNetworks:
    """Networks that losses use as they are, where they have a λ.

    Attributes:
        vgg: What perceptual losses compare; without it their substitutes.
        sync: The sync expert of the stage `joint`.
    """

    vgg: VGG19 | None = None
    sync: SyncExpert | None = None


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A batch at the model's size and on its device; T frames of all its clips, one after another.

    Attributes:
        targets: Shape (T, 3, H, W), [0, 1].
        backgrounds: Shape (T, 3, H, W), [0, 1].
        landmarks: Crop px. Shape (T, K, 2).
        state: Encoded references, those of each frame.
        geometry: Pose and rest; the rest is each frame's own, (T, S, 3).
    """

    targets: Tensor
    backgrounds: Tensor
    landmarks: Tensor
    state: ReferenceState
    geometry: FaceGeometry


class RenderBatches(Dataset[Batch]):
    """Samples of several clips: `RenderSample` by name with a leading dimension (B, ...).

    Beside it `noise`, (B, T, P), for the true coefficients, and `run`, a `SyncRun` by name, where
    sync losses want one.

    Args:
        samples: What is drawn.
        size: Of a batch.
        num_coefficients: P.
        noise: Spread of the noise.
        runs: For the sync losses.
    """

    def __init__(
        self,
        samples: RenderSamples,
        size: BatchSize,
        *,
        num_coefficients: int,
        noise: float,
        runs: SyncRuns | None,
    ) -> None:
        self._samples, self._size, self._runs = samples, size, runs
        self._num_coefficients, self._noise = num_coefficients, noise

    def __getitem__(self, index: int) -> Batch:
        numbers = range(index * self._size.clips, (index + 1) * self._size.clips)
        batch: dict[str, Any] = self.of(list(numbers))
        return batch | {"run": self._runs[index]} if self._runs else batch

    def of(self, numbers: list[int]) -> dict[str, Any]:
        """The batch of these samples, without a run."""
        shape = (self._size.frames, self._num_coefficients)
        noise = coefficient_noise(self._noise, shape, self._size.seed, numbers)
        batch = stacked([self._samples[number] for number in numbers])
        return batch | {"noise": noise}


class RenderTask:
    """Picture half: true landmarks (with a little noise) to pixels; needs no sound.

    With `joint`, sound drives the landmarks (or, without the map, the AdaIN code), and every
    parameter is trained.

    Args:
        model: What is trained, on its device.
        clips: Prepared clips.
        size: Of a batch.
        optimization: Of `trained(model, joint)`.
        joint: Stage `joint` instead of `render`.
        weights: λ of each loss.
        frozen: Networks that losses use.
        variation: How samples differ from the footage.
        critic: The discriminator with its optimizer; needed where `weights.gan` is above 0.
    """

    def __init__(
        self,
        model: IPTalker,
        clips: list[TrainClip],
        size: BatchSize,
        optimization: Optimization,
        *,
        joint: bool,
        weights: LossWeights = LOSS_PRESETS["no-gan"],
        frozen: FrozenNetworks | None = None,
        variation: Variation | None = None,
        critic: tuple[MouthDiscriminator, Optimization] | None = None,
    ) -> None:
        frozen = FrozenNetworks() if frozen is None else frozen
        variation = Variation() if variation is None else variation
        prepare_model(model, clips)
        self._model, self._joint, self._weights = model, joint, weights
        self._sync = frozen.sync
        self.modules: Mapping[str, nn.Module] = {MODEL: model}
        self.optimizers: Mapping[str, Optimization] = {MODEL: optimization}
        self._adversary = None if critic is None else Adversary(critic[0])
        if critic is not None:
            self.modules = {**self.modules, CRITIC: critic[0]}
            self.optimizers = {**self.optimizers, CRITIC: critic[1]}
        self._pictures = PictureLosses(
            weights,
            box=(model.config.top, model.config.unit_px),
            has_warp=model.config.geometry_map,
            vgg=frozen.vgg,
            adversary=self._adversary,
        )
        expert = frozen.sync
        samples = RenderSamples(
            with_sound(clips) if joint else clips,
            num_frames=size.frames,
            num_references=model.config.num_references,
            audio_kind=model.config.audio_kind,
            audio_width=model.config.audio_width,
            seed=size.seed,
            variation=variation,
        )
        self.batches = RenderBatches(
            samples,
            size,
            num_coefficients=model.config.num_coefficients,
            noise=variation.noise,
            runs=None
            if expert is None
            else SyncRuns(clips, model.config, expert.config, size.seed),
        )

    @staticmethod
    def trained(model: IPTalker, joint: bool) -> list[nn.Parameter]:
        """Parameters of the stage: all, or with true landmarks all but the alignment module's."""
        skip = () if joint else ("alignment.",)
        return [value for name, value in model.named_parameters() if not name.startswith(skip)]

    def losses(self, batch: Batch, optimizer: str, step: int) -> dict[str, Tensor]:
        """Losses of the batch, and `loss`, their sum weighted by λ; or what the critic pays."""
        if optimizer == CRITIC:
            assert self._adversary is not None
            return {"loss": self._adversary.critic_loss()}
        scene = set_scene(self._model, batch)
        out, geometry = self._forward(batch, scene)
        totals = self._pictures(out, scene.targets, scene.landmarks[:, SPEAKING])
        if geometry is not None:
            totals["geometry"] = geometry
        totals |= self._sync_losses(batch)
        totals["loss"] = total_loss(self._weights, totals, step)
        return totals

    def _sync_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Sync losses of a run of frames, those with a λ."""
        if self._sync is None or "run" not in batch:
            return {}
        losses = run_losses(self._model, self._sync, batch["run"])
        return {name: value for name, value in losses.items() if getattr(self._weights, name)}

    def _forward(self, batch: Batch, scene: Scene) -> tuple[Rendered, Tensor | None]:
        coefficients, code, geometry = self._drive(batch, scene.state)
        out, _ = render_scene(self._model, scene, coefficients, code)
        return out, geometry

    def _drive(self, batch: Batch, state: ReferenceState) -> tuple[Tensor, Tensor, Tensor | None]:
        """Coefficients, AdaIN code and the cost of the predicted geometry."""
        model, basis = self._model, self._model.alignment.basis
        true = coefficients_of(batch["mouth_offset"].flatten(0, 1), basis)
        if not self._joint:
            noisy = true + batch["noise"].flatten(0, 1)
            return noisy, model.coefficient_code(noisy), None
        v_alg = model.alignment(batch["audio"].flatten(0, 1), state.tokens)
        if not model.config.geometry_map:
            return true, v_alg, None
        predicted = model.alignment.to_coefficients(v_alg)
        return predicted, model.coefficient_code(predicted), point_loss(predicted - true, basis)

    @torch.no_grad()
    def preview(self) -> U8:
        """Rows of: masked source, warped references, result, truth."""
        rows, top = [], self._model.config.top
        for index in range(_NUM_SHOWN):
            batch = as_batch(self.batches.of([_FIRST_SHOWN + index]), device_of(self._model))
            with evaluating(self._model):
                scene = set_scene(self._model, batch)
                out, _ = self._forward(batch, scene)
            rows.append(preview_row(out, scene.targets, top))
        return np.concatenate(rows)


def set_scene(model: IPTalker, batch: Batch) -> Scene:
    """A batch (B, T, ...) of `RenderBatches` at the model's size, its references encoded."""
    factor = model.config.height / batch["targets"].shape[2]
    targets, backgrounds, references = (
        resize_pictures(as_pictures(batch[name].flatten(0, 1)), factor)
        for name in ("targets", "backgrounds", "references")
    )
    points, landmarks = (
        scale_points(batch[name].flatten(0, 1), factor)
        for name in ("reference_points", "landmarks")
    )
    state = model.encode_references(references, points)
    return Scene(
        targets=targets,
        backgrounds=backgrounds,
        landmarks=landmarks,
        state=_of_each_frame(state, *batch["targets"].shape[:2]),
        geometry=batch_geometry(batch, factor),
    )


def _of_each_frame(state: ReferenceState, clips: int, frames: int) -> ReferenceState:
    """References of B clips, (B N, ...), as those of each of B T frames: (B T, N, ...)."""

    def spread(values: Tensor) -> Tensor:
        return values.unflatten(0, (clips, -1)).repeat_interleave(frames, 0)

    return ReferenceState(
        pictures=spread(state.pictures),
        features=spread(state.features),
        points=spread(state.points),
        tokens=spread(state.tokens),
    )


def render_scene(
    model: IPTalker, scene: Scene, coefficients: Tensor, code: Tensor, *, sharp: bool = False
) -> tuple[Rendered, Tensor]:
    """A scene's mouths as coefficients (T, P) and AdaIN's code (T, D) ask for.

    Returns:
        What was rendered, and the speaking points, crop px. Shape (T, S, 2).
    """
    canonical = model.alignment.speaking_points(coefficients, scene.geometry.neutral)
    speaking = scene.geometry.place(canonical)
    shown = speaking if model.config.geometry_map else None
    pictures = (scene.targets, scene.backgrounds, scene.landmarks)
    return model.warp_and_inpaint(*pictures, shown, code, scene.state, sharp=sharp), speaking
