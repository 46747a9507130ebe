"""What is going to be done: who is dubbed when, under which sound. Looks at every frame once."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dubcli.config import Voice
from dubcli.core.errors import ConfigError
from dubcli.core.types import F32, U8, AudioFeatures, Bool, FaceTrack
from dubcli.face.crop import cut_crop
from dubcli.face.detect import MediaPipeDetector
from dubcli.face.face_descriptor import describe
from dubcli.face.neutral import rest_shape
from dubcli.face.pose import crop_alignment, to_canonical
from dubcli.face.references import cut_references, select_references
from dubcli.face.track import fade, smooth_pose
from dubcli.media.video.frame_reader import FrameReader
from dubcli.media.video.native_frame import NativeFrame
from dubcli.media.video.spaces import coded_to_display
from dubcli.pipeline.analysis import Analysis, analyse, expected_frames
from dubcli.pipeline.analysis_cache import load_analysis, save_analysis
from dubcli.pipeline.audio_features import hear
from dubcli.pipeline.face_choice import Choice, choose, known_person, own_sound
from dubcli.pipeline.job import Job, Progress, Speech
from dubcli.pipeline.part import faces_of_part, looked_at, part_strength, require_start
from dubcli.pipeline.renderer import Clock, Renderer, Subject, picture_jumps
from dubcli.pipeline.soundtrack import Schedule, plan_sound, speech_strength
from dubcli.pipeline.stored_identity import in_this_video
from dubcli.sync.scorer import SyncScore, source_offset


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """One person who is dubbed.

    Attributes:
        speech: What they say.
        choice: Which face, and why.
        subject: The face over the source's frames.
        looks: Descriptors of a few of its pictures. Shape (L, D).
        features: What the model hears.
        strength: Weight of the dub at each position of the timeline. Shape (N,).
    """

    speech: Speech
    choice: Choice
    subject: Subject
    looks: F32
    features: AudioFeatures
    strength: F32


@dataclass(frozen=True, kw_only=True)
class Decision:
    """All that pass 2 follows.

    Attributes:
        found: Result of pass 1; of a part, with those people alone who can be dubbed in it.
        schedule: Which frame and which sound comes when.
        speakers: Who is dubbed, in the user's order.
        own: How far the source's own sound and picture are out of step; None where unknown.
    """

    found: Analysis
    schedule: Schedule
    speakers: tuple[Speaker, ...]
    own: SyncScore | None

    @property
    def strength(self) -> F32:
        """The largest weight of any speaker at each position of the timeline. Shape (N,)."""
        return np.max([speaker.strength for speaker in self.speakers], axis=0)

    def renderers(self, job: Job, clock: Clock) -> list[Renderer]:
        """One for each speaker; each takes the frames that the one before gives."""
        return [
            Renderer(
                job.model,
                speaker.subject,
                speaker.features,
                self.schedule.timeline,
                self.schedule.begin_s,
                speaker.strength,
                job.device,
                clock,
            )
            for speaker in self.speakers
        ]


def decide(
    job: Job,
    reader: FrameReader,
    clock: Clock,
    tell: Progress,
    *,
    kept: Path | None = None,
    found: Analysis | None = None,
    reference_frames: range | None = None,
) -> Decision:
    """Look at the whole video and settle everything that the frames decide.

    Args:
        job: What is to be done.
        reader: Of the source.
        clock: Collects seconds per stage.
        tell: Called as (stage, done, total).
        kept: Where the result of pass 1 is kept, or was by an earlier run; None keeps nothing.
        found: What `look` has seen through this reader, where it was called before.
        reference_frames: Frames that may serve as references; all where None.

    Raises:
        NoFaceError: No face, or none that can be dubbed.
        ConfigError: No such face, several that fit, one face for two voices, or a part that the
            video does not have.
        MediaError: The video breaks off.
    """
    began = time.perf_counter()
    config = job.config
    # Pictures that name people are looked at before the long pass, not after it.
    known = [known_person(speech.voice.face, job.identity) for speech in job.speeches]
    if found is None:
        found = look(job, reader, tell, kept)
    began = clock.add("analyse", began)
    schedule = plan_sound(config, job.info, job.audio_s, found.times)
    found = faces_of_part(found, schedule.part, schedule.timeline)
    listen = own_sound(config.video, found.times, job.device)
    size = job.video.display_size
    choices = [
        choose(found, speech.voice.face, size, who, listen)
        for speech, who in zip(job.speeches, known, strict=True)
    ]
    _require_different(job.speeches, choices)
    speakers = tuple(
        _speaker(reader, job, speech, choice, schedule, reference_frames)
        for speech, choice in zip(job.speeches, choices, strict=True)
    )
    first = speakers[0]
    own = source_offset(
        config.video, first.choice.track, first.subject.pose, found.times, job.device
    )
    clock.add("references", began)
    return Decision(found=found, schedule=schedule, speakers=speakers, own=own)


def look(job: Job, reader: FrameReader, tell: Progress, kept: Path | None = None) -> Analysis:
    """Pass 1: who is where.

    Args:
        job: What is to be done.
        reader: Of the source.
        tell: Called as (stage, done, total).
        kept: Where the result is kept, or was by an earlier run; None keeps nothing.

    Raises:
        ConfigError: A part that the video does not have.
        MediaError: The video breaks off.
    """
    found = None if kept is None else load_analysis(kept)
    if found is not None:
        reader.recall(found.times, found.num_corrupt)
        return found
    if job.info.duration_s is not None:
        # Not after the long pass; headers are rounded.
        require_start(job.config, job.info.duration_s, 1)
    with MediaPipeDetector() as detector:
        found = analyse(
            reader,
            detector,
            expected_frames(job.info),
            tell,
            part=looked_at(job.config, job.audio_s, job.video),
        )
    if kept is not None:
        save_analysis(found, kept)
    return found


def _require_different(speeches: tuple[Speech, ...], choices: list[Choice]) -> None:
    said: dict[int, Voice] = {}
    for speech, choice in zip(speeches, choices, strict=True):
        other = said.setdefault(choice.number, speech.voice)
        if other is not speech.voice:
            raise ConfigError(
                f"'{other.face}' and '{speech.voice.face}' are both face {choice.number}.",
                "Give each voice a face of its own; dub plan shows the faces' numbers.",
            )


def _speaker(
    reader: FrameReader,
    job: Job,
    speech: Speech,
    choice: Choice,
    schedule: Schedule,
    reference_frames: range | None,
) -> Speaker:
    subject, looks = _subject(reader, job, choice.track, reference_frames)
    timeline = schedule.timeline
    strength = subject.strength[timeline.source_index]
    jumps = picture_jumps(subject.track, timeline)
    if job.config.keep_silent_frames:
        strength = np.minimum(strength, speech_strength(speech.waveform, schedule, jumps))
    if schedule.part is not None:
        strength = np.minimum(strength, part_strength(schedule.part, timeline, jumps))
    return Speaker(
        speech=speech,
        choice=choice,
        subject=subject,
        looks=looks,
        features=hear(speech.waveform, job.model.spec.audio_kind),
        strength=strength,
    )


def _subject(
    reader: FrameReader, job: Job, track: FaceTrack, reference_frames: range | None
) -> tuple[Subject, F32]:
    """The person over the video's frames, and what the face looks like in a few of them (L, D)."""
    video, identity = job.video, job.identity
    pose = smooth_pose(track)
    alignment = crop_alignment(pose, job.model.spec.crop_size)
    allowed: Bool = np.ones(len(track), np.bool_)
    if reference_frames is not None:
        allowed = np.isin(np.arange(len(track)), list(reference_frames))
    chosen = select_references(track, pose, job.model.spec.num_references, allowed)
    to_display = coded_to_display(video)
    width, height = video.display_size
    looks: dict[int, F32] = {}

    def upright(native: NativeFrame) -> U8:
        whole = native.rgb_region(0, 0, native.width, native.height)
        picture = cut_crop(whole, to_display, (height, width))
        looks[native.index] = describe(picture, track.landmarks[native.index - track.start])
        return picture

    distinct = sorted(set(chosen))
    pictures = ((native.index, upright(native)) for native in reader.native_sequence(distinct))
    references = cut_references(pictures, chosen, track, alignment)
    if identity is None:
        neutral = rest_shape(to_canonical(track.landmarks, pose), track.valid & allowed)
        state = None
    else:
        neutral, own = identity.neutral, references
        references = in_this_video(identity.references, own, alignment, np.flatnonzero(track.valid))
        state = identity.state if references.crops is identity.references.crops else None
    subject = Subject(
        track=track,
        pose=pose,
        alignment=alignment,
        coded_to_display=to_display,
        strength=fade(track.valid, track.shot),
        neutral=neutral,
        references=references,
        state=state,
    )
    return subject, np.stack(list(looks.values()))
