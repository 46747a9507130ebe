"""What is going to be done: who is dubbed when, under which sound. Decides; reads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dubcli.config import Voice
from dubcli.core.errors import ConfigError
from dubcli.core.types import F32
from dubcli.face.track import fade
from dubcli.pipeline.analysis_cache import Analysis
from dubcli.pipeline.face_choice import Choice, Known, choose
from dubcli.pipeline.inputs import LoadedJob, Speech
from dubcli.pipeline.jumps import picture_jumps
from dubcli.pipeline.part import faces_of_part, part_strength
from dubcli.pipeline.soundtrack import Schedule, rest_shares, schedule_sound, speech_strength
from dubcli.sync.scorer import SyncScore
from dubcli.sync.source_sync import SourceSync


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """One person who is dubbed.

    Attributes:
        speech: What they say.
        choice: Which face, and why.
        visible: Weight of the dub per source frame by what the face shows, 0 to pass through.
            Shape (T,).
        strength: Weight of the dub at each position of the timeline, no more than `visible` of
            the frame that is shown. Shape (N,).
        rest: How far the mouth is at rest at each position, 0 to 1. Shape (N,).
    """

    speech: Speech
    choice: Choice
    visible: F32
    strength: F32
    rest: F32


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


def decide(
    job: LoadedJob, found: Analysis, known: Sequence[Known | None], own_sound: SourceSync
) -> Decision:
    """Settle everything that the frames decide.

    Args:
        job: What is to be done.
        found: Result of pass 1.
        known: For each recording whom its face is to look like; see `face_choice.known_person`.
        own_sound: Compares mouths with the source's own sound.

    Raises:
        NoFaceError: No face, or none that can be dubbed.
        ConfigError: No such face, several that fit, one face for two voices, or a part that the
            video does not have.
    """
    times, size = found.times, job.video.display_size
    schedule = schedule_sound(job.config, job.info, job.audio_s, times)
    found = faces_of_part(found, schedule.part, schedule.timeline)
    choices = [
        choose(
            found, speech.voice.face, size, who, lambda tracks: own_sound.of_tracks(tracks, times)
        )
        for speech, who in zip(job.speeches, known, strict=True)
    ]
    _require_different(job.speeches, choices)
    speakers = tuple(
        _speaker(job, speech, choice, schedule)
        for speech, choice in zip(job.speeches, choices, strict=True)
    )
    (own,) = own_sound.of_tracks([choices[0].track], times)
    return Decision(found=found, schedule=schedule, speakers=speakers, own=own)


def _require_different(speeches: tuple[Speech, ...], choices: list[Choice]) -> None:
    said: dict[int, Voice] = {}
    for speech, choice in zip(speeches, choices, strict=True):
        other = said.setdefault(choice.number, speech.voice)
        if other is not speech.voice:
            raise ConfigError(
                f"'{other.face}' and '{speech.voice.face}' are both face {choice.number}.",
                "Give each voice a face of its own; dub plan shows the faces' numbers.",
            )


def _speaker(job: LoadedJob, speech: Speech, choice: Choice, schedule: Schedule) -> Speaker:
    timeline, track = schedule.timeline, choice.track
    visible = fade(track.valid, track.shot)
    strength = visible[timeline.source_index]
    jumps = picture_jumps(track, timeline)
    if job.config.keep_silent_frames:
        strength = np.minimum(strength, speech_strength(speech.activity, schedule, jumps))
    if schedule.part is not None:
        strength = np.minimum(strength, part_strength(schedule.part, timeline, jumps))
    rest = np.zeros(len(timeline), np.float32)
    if job.config.lips_follow == "speech":
        rest = rest_shares(speech.activity, schedule)
    return Speaker(speech=speech, choice=choice, visible=visible, strength=strength, rest=rest)
