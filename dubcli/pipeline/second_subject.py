"""The person of another video, which an option of a model names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dubcli.core.errors import ConfigError, NoFaceError
from dubcli.core.types import F32, FaceTrack, MediaInfo
from dubcli.face.recognition import SAME_PERSON, STRANGER, similarity
from dubcli.media.container.probe import require_video
from dubcli.media.video.frame_reader import FrameReader
from dubcli.models.api import ModelSpec, OwnSpeech, Part, Subject
from dubcli.pipeline.analysis import analyse, choose_face, expected_frames
from dubcli.pipeline.subject import follow_face, model_subject

if TYPE_CHECKING:
    from dubcli.pipeline.context import RunContext

_NEXT_STEP = "Name another video of the person, or leave the option out."


@dataclass(frozen=True, kw_only=True)
class SecondPerson:
    """The largest face of another video.

    Attributes:
        path: The video.
        subject: As the model prepares for it.
        embedding: Who it is. Shape (128,).
    """

    path: Path
    subject: Subject
    embedding: F32


def analyse_second_subjects(
    context: RunContext,
    videos: Mapping[Part, MediaInfo],
    specs: Mapping[Part, ModelSpec],
    device: torch.device,
    detector: str,
) -> dict[Part, SecondPerson]:
    """The largest face of each video, as the model that asks for it prepares for a person.

    Args:
        context: Of the run.
        videos: Facts of each, by the part of the model that asks for it.
        specs: Of the models.
        device: Where the models are.
        detector: As `DubConfig` has it.

    Raises:
        ConfigError: It shows less speech in step with its sound than the model needs.
        MediaError: A video cannot be read.
        NoFaceError: It shows no face that can be used.
    """
    for part, info in videos.items():
        _require_length(info, specs[part].least_speech_s)
    return {
        part: _analysed(context, info, specs[part], device, detector)
        for part, info in videos.items()
    }


def person_remarks(track: FaceTrack, second: Mapping[Part, SecondPerson]) -> list[str]:
    """What to tell of a face that is dubbed and of the people of other videos.

    Args:
        track: The face.
        second: The people, by the part of the model that asks for them.
    """
    told: list[str] = []
    for one in {person.path: person for person in second.values()}.values():
        alike = similarity(track.embedding, one.embedding)
        if alike < STRANGER and track.embedding.any() and one.embedding.any():
            told.append(
                f"The face of '{one.path.name}' does not look like the one that is dubbed "
                f"(similarity {alike:.3f}, {SAME_PERSON:.3f} for the same person): is it the same "
                "person?"
            )
    return told


def _require_length(info: MediaInfo, least_s: float) -> None:
    """What headers tell: without sound, or shorter than the speech that is needed."""
    if not least_s:
        return
    if info.audio is None:
        raise ConfigError(f"'{info.path.name}' has no sound, so nobody speaks in it.", _NEXT_STEP)
    if info.duration_s is not None and info.duration_s < least_s:
        raise ConfigError(
            f"'{info.path.name}' lasts {float(info.duration_s):.1f} s: a manner of speaking takes "
            f"{least_s:.0f} s of speech.",
            _NEXT_STEP,
        )


def _require_speech(path: Path, speech: OwnSpeech | None, least_s: float) -> None:
    if not least_s:
        return
    if speech is None:
        raise ConfigError(
            f"'{path.name}' shows no speech that is surely in step with its sound.", _NEXT_STEP
        )
    if speech.seconds < least_s:
        raise ConfigError(
            f"'{path.name}' shows {speech.seconds:.1f} s of speech in step with its sound: a "
            f"manner of speaking takes {least_s:.0f} s.",
            _NEXT_STEP,
        )


def _analysed(
    context: RunContext, info: MediaInfo, spec: ModelSpec, device: torch.device, detector: str
) -> SecondPerson:
    path = info.path
    with FrameReader(path, info) as reader:
        with context.engine.detector(detector) as finder:
            found = analyse(
                reader,
                finder,
                expected_frames(info),
                lambda stage, done, total: context.progress(f"{stage} {path.name}", done, total),
                context.engine.segmenter(),
                recogniser=context.engine.recogniser(),
            )
        try:
            track = choose_face(found, 1)
        except NoFaceError as error:
            raise NoFaceError(f"'{path.name}': {error.cause}", _NEXT_STEP) from error
        face = follow_face(reader, require_video(info), track, spec)
        sound = context.engine.source_sound(info, device)
        own_audio = sound.windows(face.track, found.times, {"render": spec}).get("render")
        speech = sound.speech(face, found.times, spec, device)
        _require_speech(path, speech, spec.least_speech_s)
        subject = model_subject(
            face,
            face.references,
            spec,
            device,
            times=found.times,
            own_audio=own_audio,
            own_speech=speech,
        )
        return SecondPerson(path=path, subject=subject, embedding=track.embedding)
