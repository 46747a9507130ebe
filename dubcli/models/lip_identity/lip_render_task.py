"""Stages flow and render: true landmarks to pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
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
from dubcli.models.common.render_samples import RenderSamples, Variation
from dubcli.models.lip_identity.config import LipIdentityConfig
from dubcli.models.lip_identity.landmark_task import prepare_model
from dubcli.models.lip_identity.network import LipIdentity, LipRendered
from dubcli.models.lip_identity.person_state import PersonState
from dubcli.training.batches import BatchSize
from dubcli.training.data.train_clips import TrainClip
from dubcli.training.stage import Batch, Optimization

# Fewest images and lips that a batch shows, so that their number may differ in use.
_LEAST_IMAGES, _LEAST_LIPS = 2, 1


@dataclass(frozen=True, kw_only=True)
class LipScene(PictureScene):
    """A batch with what alignment and rendering are given.

    Attributes:
        around: Coefficients of the mouths around each frame. Shape (T, 2 k + 1, P).
        audio: Shape (T, A, D).
        has_audio: Shape (T,).
        state: Encoded references, those of each frame.
    """

    around: Tensor
    audio: Tensor
    has_audio: Tensor
    state: PersonState


class LipBatches(SampleBatches):
    """`SampleBatches` with which references are shown as images and as lips.

    They stand in `image_rows` and `lip_rows`.

    Args:
        samples: What is drawn; its references are N images, then N_lip lips.
        size: Of a batch.
        num_coefficients: P.
        num: N and N_lip.
    """

    def __init__(
        self,
        samples: RenderSamples,
        size: BatchSize,
        num_coefficients: int,
        num: tuple[int, int],
    ) -> None:
        super().__init__(samples, size, num_coefficients)
        self._num = num
        # One person's references are the same in all samples, images and lips at once.
        self._is_fixed = samples.variation.references is not None

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng((self._size.seed, index, 4))
        least = (min(_LEAST_IMAGES, self._num[0]), _LEAST_LIPS)
        shown = [int(rng.integers(a, b + 1)) for a, b in zip(least, self._num, strict=True)]
        return self.of(self._numbers(index), (shown[0], shown[1]))

    def of(self, numbers: Sequence[int], shown: tuple[int, int] | None = None) -> dict[str, Any]:
        """The batch of these samples, with so many images and lips; None: all."""
        images, lips = self._num if shown is None or self._is_fixed else shown
        first_lip = 0 if self._is_fixed else self._num[0]
        return super().of(numbers) | {
            "image_rows": np.arange(images),
            "lip_rows": first_lip + np.arange(lips),
        }


class LipRenderTask(PictureTask[LipRendered, LipScene]):
    """True landmarks, with a little noise, to pictures; silent clips teach it, too.

    Args:
        model: What is trained, on its device.
        clips: Prepared clips.
        size: Of a batch.
        optimization: Of `trained(model, ...)`.
        setup: What pictures are trained by.
    """

    def __init__(
        self,
        model: LipIdentity,
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
            num_references=config.num_images + config.num_lips,
            audio_kind=config.audio_kind,
            audio_width=max(1, config.attention_width),
            seed=size.seed,
            variation=setup.variation,
            reach=config.reach,
        )
        num = _counts(config, setup.variation)
        batches = LipBatches(samples, size, config.num_coefficients, num)
        super().__init__(model, config, batches, optimization, setup, has_warp=config.mixes_warped)
        self._model = model

    @staticmethod
    def trained(model: LipIdentity, *, flow_alone: bool = False) -> list[nn.Parameter]:
        """Parameters of stage render: all but the landmark generator's; of stage flow: M_a's."""
        parts = [model.alignment] if flow_alone else [model.alignment, model.rendering]
        return [value for part in parts for value in part.parameters()]

    def render(self, batch: Batch) -> tuple[LipRendered, LipScene]:
        """True mouths, with a little noise, aligned and rendered."""
        scene = set_lip_scene(self._model, batch)
        return render_lip_scene(self._model, scene), scene


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
    pictures = sized_pictures(batch["references"][:, shown], factor)
    points = scale_points(batch["reference_points"][:, shown].flatten(0, 1), factor)
    pictures, points = pictures.unflatten(0, (clips, -1)), points.unflatten(0, (clips, -1))
    state = _encoded(model, pictures, points, images)
    true = coefficients_of(batch["around"].flatten(0, 1), model.basis)
    return LipScene(
        **vars(batch_scene(batch, factor)),
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
