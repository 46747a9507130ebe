"""The people who are dubbed, ready for pass 2: their pictures, and what the models hear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dubcli.core.types import AudioFeatures
from dubcli.models.api import OwnSpeech, Part
from dubcli.pipeline.context import Clock, RunContext
from dubcli.pipeline.decision import Decision, Speaker
from dubcli.pipeline.inputs import LoadedJob
from dubcli.pipeline.renderer import Renderer, RenderJob
from dubcli.pipeline.second_subject import SecondPerson, analyse_second_subjects
from dubcli.pipeline.source_sound import SourceSound
from dubcli.pipeline.subject import DubbedFace, follow_face


@dataclass(frozen=True, kw_only=True)
class PreparedSpeaker:
    """One person who is dubbed.

    Attributes:
        speaker: What was decided.
        face: The face over the source's frames.
        features: What the models hear, by kind.
        second: People of other videos that options name, by the part of the model that asks.
        own_speech: How the person speaks in the video itself, where the predicting model asks.
    """

    speaker: Speaker
    face: DubbedFace
    features: dict[str, AudioFeatures]
    second: Mapping[Part, SecondPerson]
    own_speech: OwnSpeech | None = None


def second_people(context: RunContext, job: LoadedJob) -> dict[Part, SecondPerson]:
    """People of other videos that options name, by the part of the model that asks.

    Args:
        context: Of the run.
        job: What is to be done.

    Raises:
        ConfigError: A video shows less speech in step with its sound than the model needs.
        MediaError: A video cannot be read.
        NoFaceError: It shows no face that can be used.
    """
    return analyse_second_subjects(
        context, job.second_videos, job.models.specs, job.device, job.config.detector
    )


def prepare_speakers(
    context: RunContext,
    job: LoadedJob,
    decision: Decision,
    own_sound: SourceSound,
    second: Mapping[Part, SecondPerson],
    reference_frames: range | None = None,
) -> tuple[PreparedSpeaker, ...]:
    """Cut pictures of each face out of the video, and turn the recordings into features.

    Args:
        context: Of the run.
        job: What is to be done.
        decision: Who is dubbed.
        own_sound: The source's own sound.
        second: People of other videos that options name, by the part of the model that asks.
        reference_frames: Frames that may serve as references and tell how the mouth rests; all
            where None.

    Raises:
        NoFaceError: The video no longer holds one of the frames.
        WeightsError: The speech encoder is missing or damaged.
    """
    specs = job.models.specs
    extract, times = context.engine.features, decision.found.times
    prepared: list[PreparedSpeaker] = []
    for speaker in decision.speakers:
        face = follow_face(
            context.reader,
            job.video,
            speaker.choice.track,
            specs["render"],
            job.identity,
            reference_frames,
            specs.get("motion"),
        )
        waveform = speaker.speech.waveform
        features = {kind: extract(waveform, kind) for kind in job.models.audio_kinds}
        # What was learned of a person has their manner in it.
        own = None
        if job.identity is None:
            motion = job.models.motion.spec
            own = own_sound.speech(face, times, motion, job.device, reference_frames)
        own_audio = own_sound.windows(face.track, times, specs)
        prepared.append(
            PreparedSpeaker(
                speaker=speaker,
                face=replace(face, own_audio=own_audio),
                features=features,
                second=second,
                own_speech=own,
            )
        )
    return tuple(prepared)


def make_renderers(
    context: RunContext,
    job: LoadedJob,
    decision: Decision,
    speakers: Sequence[PreparedSpeaker],
    clock: Clock | None = None,
) -> list[Renderer]:
    """One for each speaker; each takes the frames that the one before gives.

    Args:
        context: Of the run.
        job: What is to be done.
        decision: How.
        speakers: Who is dubbed.
        clock: Collects seconds in place of the run's, for what is no part of it.
    """
    return [
        Renderer(
            RenderJob(
                models=job.models,
                face=one.face,
                features=one.features,
                timeline=decision.schedule.timeline,
                times=decision.found.times,
                origin_s=decision.schedule.begin_s,
                strength=one.speaker.strength,
                rest=one.speaker.rest,
                device=job.device,
                second={part: person.subject for part, person in one.second.items()},
                own_speech=one.own_speech,
                given=None if job.given is None else (job.given, number),
                segmenter=context.engine.segmenter()
                if one.face.track.partially_occluded.any()
                else None,
            ),
            clock or context.clock,
        )
        for number, one in enumerate(speakers)
    ]
