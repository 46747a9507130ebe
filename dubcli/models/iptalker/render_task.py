"""The render stage, and the joint one: what to draw, what to predict, what it costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dubcli.config import TrainConfig
from dubcli.core.types import U8
from dubcli.face.landmarks import SPEAKING
from dubcli.metrics.vgg19 import VGG19
from dubcli.models.api import FaceGeometry, to_images, to_tensor
from dubcli.models.common.masks import mouth_mask
from dubcli.models.common.mouth_map import INNER, OUTER, draw_mouth, pixel_grid
from dubcli.models.iptalker.geometry_task import (
    coefficients_of,
    point_loss,
    prepare_model,
    resize_pictures,
)
from dubcli.models.iptalker.network import IPTalker, ReferenceState, Rendered
from dubcli.models.iptalker.render_samples import RenderSample, RenderSamples, Variation
from dubcli.sync.frame_runs import SyncRuns
from dubcli.sync.network import SyncExpert
from dubcli.training.data.train_clips import TrainClip, with_sound
from dubcli.training.device_utils import device_of, evaluating
from dubcli.training.losses.discriminators import Adversary, cut_mouths, ramp
from dubcli.training.losses.pictures import (
    LOSS_PRESETS,
    LossWeights,
    edge_features,
    feature_loss,
    perceptual_loss,
    pyramid_loss,
    ssim_loss,
    style_loss,
    substitute_loss,
    texture_loss,
    warp_loss,
)

_MOUTH_WEIGHT = 4.0
# Side of the windows in which texture is compared, inter-ocular distances.
_TEXTURE_WINDOW = 0.2
_MOUTH_SURROUNDINGS = 0.2
_LIPS = slice(OUTER.start, INNER.stop)


@dataclass(frozen=True, kw_only=True)
class _Mouths:
    """Windows around the lips of a batch.

    Attributes:
        made: Shape (B, 3, h, w).
        real: Shape (B, 3, h, w).
        lips: 1 within the lips. Shape (B, 1, h, w).
    """

    made: Tensor
    real: Tensor
    lips: Tensor


@dataclass(frozen=True, kw_only=True)
class Judges:
    """Networks that the losses ask, where they have a λ.

    Attributes:
        adversary: The discriminator.
        vgg: What perceptual losses compare; without it their substitutes.
        sync: The sync expert of the stage `joint`.
    """

    adversary: Adversary | None = None
    vgg: VGG19 | None = None
    sync: SyncExpert | None = None


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A sample at the model's size and on its device.

    Attributes:
        targets: Shape (T, 3, H, W), [0, 1].
        backgrounds: Shape (T, 3, H, W), [0, 1].
        landmarks: Crop px. Shape (T, K, 2).
        state: Encoded references.
        geometry: Pose and rest.
    """

    targets: Tensor
    backgrounds: Tensor
    landmarks: Tensor
    state: ReferenceState
    geometry: FaceGeometry


