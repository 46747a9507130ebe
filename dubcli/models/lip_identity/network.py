"""Talking Face Generation with Lip and Identity Priors.

Paper: Wu et al. 2025, Computer Animation and Virtual Worlds, doi:10.1002/cav.70026. Its first stage
is the landmark generator of IP_LAP (Zhong et al., CVPR 2023), whose sizes and losses it takes over.
Original code: none published. Weights: this project's own, see docs/lip_identity.md.

Deviations of the default configuration, each with its reason. The preset `paper` has those alone
that are marked with a star:

* The generator predicts pose-free 3-D speaking points as coefficients of a basis, which the frame's
  own pose places, not 2-D points of a box: head pose need not be learned. (*)
* Its pose token is the head's rotation: landmarks of the upper face move with the source's own
  mouth and would tell what it says. (*)
* Reference landmarks enter as coefficients of mouth minus rest: whole faces let a transformer
  recognise the few hundred people of the training set. Reference mouths of training keep away from
  the frames that are asked for, and one factor enlarges both, so that references alone tell how far
  a person's mouth moves. (*)
* Its sound is heard by dilated convolutions over a recogniser's features beside log-mel, 1.15 s
  around each of nine moments, and coefficients are averaged over small shifts: the paper blames
  jitter of landmarks for its distance in sync.
* The flow starts from the landmarks' own displacement, and references whose lips have the wanted
  shape weigh more from the start: from nothing, flow is not learned in an hour. w is a sigmoid; a
  share of the sum is taken in logarithms, which needs no epsilon. (The last also in `paper`.)
* E_r takes image and landmarks (the paper writes it with both and with the image alone), grids are
  made and sampled by one convention. (*)
* The gap between I^c and the decoder is closed by a gate: the aligned image is mixed into the
  result, which keeps the person's own texture. SPADE alone does not learn to copy in an hour.
* Reference lips are windows around the mouth, not whole faces, and f-bar is put back in its place:
  a quarter of the work.
* Audio-aware attention: with one vector of sound, as in IP_LAP, softmax over one key is 1 and f-bar
  is thrown away (tests/parity shows it). The sound keeps sixteen moments, scores are scaled, and
  what is attended to is added to f-bar. `paper` takes the equation by its letter.
* Sketches are three soft maps (lips, opening, jaw) of the mouths of five frames under the current
  pose, not lines of the whole face. (*)
* A fixed region is hidden, not the lower half, and the mask is a channel (* the channel): chin and
  cheeks of the source tell its mouth.
* Only the lips and their surroundings are generated; around them the frame's own skin is deformed
  to the new jaw. The paper pastes the face.
* 208 x 160 px and widths for one core of a CPU; four to five reference images where the paper takes
  25 of which near frames are part, see docs/lip_identity.md.

Images and lips are the same pictures, one role: an identity holds references of one role.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from dubcli.models.api import (
    NUM_SPEAKING,
    AudioSpec,
    CropSpec,
    ModelSpec,
    ModelWindow,
    Motion,
    Patches,
    ReferencePolicy,
    ReferenceSet,
    Subject,
)
from dubcli.models.common.lip_windows import cut_windows, put_back, window_corners
from dubcli.models.common.masks import SPEAKING, mouth_mask
from dubcli.models.common.mouth_basis import coefficients_of
from dubcli.models.common.mouth_map import (
    INNER,
    INNER_BOTTOM,
    INNER_TOP,
    OUTER,
    closed_not_crossed,
    draw_mouth,
    pixel_grid,
)
from dubcli.models.common.mouth_window import BoxPart, mouth_part
from dubcli.models.common.own_skin import own_background, within_own_skin
from dubcli.models.common.window_rows import middle_steps, rows_around
from dubcli.models.lip_identity.config import LipIdentityConfig
from dubcli.models.lip_identity.landmark_generator import LandmarkGenerator
from dubcli.models.lip_identity.lip_rendering import RenderingModel
from dubcli.models.lip_identity.options import LipIdentityOptions
from dubcli.models.lip_identity.person_state import PersonState
from dubcli.models.lip_identity.reference_alignment import ReferenceAlignment

_LOG = logging.getLogger(__name__)
# The only role that references play.
ROLE = "references"
_LIP_POINTS = slice(OUTER.start, INNER.stop)
# Exponent that widens the gate when generating (docs).
SHARP_GATE = 0.05


@dataclass(frozen=True, kw_only=True)
class LipRendered:
    """What both models make of the box; pictures of the part that was wanted.

    Attributes:
        rgb: Î, [0, 1]. Shape (T, 3, h, w) of the box or of its part.
        warped: Ī, [0, 1]. Shape (T, 3, h, w).
        painted: The decoder's own picture, [0, 1]. Shape (T, 3, h, w).
        grid: Where each pixel looks in each reference, normalised. Shape (T, N, h, w, 2).
        weights: Share of each reference. Shape (T, N, h, w).
    """

    rgb: Tensor
    warped: Tensor
    painted: Tensor
    grid: Tensor
    weights: Tensor


class LipIdentity(nn.Module):
    """Landmark generator, alignment model and rendering model, behind the model contract."""

    basis: Tensor
    person_sets: Tensor

    def __init__(self, config: LipIdentityConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or LipIdentityConfig()
        self.options = LipIdentityOptions()
        self.landmarks = LandmarkGenerator(config)
        self.alignment = ReferenceAlignment(config)
        self.rendering = RenderingModel(config)
        self.register_buffer("basis", torch.zeros(config.num_coefficients, NUM_SPEAKING, 3))
        # Reference landmarks of a learned person; zeros in weights of all people.
        shape = (config.num_landmark_sets, config.num_coefficients)
        self.register_buffer("person_sets", torch.zeros(shape))

    @property
    def spec(self) -> ModelSpec:
        """What the pipeline must supply."""
        config = self.config
        return ModelSpec(
            name="lip-identity",
            crop=CropSpec(size=(config.height, config.width)),
            audio=AudioSpec(
                kind=config.audio_kind, width=max(self.landmarks.width, config.attention_width)
            ),
            context=config.reach,
            # One role, so that identities can hold it.
            references={
                ROLE: ReferencePolicy(
                    count=max(config.num_images, config.num_lips), has_detail=True
                )
            },
            needs=frozenset({"landmarks", "track"}),
            gives_motion=True,
            takes_motion=True,
            paste=config.paste,
        )

    def configure(self, options: LipIdentityOptions | None) -> None:
        """How the next dubs are made; None: as by default."""
        self.options = options or LipIdentityOptions()

    def prepare(self, subject: Subject) -> PersonState:
        """The person's references, encoded: as images, as lips, and as landmarks."""
        references = subject.references[ROLE]
        wanted, different = len(references.points), _num_different(references.points)
        if different < wanted:
            _LOG.warning(
                "Only %d of the video's frames can serve as references, %d are wanted.",
                different,
                wanted,
            )
        half, quarter = self.encode_images(references.crops, references.points)
        return PersonState(
            pictures=references.crops,
            points=references.points,
            half=half,
            quarter=quarter,
            lips=self._reference_lips(references),
            sets=self._landmark_sets(subject),
        )

    def _reference_lips(self, references: ReferenceSet) -> Tensor:
        """f^l of N_lip pictures at even steps of all, sorted by opening."""
        gap = references.points[:, INNER_BOTTOM] - references.points[:, INNER_TOP]
        order = gap.square().sum(-1).argsort(stable=True)
        chosen = order[even_steps(len(order), self.config.num_lips).to(order.device)]
        return self.encode_lips(references.crops[chosen], references.points[chosen])

    def _landmark_sets(self, subject: Subject) -> Tensor:
        """Coefficients (N_l, P) at even steps of the track's mouths sorted by opening.

        Those of a learned person stay what was learned. Zeros, the mouth at rest, where nothing
        is known: that is shown in training, too.
        """
        num, track = self.config.num_landmark_sets, subject.track
        is_learned = bool((self.person_sets != 0).any())
        if is_learned or track is None or not bool(track.valid.any()):
            return self.person_sets.clone()
        mouths = track.points[track.valid][:, SPEAKING]
        gap = mouths[:, INNER_BOTTOM] - mouths[:, INNER_TOP]
        order = gap.square().sum(-1).argsort(stable=True)
        chosen = order[even_steps(len(order), num).to(order.device)]
        with torch.autocast(mouths.device.type, enabled=False):
            return coefficients_of(mouths[chosen] - subject.neutral, self.basis)

    def state_tensors(self, state: PersonState) -> dict[str, Tensor]:
        """All but the pictures."""
        return state.tensors()

    def state_from_tensors(self, tensors: dict[str, Tensor], subject: Subject) -> PersonState:
        """The state of stored tensors and the references that they belong to."""
        channels = self.config.channels
        sizes = {
            "half": channels // 2,
            "quarter": channels,
            "lips": channels,
            "sets": self.config.num_coefficients,
        }
        return PersonState.from_tensors(tensors, subject.references[ROLE].crops, sizes)

    def facts(self, state: PersonState) -> Mapping[str, object]:
        """How many different references there were."""
        return {
            "references": _num_different(state.points),
            "reference_landmarks": _num_different(state.sets),
        }

    def predict_motion(self, window: ModelWindow, state: PersonState) -> Motion:
        """The mouths that the window's sound asks for."""
        width, rows = self.landmarks.width, window.emit
        audio = middle_steps(window.audio[rows], width)
        made = self.landmarks.smoothed(audio, window.geometry.rotation[rows], state.sets)
        return self.motion_of(self.options.articulation * made, window.geometry.neutral)

    def motion_of(self, coefficients: Tensor, neutral: Tensor) -> Motion:
        """Mouths of coefficients (T, P) of a person at rest (S, 3)."""
        # Sub-pixel positions need more digits than mixed precision has.
        with torch.autocast(coefficients.device.type, enabled=False):
            points = closed_not_crossed(self.speaking_points(coefficients.float(), neutral))
        return Motion(points=points, confidence=points.new_ones(len(points)), source=self.spec.name)

    def render(self, window: ModelWindow, motion: Motion | None, state: PersonState) -> Patches:
        """Pictures of mouths, any model's; only with `own_skin` is there fine detail."""
        assert motion is not None
        config, rows = self.config, window.emit
        crops, landmarks = window.shown()[rows], window.landmarks[rows]
        geometry = window.geometry.rows(rows)
        with torch.autocast(crops.device.type, enabled=False):
            near = rows_around(window, config.reach)
            placed = [geometry.place(motion.points[near[:, at]]) for at in range(near.shape[1])]
            around = torch.stack(placed, 1)
            speaking = around[:, config.reach]
            field, background = own_background(
                crops, landmarks, speaking, config.top, config.unit_px
            )
        audio = middle_steps(window.audio[rows], config.attention_width)
        part = None
        if config.own_skin:
            box = (config.height - config.top, config.width)
            part = mouth_part(speaking, box, config.top, config.unit_px)
        out = self.align_and_render(crops, landmarks, around, audio, state, sharp=True, part=part)
        # Bicubic sampling overshoots.
        out = replace(out, rgb=out.rgb.clamp(0, 1))
        if not config.own_skin:
            rgb = torch.cat([crops[:, :, : config.top], out.rgb], 2)
            return Patches(rgb=rgb, points=speaking)
        return within_own_skin(
            out, background, speaking, field,
            top=config.top, unit_px=config.unit_px, part=part,
        )  # fmt: skip

    def speaking_points(self, coefficients: Tensor, neutral: Tensor) -> Tensor:
        """Pose-free speaking points (T, S, 3) of coefficients (T, P)."""
        return neutral + torch.einsum("tp,psc->tsc", coefficients, self.basis)

    def sketches(self, around: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Mouths around each frame, drawn on the box.

        Args:
            around: Speaking points under each frame's own pose, crop px. Shape (T, 2 k + 1, S, 2).
            height: Of the box, px.
            width: Of the box, px.

        Returns:
            At H/2, shape (T, 3 (2 k + 1), h/2, w/2), and at H/4.
        """
        grid = pixel_grid(height // 4, width // 4, 4, (self.config.top, 0))
        with torch.autocast(around.device.type, enabled=False):
            drawn = draw_mouth(around.flatten(0, 1), grid, 0.035 * self.config.unit_px)
        half = drawn.unflatten(0, tuple(around.shape[:2])).flatten(1, 2)
        return half, functional.avg_pool2d(half, 2)

    def encode_images(self, pictures: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """E_r of reference images (N, 3, H, W) with points (N, S, 2), at H/2 and H/4."""
        box = pictures[:, :, self.config.top :]
        drawn, _ = self.sketches(points[:, None], *box.shape[-2:])
        return self.alignment.reference_encoder.levels(box, drawn)

    def encode_lips(self, pictures: Tensor, points: Tensor) -> Tensor:
        """f^l of pictures (N, 3, H, W) with points (N, S, 2). Shape (N, C, y, x)."""
        cells, top = self.config.window_cells, self.config.top
        if not self.config.has_lips:
            return pictures.new_zeros(len(pictures), self.config.channels, *cells)
        box = pictures[:, :, top:]
        height, width = box.shape[-2:]
        corners = window_corners(points[:, _LIP_POINTS], cells, (height // 4, width // 4), top)
        drawn, _ = self.sketches(points[:, None], height, width)
        tall, wide = cells
        return self.rendering.lips.lip_encoder(
            cut_windows(box, 4 * corners, (4 * tall, 4 * wide)),
            cut_windows(drawn, 2 * corners, (2 * tall, 2 * wide)),
        )

    def align_and_render(
        self,
        crops: Tensor,
        landmarks: Tensor,
        around: Tensor,
        audio: Tensor,
        state: PersonState,
        *,
        has_audio: Tensor | None = None,
        sharp: bool = False,
        part: BoxPart | None = None,
    ) -> LipRendered:
        """M_a and M_r.

        Args:
            crops: Source crops; what the mask hides is not read. Shape (T, 3, H, W).
            landmarks: Source landmarks, for the hull mask. Shape (T, K, 2).
            around: Wanted speaking points of the frames around each, crop px.
                Shape (T, 2 k + 1, S, 2).
            audio: Steps around each frame, as many as the attention hears. Shape (T, A, D).
            state: Encoded references.
            has_audio: Where there is sound; None: everywhere. Shape (T,).
            sharp: Prefer one reference to a mixture, and references to paint: crisper than what
                training, which must let every part learn, would choose.
            part: Of which part of the box pictures are wanted; None: of all.
        """
        config = self.config
        speaking = around[:, config.reach]
        mask = mouth_mask(config.mask, crops, landmarks)[:, :, config.top :]
        occluded = torch.cat([crops[:, :, config.top :] * (1 - mask), mask], 1)
        half_map, quarter_map = self.sketches(around, *occluded.shape[-2:])
        own_half, own_quarter = self.alignment.occluded_encoder.levels(occluded, None)
        aligned = self.alignment(own_quarter, speaking, quarter_map, state, sharp=sharp)
        x = self._lips(occluded, half_map, speaking, audio, state, has_audio)
        painted, gate = self.rendering.decoder(
            x,
            torch.cat([own_quarter, aligned.quarter.to(own_quarter.dtype)], 1),
            torch.cat([own_half, aligned.half.to(own_half.dtype)], 1),
            torch.cat([occluded, aligned.image], 1),
            part,
        )
        warped = aligned.image if part is None else part.of(aligned.image)
        rgb = painted
        if gate is not None:
            gate = gate**SHARP_GATE if sharp else gate
            rgb = gate * warped + (1 - gate) * painted
        return LipRendered(
            rgb=rgb,
            warped=warped,
            painted=painted,
            grid=aligned.grid,
            weights=aligned.weights,
        )

    def _lips(
        self,
        occluded: Tensor,
        drawn: Tensor,
        speaking: Tensor,
        audio: Tensor,
        state: PersonState,
        has_audio: Tensor | None,
    ) -> Tensor:
        """f_g in its place of the box. Shape (T, C, h/4, w/4)."""
        rendering, cells = self.rendering, self.config.window_cells
        face = rendering.lips.face_encoder(occluded, drawn)
        shape = (face.shape[-2], face.shape[-1])
        corners = window_corners(speaking[:, _LIP_POINTS], cells, shape, self.config.top)
        fused = rendering.lips(cut_windows(face, corners, cells), state.lips)
        if rendering.attention is not None:
            fused = rendering.attention(fused, audio, has_audio)
        return put_back(face, fused, corners)


def _num_different(rows: Tensor) -> int:
    """How many different ones there are along the first dimension."""
    return len(rows.unique(dim=0))


def even_steps(available: int, num: int) -> Tensor:
    """Positions of `num` out of `available`, both ends among them.

    Some repeat where there are fewer.
    """
    return torch.linspace(0, available - 1, num).round().long()
