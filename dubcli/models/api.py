"""What every architecture provides, and the values it takes and gives.

A model splits into two parts that other models' parts can stand in for: `predict_motion` turns
sound into a mouth that moves, `render` turns a moving mouth into pictures. Both see windows of
consecutive frames with as much context on either side as the model declares; `prepare` sees the
whole subject once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

# Speaking points of a mouth: outer lips 20, inner lips 20, jaw 21, skin between 41.
NUM_SPEAKING = 102
# The two parts of a dub; usually one model plays both.
Part = Literal["motion", "render"]
Need = Literal["landmarks", "mesh", "track", "own_speech"]


@dataclass(frozen=True, kw_only=True)
class CropSpec:
    """The pictures of a face that a model sees.

    Attributes:
        template: Where the face lies in the crop; `head` follows scale and in-plane turn of the
            head, see `face.pose.crop_alignment`.
        size: Height, width, px.
    """

    template: Literal["head"] = "head"
    size: tuple[int, int] = (208, 160)


@dataclass(frozen=True, kw_only=True)
class AudioSpec:
    """The sound that a model hears.

    Attributes:
        kind: Feature kind of `core.types.FEATURE_SIZES`.
        width: Feature steps around each frame, the frame's own at `width // 2`; 80 a second.
    """

    kind: str = "mel"
    width: int = 16


@dataclass(frozen=True, kw_only=True)
class ReferencePolicy:
    """Which pictures of the person play a role.

    Attributes:
        count: How many, in use.
        train_count: How many in training; None: as in use.
        order: `spread`: far apart in opening and width of the mouth. `opening`: evenly out of all
            usable frames sorted by opening (PersonaTalk, algorithm 1). `neighbours`: frames of the
            window around each frame; these are given per frame, the others once per subject.
        has_detail: Their full-resolution pictures lend fine detail; at most one role has this.
    """

    count: int
    train_count: int | None = None
    order: Literal["spread", "opening", "neighbours"] = "spread"
    has_detail: bool = False

    @property
    def is_static(self) -> bool:
        """Chosen once per subject, not per frame."""
        return self.order != "neighbours"


@dataclass(frozen=True, kw_only=True)
class FigureSpec:
    """A figure that a model states of each frame, which the report gives per range.

    Attributes:
        help: What it says, for readers of the report.
        range_s: Longest range that one mean stands for, seconds.
        low_below: Ranges whose mean lies below are listed for a person to look at; None lists none.
    """

    help: str
    range_s: float = 5.0
    low_below: float | None = None


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """What a model needs; the pipeline asks this, never the class.

    Attributes:
        name: Architecture name.
        crop: Its pictures.
        audio: Its sound.
        window: Frames wanted together, at most.
        motion_context: Frames that `predict_motion` is given on either side of those wanted, as
            far as the shot has them.
        context: The same for `render`.
        references: Policy of each role.
        needs: What else must be there: `landmarks` of each frame, the `mesh` (kept landmarks,
            pose-free, 3-D) of each frame, the motion of the whole `track` in `Subject.track`, how
            the person speaks in the video itself in `Subject.own_speech`.
        least_speech_s: Speech in step with its sound that the video of a second subject must show,
            seconds; 0 where the model does not ask.
        gives_motion: `predict_motion` gives a mouth.
        takes_motion: `render` paints any mouth that it is given.
        paste: Hull by which the result is laid over the frame.
        figures: Of `Patches.figures`.
    """

    name: str
    crop: CropSpec = CropSpec()
    audio: AudioSpec = AudioSpec()
    window: int = 16
    motion_context: int = 0
    context: int = 0
    references: Mapping[str, ReferencePolicy] = field(default_factory=dict[str, ReferencePolicy])
    needs: frozenset[Need] = frozenset()
    least_speech_s: float = 0.0
    gives_motion: bool = False
    takes_motion: bool = False
    paste: Literal["lower-face", "face"] = "lower-face"
    figures: Mapping[str, FigureSpec] = field(default_factory=dict[str, FigureSpec])

    def __post_init__(self) -> None:
        for role, policy in self.references.items():
            if not policy.is_static and policy.count // 2 > self.context:
                raise ValueError(
                    f"role '{role}' of '{self.name}' wants {policy.count} neighbours, "
                    f"a context of {self.context} has not so many"
                )
        if sum(policy.has_detail for policy in self.references.values()) > 1:
            raise ValueError(f"'{self.name}' has several roles with detail")

    def static_roles(self) -> dict[str, ReferencePolicy]:
        """Roles whose pictures are chosen once per subject."""
        return {role: policy for role, policy in self.references.items() if policy.is_static}

    def detail_role(self) -> str | None:
        """The role whose full-resolution pictures lend fine detail."""
        return next((role for role, one in self.references.items() if one.has_detail), None)


@dataclass(frozen=True, kw_only=True)
class FaceGeometry:
    """Head pose per frame and the resting mouth of the person.

    Attributes:
        scale: Crop px per canonical unit. Shape (T,).
        rotation: Shape (T, 3, 3).
        translation: Crop px. Shape (T, 3).
        neutral: Canonical speaking points at rest. Shape (S, 3).
    """

    scale: Tensor
    rotation: Tensor
    translation: Tensor
    neutral: Tensor

    def place(self, canonical: Tensor) -> Tensor:
        """Canonical points (T, S, 3) to crop px (T, S, 2), weak perspective."""
        turned = torch.einsum("tsj,tij->tsi", canonical, self.rotation)
        placed = turned * self.scale[:, None, None] + self.translation[:, None]
        return placed[..., :2]

    def rows(self, rows: slice) -> FaceGeometry:
        """The geometry of some frames."""
        return replace(
            self,
            scale=self.scale[rows],
            rotation=self.rotation[rows],
            translation=self.translation[rows],
        )


@dataclass(frozen=True, kw_only=True)
class ReferenceSet:
    """The pictures that play one role.

    Attributes:
        crops: RGB in [0, 1]. Shape (N, 3, H, W).
        points: Speaking points, crop px. Shape (N, S, 2).
        frames: Numbers of the source frames. Shape (N,), int64.
    """

    crops: Tensor
    points: Tensor
    frames: Tensor


@dataclass(frozen=True, kw_only=True)
class TrackMotion:
    """How a person's face moves over a whole video.

    Attributes:
        points: Kept landmarks, pose-free, canonical units. Shape (F, K, 3).
        valid: Frames that show the face well. Shape (F,), bool.
        times_s: When each frame is shown, seconds; on the CPU. Shape (F,), float64.
        audio: The video's own sound around each frame; None where there is none, or where it is
            not in step. Shape (F, A, D).
    """

    points: Tensor
    valid: Tensor
    times_s: Tensor
    audio: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class OwnSpeech:
    """Frames of the video in which a person speaks in step with the video's own sound.

    Attributes:
        audio: Feature steps around each frame's moment in the sound. Shape (H, A, D).
        points: Speaking points, pose-free, canonical units. Shape (H, S, 3).
        seconds: Length of the usable footage that the frames are drawn from.
    """

    audio: Tensor
    points: Tensor
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The person who is dubbed, as a model prepares for them.

    Attributes:
        references: Pictures by role; static roles only.
        neutral: Resting speaking points, canonical units. Shape (S, 3).
        track: Motion over the whole video, where the model needs it.
        second: The person of another video which one of the model's options names.
        own_speech: Where the model needs it, and the video's own sound is there and in step.
    """

    references: Mapping[str, ReferenceSet]
    neutral: Tensor
    track: TrackMotion | None = None
    second: Subject | None = None
    own_speech: OwnSpeech | None = None


