"""The render stage, and the joint one: what a batch shows, what is predicted, what it costs."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from dubcli.models.common.batch_scene import (
    PictureScene,
    batch_scene,
    scale_points,
    sized_pictures,
)
from dubcli.models.common.mouth_basis import coefficients_of
from dubcli.models.common.mouth_losses import point_loss
from dubcli.models.common.picture_task import PictureSetup, PictureTask, SampleBatches
from dubcli.models.common.render_samples import RenderSamples
from dubcli.models.iptalker.geometry_task import prepare_model
from dubcli.models.iptalker.network import IPTalker, ReferenceState, Rendered
from dubcli.models.iptalker.sync_runs import SyncRuns, run_losses
from dubcli.sync.network import SyncExpert
from dubcli.training.batches import BatchSize
from dubcli.training.data.train_clips import TrainClip, with_sound
from dubcli.training.stage import Batch, Optimization


@dataclass(frozen=True, kw_only=True)
class Scene(PictureScene):
    """A batch with what warping and inpainting are given.

    Attributes:
        backgrounds: Shape (T, 3, H, W), [0, 1].
        state: Encoded references, those of each frame.
    """

    backgrounds: Tensor
    state: ReferenceState


@dataclass(frozen=True, kw_only=True)
class DrivenScene(Scene):
    """A scene with the mouths that were asked for.

    Attributes:
        mouths: Coefficients. Shape (T, P).
    """

    mouths: Tensor


class RenderBatches(SampleBatches):
    """`SampleBatches` with `run`, a `SyncRun` by name.

    Args:
        samples: What is drawn.
        size: Of a batch.
        num_coefficients: P.
        runs: For the sync losses; None where there are none.
    """

    def __init__(
        self,
        samples: RenderSamples,
        size: BatchSize,
        num_coefficients: int,
        runs: SyncRuns | None,
    ) -> None:
        super().__init__(samples, size, num_coefficients)
        self._runs = runs

    def __getitem__(self, index: int) -> Batch:
        batch = super().__getitem__(index)
        return {**batch, "run": self._runs[index]} if self._runs else batch


class RenderTask(PictureTask[Rendered, DrivenScene]):
    """Picture half: true landmarks (with a little noise) to pixels; needs no sound.

    With `joint`, sound drives the landmarks (or, without the map, the AdaIN code), and every
    parameter is trained.

    Args:
        model: What is trained, on its device.
        clips: Prepared clips.
        size: Of a batch.
        optimization: Of `trained(model, joint)`.
        setup: What pictures are trained by.
        joint: Stage `joint` instead of `render`.
        sync: The frozen sync expert of the stage `joint`; None without sync losses.
    """

    def __init__(
        self,
        model: IPTalker,
        clips: list[TrainClip],
        size: BatchSize,
        optimization: Optimization,
        setup: PictureSetup,
        *,
        joint: bool,
        sync: SyncExpert | None = None,
    ) -> None:
        prepare_model(model, clips)
        config = model.config
        samples = RenderSamples(
            with_sound(clips) if joint else clips,
            num_frames=size.frames,
            num_references=config.num_references,
            audio_kind=config.heard_kind,
            audio_width=config.audio_width,
            seed=size.seed,
            variation=setup.variation,
        )
        runs = None if sync is None else SyncRuns(clips, config, sync.config, size.seed)
        batches = RenderBatches(samples, size, config.num_coefficients, runs)
        super().__init__(model, config, batches, optimization, setup, has_warp=config.geometry_map)
        self._model, self._joint, self._sync = model, joint, sync

    @staticmethod
    def trained(model: IPTalker, joint: bool) -> list[nn.Parameter]:
        """Parameters of the stage: all, or with true landmarks all but the alignment module's."""
        skip = () if joint else ("alignment.",)
        return [value for name, value in model.named_parameters() if not name.startswith(skip)]

    def render(self, batch: Batch) -> tuple[Rendered, DrivenScene]:
        """True mouths, with a little noise, or those that the sound gives, rendered."""
        scene = set_scene(self._model, batch)
        mouths, code = self._driven(batch, scene.state)
        out, _ = render_scene(self._model, scene, mouths, code)
        return out, DrivenScene(**vars(scene), mouths=mouths)

    def own_losses(self, out: Rendered, scene: DrivenScene, batch: Batch) -> dict[str, Tensor]:
        """Of stage joint: predicted landmarks, and the sync losses of a run of frames."""
        losses, model = dict[str, Tensor](), self._model
        if self._joint and model.config.geometry_map:
            error = scene.mouths - self._true(batch)
            losses["geometry"] = point_loss(error, model.alignment.basis)
        if self._sync is not None and "run" in batch:
            said = run_losses(model, self._sync, batch["run"])
            losses |= {name: value for name, value in said.items() if getattr(self._weights, name)}
        return losses

    def _driven(self, batch: Batch, state: ReferenceState) -> tuple[Tensor, Tensor]:
        """Coefficients and AdaIN code."""
        model, true = self._model, self._true(batch)
        if not self._joint:
            noisy = true + batch["noise"].flatten(0, 1)
            return noisy, model.coefficient_code(noisy)
        v_alg = model.alignment(batch["audio"].flatten(0, 1), state.tokens)
        if not model.config.geometry_map:
            return true, v_alg
        predicted = model.alignment.to_coefficients(v_alg)
        return predicted, model.coefficient_code(predicted)

    def _true(self, batch: Batch) -> Tensor:
        return coefficients_of(batch["mouth_offset"].flatten(0, 1), self._model.alignment.basis)


def set_scene(model: IPTalker, batch: Batch) -> Scene:
    """A batch (B, T, ...) of `RenderBatches` at the model's size, its references encoded."""
    factor = model.config.height / batch["targets"].shape[2]
    references = sized_pictures(batch["references"], factor)
    points = scale_points(batch["reference_points"].flatten(0, 1), factor)
    state = model.encode_references(references, points)
    return Scene(
        **vars(batch_scene(batch, factor)),
        backgrounds=sized_pictures(batch["backgrounds"], factor),
        state=_of_each_frame(state, *batch["targets"].shape[:2]),
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