class RenderTask:
    """Picture half: true landmarks (with a little noise) to pixels; needs no sound.

    With `joint`, sound drives the landmarks (or, without the map, the AdaIN code), and every
    parameter is trained.

    Args:
        model: What is trained.
        clips: Prepared clips.
        config: The run's.
        joint: Stage `joint` instead of `render`.
        weights: λ of each loss.
        judges: The adversary is needed where `weights.gan` is above 0.
        variation: How samples differ from the footage.
    """

    def __init__(
        self,
        model: IPTalker,
        clips: list[TrainClip],
        config: TrainConfig,
        *,
        joint: bool,
        weights: LossWeights = LOSS_PRESETS["no-gan"],
        judges: Judges | None = None,
        variation: Variation | None = None,
    ) -> None:
        judges = Judges() if judges is None else judges
        prepare_model(model, clips)
        self.model = model
        self._joint = joint
        self._seed = config.seed
        self._batch = config.batch_clips
        self._weights = weights
        self._adversary, self._vgg = judges.adversary, judges.vgg
        variation = Variation() if variation is None else variation
        self._noise = variation.noise
        expert = judges.sync
        self._runs = None if expert is None else SyncRuns(model, clips, expert, config.seed)
        self._samples = RenderSamples(
            with_sound(clips) if joint else clips,
            num_frames=config.frames_per_clip,
            num_references=model.config.num_references,
            audio_kind=model.config.audio_kind,
            audio_width=model.config.audio_width,
            seed=config.seed,
            variation=variation,
        )

    def parameters(self) -> list[nn.Parameter]:
        """All, or with true landmarks all but the alignment module's."""
        skip = () if self._joint else ("alignment.",)
        return [value for name, value in self.model.named_parameters() if not name.startswith(skip)]

    def losses(self, step: int) -> dict[str, Tensor]:
        """Mean losses over the batch's clips, and `loss`, their sum weighted by λ."""
        totals: dict[str, Tensor] = {}
        mouths: list[_Mouths] = []
        for index in range(step * self._batch, (step + 1) * self._batch):
            losses, seen = self._clip_losses(index)
            mouths.append(seen)
            for name, value in losses.items():
                totals[name] = totals.get(name, value.new_zeros(())) + value / self._batch
        totals |= self._mouth_losses(mouths) | self._sync_losses(step)
        share = {"gan": ramp(step), "matching": ramp(step)}
        terms = [
            getattr(self._weights, name) * share.get(name, 1.0) * value
            for name, value in totals.items()
        ]
        totals["loss"] = torch.stack(terms).sum()
        return totals

    def _clip_losses(self, index: int) -> tuple[dict[str, Tensor], _Mouths]:
        sample = self._samples[index]
        out, targets, speaking, departure = self._forward(sample, index)
        top, unit = self.model.config.top, self.model.config.unit_px
        mask = mouth_mask("fixed", targets, torch.empty(0))[:, :, top:]
        grid = pixel_grid(out.rgb.shape[-2], out.rgb.shape[-1], 1, (top, 0))
        lips = draw_mouth(speaking, grid[::4, ::4], 0.1 * unit, refine=4)[:, :1]
        weight = 0.2 + mask + _MOUTH_WEIGHT * lips
        losses = self._picture_losses(out, targets[:, :, top:], weight)
        if departure is not None:
            losses["geometry"] = departure
        windows = cut_mouths([out.rgb, targets[:, :, top:], lips], speaking[:, _LIPS], unit, top)
        return losses, _Mouths(made=windows[0], real=windows[1], lips=windows[2])

    def _picture_losses(self, out: Rendered, real: Tensor, weight: Tensor) -> dict[str, Tensor]:
        """Losses that compare pixel by pixel, those with a λ."""
        weights, losses = self._weights, dict[str, Tensor]()
        if weights.picture:
            losses["picture"] = pyramid_loss(out.rgb, real, weight)
        if weights.ssim:
            losses["ssim"] = ssim_loss(out.rgb, real, weight)
        if weights.painted and self.model.config.geometry_map:
            losses["painted"] = pyramid_loss(out.painted, real, weight)
        if self._vgg is not None:
            return losses | self._feature_losses(self._vgg, out, real)
        if weights.perceptual:
            losses["perceptual"] = substitute_loss(out.rgb, real, weight)
        if weights.warp:
            losses["warp"] = warp_loss(out.warped, real, weight)
        return losses

    def _feature_losses(self, vgg: VGG19, out: Rendered, real: Tensor) -> dict[str, Tensor]:
        """L_p, L_w and L_s on VGG-19's activations of the whole box, those with a λ."""
        weights, losses = self._weights, dict[str, Tensor]()
        with torch.no_grad():
            wanted = vgg(real)
        if weights.warp:
            losses["warp"] = feature_loss(vgg(out.warped), wanted)
        if not (weights.perceptual or weights.style):
            return losses
        made = vgg(out.rgb)
        if weights.perceptual:
            halves = [functional.avg_pool2d(x, 2) for x in (out.rgb, real)]
            with torch.no_grad():
                wanted_half = vgg(halves[1])
            losses["perceptual"] = perceptual_loss([made, vgg(halves[0])], [wanted, wanted_half])
        if weights.style:
            losses["style"] = style_loss(made, wanted)
        return losses

    def _mouth_losses(self, mouths: list[_Mouths]) -> dict[str, Tensor]:
        """Losses on the texture of the mouths, those with a λ."""
        made, real, lips = (
            torch.cat([getattr(mouth, name) for mouth in mouths])
            for name in ("made", "real", "lips")
        )
        weights, losses = self._weights, dict[str, Tensor]()
        if weights.texture:
            window = max(4, round(_TEXTURE_WINDOW * self.model.config.unit_px))
            losses["texture"] = texture_loss(made, real, _MOUTH_SURROUNDINGS + lips, window)
        if weights.style and self._vgg is None:
            losses["style"] = style_loss(edge_features(made), edge_features(real))
        if self._adversary is not None:
            losses |= self._adversary.judge(made, real)
        return losses

    def _sync_losses(self, step: int) -> dict[str, Tensor]:
        """Sync losses of a run of frames, those with a λ."""
        if not self._runs:
            return {}
        losses = self._runs.losses(step)
        return {name: value for name, value in losses.items() if getattr(self._weights, name)}

    def _forward(
        self, sample: RenderSample, index: int
    ) -> tuple[Rendered, Tensor, Tensor, Tensor | None]:
        scene = set_scene(self.model, sample)
        coefficients, code, departure = self._drive(sample, scene.state, index)
        out, _ = render_scene(self.model, scene, coefficients, code)
        return out, scene.targets, scene.landmarks[:, SPEAKING], departure

    def _drive(
        self, sample: RenderSample, state: ReferenceState, index: int
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Coefficients, AdaIN code and the cost of the predicted geometry."""
        model, device = self.model, device_of(self.model)
        true = coefficients_of(sample.departure, model).to(device)
        if not self._joint:
            rng = np.random.default_rng((self._seed, index, 1))
            noise = rng.standard_normal(true.shape) * self._noise
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


def set_scene(model: IPTalker, sample: RenderSample) -> Scene:
    """A sample at the model's size, its references encoded."""
    device = device_of(model)
    factor = model.config.height / sample.targets.shape[1]
    targets, backgrounds, references = (
        resize_pictures(to_tensor(x, device), factor)
        for x in (sample.targets, sample.backgrounds, sample.references)
    )
    points, landmarks = (
        _scale_points(torch.from_numpy(x).to(device), factor)
        for x in (sample.reference_points, sample.landmarks)
    )
    return Scene(
        targets=targets,
        backgrounds=backgrounds,
        landmarks=landmarks,
        state=model.encode_references(references, points),
        geometry=sample_geometry(sample, factor, device),
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
