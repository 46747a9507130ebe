"""Stage render: true landmarks to pictures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dubcli.models.common.batch_scene import (
    PictureScene,
    batch_scene,
    scale_points,
    sized_pictures,
)
from dubcli.models.common.mouth_basis import coefficients_of
from dubcli.models.common.picture_task import PictureSetup, PictureTask, SampleBatches
from dubcli.models.common.render_samples import RenderSamples
from dubcli.models.personatalk.dual_attention import Encoded
from dubcli.models.personatalk.network import PersonaRendered, PersonaTalk
from dubcli.models.personatalk.style_task import prepare_model
from dubcli.training.batches import BatchSize
from dubcli.training.data.train_clips import TrainClip
from dubcli.training.stage import Batch, Optimization


@dataclass(frozen=True, kw_only=True)
class PersonaScene(PictureScene):
    """A batch of B clips with what Dual-Attention is given.

    Attributes:
        mouths: Wanted coefficients. Shape (T, P).
        faces: Face references. Shape (T, 3, H, W).
        face_points: Their speaking points. Shape (T, S, 2).
        lips: Lip references, (B, N, ..., y, x).
    """

    mouths: Tensor
    faces: Tensor
    face_points: Tensor
    lips: Encoded


class DualRenderTask(PictureTask[PersonaRendered, PersonaScene]):
    """True landmarks, with a little noise, to pictures; silent clips teach it, too.

    Args:
        model: What is trained, on its device.
        clips: Prepared clips.
        size: Of a batch.
        optimization: Of `trained(model)`.
        setup: What pictures are trained by.
    """

    def __init__(
        self,
        model: PersonaTalk,
        clips: list[TrainClip],
        size: BatchSize,
        optimization: Optimization,
        setup: PictureSetup,
    ) -> None:
        prepare_model(model, clips)
        config = model.config
        samples = RenderSamples(
            clips,
            num_frames=size.frames,
            num_references=config.train_lips,
            audio_kind=config.audio_kind,
            # The renderer hears nothing; the least that audio windows can be hidden in.
            audio_width=32,
            seed=size.seed,
            variation=setup.variation,
        )
        batches = SampleBatches(samples, size, config.num_coefficients)
        super().__init__(model, config, batches, optimization, setup, has_warp=False)
        self._model = model

    @staticmethod
    def trained(model: PersonaTalk) -> list[nn.Parameter]:
        """Parameters of this stage: the renderer's."""
        return list(model.renderer.parameters())

    def render(self, batch: Batch) -> tuple[PersonaRendered, PersonaScene]:
        """True mouths, with a little noise, rendered."""
        scene = set_persona_scene(self._model, batch)
        return render_persona_scene(self._model, scene), scene

    def own_losses(
        self, out: PersonaRendered, scene: PersonaScene, batch: Batch
    ) -> dict[str, Tensor]:
        """That of found correspondences."""
        return {"correspondence": correspondence_loss(out)}


def correspondence_loss(out: PersonaRendered) -> Tensor:
    """Mean |found - wanted| of coordinates on the mean face, inside the wanted mesh."""
    is_mesh = (out.wanted.amin(1, keepdim=True) > 0).to(out.found)
    error = (out.found - out.wanted).abs() * is_mesh
    return error.sum() / (3 * is_mesh.sum()).clamp_min(1)


def set_persona_scene(model: PersonaTalk, batch: Batch) -> PersonaScene:
    """A batch (B, T, ...) of `SampleBatches` at the model's size, its references encoded."""
    factor = model.config.height / batch["targets"].shape[2]
    clips = len(batch["targets"])
    points = scale_points(batch["reference_points"].flatten(0, 1), factor)
    lips = model.encode_lips(sized_pictures(batch["references"], factor), points)
    true = coefficients_of(batch["mouth_offset"].flatten(0, 1), model.basis)
    return PersonaScene(
        **vars(batch_scene(batch, factor)),
        mouths=true + batch["noise"].flatten(0, 1),
        faces=sized_pictures(batch["backgrounds"], factor),
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
