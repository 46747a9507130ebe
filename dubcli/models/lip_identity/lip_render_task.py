"""Stages flow and render: true landmarks to pictures."""

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
from dubcli.models.common.picture_losses import PictureLosses, preview_row, total_loss
from dubcli.models.common.render_samples import RenderSamples, Variation, coefficient_noise
from dubcli.models.lip_identity.config import LipIdentityConfig
from dubcli.models.lip_identity.landmark_task import prepare_model
from dubcli.models.lip_identity.losses import LOSS_PRESETS
from dubcli.models.lip_identity.network import LipIdentity, LipRendered
from dubcli.models.lip_identity.person_state import PersonState
from dubcli.training.batches import BatchSize, as_batch, as_pictures, resize_pictures, stacked
from dubcli.training.data.train_clips import TrainClip
from dubcli.training.device_utils import device_of, evaluating
from dubcli.training.losses.discriminators import Adversary, MouthDiscriminator
from dubcli.training.stage import MODEL, Batch, Optimization

# The module and optimizer of the discriminator, and the column of its loss in the log.
CRITIC = "critic"
# Samples that previews show: far from those that are learned from.
_FIRST_SHOWN, _NUM_SHOWN = 10**9, 4
# Fewest images and lips that a batch shows, so that their number may differ in use.
_LEAST_IMAGES, _LEAST_LIPS = 2, 1


@dataclass(frozen=True, kw_only=True)
class LipScene:
    """A batch at the model's size and on its device; T frames of all its clips in a row.

    Attributes:
        targets: Shape (T, 3, H, W), [0, 1].
        landmarks: Crop px. Shape (T, K, 2).
        geometry: Pose and rest; the rest is each frame's own, (T, S, 3).
        around: Coefficients of the mouths around each frame. Shape (T, 2 k + 1, P).
        audio: Shape (T, A, D).
        has_audio: Shape (T,).
        state: Encoded references, those of each frame.
    """

    targets: Tensor
    landmarks: Tensor
    geometry: FaceGeometry
    around: Tensor
    audio: Tensor
    has_audio: Tensor
    state: PersonState


class LipBatches(Dataset[Batch]):
    """Samples of several clips: `RenderSample` by name with a leading dimension (B, ...).

    Beside it `noise`, (B, T, P), for the true coefficients, and which references the batch shows
    as images and as lips: `image_rows` and `lip_rows`.

    Args:
        samples: What is drawn; its references are N images, then N_lip lips.
        size: Of a batch.
        num: N and N_lip.
        is_fixed: All samples refer to the same pictures, which are images and lips at once.
        num_coefficients: P.
        noise: Spread of the noise.
    """

    def __init__(
        self,
        samples: RenderSamples,
        size: BatchSize,
        *,
        num: tuple[int, int],
        is_fixed: bool,
        num_coefficients: int,
        noise: float,
    ) -> None:
        self._samples, self._size, self._num = samples, size, num
        self._is_fixed = is_fixed
        self._num_coefficients, self._noise = num_coefficients, noise

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng((self._size.seed, index, 4))
        least = (min(_LEAST_IMAGES, self._num[0]), _LEAST_LIPS)
        shown = [int(rng.integers(a, b + 1)) for a, b in zip(least, self._num, strict=True)]
        numbers = range(index * self._size.clips, (index + 1) * self._size.clips)
        return self.of(list(numbers), (shown[0], shown[1]))

    def of(self, numbers: list[int], shown: tuple[int, int] | None = None) -> dict[str, Any]:
        """The batch of these samples, with so many images and lips; None: all."""
        shape = (self._size.frames, self._num_coefficients)
        noise = coefficient_noise(self._noise, shape, self._size.seed, numbers)
        images, lips = self._num if shown is None or self._is_fixed else shown
        # One person's references are images and lips at once.
        first_lip = 0 if self._is_fixed else self._num[0]
        return stacked([self._samples[number] for number in numbers]) | {
            "noise": noise,
            "image_rows": np.arange(images),
            "lip_rows": first_lip + np.arange(lips),
        }


