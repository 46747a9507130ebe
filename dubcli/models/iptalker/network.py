"""IPTalker: identity-preserving video dubbing by motion warping.

Paper: Liu et al. 2025, arXiv:2501.04586 (IJCV 134(5), doi:10.1007/s11263-026-02800-8).
Original code: none published. Weights: this project's own, see docs/weights.md.

Deviations of the default config, each with its reason; `PAPER` turns them off:
* `mask="fixed"`: the paper's hull of the source's lower face moves with the source mouth and
  tells the network the answer (its authors' later finding, arXiv:2608.18832). A fixed region is
  masked instead, and the unmasked current frame (in training a time-shifted one) is a separate
  background reference.
* `geometry_map`: the alignment feature predicts the mouth's landmarks, which are drawn as a map
  that conditions E_S, the warping network and SPADE; AdaIN takes their coefficients, a bottleneck
  of v_alg. So audio and picture train apart, the picture also from silent video. The landmarks
  also give the flow's first guess, and the network predicts what is missing; the warped pictures
  themselves are blended in through a gate, which keeps the person's own texture.
* `fusion="select"`: warped references are mixed by channel-wise weights (arXiv:2608.18832) in
  place of a convolution, which entangles their mouth shapes.
* `align_to_references=False`, in the shipped weights only: with sound of 28 people E_v's tokens
  learn the people by heart (r of mouth opening on strangers 0.57 with them, 0.61 without), so
  zeros stand in for them.
* With the map only the lips and their surroundings are generated; around them the current frame's
  own skin is deformed to the new jaw, so no second chin shows and texture stays.
* Coefficients are averaged over small shifts of the audio window: steadier lips.
* Audio is heard by the encoder of a newer recogniser than DeepSpeech, beside log-mel.
* Only the crop's part below the eyes is encoded and decoded: nothing above it is replaced.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional

from dubcli.models.api import DetailWarp, ModelSpec, ModelWindow, Patches
from dubcli.models.common.encoders import (
    AudioEncoder,
    CrossModalityEncoder,
    PictureEncoder,
    VisualEncoder,
)
from dubcli.models.common.layers import AdaINBlock, SPADEBlock, conv
from dubcli.models.common.masks import SPEAKING, mouth_mask
from dubcli.models.common.mouth_map import (
    NUM_CHANNELS,
    OUTER,
    closed_not_crossed,
    draw_mouth,
    landmark_displacement,
    normalised,
    outline_distance,
    pixel_grid,
    resize_grid,
    shape_distance,
    warp,
)
from dubcli.models.iptalker.config import NAMED_CONFIGS, PAPER, IPTalkerConfig
from dubcli.models.iptalker.reference_state import ReferenceState

NUM_POINTS = 102
__all__ = ["NAMED_CONFIGS", "PAPER", "IPTalker", "IPTalkerConfig", "ReferenceState"]
# How strongly a reference is preferred whose lips already have the wanted shape.
_SHAPE_SHARPNESS = 400.0
# Shifts of the audio window over which coefficients are averaged, mel steps, and their spread.
_SHIFTS = (-8, -4, 0, 4, 8)
_SHIFT_SPREAD = 4.0
# A predictor that is unsure moves too little (half as much as people do, on strangers): some of
# that is given back.
ARTICULATION = 1.25
# Exponents that sharpen the shares of the references and widen the gate when generating.
_SHARP_MIXING, _SHARP_GATE = 4.0, 0.4
# The generated part reaches this far beyond the lips and fades out over this, inter-ocular units.
_LIP_MARGIN, _LIP_SOFTNESS = 0.14, 0.035


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """Output of the warping and inpainting modules, on the repainted box.

    Attributes:
        rgb: Generated box, [0, 1]. Shape (T, 3, h, w).
        warped: Warped references, mixed, [0, 1]. Shape (T, 3, h, w).
        painted: The decoder's own picture, [0, 1]. Shape (T, 3, h, w).
        gate: Share of `warped` in `rgb`, the rest is `painted`. Shape (T, 1, h, w).
        grid: Where each pixel looks in each reference, normalised. Shape (T, N, h, w, 2).
        weights: Share of each reference. Shape (T, N, h, w).
    """

    rgb: Tensor
    warped: Tensor
    painted: Tensor
    gate: Tensor
    grid: Tensor
    weights: Tensor


class AudioVisualAlignmentUnit(nn.Module):
    """AVAU (eq. 2, fig. 3a): self-attention within, then attention across the modalities."""

    def __init__(self, embedding: int, heads: int) -> None:
        super().__init__()
        self.self_norm, self.visual_norm = nn.LayerNorm(embedding), nn.LayerNorm(embedding)
        self.audio_norm, self.feed_norm = nn.LayerNorm(embedding), nn.LayerNorm(embedding)
        self.self_attention = nn.MultiheadAttention(embedding, heads, batch_first=True)
        self.audio_to_visual = nn.MultiheadAttention(embedding, heads, batch_first=True)
        self.visual_to_audio = nn.MultiheadAttention(embedding, heads, batch_first=True)
        self.feed = nn.Sequential(
            nn.Linear(embedding, 2 * embedding), nn.GELU(), nn.Linear(2 * embedding, embedding)
        )

    def forward(self, visual: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (T, N, D) and (T, 1, D), both updated."""
        num = visual.shape[1]
        tokens = torch.cat([visual, audio], 1)
        normed = self.self_norm(tokens)
        tokens = tokens + self.self_attention(normed, normed, normed, need_weights=False)[0]
        visual, audio = tokens[:, :num], tokens[:, num:]
        v, a = self.visual_norm(visual), self.audio_norm(audio)
        audio = audio + self.audio_to_visual(a, v, v, need_weights=False)[0]
        visual = visual + self.visual_to_audio(v, a, a, need_weights=False)[0]
        tokens = torch.cat([visual, audio], 1)
        tokens = tokens + self.feed(self.feed_norm(tokens))
        return tokens[:, :num], tokens[:, num:]


