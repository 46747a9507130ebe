"""Stage render: true landmarks to pictures."""

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
from dubcli.models.personatalk.dual_attention import Encoded
from dubcli.models.personatalk.losses import CORRESPONDENCE, LOSS_PRESETS
from dubcli.models.personatalk.network import PersonaRendered, PersonaTalk
from dubcli.models.personatalk.style_task import prepare_model
from dubcli.training.batches import BatchSize, as_batch, as_pictures, resize_pictures, stacked
from dubcli.training.data.train_clips import TrainClip
from dubcli.training.device_utils import device_of, evaluating
from dubcli.training.losses.discriminators import Adversary, MouthDiscriminator
from dubcli.training.stage import MODEL, Batch, Optimization

# The module and optimizer of the discriminator, and the column of its loss in the log.
CRITIC = "critic"
# Samples that previews show: far from those that are learned from.
_FIRST_SHOWN, _NUM_SHOWN = 10**9, 4


@dataclass(frozen=True, kw_only=True)
class PersonaScene:
    """A batch at the model's size and on its device; T frames of all its B clips in a row.

    Attributes:
        targets: Shape (T, 3, H, W), [0, 1].
        landmarks: Crop px. Shape (T, K, 2).
        geometry: Pose and rest; the rest is each frame's own, (T, S, 3).
        mouths: Wanted coefficients. Shape (T, P).
        faces: Face references. Shape (T, 3, H, W).
        face_points: Their speaking points. Shape (T, S, 2).
        lips: Lip references, (B, N, ..., y, x).
    """

    targets: Tensor
    landmarks: Tensor
    geometry: FaceGeometry
    mouths: Tensor
    faces: Tensor
    face_points: Tensor
    lips: Encoded


class PersonaBatches(Dataset[Batch]):
    """Samples of several clips: `RenderSample` by name with a leading dimension (B, ...).

    Beside it `noise`, (B, T, P), for the true coefficients.

    Args:
        samples: What is drawn.
        size: Of a batch.
        num_coefficients: P.
        noise: Spread of the noise.
    """

    def __init__(
        self, samples: RenderSamples, size: BatchSize, *, num_coefficients: int, noise: float
    ) -> None:
        self._samples, self._size = samples, size
        self._num_coefficients, self._noise = num_coefficients, noise

    def __getitem__(self, index: int) -> Batch:
        return self.of(list(range(index * self._size.clips, (index + 1) * self._size.clips)))

    def of(self, numbers: list[int]) -> dict[str, Any]:
        """The batch of these samples."""
        shape = (self._size.frames, self._num_coefficients)
        noise = coefficient_noise(self._noise, shape, self._size.seed, numbers)
        return stacked([self._samples[number] for number in numbers]) | {"noise": noise}


class DualRenderTask:
    """True landmarks, with a little noise, to pictures; silent clips teach it, too.

    Args:
        model: What is trained, on its device.
        clips: Prepared clips.
        size: Of a batch.
        optimization: Of `trained(model)`.
        weights: λ of each loss.
        vgg: What perceptual losses compare; without it their substitutes.
        variation: How samples differ from the footage.
        critic: The discriminator with its optimizer; needed where `weights.gan` is above 0.
    """

    def __init__(
        self,
        model: PersonaTalk,
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
            has_warp=False,
            vgg=vgg,
            adversary=self._adversary,
        )
        samples = RenderSamples(
            clips,
            num_frames=size.frames,
            num_references=config.train_lips,
            audio_kind=config.audio_kind,
            # The renderer hears nothing; the least that audio windows can be hidden in.
            audio_width=32,
            seed=size.seed,
            variation=variation,
        )
        self.batches = PersonaBatches(
            samples, size, num_coefficients=config.num_coefficients, noise=variation.noise
        )

    @staticmethod
    def trained(model: PersonaTalk) -> list[nn.Parameter]:
        """Parameters of this stage: the renderer's."""
        return list(model.renderer.parameters())

    def losses(self, batch: Batch, optimizer: str, step: int) -> dict[str, Tensor]:
        """Losses of the batch, and `loss`, their sum weighted by λ; or what the critic pays."""
        if optimizer == CRITIC:
            assert self._adversary is not None
            return {"loss": self._adversary.critic_loss()}
        scene = set_persona_scene(self._model, batch)
        out = render_persona_scene(self._model, scene)
        totals = self._pictures(out, scene.targets, scene.landmarks[:, SPEAKING])
        loss = total_loss(self._weights, totals, step)
        totals["correspondence"] = correspondence_loss(out)
        totals["loss"] = loss + CORRESPONDENCE * totals["correspondence"]
        return totals

    @torch.no_grad()
    def preview(self) -> U8:
        """Rows of: masked source, copied pixels, result, truth."""
        rows, top = [], self._model.config.top
        for index in range(_NUM_SHOWN):
            batch = as_batch(self.batches.of([_FIRST_SHOWN + index]), device_of(self._model))
            with evaluating(self._model):
                scene = set_persona_scene(self._model, batch)
                out = render_persona_scene(self._model, scene)
            rows.append(preview_row(out, scene.targets, top))
        return np.concatenate(rows)


def correspondence_loss(out: PersonaRendered) -> Tensor:
    """Mean |found - wanted| of coordinates on the mean face, inside the wanted mesh."""
    is_mesh = (out.wanted.amin(1, keepdim=True) > 0).to(out.found)
    error = (out.found - out.wanted).abs() * is_mesh
    return error.sum() / (3 * is_mesh.sum()).clamp_min(1)


def set_persona_scene(model: PersonaTalk, batch: Batch) -> PersonaScene:
    """A batch (B, T, ...) of `PersonaBatches` at the model's size, its references encoded."""
    factor = model.config.height / batch["targets"].shape[2]
    clips = len(batch["targets"])

    def sized(name: str) -> Tensor:
        return resize_pictures(as_pictures(batch[name].flatten(0, 1)), factor)

    points = scale_points(batch["reference_points"].flatten(0, 1), factor)
    lips = model.encode_lips(sized("references"), points)
    true = coefficients_of(batch["mouth_offset"].flatten(0, 1), model.basis)
    return PersonaScene(
        targets=sized("targets"),
        landmarks=scale_points(batch["landmarks"].flatten(0, 1), factor),
        geometry=batch_geometry(batch, factor),
        mouths=true + batch["noise"].flatten(0, 1),
        faces=sized("backgrounds"),
        face_points=scale_points(batch["background_points"].flatten(0, 1), factor),
        lips=Encoded(
            keys=lips.keys.unflatten(0, (clips, -1)),
            values=lips.values.unflatten(0, (clips, -1)),
            coordinates=lips.coordinates.unflatten(0, (clips, -1)),
        ),
    )


def render_persona_scene(model: PersonaTalk, scene: PersonaScene) -> PersonaRendered:
    """A scene's mouths, placed under each frame's own pose and rendered."""
    with torch.autocast(scene.mouths.device.type, enabled=False):
        canonical = model.speaking_points(scene.mouths, scene.geometry.neutral)
        speaking = scene.geometry.place(canonical)
    return model.render_box(speaking, scene.lips, scene.faces, scene.face_points)
