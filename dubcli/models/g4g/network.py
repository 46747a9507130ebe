"""G4G: fine-grained intra-modal alignment for talking faces.

Paper: Zhang et al. 2024, arXiv:2402.18122. What it shares with DINet (AAAI 2023), whose layers it
builds on, is taken from there. Original code: none published. Weights: none that ship, see
docs/g4g.md.

Deviations of the default configuration, each with its reason. The preset `paper` has those alone
that are marked with a star:

* E_s and E_r give maps, E_l and E_a vectors: AdaIN's mean and deviation and the warps need maps,
  though the paper writes all four as vectors. (*)
* `drawn_mouth`: the landmark picture shows the mouth that a head on E_a predicts, under the frame's
  own pose. The sound alone, through AdaIN and affines of whole channels, moves no lips on an hour
  of data. E_s and the decoder see the picture, too. Without it the picture shows the person's
  mouth at rest (*): the current lips would tell the network the answer. It has three soft maps
  (lips, opening, jaw), not one of lines (*).
* v itself stands for the aligned feature in L_v: a head of its own would be trained by nothing
  else. (*)
* v comes of a hidden mouth, so a matrix of v against sound has nothing to find but leakage. The
  diagonal is taught on real mouths, five grey frames through E_m, which shares g_v (*); made mouths
  are held to the frozen encoders, relative to the real ones' own score, against adversarial lips.
  There are no momentum encoders: a batch of vectors is cheap here. (*)
* Half of a row's negatives are the same clip at other moments: else people are told apart. (*)
* E_a is dilated convolutions over a recogniser's features beside log-mel, 1.15 s around a frame,
  and coefficients are averaged over small shifts; a loss on the head's mouths keeps a few hundred
  people from being learned by heart.
* Two half-planes of the map have affines of their own: 64 channels are few to vote on local motion.
* The references' own colours at H/4 are deformed beside the features, and the decoder sees them and
  those of the source: normalisation takes colours away, and 500 steps without them painted every
  person in one skin. (*)
* `copied_pixels`: the references' own pixels are moved under the drawn mouth, and the decoder tells
  how much of each counts beside what it paints: affines of 64 channels carry no beard and no teeth
  after an hour of training. Logits begin at how alike the lips are.
* The number of a sample's mask is embedded and added to p; sizes of the masks are this
  project's. (*)
* Sampling grids are those of `align_corners=False`, and begin at no deformation. (*)
* The blend net's layers are this project's; its last convolution begins as a copy of the composite.
  The source that it sees is hidden inside the mask. (*)
* Only the lips and their surroundings are taken from the result; around them the frame's own skin
  is deformed to the new jaw, and references lend fine detail under their landmarks. The paper
  pastes the face.
* 208 x 160 px and widths for one core of a processor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from dubcli.models.api import (
    AudioSpec,
    CropSpec,
    FigureSpec,
    ModelSpec,
    ModelWindow,
    Motion,
    Patches,
    ReferencePolicy,
    Subject,
)
from dubcli.models.common.encoders import PictureEncoder
from dubcli.models.common.mouth_map import (
    INNER_BOTTOM,
    INNER_TOP,
    NUM_CHANNELS,
    closed_not_crossed,
    draw_mouth,
    keep_lip_thickness,
    pixel_grid,
    shape_distance,
    warp,
    warped_mixture,
)
from dubcli.models.common.own_skin import (
    LentDetail,
    own_background,
    reference_grid,
    within_own_skin,
)
from dubcli.models.common.window_rows import rows_around
from dubcli.models.g4g.config import G4GConfig
from dubcli.models.g4g.deformation import ChannelDeformation
from dubcli.models.g4g.inter_modal import InterModalAlignment, grey_mouths, resting_centres
from dubcli.models.g4g.intra_modal import IntraModalAlignment
from dubcli.models.g4g.options import G4GOptions
from dubcli.models.g4g.painting import (
    BlendNet,
    StackDecoder,
    composite_of,
    scale_masks,
    soft_mask,
)
from dubcli.models.g4g.sound_half import SoundHalf
from dubcli.models.g4g.stack_state import StackState

# The only role that references play.
ROLE = "references"
# How strongly a reference is preferred whose lips already have the wanted shape.
_SHAPE_SHARPNESS = 1600.0
# Power of the references' shares when generating: a mixture of five is softer than each.
_SHARP_MIXING = 4.0
# Logit of a reference that shows another mouth altogether: low, and still with a gradient.
_LEAST_LIKING = -20.0
# Frames that a processor paints at once: maps of a whole window leave its caches.
_IN_CACHE = 8
# Twice what chance would give, 1 of 17.
_LOW_ALIGNMENT = 0.12


@dataclass(frozen=True, kw_only=True)
class Painted:
    """What the network makes of the box.

    Attributes:
        rgb: After the blend net, or the composite where it is left out. Shape (T, 3, h, w).
        painted: The composite before it. Shape (T, 3, h, w).
        warped: Î, what the decoder gives. Shape (T, 3, h, w).
        v: The aligned feature. Shape (T, d).
        code: l_r; None without alignment. Shape (T, d).
        lent: Where each reference shows the mouths, and how well it fits, see `G4G._lent`; None
            without copied pixels.
    """

    rgb: Tensor
    painted: Tensor
    warped: Tensor
    v: Tensor
    code: Tensor | None
    lent: tuple[Tensor, Tensor] | None


class G4G(nn.Module):
    """Sound half, both alignments, deformation and painting, behind the model contract."""

    def __init__(self, config: G4GConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or G4GConfig()
        self.options = G4GOptions()
        self.sound = SoundHalf(config)
        self.matcher = InterModalAlignment(config)
        maps = NUM_CHANNELS if config.drawn_mouth else 0
        self.source_encoder = PictureEncoder(4, maps, config.channels)
        self.reference_encoder = PictureEncoder(3 * config.num_references, 0, config.channels)
        self.alignment = IntraModalAlignment(config)
        self.deformation = ChannelDeformation(config)
        self.decoder = StackDecoder(config)
        self.blend = BlendNet(config.blend_width) if config.has_blend else None

    @property
    def spec(self) -> ModelSpec:
        """What the pipeline must supply."""
        config = self.config
        margin = max(self.sound.margin, config.shifts[-1])
        chance = f"1 of {len(config.shifts)}"
        return ModelSpec(
            name="g4g",
            crop=CropSpec(size=(config.height, config.width)),
            audio=AudioSpec(kind=config.audio_kind, width=config.audio_width + 2 * margin),
            context=config.reach,
            references={ROLE: ReferencePolicy(count=config.num_references, has_detail=True)},
            needs=frozenset({"landmarks"}),
            gives_motion=config.drawn_mouth,
            takes_motion=config.drawn_mouth,
            paste=config.paste,
            figures={
                "alignment": FigureSpec(
                    help="the model's own opinion, no metric: share that it gives a frame's own "
                    f"sound for the mouth it made, among shifts of it; {chance} is chance",
                    low_below=_LOW_ALIGNMENT,
                ),
                "alignment_rank": FigureSpec(
                    help="the model's own opinion, no metric: place of a frame's own sound among "
                    f"{len(config.shifts)} shifts of it, 1 the best",
                ),
            },
        )

    def configure(self, options: G4GOptions | None) -> None:
        """How the next dubs are made; None: as by default."""
        self.options = options or G4GOptions()

    def prepare(self, subject: Subject) -> StackState:
        """The person's references, encoded as one stack."""
        references = subject.references[ROLE]
        state = self.encode_references(references.crops[None], references.points[None])
        return replace(state, points=references.points, pictures=references.crops)

    def encode_references(self, pictures: Tensor, points: Tensor) -> StackState:
        """States of B stacks; features are sorted from closed to open.

        Args:
            pictures: Shape (B, N, 3, H, W).
            points: Their speaking points. Shape (B, N, S, 2).
        """
        gap = points[:, :, INNER_BOTTOM] - points[:, :, INNER_TOP]
        order = gap.square().sum(-1).argsort(dim=1, stable=True)
        rows = torch.arange(len(pictures), device=pictures.device)[:, None]
        stack = pictures[rows, order][..., self.config.top :, :].flatten(1, 2)
        features = self.deformation.before(self.reference_encoder(stack, None))
        colours = functional.avg_pool2d(stack, 4).to(features.dtype)
        return StackState(
            features=torch.cat([features, colours], 1), points=points, pictures=pictures
        )

    def state_tensors(self, state: StackState) -> dict[str, Tensor]:
        """The encoded stack and the points of its pictures."""
        return state.tensors()

    def state_from_tensors(self, tensors: dict[str, Tensor], subject: Subject) -> StackState:
        """The state of stored tensors and the references that they belong to."""
        pictures = subject.references[ROLE].crops
        return StackState.from_tensors(tensors, pictures, self.config.reference_channels)

    def facts(self, state: StackState) -> Mapping[str, object]:
        """How many different references there were."""
        return {"references": len(state.points.unique(dim=0))}

    def predict_motion(self, window: ModelWindow, state: StackState) -> Motion | None:
        """The mouths that the window's sound asks for; None without a drawn mouth."""
        if not self.config.drawn_mouth:
            return None
        made = self.sound.smoothed(window.audio[window.emit])
        return self.motion_of(self.options.articulation * made, window.geometry.neutral)

    def motion_of(self, coefficients: Tensor, neutral: Tensor) -> Motion:
        """Mouths of coefficients (T, P) of a person at rest (S, 3)."""
        # Sub-pixel positions need more digits than mixed precision has.
        with torch.autocast(coefficients.device.type, enabled=False):
            asked = self.sound.speaking_points(coefficients.float(), neutral)
            points = keep_lip_thickness(closed_not_crossed(asked), neutral)
        return Motion(points=points, confidence=points.new_ones(len(points)), source=self.spec.name)

    def render(self, window: ModelWindow, motion: Motion | None, state: StackState) -> Patches:
        """Pictures of mouths and what the model thinks of them.

        Frames of the context are painted, too: E_m looks at several mouths.
        """
        config, crops = self.config, window.shown()
        heard = self.sound.shifted(window.audio, config.shifts)
        own, frames = heard[:, len(config.shifts) // 2], len(crops)
        with torch.autocast(crops.device.type, enabled=False):
            resting = window.geometry.place(window.geometry.neutral.expand(frames, -1, -1))
        if motion is None or not config.drawn_mouth:
            made, _ = self._painted(crops, crops, resting, own, state)
            rgb = torch.cat([crops[:, :, : config.top], made], 2)
            patches = Patches(rgb=rgb[window.emit])
        else:
            with torch.autocast(crops.device.type, enabled=False):
                speaking = window.geometry.place(motion.points)
            rgb, patches = self._with_drawn_mouth(window, speaking, own, state)
        centres = resting_centres(resting)
        grey = grey_mouths(rgb, centres, config.unit_px)
        mouths = grey[rows_around(window, config.reach)]
        share, rank = self.matcher.scores(mouths, heard[window.emit])
        return replace(patches, figures={"alignment": share, "alignment_rank": rank})

    def _with_drawn_mouth(
        self,
        window: ModelWindow,
        speaking: Tensor,
        heard: Tensor,
        state: StackState,
    ) -> tuple[Tensor, Patches]:
        """All frames' crops with wanted mouths (T, S, 2), and the patches of those wanted."""
        config, crops, emit = self.config, window.shown(), window.emit
        top, unit = config.top, config.unit_px
        with torch.autocast(crops.device.type, enabled=False):
            field, background = own_background(crops, window.landmarks, speaking, top, unit)
        rgb, lent = self._painted(crops, background, speaking, heard, state)
        if not config.own_skin:
            whole = torch.cat([crops[:, :, :top], rgb], 2)
            return whole, Patches(rgb=whole[emit], points=speaking[emit])
        with torch.autocast(crops.device.type, enabled=False):
            grid, liking = lent or self._lent(speaking, state.points)
            shares = liking.softmax(1)[..., None, None].expand(grid.shape[:-1])
        patches = within_own_skin(
            LentDetail(rgb=rgb[emit], grid=grid[emit], weights=shares[emit]),
            background[emit],
            speaking[emit],
            field[emit],
            top=top,
            unit_px=unit,
        )
        # Around the lips the context's frames are as they were generated.
        whole = torch.cat([crops[:, :, :top], rgb], 2)
        return whole, patches

    def _painted(
        self, crops: Tensor, background: Tensor, shown: Tensor, heard: Tensor, state: StackState
    ) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """The box (T, 3, h, w) as `paint` makes it, sharp, and what it lent."""
        most = _IN_CACHE if crops.device.type == "cpu" else len(crops)
        scales = torch.full((len(crops),), self.config.scale_number, device=crops.device)
        rows = (x.split(most) for x in (crops, background, shown, heard, scales))
        parts = [
            self.paint(crop, behind, points, sound, state, scale, sharp=True)
            for crop, behind, points, sound, scale in zip(*rows, strict=True)
        ]
        rgb = torch.cat([part.rgb for part in parts]).clamp(0, 1)
        lent = [part.lent for part in parts if part.lent is not None]
        if not lent:
            return rgb, None
        grids, likings = zip(*lent, strict=True)
        return rgb, (torch.cat(grids), torch.cat(likings))

    def _lent(self, speaking: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Where each reference shows what wanted mouths (T, S, 2) show, and how well it fits.

        Args:
            speaking: Wanted mouths.
            points: Of the references, (N, S, 2) or (T, N, S, 2).

        Returns:
            Grids (T, N, h, w, 2) over whole crops, normalised, and logits (T, N).
        """
        config, unit = self.config, self.config.unit_px
        size = (config.height, config.width)
        grid = reference_grid(speaking, points, size, config.top, unit)
        return grid, -_SHAPE_SHARPNESS * shape_distance(speaking, points, unit)

    def _with_copied_pixels(
        self,
        painted: Tensor,
        logits: Tensor,
        lent: tuple[Tensor, Tensor],
        pictures: Tensor,
        *,
        sharp: bool,
    ) -> Tensor:
        """Î: references' pixels under the wanted mouths beside the painted picture."""
        with torch.autocast(painted.device.type, enabled=False):
            grid, liking = lent
            liking = functional.pad(liking.clamp_min(_LEAST_LIKING), (0, 1))[..., None, None]
            logits = logits + liking
            share = logits.softmax(1)[:, -1:]
            mixed = (logits[:, :-1] * (_SHARP_MIXING if sharp else 1)).softmax(1)
            if sharp:
                copied = warped_mixture(pictures.float(), grid, mixed)
            else:
                copied = (mixed[:, :, None] * warp(pictures.float(), grid)).sum(1)
            return (1 - share) * copied + share * painted

    def paint(
        self,
        crops: Tensor,
        background: Tensor,
        shown: Tensor,
        heard: Tensor,
        state: StackState,
        scales: Tensor,
        *,
        has_blend: bool = True,
        sharp: bool = False,
    ) -> Painted:
        """Alignment, deformation, decoder, composite and blend net, on the box.

        Args:
            crops: Source crops; what the mask hides is not read. Shape (T, 3, H, W).
            background: What the result is composited over. Shape (T, 3, H, W).
            shown: Speaking points that L_r shows, crop px. Shape (T, S, 2).
            heard: a. Shape (T, d).
            state: The references' stack, one or that of each frame.
            scales: Number of each frame's mask. Shape (T,), int64.
            has_blend: The blend net takes part, where there is one.
            sharp: Prefer one reference to a mixture, and sample it by cubic interpolation: crisper
                than what training, which must let every part learn, would choose.
        """
        top = self.config.top
        masks = scale_masks(crops)[:, :, top:]
        mask = masks[scales]
        height, width = mask.shape[-2:]
        with torch.autocast(crops.device.type, enabled=False):
            grid = pixel_grid(height // 4, width // 4, 4, (top, 0))
            drawn = draw_mouth(shown, grid, 0.035 * self.config.unit_px)
            soft = soft_mask(masks.float(), self.config.unit_px)[scales]
        hidden = torch.cat([crops[:, :, top:] * (1 - mask), mask], 1)
        source = self.source_encoder(hidden, drawn if self.config.drawn_mouth else None)
        v, code = self.alignment(source, state.features.expand(len(crops), -1, -1, -1), drawn)
        deformed = self.deformation(state.features, v, heard, scales)
        made, logits = self.decoder(source, hidden, deformed, drawn)
        lent = None
        if logits is not None:
            with torch.autocast(crops.device.type, enabled=False):
                lent = self._lent(shown, state.points)
            made = self._with_copied_pixels(made, logits, lent, state.pictures, sharp=sharp)
        behind = background[:, :, top:]
        painted = composite_of(made, behind, soft)
        rgb = painted
        if self.blend is not None and has_blend:
            rgb = self.blend(painted, behind * (1 - mask), soft)
        return Painted(rgb=rgb, painted=painted, warped=made, v=v, code=code, lent=lent)
