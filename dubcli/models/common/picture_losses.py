"""What rendered pictures cost: pixel by pixel, by features, and by the texture of the mouth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dubcli.core.types import U8
from dubcli.metrics.vgg19 import VGG19
from dubcli.models.common.loss_weights import LossWeights
from dubcli.models.common.masks import mouth_mask
from dubcli.models.common.mouth_map import INNER, OUTER, draw_mouth, pixel_grid
from dubcli.models.conversion import to_images
from dubcli.training.losses.discriminators import Adversary, cut_mouths, ramp
from dubcli.training.losses.pictures import (
    edge_features,
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


def total_loss(weights: LossWeights, losses: Mapping[str, Tensor], step: int) -> Tensor:
    """Losses weighted by their λ; what a discriminator says comes in slowly."""
    share = {"gan": ramp(step), "gan_pairs": ramp(step), "matching": ramp(step)}
    terms = [
        getattr(weights, name) * share.get(name, 1.0) * value for name, value in losses.items()
    ]
    return torch.stack(terms).sum()


def preview_row(out: RenderedBox, targets: Tensor, top: int) -> U8:
    """Masked source, warped references, result and truth of two frames side by side.

    Args:
        out: The repainted box.
        targets: Real crops, [0, 1]. Shape (T, 3, H, W), two frames at least.
        top: First row of the box.
    """
    hidden = targets * (1 - mouth_mask("fixed", targets, torch.empty(0)))
    warped, made = targets.clone(), targets.clone()
    warped[:, :, top:], made[:, :, top:] = out.warped, out.rgb
    row = torch.cat([hidden[:2], warped[:2], made[:2], targets[:2]])
    return np.concatenate(list(to_images(row)), 1)


class RenderedBox(Protocol):
    """Pictures of the repainted box, [0, 1]; shapes (T, 3, h, w)."""

    @property
    def rgb(self) -> Tensor:
        """The result."""
        ...

    @property
    def warped(self) -> Tensor:
        """Warped references, mixed."""
        ...

    @property
    def painted(self) -> Tensor:
        """The decoder's own picture."""
        ...


class PictureLosses:
    """Losses with a λ, of all frames of a batch together.

    Args:
        weights: λ of each.
        box: First repainted row of the crop, and one inter-ocular distance, px.
        has_warp: Warped references are mixed into the result, so `painted` is not `rgb`.
        vgg: What perceptual losses compare; None: their substitutes.
        adversary: The discriminator; None without one.
    """

    def __init__(
        self,
        weights: LossWeights,
        *,
        box: tuple[int, float],
        has_warp: bool,
        vgg: VGG19 | None,
        adversary: Adversary | None,
    ) -> None:
        self._weights, self._has_warp = weights, has_warp
        self._top, self._unit = box
        self._vgg, self._adversary = vgg, adversary

    def __call__(self, out: RenderedBox, targets: Tensor, speaking: Tensor) -> dict[str, Tensor]:
        """Losses by name.

        Args:
            out: What was rendered, the box.
            targets: Real crops, [0, 1]. Shape (T, 3, H, W).
            speaking: Their speaking points, crop px. Shape (T, S, 2).
        """
        top, unit = self._top, self._unit
        real = targets[:, :, top:]
        mask = mouth_mask("fixed", targets, torch.empty(0))[:, :, top:]
        grid = pixel_grid(out.rgb.shape[-2], out.rgb.shape[-1], 1, (top, 0))
        lips = draw_mouth(speaking, grid[::4, ::4], 0.1 * unit, refine=4)[:, :1]
        losses = self._pixel_losses(out, real, 0.2 + mask + _MOUTH_WEIGHT * lips)
        windows = cut_mouths([out.rgb, real, lips], speaking[:, _LIPS], unit, top)
        return losses | self._mouth_losses(*windows)

    def _pixel_losses(self, out: RenderedBox, real: Tensor, weight: Tensor) -> dict[str, Tensor]:
        """Losses that compare pixel by pixel."""
        weights, losses = self._weights, dict[str, Tensor]()
        if weights.picture:
            losses["picture"] = pyramid_loss(out.rgb, real, weight)
        if weights.ssim:
            losses["ssim"] = ssim_loss(out.rgb, real, weight)
        if weights.painted and self._has_warp:
            losses["painted"] = pyramid_loss(out.painted, real, weight)
        if self._vgg is not None:
            return losses | self._feature_losses(self._vgg, out, real)
        if weights.perceptual:
            losses["perceptual"] = substitute_loss(out.rgb, real, weight)
        if weights.warp:
            losses["warp"] = warp_loss(out.warped, real, weight)
        return losses

    def _feature_losses(self, vgg: VGG19, out: RenderedBox, real: Tensor) -> dict[str, Tensor]:
        """L_p, L_w and L_s on VGG-19's activations of the whole box."""
        weights, losses = self._weights, dict[str, Tensor]()
        is_summed = weights.is_summed
        with torch.no_grad():
            wanted = vgg(real)
            wanted_half = vgg(functional.avg_pool2d(real, 2))
        if weights.warp:
            warped = [vgg(out.warped)]
            if is_summed:
                warped.append(vgg(functional.avg_pool2d(out.warped, 2)))
            real_features = [wanted, wanted_half][: len(warped)]
            losses["warp"] = perceptual_loss(warped, real_features, is_summed=is_summed)
        if not (weights.perceptual or weights.style):
            return losses
        made = vgg(out.rgb)
        if weights.perceptual:
            sizes = [made, vgg(functional.avg_pool2d(out.rgb, 2))]
            losses["perceptual"] = perceptual_loss(
                sizes, [wanted, wanted_half], is_summed=is_summed
            )
        if weights.style:
            losses["style"] = style_loss(made, wanted, is_summed=is_summed)
        return losses

    def _mouth_losses(self, made: Tensor, real: Tensor, lips: Tensor) -> dict[str, Tensor]:
        """Losses on the texture of windows around the lips, (T, 3, h, w) and (T, 1, h, w)."""
        weights, losses = self._weights, dict[str, Tensor]()
        if weights.texture:
            window = max(4, round(_TEXTURE_WINDOW * self._unit))
            losses["texture"] = texture_loss(made, real, _MOUTH_SURROUNDINGS + lips, window)
        if weights.style and self._vgg is None:
            losses["style"] = style_loss(
                edge_features(made), edge_features(real), is_summed=weights.is_summed
            )
        if self._adversary is not None:
            losses |= self._adversary.generator_losses(made, real)
        return losses
