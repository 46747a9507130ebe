"""From videos to the footage of one person that fine-tuning learns.

Every video goes through pass 1 of the pipeline, long ones in evenly spread stretches. Faces are
compared over all of them; the person of whom there is most becomes aligned crops, landmarks, pose
and sound, as `dub prepare` makes them. What is left out is named with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from dubcli.core.errors import ConfigError, DecodeError, TrainingError
from dubcli.core.formatting import reason_in_words
from dubcli.core.progress import Progress, no_progress
from dubcli.core.types import DETECTORS, F32, F64, U8, FaceTrack, Int, References
from dubcli.face.crop import cut_crop
from dubcli.face.pose import Pose, compose, crop_alignment
from dubcli.face.recognition import mean_embedding
from dubcli.face.references import cut_references, select_references
from dubcli.face.track import smooth_pose
from dubcli.media.container.probe import require_video
from dubcli.media.video.native_frame import NativeFrame
from dubcli.media.video.spaces import coded_to_display
from dubcli.personalize.footage.face_clustering import (
    Appearance,
    Person,
    chain_tracks,
    group_people,
    join_tracks,
    usable_seconds,
)
from dubcli.personalize.footage.footage_analysis import (
    FaceSearch,
    FootagePart,
    Video,
    open_videos,
    view,
)
from dubcli.personalize.footage.footage_sound import hear_parts
from dubcli.pipeline.analysis import choose_face
from dubcli.pipeline.engine import Engine, engine_for
from dubcli.training.data.prepare import MIN_USABLE, assemble_clip, cut_picture, stored_matrices
from dubcli.training.data.prepared_clip import DEFAULT_SIZE, PreparedClip
from dubcli.training.data.sound_variants import DEFAULT_KINDS

LEAST_SECONDS = Fraction(4)
# Of a half, which is learned for a measurement, not for use.
LEAST_HALF_SECONDS = Fraction(1)
# Where in its share of a long video a stretch lies; later rounds follow while too little is found.
_PHASES = (0.5, 0.17, 0.83)
_ENOUGH_SHARE = 0.6
# How far the stretches' whole frames may go beyond the limit.
_OVER = 1.02


@dataclass(frozen=True, kw_only=True)
class FootageRequest:
    """What to learn from.

    Attributes:
        videos: Files.
        face: 0 for the person of whom there is most, N for face N of the first video by size.
        half: Look at the first half of each video's frames alone.
        size: Height and width of the crops, px.
        limit_s: More than this is sampled, seconds.
        threads: Decoder threads; 0 lets libav choose.
        detector: What finds faces, one of `DETECTORS`.
        audio_kind: What the model hears, a key of `core.types.FEATURE_SIZES`; the kinds that sync
            experts hear are heard too.

    Raises:
        ConfigError: No video, or a number out of range.
    """

    videos: tuple[Path, ...]
    face: int = 0
    half: bool = False
    size: tuple[int, int] = DEFAULT_SIZE
    limit_s: float = 90.0
    threads: int = 0
    detector: str = DETECTORS[0]
    audio_kind: str = "speech"

    def __post_init__(self) -> None:
        if not self.videos:
            raise ConfigError("There is no video to learn from.", "Name one or more videos.")
        if self.face < 0:
            raise ConfigError(f"Face {self.face} does not exist.", "Faces count from 1.")
        if not self.limit_s >= LEAST_SECONDS:
            raise ConfigError(
                f"{self.limit_s:g} s of footage are too little.", f"Allow {LEAST_SECONDS} s."
            )


@dataclass(frozen=True, kw_only=True)
class PersonClip:
    """A stretch of a video, contiguous frames, in which the person is seen.

    Attributes:
        source: The video.
        clip: Crops, landmarks, pose and sound.
        frame_numbers: Number in the video of each frame. Shape (T,).
        seconds: How long the person can be used in it.
    """

    source: Path
    clip: PreparedClip
    frame_numbers: Int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Footage:
    """What was found of one person.

    Attributes:
        clips: By video and time.
        references: Chosen over all clips, in full resolution; `frame_indices` are numbers in the
            video that `reference_clips` leads to.
        reference_clips: Which of `clips` each reference comes from. Shape (N,).
        embedding: Who it is, mean over all clips, of unit length. Shape (128,).
        left_out: File, or 'file, face 2', or 'file, 3 of 15 parts', and why it is not used.
        sampled: There was more than wanted; the clips are stretches of it.
        has_sound: Some clip has sound.
        facts: `seconds_used` (of a usable face), `seconds_available` (of video), `frames`
            (usable), `face_height_px` (median, in the video), `faces_seen` (people),
            `without_sound` (file and reason).
    """

    clips: tuple[PersonClip, ...]
    references: References
    reference_clips: Int
    embedding: F32
    left_out: dict[str, str]
    sampled: bool
    has_sound: bool
    facts: dict[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Shown:
    """A stretch in which the person is seen often enough."""

    part: FootagePart
    appearances: list[Appearance]
    track: FaceTrack
    seconds: Fraction


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pictures:
    """What one more pass over the chosen stretches cuts out."""

    poses: list[Pose]
    jpeg: list[list[U8]]
    references: References
    reference_clips: Int


def gather_footage(
    request: FootageRequest,
    num_references: int,
    progress: Progress = no_progress,
    *,
    engine: Engine | None = None,
) -> Footage:
    """Find one person in some videos, and all that is needed to learn them.

    Args:
        request: Files and limits.
        num_references: How many reference pictures are chosen.
        progress: Called as (stage, done, total); stages `analyse`, `crops`, `hear`.
        engine: Holds loaded networks; one for this call alone by default.

    Raises:
        MediaError: No video can be read; with `face`, the first cannot.
        NoFaceError: No video shows a usable face; with `face`, the first does not.
        ConfigError: The first video has no face of the wanted number.
        TrainingError: The person is seen for less than 4 seconds (1 second of a half).
    """
    with engine_for(engine, "auto", request.threads) as engine:
        return _gather(request, num_references, progress, engine)


def _gather(
    request: FootageRequest, num_references: int, progress: Progress, engine: Engine
) -> Footage:
    left_out: dict[str, str] = {}
    videos = open_videos(
        request.videos,
        left_out,
        half=request.half,
        threads=request.threads,
        needs_first=request.face > 0,
    )
    available = sum((video.length_s for video in videos), Fraction(0))
    sampled = available > request.limit_s
    search = FaceSearch(engine=engine, detector=request.detector)
    people, shown = _find_person(request, videos, sampled, left_out, search, progress)
    used = _check_length(shown, LEAST_HALF_SECONDS if request.half else LEAST_SECONDS)
    pictures = _cut_pictures(shown, num_references, request.size, progress)
    kinds = tuple(dict.fromkeys((*DEFAULT_KINDS, request.audio_kind)))
    sounds, without_sound = hear_parts(
        [item.part for item in shown],
        engine.recognisers(kinds),
        kinds=kinds,
        whole=not sampled,
        progress=progress,
    )
    clips = tuple(
        PersonClip(
            source=item.part.video.path,
            clip=replace(
                assemble_clip(item.track, pose, jpeg, steps, heard, request.size),
                detector=request.detector,
            ),
            frame_numbers=item.part.numbers,
            seconds=float(item.seconds),
        )
        for item, pose, jpeg, (steps, heard) in zip(
            shown, pictures.poses, pictures.jpeg, sounds, strict=True
        )
    )
    heights = np.concatenate([_heights(item.track) for item in shown])
    return Footage(
        clips=clips,
        references=pictures.references,
        reference_clips=pictures.reference_clips,
        embedding=mean_embedding(
            [seen.track.embedding for item in shown for seen in item.appearances]
        ),
        left_out=left_out,
        sampled=sampled,
        has_sound=any(clip.clip.has_sound for clip in clips),
        facts={
            "seconds_used": round(float(used), 2),
            "seconds_available": round(float(available), 2),
            "frames": len(heights),
            "face_height_px": round(float(np.median(heights))),
            "faces_seen": len(people),
            "without_sound": without_sound,
        },
    )


def _check_length(shown: Sequence[_Shown], least: Fraction) -> Fraction:
    """How long the person is seen, seconds, when that is enough."""
    used = sum((item.seconds for item in shown), Fraction(0))
    if used < least:
        raise TrainingError(
            f"Too little footage: {float(used):.1f} s of a usable face, {least} s are needed.",
            "Add another video of the same person, or a longer one.",
        )
    return used


def _find_person(
    request: FootageRequest,
    videos: Sequence[Video],
    sampled: bool,
    left_out: dict[str, str],
    search: FaceSearch,
    progress: Progress,
) -> tuple[list[Person], list[_Shown]]:
    """Everybody that is seen, and where the one to learn is."""
    parts: list[FootagePart] = []
    people: list[Person] = []
    shown: list[_Shown] = []
    for phase in _PHASES if sampled else _PHASES[:1]:
        parts += view(videos, request.limit_s, phase, parts, left_out, search, progress)
        people = group_people([seen for part in parts for seen in part.appearances])
        person = _choose(request.face, parts, people) if people else []
        shown = _where_shown(parts, person)
        if sum(item.seconds for item in shown) >= _ENOUGH_SHARE * request.limit_s:
            break
    if not people:
        _choose_face(parts, _tracks(parts), 1)
    _report(request, videos, parts, shown, left_out)
    return people, _thinned(shown, request.limit_s)


def _choose(face: int, parts: Sequence[FootagePart], people: list[Person]) -> Person:
    """The person to learn: of whom there is most, or whom a number of the first video means."""
    if face == 0:
        return people[0]
    of_first = [part for part in parts if part.video.number == 0]
    chosen = _choose_face(parts, [one[0].track for one in _faces(of_first)], face)
    return next(person for person in people if any(seen.track is chosen for seen in person))


def _choose_face(parts: Sequence[FootagePart], tracks: list[FaceTrack], number: int) -> FaceTrack:
    """As `choose_face` among some tracks, with its errors.

    Raises:
        NoFaceError: No usable face.
        ConfigError: Fewer faces than `number`.
    """
    return choose_face(replace(parts[0].found, tracks=tracks), number)


def _faces(parts: Sequence[FootagePart]) -> list[Person]:
    """Faces of one video in the order in which they are numbered."""
    if len(parts) == 1:
        return [[seen] for seen in parts[0].appearances]
    return group_people([seen for part in parts for seen in part.appearances])


def _tracks(parts: Sequence[FootagePart]) -> list[FaceTrack]:
    return [track for part in parts for track in part.found.tracks]


def _where_shown(parts: Sequence[FootagePart], person: Person) -> list[_Shown]:
    """Stretches with enough usable frames of a person, by video and time."""
    shown: list[_Shown] = []
    for part in sorted(parts, key=lambda part: (part.video.number, part.frames.start)):
        own = [seen for seen in person if any(seen is other for other in part.appearances)]
        if not own:
            continue
        track = join_tracks([seen.track for seen in own])
        if track.valid.sum() >= MIN_USABLE:
            seconds = usable_seconds(track, part.found.times)
            shown.append(_Shown(part=part, appearances=own, track=track, seconds=seconds))
    return shown


def _thinned(shown: list[_Shown], limit_s: float) -> list[_Shown]:
    """Evenly spread stretches that about keep to a limit, which several rounds may exceed."""
    count = len(shown)
    while True:
        places = np.linspace(0, len(shown) - 1, count).round().astype(int)
        kept = [shown[place] for place in places]
        if count <= 1 or sum(item.seconds for item in kept) <= _OVER * limit_s:
            return kept
        count -= 1


def _report(
    request: FootageRequest,
    videos: Sequence[Video],
    parts: Sequence[FootagePart],
    shown: Sequence[_Shown],
    left_out: dict[str, str],
) -> None:
    """Say of every video and every face why it is not used."""
    for video in videos:
        name = str(video.path)
        of_video = [part for part in parts if part.video is video]
        own = [item for item in shown if item.part.video is video]
        if not own:
            left_out.setdefault(name, _why_unused(of_video))
            continue
        used = {id(seen) for item in own for seen in item.appearances}
        for number, face in enumerate(_faces(of_video), 1):
            is_other = not any(id(seen) in used for seen in face)
            if is_other and sum(int(seen.track.valid.sum()) for seen in face) >= MIN_USABLE:
                left_out[f"{name}, face {number}"] = "shows another person"
        if len(own) < len(of_video):
            missing = f"{name}, {len(of_video) - len(own)} of {len(of_video)} parts"
            left_out[missing] = "the person is hardly seen there"
        if not video.is_surveyed and video.length_s > request.limit_s:
            beyond = f"{name}, after {request.limit_s:g} s"
            left_out[beyond] = "the file's timestamps do not lead there"


def _why_unused(parts: Sequence[FootagePart]) -> str:
    if not parts:
        return "no part of it was drawn"
    seen = [seen for part in parts for seen in part.appearances]
    if not seen:
        reasons = sorted({reason for track in _tracks(parts) for reason in track.reasons if reason})
        words = ", ".join(map(reason_in_words, reasons))
        return f"no usable face ({words})" if words else "no face"
    most = max(int(one.track.valid.sum()) for one in seen)
    if most < MIN_USABLE:
        return f"only {most} usable frames"
    return "shows another person"


def _cut_pictures(
    shown: Sequence[_Shown], num_references: int, size: tuple[int, int], progress: Progress
) -> _Pictures:
    """Choose references over all stretches, then cut them and the crops in one pass."""
    track = chain_tracks([item.track for item in shown])
    pose = smooth_pose(track)
    chosen = select_references(track, pose, num_references)
    starts = [0, *accumulate(len(item.track) for item in shown)]
    poses = [pose.at(np.arange(start, stop)) for start, stop in pairwise(starts)]
    jpeg: list[list[U8]] = []
    full: dict[int, U8] = {}
    for item, start, own in zip(shown, starts, poses, strict=False):
        to_display = coded_to_display(require_video(item.part.video.info))
        matrices = compose(stored_matrices(own, size), to_display)
        cut: list[U8] = []
        with item.part.video.open(item.part.frames) as reader:
            for native in reader.native_frames():
                if native.index >= len(matrices):
                    break
                cut.append(cut_picture(native, matrices[native.index], size))
                if start + native.index in chosen:
                    full[start + native.index] = _upright(native, item.part.video, to_display)
                progress("crops", start + native.index + 1, starts[-1])
        if len(cut) != len(item.track):
            raise DecodeError(
                f"'{item.part.video.path}' cannot be read again.",
                "ValidationCheck that it did not change meanwhile.",
            )
        jpeg.append(cut)
    references = cut_references(full.items(), chosen, track, crop_alignment(pose, size))
    clips = np.searchsorted(starts, chosen, side="right") - 1
    numbers = np.concatenate([item.part.numbers for item in shown])
    return _Pictures(
        poses=poses,
        jpeg=jpeg,
        references=replace(references, frame_indices=numbers[chosen]),
        reference_clips=clips.astype(np.int64),
    )


def _upright(native: NativeFrame, video: Video, to_display: F64) -> U8:
    """A whole frame with square pixels, RGB."""
    width, height = require_video(video.info).display_size
    whole = native.rgb_region(0, 0, native.width, native.height)
    return cut_crop(whole, to_display, (height, width))


def _heights(track: FaceTrack) -> F32:
    """Height of the face in each usable frame, display px."""
    return (track.boxes[:, 3] - track.boxes[:, 1])[track.valid]
