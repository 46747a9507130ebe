"""PersonaTalk: Bring Attention to Your Persona in Visual Dubbing.

Paper: Zhang et al., SIGGRAPH Asia 2024, arXiv:2409.05379. Original code: none published.
Weights: this project's own, see docs/personatalk.md.

Deviations, each with its reason:

* Geometry is the speaking points of MediaPipe's mesh without pose, not a 3-D morphable model, which
  is not free: shape is the rest, expression the departure from it in a basis. The mesh is coloured
  by the mean rest of the training set. Eq. 1 and 2 are a choice (`geometry: fitted`).
* Eq. 3 has one query, the style; T stylised features are needed. Each moment asks: Q = S + PE, and
  the query and the sound are added to what is attended to.
* The template is one token in the paper, so softmax would be 1 and the sound lost. It is four
  tokens, and the stylised sound is kept as a residual.
* Sound is a recogniser's features beside log-mel, heard by dilated convolutions, in place of a
  HuBERT that is tuned along with the model.
* Self-attention sees 21 moments around each frame, not the whole video: memory must not grow with
  it, and a frame alone gives what it gives in its window.
* The paper tells no losses: those of this project's other models, and a correspondence loss.
* Attention's logits begin as distances on the mean face, its values carry the pixels of each cell
  beside features, and the decoder's picture is added to the pixels that attention copied: texture
  is copied from the first step on, which learning in an hour would not reach.
* Lip-Attention looks in windows around the mouth; Face-Attention in the neighbourhood of each place
  of one frame (the current one in use, a shifted one in training), since crops are aligned.
* When generating, references whose lips have the wanted shape are preferred: attention over 25 that
  learned from 5 averages teeth away.
* M^l is undefined in the paper; here the filled outer lips of the wanted geometry, grown by 0.14
  inter-ocular distances.
* Around the lips the frame's own skin is kept, deformed to the new jaw; the paper pastes the face.
* 208 x 160 px and widths for one core of a CPU.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dubcli.core.errors import ConfigError
from dubcli.models.api import (
    NUM_SPEAKING,
    AudioSpec,
    CropSpec,
    ModelSpec,
    ModelWindow,
    Motion,
    Patches,
    ReferencePolicy,
    Subject,
)
from dubcli.models.common.lip_windows import cut_windows, window_corners
from dubcli.models.common.masks import SPEAKING
from dubcli.models.common.mouth_map import INNER, OUTER, closed_not_crossed, shape_distance
from dubcli.models.common.own_skin import (
    LentDetail,
    mouth_share,
    own_background,
    reference_grid,
    within_own_skin,
)
from dubcli.models.personatalk.config import PersonaTalkConfig
from dubcli.models.personatalk.dual_attention import NUM_PIXELS, DualAttentionRenderer, Encoded
from dubcli.models.personatalk.face_fitting import LinearFace, fit_face
from dubcli.models.personatalk.lower_face_mesh import draw_pncc
from dubcli.models.personatalk.options import PersonaTalkOptions
from dubcli.models.personatalk.persona_state import PersonaState, fitting_persona
from dubcli.models.personatalk.style_geometry import GeometryConstruction

_LOG = logging.getLogger(__name__)
# Roles of references: pictures of the whole video, and with several faces those around each frame.
ROLE, FACES = "lips", "faces"
# Seconds of speech below which a style would be a guess.
LEAST_SPEECH_S = 4.0
# Weight, in the logits, of the mean squared difference of lip shapes, inter-ocular distances. Only
# when generating; training shows five references.
SHAPE_SHARPNESS = 10_000.0
# References that lend a frame's lips their fine detail, and how strongly the nearest is preferred.
_NUM_LENDING, _DETAIL_SHARPNESS = 3, 1600.0
_LIP_POINTS = slice(OUTER.start, INNER.stop)


@dataclass(frozen=True, kw_only=True)
class PersonaRendered:
    """What the renderer makes of the box.

    Attributes:
        rgb: [0, 1]. Shape (T, 3, h, w).
        warped: The pixels that attention copied. Shape (T, 3, h, w).
        painted: As rgb. Shape (T, 3, h, w).
        found: Coordinates on the mean face of the places that were copied. Shape (T, 3, h/4, w/4).
        wanted: Those of the wanted geometry, 0 outside the mesh. Shape (T, 3, h/4, w/4).
    """

    rgb: Tensor
    warped: Tensor
    painted: Tensor
    found: Tensor
    wanted: Tensor


class PersonaTalk(nn.Module):
    """Geometry construction and dual-attention renderer, behind the model contract."""

    basis: Tensor
    mean_face: Tensor
    person_style: Tensor

    def __init__(self, config: PersonaTalkConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PersonaTalkConfig()
        self.options = PersonaTalkOptions()
        self.geometry = GeometryConstruction(config)
        self.renderer = DualAttentionRenderer(config)
        self.register_buffer("basis", torch.zeros(config.num_coefficients, NUM_SPEAKING, 3))
        self.register_buffer("mean_face", torch.zeros(NUM_SPEAKING, 3))
        # Style of a learned person; zeros in weights of all people.
        self.register_buffer("person_style", torch.zeros(config.style_size))

    @property
    def spec(self) -> ModelSpec:
        """What the pipeline must supply."""
        config = self.config
        around = ReferencePolicy(count=config.num_faces, order="neighbours")
        return ModelSpec(
            name="personatalk",
            context=config.num_faces // 2,
            crop=CropSpec(size=(config.height, config.width)),
            audio=AudioSpec(kind=config.audio_kind, width=self.geometry.width),
            references={
                ROLE: ReferencePolicy(
                    count=config.num_lips,
                    train_count=config.train_lips,
                    order="opening",
                    has_detail=config.own_skin,
                ),
                **({FACES: around} if config.num_faces > 1 else {}),
            },
            needs=frozenset({"landmarks", "own_speech"}),
            least_speech_s=LEAST_SPEECH_S,
            gives_motion=True,
            takes_motion=True,
            paste="lower-face" if config.own_skin else "face",
        )

    def configure(self, options: PersonaTalkOptions | None) -> None:
        """How the next dubs are made; None: as by default."""
        self.options = options or PersonaTalkOptions()

    def prepare(self, subject: Subject) -> PersonaState:
        """The person's style, and lip references, encoded.

        Raises:
            ConfigError: The video that `style_from` names shows no speech in step with its sound.
        """
        references = subject.references[ROLE]
        style, seconds = self._style(subject)
        lips = self.encode_lips(references.crops, references.points)
        return PersonaState(
            points=references.points,
            lips=Encoded(
                keys=lips.keys[None], values=lips.values[None], coordinates=lips.coordinates[None]
            ),
            style=style,
            seconds=style.new_tensor([seconds]),
            frames=references.frames,
        )

    def _style(self, subject: Subject) -> tuple[Tensor, float]:
        """The style and the seconds of its speech; the mean style where there is too little."""
        mean = self.geometry.mean_style
        if self.options.style == "none":
            return mean, 0.0
        if subject.second is None and bool((self.person_style != 0).any()):
            return self.person_style.clone(), 0.0
        person = subject.second or subject
        speech = person.own_speech
        if subject.second is not None and speech is None:
            raise ConfigError(
                "The video of --style-from shows no speech in step with its sound.",
                "Name another recording of the person, or leave the option out.",
            )
        seconds = 0.0 if speech is None else speech.seconds
        if speech is None or seconds < LEAST_SPEECH_S:
            _LOG.warning(
                "The video has %.1f s of speech in step with its sound, a style of its own takes "
                "%.0f s: the mean style of all people is used. --style-from names another video.",
                seconds,
                LEAST_SPEECH_S,
            )
            return mean, 0.0
        with torch.autocast(mean.device.type, enabled=False):
            departures = self.departures_of(speech.points, person.neutral)
            return self.geometry.style_of(departures, self.basis), seconds

    @property
    def linear_face(self) -> LinearFace:
        """The face that is fitted, with `geometry: fitted`."""
        return LinearFace(
            mean=self.mean_face, identity=self.geometry.identity_basis, expression=self.basis
        )

    def rest_of(self, neutral: Tensor) -> Tensor:
        """The person's rest (S, 3) of the detected one (S, 3)."""
        if self.config.geometry == "detected":
            return neutral
        face = self.linear_face
        with torch.autocast(neutral.device.type, enabled=False):
            return face.rest(face.alpha_of(neutral))

    def departures_of(self, points: Tensor, neutral: Tensor) -> Tensor:
        """Departures from rest of frames that follow each other.

        Args:
            points: Detected speaking points without pose. Shape (T, S, 3).
            neutral: The detected rest. Shape (S, 3).

        Returns:
            Shape (T, S, 3).
        """
        if self.config.geometry == "detected":
            return points - neutral
        face = self.linear_face
        return face.departures(fit_face(points, neutral, face).beta)

    def state_tensors(self, state: PersonaState) -> dict[str, Tensor]:
        """All but the pictures."""
        return state.tensors(self.config.channels)

    def state_from_tensors(self, tensors: dict[str, Tensor], subject: Subject) -> PersonaState:
        """The state of stored tensors and the references that they belong to."""
        config, references = self.config, subject.references[ROLE]
        sizes = {"keys": config.key_size, "features": config.channels, "coordinates": 3}
        placed = fitting_persona(tensors, references.crops, sizes, config.style_size)
        corners = self._corners(placed["points"])
        box = references.crops[:, :, config.top :]
        pixels = functional.pixel_unshuffle(box.float(), 4)
        values = [
            placed["features"],
            cut_windows(pixels, corners, config.window_cells),
            placed["coordinates"],
        ]
        return PersonaState(
            points=placed["points"],
            lips=Encoded(
                keys=placed["keys"][None],
                values=torch.cat(values, 1)[None],
                coordinates=placed["coordinates"][None],
            ),
            style=placed["style"],
            seconds=placed["seconds"],
            frames=references.frames,
        )

    def facts(self, state: PersonaState) -> Mapping[str, object]:
        """Seconds of speech that the style was found in, and frames of the lip references."""
        return {
            "style_seconds": round(float(state.seconds), 1),
            "lip_references": sorted(set(state.frames.tolist())),
        }

    def predict_motion(self, window: ModelWindow, state: PersonaState) -> Motion:
        """The mouths that the window's sound asks for, in the person's style."""
        neutral = self.rest_of(window.geometry.neutral)
        made = self.geometry.smoothed(
            window.audio[window.emit], state.style, neutral - self.mean_face
        )
        return self.motion_of(self.articulated(made, state.style), neutral)

    def articulated(self, coefficients: Tensor, style: Tensor) -> Tensor:
        """Coefficients (T, P) moved further from the style's mean mouth, by `articulation`."""
        mean = self.geometry.mean_mouth(style).float()
        return mean + self.options.articulation * (coefficients.float() - mean)

    def motion_of(self, coefficients: Tensor, neutral: Tensor) -> Motion:
        """Mouths of coefficients (T, P) of a person at rest (S, 3)."""
        # Sub-pixel positions need more digits than mixed precision has.
        with torch.autocast(coefficients.device.type, enabled=False):
            points = closed_not_crossed(self.speaking_points(coefficients.float(), neutral))
        return Motion(points=points, confidence=points.new_ones(len(points)), source=self.spec.name)

    def speaking_points(self, coefficients: Tensor, neutral: Tensor) -> Tensor:
        """Pose-free speaking points (T, S, 3) of coefficients (T, P)."""
        return neutral + torch.einsum("tp,psc->tsc", coefficients, self.basis)

    def render(self, window: ModelWindow, motion: Motion | None, state: PersonaState) -> Patches:
        """Pictures of mouths, any model's."""
        assert motion is not None
        config, rows = self.config, window.emit
        crops, landmarks = window.shown()[rows], window.landmarks[rows]
        with torch.autocast(crops.device.type, enabled=False):
            speaking = window.geometry.rows(rows).place(motion.points[rows])
            field, background = own_background(
                crops, landmarks, speaking, config.top, config.unit_px
            )
            # References whose lips have the wanted shape: the mean of all 25 has no teeth.
            apart = shape_distance(speaking, state.points, config.unit_px)
        which = window.neighbours.get(FACES)
        faces, points = (crops, landmarks) if which is None else (window.shown(), window.landmarks)
        out = self.render_box(
            speaking, state.lips, faces, points[:, SPEAKING],
            which=which, liking=-SHAPE_SHARPNESS * apart,
        )  # fmt: skip
        if not config.own_skin:
            rgb = torch.cat([crops[:, :, : config.top], out.rgb.clamp(0, 1)], 2)
            return Patches(rgb=rgb, points=speaking)
        with torch.autocast(crops.device.type, enabled=False):
            grid, weights, lenders = self._lent(speaking, state.points, apart)
        patches = within_own_skin(
            LentDetail(rgb=out.rgb, grid=grid, weights=weights),
            background,
            speaking,
            field,
            top=config.top,
            unit_px=config.unit_px,
            lenders=lenders,
        )
        return Patches(rgb=patches.rgb.clamp(0, 1), points=patches.points, detail=patches.detail)

    def _lent(self, speaking: Tensor, points: Tensor, apart: Tensor) -> tuple[Tensor, ...]:
        """Where the references with the nearest lips show wanted mouths, and their shares.

        Args:
            speaking: Wanted mouths. Shape (T, S, 2).
            points: Of the references. Shape (N, S, 2).
            apart: How much lips differ. Shape (T, N).

        Returns:
            Of the M nearest: grids (T, M, h, w, 2) over whole crops, normalised, shares
            (T, M, h, w), and which they are (T, M).
        """
        config = self.config
        near = apart.topk(min(_NUM_LENDING, len(points)), largest=False)
        size = (config.height, config.width)
        grid = reference_grid(speaking, points[near.indices], size, config.top, config.unit_px)
        shares = (-_DETAIL_SHARPNESS * near.values).softmax(1)
        return grid, shares[..., None, None].expand(grid.shape[:-1]), near.indices

    def pncc(self, points: Tensor) -> Tensor:
        """PNCC of the box at H/2 of speaking points (T, S, 2), crop px."""
        height, width = self.config.cells
        with torch.autocast(points.device.type, enabled=False):
            return draw_pncc(
                points, self.mean_face, (2 * height, 2 * width), stride=2, top=self.config.top
            )

    def _corners(self, points: Tensor) -> Tensor:
        config = self.config
        return window_corners(points[:, _LIP_POINTS], config.window_cells, config.cells, config.top)

    def encode_lips(self, pictures: Tensor, points: Tensor) -> Encoded:
        """Lip references (N, 3, H, W) with speaking points (N, S, 2)."""
        renderer = self.renderer
        return renderer.encoded(
            renderer.lips, pictures[:, :, self.config.top :], self.pncc(points),
            self._corners(points),
        )  # fmt: skip

    def _encoded_faces(self, faces: Tensor, points: Tensor, which: Tensor | None) -> Encoded | None:
        """Face references (T, N, ..., y, x), see `render_box`; each is encoded once."""
        if self.renderer.face is None:
            return None
        boxes = faces[:, :, self.config.top :]
        every = self.renderer.encoded(self.renderer.face, boxes, self.pncc(points), None)
        if which is None:
            which = torch.arange(len(faces), device=faces.device)[:, None]
        return Encoded(
            keys=every.keys[which],
            values=every.values[which],
            coordinates=every.coordinates[which],
        )

    def render_box(
        self,
        speaking: Tensor,
        lips: Encoded,
        faces: Tensor,
        face_points: Tensor,
        *,
        which: Tensor | None = None,
        liking: Tensor | None = None,
    ) -> PersonaRendered:
        """The box of each frame.

        Args:
            speaking: Wanted speaking points, crop px. Shape (T, S, 2).
            lips: References of B clips, (B, N, ..., y, x); T is a multiple of B.
            faces: Face references. Shape (F, 3, H, W).
            face_points: Their speaking points. Shape (F, S, 2).
            which: Those of each frame; its own where None, and F = T. Shape (T, N).
            liking: How much each lip reference is preferred, added to logits. Shape (T, N).
        """
        config, renderer = self.config, self.renderer
        pncc = self.pncc(speaking)
        geometry, coordinates = renderer.geometry(pncc), functional.avg_pool2d(pncc, 2)
        share = mouth_share(speaking.float(), config.box, config.unit_px)[:, None]
        face = self._encoded_faces(faces, face_points, which)
        with torch.autocast(speaking.device.type, enabled=False):
            attended = renderer.attended(
                geometry.float(), coordinates, self._corners(speaking), lips, face,
                functional.avg_pool2d(share, 4), liking,
            )  # fmt: skip
        features, pixels, found = attended.split((config.channels, NUM_PIXELS, 3), 1)
        rgb = renderer.decoder(features, pixels, geometry, pncc)
        return PersonaRendered(
            rgb=rgb,
            warped=functional.pixel_shuffle(pixels, 4),
            painted=rgb,
            found=found,
            wanted=coordinates,
        )