@dataclass(frozen=True, kw_only=True)
class ModelWindow:
    """Frames of one shot that follow each other: context, those wanted, context.

    Frames whose face cannot be used are left out; `positions` shows the gaps.

    Attributes:
        crops: Source crops, RGB in [0, 1]. Shape (T, 3, H, W). None for `predict_motion`, which
            sees no pictures.
        audio: Feature steps around each frame. Shape (T, A, D).
        landmarks: Kept landmarks, crop px. Shape (T, K, 2).
        geometry: Pose and rest.
        positions: Place of each frame in the result. Shape (T,), int64.
        times_s: When each frame is shown, seconds; on the CPU. Shape (T,), float64.
        emit: Rows that are wanted.
        mesh: Kept landmarks, pose-free, canonical units; where the model needs it.
            Shape (T, K, 3).
        neighbours: For each per-frame role, rows of this window around each wanted frame. Shape
            (E, N), int64.
    """

    crops: Tensor | None
    audio: Tensor
    landmarks: Tensor
    geometry: FaceGeometry
    positions: Tensor
    times_s: Tensor
    emit: slice
    mesh: Tensor | None = None
    neighbours: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])

    def __len__(self) -> int:
        return len(self.landmarks)

    def shown(self) -> Tensor:
        """The crops, which every window for `render` has. Shape (T, 3, H, W)."""
        assert self.crops is not None
        return self.crops

    def part(self, start: int, stop: int, context: int) -> ModelWindow:
        """A smaller window that wants fewer frames, with as much context as there is.

        Args:
            start: First wanted frame, counted among those wanted here.
            stop: The one after the last.
            context: Rows kept on either side.
        """
        first, last = self.emit.start + start, self.emit.start + stop
        low, high = max(0, first - context), min(len(self), last + context)
        rows = slice(low, high)
        return ModelWindow(
            crops=None if self.crops is None else self.crops[rows],
            audio=self.audio[rows],
            landmarks=self.landmarks[rows],
            geometry=self.geometry.rows(rows),
            positions=self.positions[rows],
            times_s=self.times_s[rows],
            emit=slice(first - low, last - low),
            mesh=None if self.mesh is None else self.mesh[rows],
            neighbours={role: at[start:stop] - low for role, at in self.neighbours.items()},
        )

    @property
    def num_wanted(self) -> int:
        """How many frames are wanted."""
        return self.emit.stop - self.emit.start