class AlignmentModule(nn.Module):
    """Section III-B: which reference mouth the audio asks for, and with the map, its landmarks.

    The last layers turn v_alg into mouth coefficients; `neutral + basis @ coefficients` are
    pose-free speaking points.
    """

    basis: Tensor

    def __init__(self, config: IPTalkerConfig) -> None:
        super().__init__()
        size = config.embedding
        self.audio_encoder = AudioEncoder(
            config.audio_size, config.audio_width, size, config.audio_dropout
        )
        self.visual_encoder = VisualEncoder(size)
        self.audio_token = nn.Parameter(torch.randn(size) * 0.02)
        self.visual_token = nn.Parameter(torch.randn(size) * 0.02)
        self.units = nn.ModuleList(
            AudioVisualAlignmentUnit(size, config.num_heads)
            for _ in range(config.num_alignment_units)
        )
        self.cross_modality = CrossModalityEncoder(size)
        if config.geometry_map:
            self.to_coefficients = nn.Sequential(
                nn.LayerNorm(size),
                nn.Linear(size, size),
                nn.SiLU(),
                nn.Linear(size, config.num_coefficients),
            )
        self.register_buffer("basis", torch.zeros(config.num_coefficients, NUM_POINTS, 3))

    def forward(self, audio: Tensor, visual_tokens: Tensor) -> Tensor:
        """v_alg of eq. 3: audio (T, A, D_audio), E_v embeddings (N, D) or (T, N, D) to (T, D)."""
        e_a = self.audio_encoder(audio) + self.audio_token
        if visual_tokens.ndim == 2:
            visual_tokens = repeat(visual_tokens, "n d -> t n d", t=len(audio))
        visual, aware = visual_tokens + self.visual_token, e_a[:, None]
        for unit in self.units:
            visual, aware = unit(visual, aware)
        return self.cross_modality(visual, aware) + e_a

    def speaking_points(self, coefficients: Tensor, neutral: Tensor) -> Tensor:
        """Pose-free speaking points (T, S, 3) of coefficients (T, P)."""
        return neutral + torch.einsum("tp,psc->tsc", coefficients, self.basis)


