"""The person who is dubbed: their face over the video, and what models are given of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from dubcli.core.types import F32, F64, U8, Alignment, Bool, FaceTrack, References, VideoStreamInfo
from dubcli.face.crop import cut_crop
from dubcli.face.landmarks import SPEAKING
from dubcli.face.light import FaceLight, face_light
from dubcli.face.neutral import rest_shape
from dubcli.face.pose import Pose, crop_alignment, to_canonical
from dubcli.face.references import cut_references, select_by_opening, select_references
from dubcli.face.track import fade, smooth_pose
from dubcli.identities.identity import Identity
from dubcli.media.video.frame_reader import FrameReader
from dubcli.media.video.native_frame import NativeFrame
from dubcli.media.video.spaces import coded_to_display
from dubcli.media.video.timeline import FrameTimes
from dubcli.models.api import ModelSpec, OwnSpeech, Part, Subject, TrackMotion
from dubcli.models.conversion import reference_set
from dubcli.pipeline.grain_shots import GrainShots
from dubcli.pipeline.stored_identity import in_this_video


@dataclass(frozen=True, kw_only=True)
class DubbedFace:
    """The face that is dubbed, over the source's frames.

    Attributes:
        track: Where the face is.
        pose: Smoothed pose, canonical units to display px.
        alignment: Display px to crop px.
        coded_to_display: Coded px to display px. Shape (2, 3).
        strength: Weight of the dub per source frame, 0 to pass through. Shape (T,).
        neutral: Resting speaking points, canonical units. Shape (S, 3).
        light: Of the face; references show its usual light, models see frames in it.
        grain_shares: How much of each frame's fine structure is noise, 0 in a clean picture, see
            `grain_shots.GrainShots`. Shape (T,).
        references: Pictures of the face by role of the model that paints.
        motion_references: The same of the model that predicts the mouth, where it is another one.
        own_audio: The video's own sound around each source frame, by the part of the model that
            hears it, see `own_sound.own_sound_windows`. Shape (F, A, D).
        state: What a model prepared of them before, see `LipSyncModel.state_tensors`; None
            prepares it now.
    """

    track: FaceTrack
    pose: Pose
    alignment: Alignment
    coded_to_display: F64
    strength: F32
    neutral: F32
    light: FaceLight
    grain_shares: F32
    references: Mapping[str, References]
    motion_references: Mapping[str, References] = field(default_factory=dict[str, References])
    own_audio: Mapping[Part, F32] = field(default_factory=dict[Part, F32])
    state: dict[str, torch.Tensor] | None = None

    @property
    def reference_frames(self) -> list[int]:
        """Source frames of the references, role after role."""
        return [
            int(frame) for one in self.references.values() for frame in one.frame_indices.tolist()
        ]


def follow_face(
    reader: FrameReader,
    video: VideoStreamInfo,
    track: FaceTrack,
    spec: ModelSpec,
    identity: Identity | None = None,
    reference_frames: range | None = None,
    motion: ModelSpec | None = None,
) -> DubbedFace:
    """The face over the video's frames, with its references.

    Args:
        reader: Of the video.
        video: Its stream.
        track: The face.
        spec: Of the model that paints it.
        identity: What was learned of the person.
        reference_frames: Frames that may serve as references and tell how the mouth rests; all
            where None.
        motion: Of the model that predicts the mouth, where it is another one.

    Raises:
        NoFaceError: The video no longer holds one of the frames.
    """
    pose, frames = smooth_pose(track), np.arange(len(track))
    alignment = crop_alignment(pose, spec.crop.size)
    allowed: Bool = np.isin(frames, frames if reference_frames is None else list(reference_frames))
    light = face_light(track)
    chosen = _choose_frames(track, pose, spec, allowed, light)
    pictures = _UprightPictures(reader, video)
    grain = GrainShots(track, alignment)
    references = _cut_roles(pictures, chosen, track, alignment, spec, light, grain)
    motion_references: dict[str, References] = {}
    if motion is not None and motion.static_roles():
        chosen = _choose_frames(track, pose, motion, allowed, light)
        motion_references = _cut_roles(pictures, chosen, track, alignment, motion, light)
    state = None
    if identity is None:
        neutral = rest_shape(to_canonical(track.landmarks, pose), track.valid & allowed)
    else:
        neutral = identity.neutral
        ((role, own),) = references.items()
        usable = np.flatnonzero(track.valid)
        kept = in_this_video(identity.references, own, alignment, usable)
        state = identity.state if kept.crops is identity.references.crops else None
        references = {role: kept}
    return DubbedFace(
        track=track,
        pose=pose,
        alignment=alignment,
        coded_to_display=coded_to_display(video),
        strength=fade(track.valid, track.shot),
        neutral=neutral,
        light=light,
        grain_shares=grain.shares(),
        references=references,
        motion_references=motion_references,
        state=state,
    )


def model_subject(
    face: DubbedFace,
    references: Mapping[str, References],
    spec: ModelSpec,
    device: torch.device | str,
    *,
    times: FrameTimes | None = None,
    own_audio: F32 | None = None,
    second: Subject | None = None,
    own_speech: OwnSpeech | None = None,
) -> Subject:
    """What a model prepares for.

    Args:
        face: The face.
        references: Its pictures by the model's roles.
        spec: Of the model.
        device: Where the model is.
        times: Of the source's frames; only a model that needs the track asks for them.
        own_audio: The video's own sound around each of them, for such a model. Shape (F, A, D).
        second: The person of another video.
        own_speech: How the person speaks in the video itself.
    """
    track = None
    if "track" in spec.needs and times is not None:
        seconds = np.asarray(times.pts, np.float64) * float(times.time_base)
        canonical = to_canonical(face.track.landmarks, face.pose)
        track = TrackMotion(
            points=torch.from_numpy(canonical.astype(np.float32)).to(device),
            valid=torch.from_numpy(face.track.valid).to(device),
            times_s=torch.from_numpy(seconds),
            audio=None if own_audio is None else torch.from_numpy(own_audio).to(device),
        )
    return Subject(
        references={
            role: reference_set(references[role], SPEAKING, device) for role in spec.static_roles()
        },
        neutral=torch.from_numpy(face.neutral.astype(np.float32)).to(device),
        track=track,
        second=second,
        own_speech=own_speech if "own_speech" in spec.needs else None,
    )


def _choose_frames(
    track: FaceTrack, pose: Pose, spec: ModelSpec, allowed: Bool, light: FaceLight
) -> dict[str, list[int]]:
    """Source frames of each static role."""
    select = {"spread": select_references, "opening": select_by_opening}
    like_lit = light.likeness()
    return {
        role: select[policy.order](track, pose, policy.count, allowed, like_lit)
        for role, policy in spec.static_roles().items()
    }


class _UprightPictures:
    """Whole pictures of some frames.

    Args:
        reader: Of the video.
        video: Its stream.
    """

    def __init__(self, reader: FrameReader, video: VideoStreamInfo) -> None:
        self._reader = reader
        self._to_display, self._size = coded_to_display(video), video.display_size
        is_same_size = self._size == (video.width, video.height)
        self._is_upright = is_same_size and video.rotation_deg == 0

    def of(self, frames: set[int]) -> Iterator[tuple[int, U8]]:
        """Frame index and RGB picture, in the video's order."""
        for native in self._reader.native_sequence(sorted(frames)):
            yield native.index, self._upright(native)

    def _upright(self, native: NativeFrame) -> U8:
        width, height = self._size
        whole = native.rgb_region(0, 0, native.width, native.height)
        if self._is_upright:
            return whole
        return cut_crop(whole, self._to_display, (height, width))


def _cut_roles(
    pictures: _UprightPictures,
    chosen: dict[str, list[int]],
    track: FaceTrack,
    alignment: Alignment,
    spec: ModelSpec,
    light: FaceLight,
    grain: GrainShots | None = None,
) -> dict[str, References]:
    """Pictures of every role; the video is read once for all of them, and for its grain."""
    frames = [frame for role in chosen.values() for frame in role]
    shown = pictures.of({*frames, *(grain.frames if grain else ())})
    if grain is not None:
        shown = grain.watch(shown)
    if not frames:
        deque(shown, maxlen=0)
        return {}
    cut = cut_references(shown, frames, track, alignment, light)
    found: dict[str, References] = {}
    start = 0
    for role, own in chosen.items():
        part = cut.part(slice(start, start + len(own)))
        start += len(own)
        if role in spec.references:
            detailed = spec.references[role].has_detail
            found[role] = part if detailed else replace(part, detail_crops=part.crops)
    return found