class LipRenderTask:
    """True landmarks, with a little noise, to pictures; silent clips teach it, too.

    Args:
        model: What is trained, on its device.
        clips: Prepared clips.
        size: Of a batch.
        optimization: Of `trained(model, ...)`.
        weights: λ of each loss.
        vgg: What perceptual losses compare; without it their substitutes.
        variation: How samples differ from the footage.
        critic: The discriminator with its optimizer; needed where `weights.gan` is above 0.
    """

    def __init__(
        self,
        model: LipIdentity,
        clips: list[TrainClip],
        size: BatchSize,
        optimization: Optimization,
        *,
        weights: LossWeights = LOSS_PRESETS["default"],
        vgg: VGG19 | None = None,
        variation: Variation | None = None,
        critic: tuple[MouthDiscriminator, Optimization] | None = None,
    ) -> None:
        variation = Variation() if variation is None else variation
        prepare_model(model, clips)
        config = model.config
        self._model, self._weights = model, weights
        self.modules: Mapping[str, nn.Module] = {MODEL: model}
        self.optimizers: Mapping[str, Optimization] = {MODEL: optimization}
        self._adversary = (
            None if critic is None else Adversary(critic[0], is_summed=weights.is_summed)
        )
        if critic is not None:
            self.modules = {**self.modules, CRITIC: critic[0]}
            self.optimizers = {**self.optimizers, CRITIC: critic[1]}
        self._pictures = PictureLosses(
            weights,
            box=(config.top, config.unit_px),
            has_warp=config.mixes_warped,
            vgg=vgg,
            adversary=self._adversary,
        )
        samples = RenderSamples(
            clips,
            num_frames=size.frames,
            num_references=config.num_images + config.num_lips,
            audio_kind=config.audio_kind,
            audio_width=max(1, config.attention_width),
            seed=size.seed,
            variation=variation,
            reach=config.reach,
        )
        self.batches = LipBatches(
            samples,
            size,
            num=_counts(config, variation),
            is_fixed=variation.references is not None,
            num_coefficients=config.num_coefficients,
            noise=variation.noise,
        )

    @staticmethod
    def trained(model: LipIdentity, *, flow_alone: bool = False) -> list[nn.Parameter]:
        """Parameters of stage render: all but the landmark generator's; of stage flow: M_a's."""
        parts = [model.alignment] if flow_alone else [model.alignment, model.rendering]
        return [value for part in parts for value in part.parameters()]

    def losses(self, batch: Batch, optimizer: str, step: int) -> dict[str, Tensor]:
        """Losses of the batch, and `loss`, their sum weighted by λ; or what the critic pays."""
        if optimizer == CRITIC:
            assert self._adversary is not None
            return {"loss": self._adversary.critic_loss()}
        scene = set_lip_scene(self._model, batch)
        out = render_lip_scene(self._model, scene)
        totals = self._pictures(out, scene.targets, scene.landmarks[:, SPEAKING])
        totals["loss"] = total_loss(self._weights, totals, step)
        return totals

    @torch.no_grad()
    def preview(self) -> U8:
        """Rows of: masked source, aligned references, result, truth."""
        rows, top = [], self._model.config.top
        for index in range(_NUM_SHOWN):
            batch = as_batch(self.batches.of([_FIRST_SHOWN + index]), device_of(self._model))
            with evaluating(self._model):
                scene = set_lip_scene(self._model, batch)
                out = render_lip_scene(self._model, scene)
            rows.append(preview_row(out, scene.targets, top))
        return np.concatenate(rows)


def _counts(config: LipIdentityConfig, variation: Variation) -> tuple[int, int]:
    """How many images and lips a batch shows at most."""
    if variation.references is None:
        return config.num_images, config.num_lips
    num = len(variation.references.crops)
    return num, min(num, config.num_lips)


def set_lip_scene(model: LipIdentity, batch: Batch) -> LipScene:
    """A batch (B, T, ...) of `LipBatches` at the model's size, its references encoded."""
    config = model.config
    factor = config.height / batch["targets"].shape[2]
    clips, frames = batch["targets"].shape[:2]
    images = len(batch["image_rows"])
    shown = torch.cat([batch["image_rows"], batch["lip_rows"]])
    pictures = resize_pictures(as_pictures(batch["references"][:, shown].flatten(0, 1)), factor)
    points = scale_points(batch["reference_points"][:, shown].flatten(0, 1), factor)
    pictures, points = pictures.unflatten(0, (clips, -1)), points.unflatten(0, (clips, -1))
    state = _encoded(model, pictures, points, images)
    true = coefficients_of(batch["around"].flatten(0, 1), model.basis)
    return LipScene(
        targets=resize_pictures(as_pictures(batch["targets"].flatten(0, 1)), factor),
        landmarks=scale_points(batch["landmarks"].flatten(0, 1), factor),
        geometry=batch_geometry(batch, factor),
        around=true + batch["noise"].flatten(0, 1)[:, None],
        audio=batch["audio"].flatten(0, 1),
        has_audio=batch["has_audio"].repeat_interleave(frames),
        state=of_each_frame(state, frames),
    )


def _encoded(model: LipIdentity, pictures: Tensor, points: Tensor, images: int) -> PersonState:
    """References (B, N + N_lip, ...) of which the first are images, encoded."""
    clips = len(pictures)
    shown, at = pictures[:, :images], points[:, :images]
    half, quarter = model.encode_images(shown.flatten(0, 1), at.flatten(0, 1))
    lips = model.encode_lips(pictures[:, images:].flatten(0, 1), points[:, images:].flatten(0, 1))
    return PersonState(
        pictures=shown,
        points=at,
        half=half.unflatten(0, (clips, -1)),
        quarter=quarter.unflatten(0, (clips, -1)),
        lips=lips.unflatten(0, (clips, -1)),
        sets=points.new_zeros(clips, 0, model.config.num_coefficients),
    )


def of_each_frame(state: PersonState, frames: int) -> PersonState:
    """References of B clips, (B, N, ...), as those of each of B T frames: (B T, N, ...)."""
    return PersonState(
        pictures=state.pictures.repeat_interleave(frames, 0),
        points=state.points.repeat_interleave(frames, 0),
        half=state.half.repeat_interleave(frames, 0),
        quarter=state.quarter.repeat_interleave(frames, 0),
        lips=state.lips.repeat_interleave(frames, 0),
        sets=state.sets.repeat_interleave(frames, 0),
    )


def render_lip_scene(model: LipIdentity, scene: LipScene, *, sharp: bool = False) -> LipRendered:
    """A scene's mouths, drawn under each frame's own pose and rendered."""
    frames, num = scene.around.shape[:2]
    canonical = model.speaking_points(
        scene.around.flatten(0, 1), scene.geometry.neutral.repeat_interleave(num, 0)
    ).unflatten(0, (frames, num))
    around = torch.stack([scene.geometry.place(canonical[:, at]) for at in range(num)], 1)
    return model.align_and_render(
        scene.targets,
        scene.landmarks,
        around,
        scene.audio,
        scene.state,
        has_audio=scene.has_audio,
        sharp=sharp,
    )
