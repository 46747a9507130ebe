"""Stages that train pictures by true ones: their batches, discriminators, losses and previews."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from dubcli.core.types import U8
from dubcli.face.landmarks import SPEAKING
from dubcli.metrics.vgg19 import VGG19
from dubcli.models.common.batch_scene import PictureScene
from dubcli.models.common.config_parts import CropConfig
from dubcli.models.common.loss_weights import LossWeights
from dubcli.models.common.picture_losses import (
    PictureLosses,
    RenderedBox,
    preview_row,
    total_loss,
)
from dubcli.models.common.render_samples import (
    RenderSample,
    RenderSamples,
    Variation,
    coefficient_noise,
)
from dubcli.training.batches import BatchSize, as_batch, stacked
from dubcli.training.device_utils import device_of, evaluating
from dubcli.training.losses.discriminators import Adversary, MouthDiscriminator
from dubcli.training.stage import MODEL, Batch, Optimization

# The module and optimizer of the discriminator, and the column of its loss in the log.
CRITIC = "critic"
# Samples that previews show: far from those that are learned from.
_FIRST_SHOWN, _NUM_SHOWN = 10**9, 4

Critic = tuple[MouthDiscriminator, Optimization]
Out = TypeVar("Out", bound=RenderedBox)
Scene = TypeVar("Scene", bound=PictureScene)


@dataclass(frozen=True, kw_only=True)
class PictureSetup:
    """What pictures are trained by.

    Attributes:
        weights: λ of each loss.
        vgg: What perceptual losses compare; without it their substitutes.
        variation: How samples differ from the footage.
        critic: The discriminator with its optimizer; needed where `weights.gan` is above 0.
    """

    weights: LossWeights
    vgg: VGG19 | None = None
    variation: Variation = field(default_factory=Variation)
    critic: Critic | None = None


class SampleBatches(Dataset[Batch]):
    """Samples of several clips: `RenderSample` by name with a leading dimension (B, ...).

    Beside it `noise`, (B, T, P), for the true coefficients.

    Args:
        samples: What is drawn.
        size: Of a batch.
        num_coefficients: P.
    """

    def __init__(self, samples: RenderSamples, size: BatchSize, num_coefficients: int) -> None:
        self._samples, self._size, self._num_coefficients = samples, size, num_coefficients

    def __getitem__(self, index: int) -> Batch:
        return self.of(self._numbers(index))

    def of(self, numbers: Sequence[int]) -> dict[str, Any]:
        """The batch of these samples."""
        shape = (self._size.frames, self._num_coefficients)
        noise = coefficient_noise(self._samples.variation.noise, shape, self._size.seed, numbers)
        return stacked(self._drawn(numbers)) | {"noise": noise}

    def _numbers(self, index: int) -> range:
        """Numbers of the samples of a batch."""
        return range(index * self._size.clips, (index + 1) * self._size.clips)

    def _drawn(self, numbers: Sequence[int]) -> list[RenderSample]:
        return [self._samples[number] for number in numbers]


class PictureTask(ABC, Generic[Out, Scene]):
    """True pictures, with discriminators or without.

    Args:
        model: What is trained, on its device.
        config: Of the model.
        batches: What it is shown.
        optimization: Of the parameters of this stage.
        setup: What pictures are trained by.
        has_warp: Warped references are mixed into the result.
        critics: Discriminators beside that of the setup, by name; None where there is none.
    """

    def __init__(
        self,
        model: nn.Module,
        config: CropConfig,
        batches: SampleBatches,
        optimization: Optimization,
        setup: PictureSetup,
        *,
        has_warp: bool,
        critics: Mapping[str, Critic | None] | None = None,
    ) -> None:
        modules, optimizers = {MODEL: model}, {MODEL: optimization}
        self._critics: dict[str, Adversary] = {}
        for name, critic in {CRITIC: setup.critic, **(critics or {})}.items():
            if critic is not None:
                modules[name], optimizers[name] = critic
                self._critics[name] = Adversary(critic[0], is_summed=setup.weights.is_summed)
        self.modules: Mapping[str, nn.Module] = modules
        self.optimizers: Mapping[str, Optimization] = optimizers
        self.batches = batches
        self._weights, self._top = setup.weights, config.top
        self._pictures = PictureLosses(
            setup.weights,
            box=(config.top, config.unit_px),
            has_warp=has_warp,
            vgg=setup.vgg,
            adversary=self._critics.get(CRITIC),
        )

    @abstractmethod
    def render(self, batch: Batch) -> tuple[Out, Scene]:
        """What the model makes of a batch, and the batch at the model's size."""

    def own_losses(self, out: Out, scene: Scene, batch: Batch) -> dict[str, Tensor]:
        """Losses that only this model has, by their names in `LossWeights`."""
        return {}

    def losses(self, batch: Batch, optimizer: str, step: int) -> dict[str, Tensor]:
        """Losses of the batch, and `loss`, their sum weighted by λ; or what a critic pays."""
        if optimizer != MODEL:
            return {"loss": self._critics[optimizer].critic_loss()}
        out, scene = self.render(batch)
        totals = self._pictures(out, scene.targets, scene.landmarks[:, SPEAKING])
        totals |= self.own_losses(out, scene, batch)
        totals["loss"] = total_loss(self._weights, totals, step)
        return totals

    @torch.no_grad()
    def preview(self) -> U8:
        """Rows of: masked source, warped references, result, truth."""
        model, rows = self.modules[MODEL], list[U8]()
        for index in range(_NUM_SHOWN):
            batch = as_batch(self.batches.of([_FIRST_SHOWN + index]), device_of(model))
            with evaluating(model):
                out, scene = self.render(batch)
            rows.append(preview_row(out, scene.targets, self._top))
        return np.concatenate(rows)
