"""What is going to be done: who is dubbed when, under which sound. Looks at every frame once."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dubcli.config import Voice
from dubcli.core.errors import ConfigError
from dubcli.core.types import F32, AudioFeatures
from dubcli.face.detect import MediaPipeDetector
from dubcli.media.video.frame_reader import FrameReader
from dubcli.pipeline.analysis import Analysis, analyse, expected_frames
from dubcli.pipeline.analysis_cache import load_analysis, save_analysis
from dubcli.pipeline.audio_features import hear
from dubcli.pipeline.face_choice import Choice, choose, known_person, own_sound
from dubcli.pipeline.job import Job, Progress, Speech
from dubcli.pipeline.part import faces_of_part, looked_at, part_strength, require_start
from dubcli.pipeline.renderer import Clock, Renderer, RenderJob, picture_jumps
from dubcli.pipeline.soundtrack import Schedule, plan_sound, speech_strength
from dubcli.pipeline.subject import DubbedFace, follow_face
from dubcli.sync.scorer import SyncScore, source_offset


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """One person who is dubbed.

    Attributes:
        speech: What they say.
        choice: Which face, and why.
        subject: The face over the source's frames.
        looks: Descriptors of a few of its pictures. Shape (L, D).
        features: What the models hear, by kind.
        strength: Weight of the dub at each position of the timeline. Shape (N,).
    """

    speech: Speech
    choice: Choice
    subject: DubbedFace
    looks: F32
    features: dict[str, AudioFeatures]
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
                RenderJob(
                    models=job.models,
                    face=speaker.subject,
                    features=speaker.features,
                    timeline=self.schedule.timeline,
                    times=self.found.times,
                    origin_s=self.schedule.begin_s,
                    strength=speaker.strength,
                    device=job.device,
                ),
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
    subject, looks = follow_face(
        reader, job.video, choice.track, job.models.render.spec, job.identity, reference_frames
    )
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
        features={kind: hear(speech.waveform, kind) for kind in job.models.audio_kinds},
        strength=strength,
    )
