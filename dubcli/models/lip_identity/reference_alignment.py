"""Section 3.2.1: the alignment model M_a, a flow and a weight for each reference image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dubcli.models.common.encoders import PictureEncoder
from dubcli.models.common.layers import ResidualBlock, SPADEBlock, conv, mixture
from dubcli.models.common.mouth_map import (
    NUM_CHANNELS,
    landmark_displacement,
    normalised,
    pixel_grid,
    resize_grid,
    shape_distance,
    warp,
    warped_mixture,
)
from dubcli.models.lip_identity.config import LipIdentityConfig
from dubcli.models.lip_identity.person_state import PersonState

# How strongly a reference is preferred whose lips already have the wanted shape.
_SHAPE_SHARPNESS = 400.0
# Exponent that sharpens the shares of the references when generating.
SHARP_MIXING = 12.0
# Flow of the head's unit output, inter-ocular distances.
_FLOW_UNIT = 0.1


@dataclass(frozen=True, kw_only=True)
class AlignedReferences:
    """References, moved to the wanted mouth and mixed by their weights.

    Attributes:
        image: Ī. Shape (T, 3, h, w).
        half: f̄ at H/2. Shape (T, C/2, h/2, w/2).
        quarter: f̄ at H/4. Shape (T, C, h/4, w/4).
        grid: Where each pixel looks in each reference crop, normalised. Shape (T, N, h, w, 2).
        weights: w over their sum. Shape (T, N, h, w).
    """

    image: Tensor
    half: Tensor
    quarter: Tensor
    grid: Tensor
    weights: Tensor


class ReferenceAlignment(nn.Module):
    """M_a: E_r, E_m, their fusion, SPADE under the sketches, and heads for flow and weight."""

    def __init__(self, config: LipIdentityConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.channels
        self.reference_encoder = PictureEncoder(3, NUM_CHANNELS, channels)
        self.occluded_encoder = PictureEncoder(4, 0, channels)
        if config.alignment == "none":
            return
        sources = 1 if config.alignment == "reference-only" else 2
        self.enter = conv(sources * channels, channels, 1)
        self.fusion = ResidualBlock(channels)
        self.spade = SPADEBlock(
            channels, channels, NUM_CHANNELS * config.num_sketches, config.spade_channels
        )
        self.head = conv(channels, 3)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # pyright: ignore[reportArgumentType]

    def forward(
        self,
        occluded: Tensor,
        speaking: Tensor,
        sketches: Tensor,
        state: PersonState,
        *,
        sharp: bool = False,
    ) -> AlignedReferences:
        """Flows and weights, and what they make of the references.

        Args:
            occluded: E_m's features of the occluded face at H/4. Shape (T, C, h/4, w/4).
            speaking: Wanted speaking points, crop px. Shape (T, S, 2).
            sketches: Mouths around each frame, drawn at H/4. Shape (T, 3 (2 k + 1), h/4, w/4).
            state: Encoded references.
            sharp: Prefer one reference to a mixture.
        """
        displacement, scores = self._flow(occluded, speaking, sketches, state)
        height, width = occluded.shape[-2:]
        size = (4 * height, 4 * width)
        if sharp:
            scores = scores * SHARP_MIXING
        fine = functional.interpolate(scores, size, mode="bilinear", align_corners=False)
        grid = self._look_up(resize_grid(displacement, *size), 1, self.config.top)
        shares = fine.softmax(1)
        return AlignedReferences(
            image=warped_mixture(state.pictures, grid, shares)
            if sharp
            else _mixed(warp(state.pictures, grid), shares),
            half=self._features(state.half, displacement, scores, 2),
            quarter=self._features(state.quarter, displacement, scores, 4),
            grid=grid,
            weights=shares,
        )

    def _features(
        self, features: Tensor, displacement: Tensor, scores: Tensor, stride: int
    ) -> Tensor:
        """f̄ at one size: features (N, C, h', w') moved and mixed to (T, C, h', w')."""
        size = (features.shape[-2], features.shape[-1])
        if stride != 4:
            displacement = resize_grid(displacement, *size)
            scores = functional.interpolate(scores, size, mode="bilinear", align_corners=False)
        grid = self._look_up(displacement, stride, 0)
        return _mixed(warp(features, grid), scores.softmax(1))

    def _look_up(self, displacement: Tensor, stride: int, top: int) -> Tensor:
        """Displacement in crop px to a grid, over whole crops, or over their boxes for `top` 0."""
        height, width = displacement.shape[2:4]
        cells = pixel_grid(height, width, stride, (top, 0)).to(displacement)
        rows = self.config.height if top else stride * height
        return normalised(cells + displacement, (rows, stride * width))

    def _flow(
        self, occluded: Tensor, speaking: Tensor, sketches: Tensor, state: PersonState
    ) -> tuple[Tensor, Tensor]:
        """Displacement (T, N, h/4, w/4, 2) in crop px, and logarithms of w (T, N, h/4, w/4)."""
        config, num = self.config, state.points.shape[-3]
        frames, _, height, width = occluded.shape
        first = occluded.new_zeros((frames, num, height, width, 2), dtype=torch.float32)
        if config.alignment == "none":
            return first, first[..., 0]
        prior = first[..., 0]
        if config.first_guess:
            cells = pixel_grid(height, width, 4, (config.top, 0))
            first = landmark_displacement(speaking, state.points, cells, config.unit_px)
            unlike = shape_distance(speaking, state.points, config.unit_px)
            prior = -_SHAPE_SHARPNESS * unlike[..., None, None]
        shown = warp(state.quarter, self._look_up(first, 4, 0)).flatten(0, 1)
        if config.alignment == "full":
            shown = torch.cat([occluded.repeat_interleave(num, 0), shown.to(occluded.dtype)], 1)
        x = self.fusion(self.enter(shown))
        x = self.spade(x, sketches.repeat_interleave(num, 0))
        out = self.head(functional.silu(x)).float().unflatten(0, (frames, num))
        flow = out[:, :, :2].movedim(2, -1) * (_FLOW_UNIT * config.unit_px)
        # w is a sigmoid, and only its share of their sum is used.
        return first + flow, functional.logsigmoid(out[:, :, 2]) + prior


def _mixed(warped: Tensor, shares: Tensor) -> Tensor:
    """Σ w F(x) / Σ w of (T, N, C, h, w) and shares (T, N, h, w)."""
    return mixture(warped.transpose(0, 1), shares.transpose(0, 1)[:, :, None])