@dataclass(frozen=True, kw_only=True)
class Motion:
    """A mouth over time, the same type for all models.

    Attributes:
        points: Speaking points, pose-free, canonical units. Shape (T, S, 3).
        confidence: How sure the model is, 0 to 1. Shape (T,).
        source: Architecture that predicted it.
        latent: What the points were made of. Only the model that made it is given it: to another
            one, of the same architecture too, it would mean something else. Shape (T, P), or None.
    """

    points: Tensor
    confidence: Tensor
    source: str
    latent: Tensor | None = None

    def rows(self, rows: slice) -> Motion:
        """The motion of some frames."""
        latent = None if self.latent is None else self.latent[rows]
        return replace(
            self, points=self.points[rows], confidence=self.confidence[rows], latent=latent
        )


@dataclass(frozen=True, kw_only=True)
class DetailWarp:
    """How full-resolution references deform into the patch.

    Attributes:
        grid: Where each patch pixel looks in each reference crop, normalised to [-1, 1] (the
            convention of `grid_sample`, `align_corners=False`). Shape (E, N, h, w, 2).
        weights: Share of each reference's detail, whose energies add up: their norm and
            `source_weight` are no more than 1 together. Shape (E, N, h, w).
        source_grid: Where each patch pixel looks in the current frame's crop. Shape (E, h, w, 2).
        source_weight: Share of the current frame's detail. Shape (E, h, w).
        box: y0, y1, x0, x1 of the repainted part, crop px.
        lenders: Numbers of the references that `grid` and `weights` are of, each frame's own; None:
            they are of all, in order. Shape (E, N), int64.
    """

    grid: Tensor
    weights: Tensor
    source_grid: Tensor
    source_weight: Tensor
    box: tuple[int, int, int, int]
    lenders: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Patches:
    """What a model generated for the frames that a window wanted.

    Attributes:
        rgb: Crops with the new mouth, [0, 1]. Shape (E, 3, H, W).
        alpha: How much of the patch is laid over the frame, [0, 1]; None leaves it to the
            pipeline's mask, which bounds it in any case. Shape (E, 1, H, W).
        points: Speaking points that the picture shows, crop px; None when the model has no notion
            of them. Shape (E, S, 2).
        detail: How to add the references' fine detail, or None.
        figures: What `ModelSpec.figures` names. Shapes (E,).
    """

    rgb: Tensor
    alpha: Tensor | None = None
    points: Tensor | None = None
    detail: DetailWarp | None = None
    figures: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])


class LipSyncModel(Protocol):
    """The contract of an architecture."""

    @property
    def spec(self) -> ModelSpec:
        """What the model needs."""
        ...

    def configure(self, options: Any) -> None:
        """Take the options of the next dub: what `Architecture.options` names, or None."""
        ...

    def prepare(self, subject: Subject) -> Any:
        """Work on a person that is done once: references, style, whatever holds for all frames."""
        ...

    def state_tensors(self, state: Any) -> dict[str, Tensor]:
        """What `prepare` worked out, as tensors that can be stored.

        The pictures themselves stay out: they are stored as pictures.
        """
        ...

    def state_from_tensors(self, tensors: dict[str, Tensor], subject: Subject) -> Any:
        """The state that `state_tensors` was given, without encoding anything again.

        Args:
            tensors: From `state_tensors`.
            subject: The person whose state it is.

        Raises:
            IdentityError: The tensors are not those of this model or of these references.
        """
        ...

    def predict_motion(self, window: ModelWindow, state: Any) -> Motion | None:
        """The mouth that the sound asks for, of the wanted frames; None without a mouth model."""
        ...

    def render(self, window: ModelWindow, motion: Motion | None, state: Any) -> Patches:
        """Pictures of the wanted frames.

        Args:
            window: With crops.
            motion: Of every frame of the window, context included; None where the model that
                predicts has no mouth model.
            state: From `prepare`.
        """
        ...

    def facts(self, state: Any) -> Mapping[str, Any]:
        """What the report tells of this job beyond what it tells of every model; JSON values."""
        ...