class WarpingNetwork(nn.Module):
    """F_UNet (eq. 6): fused features to one motion flow per reference, modulated by AdaIN.

    Also gives each reference's share of the mixed picture.
    """

    def __init__(self, config: IPTalkerConfig) -> None:
        super().__init__()
        width, code = config.warp_channels, config.embedding
        maps = NUM_CHANNELS if config.geometry_map else 0
        sources = config.channels * (1 + config.num_references) + maps
        self.num = config.num_references
        self.fuse = conv(sources, width, 1)
        self.enter = AdaINBlock(width, width, code)
        self.down = AdaINBlock(width, width * 3 // 2, code, stride=2)
        self.bottom1 = AdaINBlock(width * 3 // 2, width * 3 // 2, code)
        self.bottom2 = AdaINBlock(width * 3 // 2, width * 3 // 2, code)
        self.up = conv(width * 3 // 2, width, 1)
        self.leave = AdaINBlock(width, width, code)
        self.head = conv(width, 3 * self.num)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, fused: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        """Flow (T, N, h, w, 2) in units of the template, and logits (T, N, h, w)."""
        x = self.enter(self.fuse(fused), code)
        y = self.down(x, code)
        y = y + self.bottom2(self.bottom1(y, code), code)
        y = functional.interpolate(self.up(y), x.shape[-2:], mode="bilinear", align_corners=False)
        out = self.head(functional.silu(self.leave(x + y, code)))
        flow, logits = out[:, : 2 * self.num], out[:, 2 * self.num :]
        return rearrange(flow, "t (n c) h w -> t n h w c", c=2) * 0.1, logits


class InpaintingDecoder(nn.Module):
    """Section III-D: SPADE decoder over warped and source features."""

    def __init__(self, config: IPTalkerConfig) -> None:
        super().__init__()
        maps = NUM_CHANNELS if config.geometry_map else 0
        pictures = 3 if config.geometry_map else 0
        deep, wide, hidden = config.channels, config.decoder_channels, config.spade_channels
        self.spade_quarter = SPADEBlock(2 * deep, deep, 2 * deep + maps, hidden)
        self.widen = conv(deep, wide, 1)
        self.spade_half = SPADEBlock(wide, wide, wide + maps + pictures + 4, hidden)
        self.to_full = conv(wide, 4 * 12)
        self.shuffle = nn.PixelShuffle(2)
        self.refine = conv(12 + pictures + 4, 16)
        self.out = conv(16, 4)

    def forward(
        self, f_w: Tensor, f_s: Tensor, source: Tensor, warped: Tensor | None, maps: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Generated picture and gate at full size: (T, 3, h, w), (T, 1, h, w).

        Args:
            f_w: Warped features. Shape (T, C, h/4, w/4).
            f_s: Source features. Shape (T, C, h/4, w/4).
            source: Masked source with its mask. Shape (T, 4, h, w).
            warped: Mixed warped references. Shape (T, 3, h, w).
            maps: Mouth maps at 1/2 and 1/4, or empty.
        """
        both = torch.cat([f_w, f_s], 1)
        x = self.spade_quarter(both, torch.cat([both, *maps[1:]], 1))
        x = functional.interpolate(self.widen(x), scale_factor=2, mode="nearest")
        pictures = source if warped is None else torch.cat([source, warped], 1)
        condition = torch.cat([x, functional.avg_pool2d(pictures, 2), *maps[:1]], 1)
        x = self.spade_half(x, condition)
        x = self.shuffle(self.to_full(functional.silu(x)))
        x = functional.silu(self.refine(torch.cat([x, pictures], 1)))
        rgb, gate = self.out(x).split((3, 1), 1)
        return torch.sigmoid(rgb), torch.sigmoid(gate)


class IPTalker(nn.Module):
    """The three modules together, behind the model contract."""

    def __init__(self, config: IPTalkerConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or IPTalkerConfig()
        maps = NUM_CHANNELS if config.geometry_map else 0
        # Masked source, mask and, with the fixed mask, the background reference.
        source_channels = 7 if config.mask == "fixed" else 4
        self.alignment = AlignmentModule(config)
        self.source_encoder = PictureEncoder(source_channels, maps, config.channels)
        self.reference_encoder = PictureEncoder(3, maps, config.channels)
        self.warping = WarpingNetwork(config)
        if config.geometry_map:
            self.coefficient_code = nn.Sequential(
                nn.Linear(config.num_coefficients, config.embedding),
                nn.SiLU(),
                nn.Linear(config.embedding, config.embedding),
            )
        if config.fusion == "select":
            self.select = conv(2 * config.channels, config.channels, 1)
        else:
            self.fuse = conv(config.num_references * config.channels, config.channels)
        self.decoder = InpaintingDecoder(config)

    @property
    def spec(self) -> ModelSpec:
        """What the pipeline must supply."""
        config = self.config
        return ModelSpec(
            name="iptalker",
            crop_size=(config.height, config.width),
            audio_kind=config.audio_kind,
            audio_width=config.audio_width + (2 * _SHIFTS[-1] if config.geometry_map else 0),
            num_references=config.num_references,
            window=16,
        )

    def encode_references(self, references: Tensor, landmarks: Tensor) -> ReferenceState:
        """F_R (eq. 4) and E_v (eq. 1) of references (N, 3, H, W) with points (N, S, 2)."""
        box = references[:, :, self.config.top :]
        maps = self._maps(landmarks, box.shape[-2:])
        return ReferenceState(
            pictures=references,
            features=self.reference_encoder(box, maps[0] if maps else None),
            points=landmarks,
            tokens=self._tokens(box),
        )

    def state_tensors(self, state: ReferenceState) -> dict[str, Tensor]:
        """All but the pictures."""
        return state.tensors()

    def state_from_tensors(self, tensors: dict[str, Tensor], references: Tensor) -> ReferenceState:
        """The state of stored tensors and the crops (N, 3, H, W) that they belong to."""
        sizes = {"features": self.config.channels, "tokens": self.config.embedding}
        return ReferenceState.from_tensors(tensors, references, sizes)

    def _tokens(self, box: Tensor) -> Tensor:
        if self.config.align_to_references:
            return self.alignment.visual_encoder(box)
        return box.new_zeros(len(box), self.config.embedding)

    def generate(self, window: ModelWindow, state: ReferenceState) -> Patches:
        """New mouths for the window's audio."""
        if not self.config.geometry_map:
            return self.paint(window, state, None)
        return self.paint(window, state, self.coefficients(window.audio, state.tokens))

    def paint(
        self, window: ModelWindow, state: ReferenceState, coefficients: Tensor | None
    ) -> Patches:
        """New mouths of these coefficients (T, P); without a map, for the window's audio."""
        speaking, field, background = None, None, window.crops
        if coefficients is not None:
            # Sub-pixel positions need more digits than mixed precision has.
            with torch.autocast(window.crops.device.type, enabled=False):
                canonical = closed_not_crossed(
                    self.alignment.speaking_points(coefficients.float(), window.geometry.neutral)
                )
                speaking = window.geometry.place(canonical)
                field = self._own_field(window, speaking)
                background = functional.grid_sample(
                    window.crops, field, padding_mode="border", align_corners=False
                )
            code = self.coefficient_code(coefficients)
        else:
            code = self.alignment(window.audio, state.tokens)
        out = self.render(
            window.crops, background, window.landmarks, speaking, code, state, sharp=True
        )
        top = self.config.top
        above = window.crops[:, :, :top]
        if speaking is None or field is None:
            return Patches(rgb=torch.cat([above, out.rgb], 2))
        share = self._mouth_share(speaking)
        rgb = share[:, None] * out.rgb + (1 - share[:, None]) * background[:, :, top:]
        detail = DetailWarp(
            grid=out.grid,
            weights=_equal_energy(out.weights) * share[:, None],
            source_grid=field[:, top:],
            source_weight=1 - share,
            box=(top, self.config.height, 0, self.config.width),
        )
        return Patches(rgb=torch.cat([above, rgb], 2), speaking=speaking, detail=detail)

    def coefficients(self, audio: Tensor, tokens: Tensor) -> Tensor:
        """Mouth coefficients (T, P), averaged over small shifts of the audio window.

        Gaussian in time around the frame's own moment: steadier lips at any frame rate, without
        looking at other frames.
        """
        width, margin = self.config.audio_width, _SHIFTS[-1]
        weights = audio.new_tensor([_shift_weight(shift) for shift in _SHIFTS])
        total = audio.new_zeros(len(audio), self.config.num_coefficients)
        for shift, weight in zip(_SHIFTS, weights / weights.sum(), strict=True):
            part = audio[:, margin + shift : margin + shift + width]
            total = total + weight * self.alignment.to_coefficients(self.alignment(part, tokens))
        return ARTICULATION * total

    def _own_field(self, window: ModelWindow, speaking: Tensor) -> Tensor:
        """Where the current frames show what belongs at each pixel once the jaw has moved.

        Their own skin is kept around the new mouth, deformed with it; else the source's chin would
        stand beside the generated one. Normalised grids, shape (T, H, W, 2).
        """
        own = window.landmarks[:, SPEAKING]
        height, width = self.config.height // 4, self.config.width // 4
        cells = pixel_grid(height, width, 4, (0, 0))
        moved = landmark_displacement(speaking, own[:, None], cells, self.config.unit_px)
        field = resize_grid(moved, self.config.height, self.config.width)[:, 0]
        pixels = pixel_grid(self.config.height, self.config.width, 1, (0, 0)).to(field)
        return normalised(pixels + field, (self.config.height, self.config.width))

    def _mouth_share(self, speaking: Tensor) -> Tensor:
        """How much of each box pixel is generated: lips and what they hide. Shape (T, h, w)."""
        config = self.config
        height, width = (config.height - config.top) // 4, config.width // 4
        cells = pixel_grid(height, width, 4, (config.top, 0))
        distance = outline_distance(speaking[:, OUTER], cells) / config.unit_px
        share = torch.sigmoid((distance + _LIP_MARGIN) / _LIP_SOFTNESS)
        return functional.interpolate(
            share[:, None], scale_factor=4, mode="bilinear", align_corners=False
        )[:, 0]

    def render(
        self,
        crops: Tensor,
        background: Tensor,
        landmarks: Tensor,
        speaking: Tensor | None,
        code: Tensor,
        state: ReferenceState,
        *,
        sharp: bool = False,
    ) -> Rendered:
        """Warping (eq. 4-7) and inpainting modules.

        Args:
            crops: Source crops; what the mask hides is not read. Shape (T, 3, H, W).
            background: Unmasked pictures of the same scene. Shape (T, 3, H, W).
            landmarks: Source landmarks, for the hull mask. Shape (T, K, 2).
            speaking: Wanted speaking points, crop px (T, S, 2); None without a map.
            code: AdaIN's code. Shape (T, D).
            state: Encoded references.
            sharp: Prefer one reference to a mixture, and references to paint: crisper than what
                training, which must let every part learn, would choose.
        """
        top = self.config.top
        mask = mouth_mask(self.config.mask, crops, landmarks)[:, :, top:]
        source = torch.cat([crops[:, :, top:] * (1 - mask), mask], 1)
        size = source.shape[-2:]
        maps = [] if speaking is None else self._maps(speaking, size)
        shown = source
        if self.config.mask == "fixed":
            shown = torch.cat([source, background[:, :, top:]], 1)
        f_s = self.source_encoder(shown, maps[0] if maps else None)
        flow, logits = self._flow(f_s, code, speaking, maps, state)
        f_w = self._mix_features(self._warp_features(state, flow), f_s)
        grid = resize_grid(self._look_up(flow), *size)
        logits = functional.interpolate(logits, size, mode="bilinear", align_corners=False)
        weights = (logits * (_SHARP_MIXING if sharp else 1)).softmax(1)
        warped = (warp(state.pictures, grid, cubic=sharp) * weights[:, :, None]).sum(1)
        painted, gate = self.decoder(
            f_w, f_s, source, warped if self.config.geometry_map else None, maps
        )
        gate = gate**_SHARP_GATE if sharp else gate
        rgb = gate * warped + (1 - gate) * painted if self.config.geometry_map else painted
        return Rendered(
            rgb=rgb, warped=warped, painted=painted, gate=gate, grid=grid, weights=weights
        )

    def _maps(self, points: Tensor, size: tuple[int, ...] | torch.Size) -> list[Tensor]:
        """The mouth drawn on the box at 1/2 and 1/4."""
        if not self.config.geometry_map:
            return []
        grid = pixel_grid(size[0] // 4, size[1] // 4, 4, (self.config.top, 0))
        half = draw_mouth(points, grid, softness_px=0.035 * self.config.unit_px)
        return [half, functional.avg_pool2d(half, 2)]

    def _flow(
        self,
        f_s: Tensor,
        code: Tensor,
        speaking: Tensor | None,
        maps: list[Tensor],
        state: ReferenceState,
    ) -> tuple[Tensor, Tensor]:
        """Displacement (T, N, h/4, w/4, 2) in crop px, and mixing logits (T, N, h/4, w/4)."""
        height, width = f_s.shape[-2:]
        unit = self.config.unit_px
        first = f_s.new_zeros(len(f_s), state.features.shape[-4], height, width, 2)
        prior = 0.0
        if speaking is not None:
            cells = pixel_grid(height, width, 4, (self.config.top, 0))
            first = landmark_displacement(speaking, state.points, cells, unit)
            unlike = shape_distance(speaking, state.points, unit)
            prior = -_SHAPE_SHARPNESS * unlike[..., None, None]
        aligned = rearrange(self._warp_features(state, first), "t n c h w -> t (n c) h w")
        fused = torch.cat([f_s, aligned, *maps[1:]], 1)
        rest, logits = self.warping(fused, code)
        return first + rest * unit, logits + prior

    def _warp_features(self, state: ReferenceState, displacement: Tensor) -> Tensor:
        """F_R (eq. 7) moved by displacements (T, N, h, w, 2) in crop px to (T, N, C, h, w)."""
        height, width = displacement.shape[2:4]
        cells = pixel_grid(height, width, 4, (0, 0)).to(displacement)
        return warp(state.features, normalised(cells + displacement, (4 * height, 4 * width)))

    def _look_up(self, displacement: Tensor) -> Tensor:
        """Displacement in crop px to a grid over whole reference crops."""
        height, width = displacement.shape[2:4]
        cells = pixel_grid(height, width, 4, (self.config.top, 0)).to(displacement)
        return normalised(cells + displacement, (self.config.height, self.config.width))

    def _mix_features(self, warped: Tensor, f_s: Tensor) -> Tensor:
        """F_w of eq. 7, one map: channel-wise selection or the paper's convolution."""
        if self.config.fusion == "plain":
            return self.fuse(rearrange(warped, "t n c h w -> t (n c) h w"))
        num = warped.shape[1]
        pairs = torch.cat([warped, repeat(f_s, "t c h w -> t n c h w", n=num)], 2)
        scores = self.select(rearrange(pairs, "t n c h w -> (t n) c h w"))
        share = rearrange(scores, "(t n) c h w -> t n c h w", n=num).softmax(1)
        return (share * warped).sum(1)


def _equal_energy(weights: Tensor) -> Tensor:
    """Shares (T, N, h, w) whose squares sum to 1.

    Fine detail of several pictures is unrelated, so their average has less of it than each.
    """
    return weights / weights.square().sum(1, keepdim=True).sqrt().clamp_min(0.5)


def _shift_weight(shift: int) -> float:
    return math.exp(-0.5 * (shift / _SHIFT_SPREAD) ** 2)
