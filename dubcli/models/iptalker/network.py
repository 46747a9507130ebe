"""IPTalker: identity-preserving video dubbing by motion warping.

Paper: Liu et al. 2025, arXiv:2501.04586 (IJCV 134(5), doi:10.1007/s11263-026-02800-8).
Original code: none published. Weights: this project's own, see docs/weights.md.

Deviations of the default configuration, each with its reason. The preset `PAPER` has none of them:

* `alignment="audio"`, in the shipped weights (presets `sound-alone`, `few-people`): with sound of
  28 people E_v's tokens learn the people by heart (r of mouth opening on strangers 0.57 with them,
  0.61 without), so zeros stand for them. These weights hear the sound alone: AVAU and E_cm are a
  network on e_a, E_v lies idle in the file, and references are chosen by landmarks, not by eq. 2.
* `mask="fixed"`: the paper's hull of the source's lower face moves with the source mouth and
  tells the network the answer (its authors' later finding, arXiv:2608.18832). A fixed region is
  masked instead, and the unmasked current frame (in training a time-shifted one) is a separate
  background reference.
* `geometry_map`: the alignment feature predicts the mouth's landmarks, which are drawn as a map
  that conditions E_S, the warping network and SPADE; AdaIN takes their coefficients, a bottleneck
  of v_alg. So audio and picture train apart, the picture also from silent video. The landmarks
  also give the flow's first guess, by which F_R is moved before E_u (eq. 5), and the network
  predicts what is missing; the warped pictures themselves are blended in through a gate, which
  keeps the person's own texture.
* `fusion="select"`: warped references are mixed by channel-wise weights (arXiv:2608.18832);
  a convolution over them (`plain`) entangles their mouth shapes.
* With the map only the lips and their surroundings are generated; around them the current frame's
  own skin is deformed to the new jaw, so no second chin shows and texture stays. It answers the
  paper's limitation, a mouth that floats at an angle of its own in the face.
* Coefficients are averaged over small shifts of the audio window: steadier lips.
* Audio is heard by the encoder of a newer recogniser than DeepSpeech, beside log-mel.
* Crops of 208 x 160 px, not 416 x 320, and only the part below the eyes is encoded and decoded:
  nothing above it is replaced. E_v sees that part, not the lower half.
* `modulation="blocks"`: SPADE and AdaIN inside residual blocks alone, not before each layer; at H/2
  SPADE sees the running feature, not F_w and F_S; the masked picture joins again before the last
  convolutions.
* `paste="lower-face"`: the result is laid over the frame by the lower face's hull, not the face's.

What `PAPER` has otherwise than the paper, or where the paper says nothing:

* The features are log-mel; DeepSpeech's are not offered.
* The mask enters E_S as a fourth channel.
* Eq. 5 adds tensors of C and N C channels; here they are concatenated, and E_u is a 1 x 1
  convolution. Eq. 7 leaves N warped maps; a 3 x 3 convolution makes one F_w of them.
* SPADE's scales and shifts are computed at H/4, where F_w and F_S are, and enlarged.
* Landmarks are 133 of MediaPipe's, times the video's own, not 25 fps.
* D, C, N, k, heads, depths and widths are this project's. The paper gives none.
* Eq. 12 cannot be computed without the map (docs/training.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from dubcli.models.api import (
    AudioSpec,
    CropSpec,
    ModelSpec,
    ModelWindow,
    Motion,
    OwnSpeech,
    Patches,
    ReferencePolicy,
    Subject,
)
from dubcli.models.common.encoders import PictureEncoder
from dubcli.models.common.layers import concatenated, conv, mixture
from dubcli.models.common.masks import mouth_mask
from dubcli.models.common.mouth_basis import coefficients_of
from dubcli.models.common.mouth_map import (
    NUM_CHANNELS,
    closed_not_crossed,
    draw_mouth,
    keep_lip_thickness,
    landmark_displacement,
    normalised,
    pixel_grid,
    resize_grid,
    shape_distance,
    warp,
    warped_mixture,
)
from dubcli.models.common.mouth_window import BoxPart, mouth_part
from dubcli.models.common.own_skin import own_background, within_own_skin
from dubcli.models.iptalker.alignment import (
    NUM_POINTS,
    AlignmentModule,
    PairedAlignment,
    build_alignment,
)
from dubcli.models.iptalker.config import NAMED_CONFIGS, PAPER, IPTalkerConfig
from dubcli.models.iptalker.inpainting import build_decoder
from dubcli.models.iptalker.options import IPTalkerOptions
from dubcli.models.iptalker.reference_state import ReferenceState
from dubcli.models.iptalker.speaker_style import SpeakerStyle, style_of
from dubcli.models.iptalker.warping import WarpingNetwork

__all__ = ["NAMED_CONFIGS", "NUM_POINTS", "PAPER", "IPTalker", "IPTalkerConfig", "ReferenceState"]
# The only role that references play.
ROLE = "references"
# How strongly a reference is preferred whose lips already have the wanted shape.
_SHAPE_SHARPNESS = 400.0
# Shifts of the audio window over which coefficients are averaged, in spreads.
_SHIFTS = (-2, -1, 0, 1, 2)
# Exponents that sharpen the shares of the references and widen the gate when generating.
_SHARP_MIXING, _SHARP_GATE = 4.0, 0.4


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """Output of the warping and inpainting modules, on the repainted box or a part of it.

    Attributes:
        rgb: Generated, [0, 1]. Shape (T, 3, h, w) of the box or of the part that was wanted.
        warped: Warped references, mixed, [0, 1]. Shape (T, 3, h, w).
        painted: The decoder's own picture, [0, 1]. Shape (T, 3, h, w).
        gate: Share of `warped` in `rgb`, the rest is `painted`. Shape (T, 1, h, w).
        grid: Where each pixel of the box looks in each reference, normalised.
            Shape (T, N, h, w, 2).
        weights: Share of each reference on the box. Shape (T, N, h, w).
    """

    rgb: Tensor
    warped: Tensor
    painted: Tensor
    gate: Tensor
    grid: Tensor
    weights: Tensor


class IPTalker(nn.Module):
    """The three modules together, behind the model contract."""

    alignment: AlignmentModule | PairedAlignment

    def __init__(self, config: IPTalkerConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or IPTalkerConfig()
        self.options = IPTalkerOptions()
        maps = NUM_CHANNELS if config.geometry_map else 0
        # Masked source, mask and, with the fixed mask, the background reference.
        source_channels = 7 if config.mask == "fixed" else 4
        self.alignment = build_alignment(config)
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
        self.decoder = build_decoder(config)

    @property
    def spec(self) -> ModelSpec:
        """What the pipeline must supply."""
        config = self.config
        return ModelSpec(
            name="iptalker",
            crop=CropSpec(size=(config.height, config.width)),
            audio=AudioSpec(
                kind=config.heard_kind,
                width=config.audio_width + (2 * self._margin if config.geometry_map else 0),
            ),
            references={ROLE: ReferencePolicy(count=config.num_references, has_detail=True)},
            needs=frozenset({"landmarks", "own_speech"} if self._has_style else {"landmarks"}),
            gives_motion=config.geometry_map,
            takes_motion=config.geometry_map,
            paste=config.paste,
        )

    @property
    def _margin(self) -> int:
        """Feature steps beyond the window on either side that `coefficients` sees."""
        return _SHIFTS[-1] * self.config.audio_smoothing

    @property
    def _has_style(self) -> bool:
        return self.config.geometry_map and self.options.speaker_style

    def configure(self, options: IPTalkerOptions | None) -> None:
        """How the next dubs are made; None: as by default."""
        self.options = IPTalkerOptions() if options is None else options

    def prepare(self, subject: Subject) -> ReferenceState:
        """F_R and E_v of the subject's references, and the person's own manner of speaking."""
        references = subject.references[ROLE]
        state = self.encode_references(references.crops, references.points)
        if subject.own_speech is None or not self._has_style:
            return state
        return replace(state, style=self._style(subject.own_speech, subject.neutral, state.tokens))

    def _style(self, own: OwnSpeech, neutral: Tensor, tokens: Tensor) -> SpeakerStyle:
        """The manner of a person whose mouth rests at `neutral` (S, 3)."""
        # A user who wants more articulation wants more of the person's own, too.
        factor = IPTalkerOptions().articulation / self.options.articulation
        predicted = factor * self.coefficients(own.audio, tokens)
        basis = self.alignment.basis
        return style_of(predicted, coefficients_of(own.points - neutral, basis), basis, own.seconds)

    def encode_references(self, references: Tensor, landmarks: Tensor) -> ReferenceState:
        """F_R (eq. 4) and E_v (eq. 1) of references (N, 3, H, W) with points (N, S, 2)."""
        box = references[:, :, self.config.top :]
        maps = self._maps(landmarks, box.shape[-2:])
        return ReferenceState(
            pictures=references,
            features=self.reference_encoder(box, maps[0] if maps else None),
            points=landmarks,
            tokens=self.alignment.encode_references(references[:, :, self.config.visual_row :]),
        )

    def state_tensors(self, state: ReferenceState) -> dict[str, Tensor]:
        """All but the pictures."""
        return state.tensors()

    def state_from_tensors(self, tensors: dict[str, Tensor], subject: Subject) -> ReferenceState:
        """The state of stored tensors and the references that they belong to."""
        sizes = {"features": self.config.channels, "tokens": self.config.token_size}
        return ReferenceState.from_tensors(tensors, subject.references[ROLE].crops, sizes)

    def facts(self, state: ReferenceState) -> Mapping[str, object]:
        """What was taken of the person's own speech."""
        if not self._has_style:
            return {}
        if state.style is None:
            return {"speaker_style": None}
        return {"speaker_style": state.style.told()}

    def predict_motion(self, window: ModelWindow, state: ReferenceState) -> Motion | None:
        """The mouths that the window's audio asks for; None without a map."""
        if not self.config.geometry_map:
            return None
        coefficients = self.coefficients(window.audio[window.emit], state.tokens)
        if state.style is not None:
            coefficients = state.style.apply(coefficients)
        return self.motion_of(coefficients, window.geometry.neutral)

    def motion_of(self, coefficients: Tensor, neutral: Tensor) -> Motion:
        """Mouths of coefficients (T, P) of a person at rest (S, 3)."""
        # Sub-pixel positions need more digits than mixed precision has.
        with torch.autocast(coefficients.device.type, enabled=False):
            asked = self.alignment.speaking_points(coefficients.float(), neutral)
            points = keep_lip_thickness(closed_not_crossed(asked), neutral)
        return Motion(
            points=points,
            confidence=points.new_ones(len(points)),
            source=self.spec.name,
            latent=coefficients,
        )

    def render(self, window: ModelWindow, motion: Motion | None, state: ReferenceState) -> Patches:
        """Pictures of mouths; without a map of the window's audio, which no mouth stands for."""
        crops, landmarks = window.shown()[window.emit], window.landmarks[window.emit]
        if motion is None or not self.config.geometry_map:
            code = self.alignment(window.audio[window.emit], state.tokens)
            out = self.warp_and_inpaint(crops, crops, landmarks, None, code, state, sharp=True)
            return Patches(rgb=torch.cat([crops[:, :, : self.config.top], out.rgb], 2))
        motion = motion.rows(window.emit)
        with torch.autocast(crops.device.type, enabled=False):
            speaking = window.geometry.rows(window.emit).place(motion.points)
            field, background = own_background(
                crops, landmarks, speaking, self.config.top, self.config.unit_px
            )
        code = self.coefficient_code(self._coefficients_of(motion, window.geometry.neutral))
        box = (self.config.height - self.config.top, self.config.width)
        part = mouth_part(speaking, box, self.config.top, self.config.unit_px)
        out = self.warp_and_inpaint(
            crops, background, landmarks, speaking, code, state, sharp=True, part=part
        )
        return within_own_skin(
            out,
            background,
            speaking,
            field,
            top=self.config.top,
            unit_px=self.config.unit_px,
            part=part,
        )

    def _coefficients_of(self, motion: Motion, neutral: Tensor) -> Tensor:
        """Coefficients (T, P) of a motion; of another model's by least squares on the basis."""
        if motion.source == self.spec.name and motion.latent is not None:
            return motion.latent
        basis = self.alignment.basis.flatten(1)
        offset = (motion.points - neutral).flatten(1)
        return torch.linalg.lstsq(basis.T, offset.T).solution.T

    def coefficients(self, audio: Tensor, tokens: Tensor) -> Tensor:
        """Mouth coefficients (T, P), averaged over small shifts of the audio window.

        Gaussian in time around the frame's own moment: steadier lips at any frame rate, without
        looking at other frames.
        """
        weights = audio.new_tensor([math.exp(-0.5 * shift**2) for shift in _SHIFTS])
        heard = audio[:, : self.config.audio_width + 2 * self._margin]
        v_alg = self.alignment.over_shifts(heard, tokens, self.config.audio_smoothing)
        each = self.alignment.to_coefficients(v_alg)
        total = (each * (weights / weights.sum())[:, None, None]).sum(0)
        return self.options.articulation * total

    def warp_and_inpaint(
        self,
        crops: Tensor,
        background: Tensor,
        landmarks: Tensor,
        speaking: Tensor | None,
        code: Tensor,
        state: ReferenceState,
        *,
        sharp: bool = False,
        part: BoxPart | None = None,
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
            part: Of which part of the box pictures and gate are wanted; None: of all.
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
        if sharp:
            warped = warped_mixture(state.pictures, grid, weights)
        else:
            warped = (warp(state.pictures, grid) * weights[:, :, None]).sum(1)
        painted, gate = self.decoder(
            f_w, f_s, source, warped if self.config.geometry_map else None, maps, part
        )
        warped = warped if part is None else part.of(warped)
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
        shape = (len(f_s), state.features.shape[-4], height, width, 2)
        first = f_s.new_zeros(shape, dtype=torch.promote_types(f_s.dtype, torch.float32))
        prior = 0.0
        if speaking is not None:
            cells = pixel_grid(height, width, 4, (self.config.top, 0))
            first = landmark_displacement(speaking, state.points, cells, unit)
            unlike = shape_distance(speaking, state.points, unit)
            prior = -_SHAPE_SHARPNESS * unlike[..., None, None]
        aligned = self._warp_features(state, first)
        fused = concatenated([f_s, *aligned.unbind(1), *maps[1:]])
        rest, logits = self.warping(fused, code)
        # Places in a crop are up to half a pixel off in bfloat16.
        return first + rest.to(first) * unit, logits.to(first) + prior

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
        """F_w of eq. 7, one map of N: channel-wise selection, or a convolution."""
        if self.config.fusion == "plain":
            return self.fuse(rearrange(warped, "t n c h w -> t (n c) h w"))
        # One convolution of both, taken apart: its half of F_S is the same for all references.
        other, own = self.select.weight.split(warped.shape[2], 1)
        # References first, as `warp` leaves them in memory.
        flat = concatenated([warped.transpose(0, 1).flatten(0, 1)])
        scores = functional.conv2d(flat, other).unflatten(0, (warped.shape[1], -1))
        scores = scores + functional.conv2d(f_s, own, self.select.bias)
        # Softmax wants memory in order.
        shares = scores.movedim(2, -1).softmax(0).movedim(-1, 2)
        return mixture(flat.unflatten(0, scores.shape[:2]), shares)
