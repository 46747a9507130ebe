"""Generated mouths against real ones: the patch discriminator and its losses."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from dubcli.training.losses.pictures import (
    discriminator_loss,
    feature_loss,
    finest_band,
    generator_loss,
    luma,
)

# Height and width of the pictures it sees, inter-ocular units: the lips and what moves with them.
_WINDOW = (1.1, 1.65)
_WINDOW_STEP = 16
_CHANNELS = (32, 64, 128)
# How much the fine detail is raised that it sees beside the colours: detail of some grey levels
# is what made mouths lack, and a fresh network takes thousands of steps to look there by itself.
_DETAIL_GAIN = 20.0
_NUM_SIZES = 2
# The weight of an untrained discriminator's loss grows over this many steps.
_RAMP_STEPS = 300


class PatchDiscriminator(nn.Module):
    """A score for every 26 px patch (pix2pix, arXiv:1611.07004), spectrally normalised.

    It sees RGB, and beside it the finest band of a Laplacian pyramid of luma, raised. Source of
    the normalisation: arXiv:1802.05957. It bounds how steep the scores are, which keeps a
    discriminator of few pictures from learning them by heart.

    Args:
        frames: Consecutive pictures that are judged together, as channels.
    """

    def __init__(self, frames: int = 1) -> None:
        super().__init__()
        first, second, third = _CHANNELS
        self._frames = frames
        self.layers = nn.ModuleList(
            [
                spectral_norm(nn.Conv2d(4 * frames, first, 4, 2, 1)),
                spectral_norm(nn.Conv2d(first, second, 4, 2, 1)),
                spectral_norm(nn.Conv2d(second, third, 3, 1, 1)),
            ]
        )
        self.score = spectral_norm(nn.Conv2d(third, 1, 3, 1, 1))

    def forward(self, pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Scores (B, 1, H/4, W/4), near 1 where real, and the layers' activations."""
        shown = pictures.chunk(self._frames, 1)
        detail = [_DETAIL_GAIN * finest_band(luma(one)) for one in shown]
        x = torch.cat([2 * pictures - 1, *detail], 1)
        features: list[Tensor] = []
        for layer in self.layers:
            x = functional.leaky_relu(layer(x), 0.2)
            features.append(x)
        return self.score(x), features


class MouthDiscriminator(nn.Module):
    """`PatchDiscriminator`s at full and half size (pix2pixHD, arXiv:1711.11585).

    Args:
        frames: Consecutive pictures that are judged together, as channels.
    """

    def __init__(self, frames: int = 1) -> None:
        super().__init__()
        self.sizes = nn.ModuleList(PatchDiscriminator(frames) for _ in range(_NUM_SIZES))

    def forward(self, pictures: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Scores of each size and all activations of pictures (B, 3 frames, H, W) in [0, 1]."""
        scores: list[Tensor] = []
        features: list[Tensor] = []
        for number, part in enumerate(self.sizes):
            if number:
                pictures = functional.avg_pool2d(pictures, 2)
            score, activations = part(pictures)
            scores.append(score)
            features += activations
        return scores, features


class Adversary:
    """A discriminator and the pictures that it judged last: what both sides of the game cost.

    Everything is computed in float32, also within autocast.

    Args:
        net: The discriminator.
        is_summed: L_f is a sum over layers, not their mean (over sizes it is a mean: pix2pixHD).
    """

    def __init__(self, net: nn.Module, *, is_summed: bool = False) -> None:
        self.net, self._is_summed = net, is_summed
        self._judged: tuple[Tensor, Tensor] | None = None

    def generator_losses(self, made: Tensor, real: Tensor) -> dict[str, Tensor]:
        """What made pictures cost their generator; they are kept for `critic_loss`.

        Args:
            made: Shape (B, 3 frames, H, W), [0, 1].
            real: Shape (B, 3 frames, H, W), [0, 1].

        Returns:
            `gan` (L_G) and `matching` (L_f).
        """
        with torch.autocast(made.device.type, enabled=False):
            made, real = made.float(), real.float()
            self._judged = real.detach(), made.detach()
            self.net.eval().requires_grad_(False)
            scores, features = self.net(made)
            with torch.no_grad():
                _, wanted = self.net(real)
            matching = feature_loss(features, wanted, is_summed=self._is_summed)
            if self._is_summed:
                matching = matching / len(scores)
            return {"gan": generator_loss(scores), "matching": matching}

    def critic_loss(self) -> Tensor:
        """L_D of the pictures judged last."""
        assert self._judged is not None, "generator_losses comes first"
        self.net.train().requires_grad_(True)
        with torch.autocast(self._judged[0].device.type, enabled=False):
            scores, _ = self.net(torch.cat(self._judged))
            pairs = [score.chunk(2) for score in scores]
            return discriminator_loss([pair[0] for pair in pairs], [pair[1] for pair in pairs])


def ramp(step: int) -> float:
    """Share of the discriminator's λ at a step: rises to 1."""
    return min(1.0, step / _RAMP_STEPS)


def cut_mouths(pictures: list[Tensor], lips: Tensor, unit_px: float, top: int) -> list[Tensor]:
    """The same window around the lips of each of several pictures, unresampled.

    Args:
        pictures: Boxes of crops. Shapes (T, C, h, w).
        lips: Points in crop px. Shape (T, V, 2).
        unit_px: One inter-ocular distance, px.
        top: First row of the box in the crop, px.

    Returns:
        Shapes (T, C, h', w'): 1.1 by 1.65 inter-ocular distances, in steps of 16 px, or as much as
        the box has.
    """
    height, width = pictures[0].shape[-2:]
    tall, wide = (
        min(side, max(_WINDOW_STEP, _WINDOW_STEP * round(share * unit_px / _WINDOW_STEP)))
        for side, share in zip((height, width), _WINDOW, strict=True)
    )
    middle = (lips.detach().amin(1) + lips.detach().amax(1)) / 2
    starts = [
        (
            min(max(round(y - top - tall / 2), 0), height - tall),
            min(max(round(x - wide / 2), 0), width - wide),
        )
        for x, y in middle.tolist()
    ]
    return [
        torch.stack(
            [
                image[:, y : y + tall, x : x + wide]
                for image, (y, x) in zip(picture, starts, strict=True)
            ]
        )
        for picture in pictures
    ]
