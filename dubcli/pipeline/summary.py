"""What a dub is about to do, in a few sentences, before the slow part."""

from __future__ import annotations

from collections.abc import Sequence

from dubcli.core.formatting import clock_time, in_bytes, in_time, reason_in_words
from dubcli.face.recognition import FaceEmbedder
from dubcli.media.container.formats import container_of
from dubcli.media.video.deinterlace import deinterlace_notes
from dubcli.media.video.video_encoders import choose_encoder
from dubcli.pipeline.copy_choice import CopyChoice
from dubcli.pipeline.decision import Decision
from dubcli.pipeline.inputs import LoadedJob
from dubcli.pipeline.picture_notes import picture_notes
from dubcli.pipeline.report import left_ranges
from dubcli.pipeline.second_subject import person_remarks
from dubcli.pipeline.soundtrack import sound_notes, speech_notes
from dubcli.pipeline.speakers import PreparedSpeaker
from dubcli.pipeline.stored_identity import remarks
from dubcli.preview.plan_types import Estimate, PlannedRange
from dubcli.provenance.mark_choice import in_words
from dubcli.sync.source_sync import source_warning

_MOST_RANGES = 3


def summary(
    job: LoadedJob,
    decision: Decision,
    needed: Estimate | None,
    speakers: Sequence[PreparedSpeaker] = (),
    copies: CopyChoice | None = None,
) -> list[str]:
    """Sentences for the user: who and why, what stays, the length, the encoder, time and space.

    Args:
        job: What is to be done.
        decision: How.
        needed: What a trial foresees; None where there was none.
        speakers: The people, once their pictures are known.
        copies: What is copied from the source, once that is known.
    """
    num = len(decision.schedule.timeline)
    dubbed = int((decision.strength > 0).sum())
    encoder, pix_fmt, _ = choose_encoder(job.video, job.encode)
    container = container_of(job.output).muxer
    lines = [
        *job.input_notes,
        *_faces(decision),
        f"{dubbed} of {num} frames will be dubbed{_passed(decision)}",
        decision.schedule.timeline.description,
        f"the result is {container}, encoded by {encoder} in {pix_fmt}: {job.output}",
        *_copied(copies, num),
        f"marks: {in_words(job.marks.report())}",
        *picture_notes(decision, speakers),
        *_strangers(speakers),
    ]
    warning = source_warning(decision.own)
    if warning is not None:
        lines.append(warning)
    return lines if needed is None else [*lines, needs(needed)]


def remarks_on(
    job: LoadedJob,
    decision: Decision,
    speakers: Sequence[PreparedSpeaker],
    recogniser: FaceEmbedder,
) -> list[str]:
    """What is to be told of the people, of interlaced frames and of the sound."""
    notes = list(job.input_notes)
    notes += [
        note
        for one in speakers
        for note in remarks(one.face.track.embedding, job.identity, recogniser)
    ]
    num_interlaced = decision.found.num_interlaced
    notes += deinterlace_notes(job.video, job.config.deinterlace, num_interlaced)
    for speech in job.speeches:
        notes += speech_notes(speech.activity, speech.voice.audio, job.config.lips_follow)
    notes += picture_notes(decision, speakers) + _strangers(speakers)
    return notes + sound_notes(job.levels, decision.schedule, decision.found.times)


def needs(needed: Estimate) -> str:
    """Time and space in a sentence."""
    free = "" if needed.free_bytes is None else f", {in_bytes(needed.free_bytes)} are free"
    return (
        f"it will take about {in_time(needed.seconds)} and {in_bytes(needed.disk_bytes)} of disk "
        f"({in_bytes(needed.result_bytes)} in the end{free})"
    )


def planned_ranges(decision: Decision) -> list[PlannedRange]:
    """Which ranges of the result stay as they are, and why."""
    return [PlannedRange(**one.as_json()) for one in left_ranges(decision)]


def _strangers(speakers: Sequence[PreparedSpeaker]) -> list[str]:
    """People of other videos who are hardly those who are dubbed."""
    return [note for one in speakers for note in person_remarks(one.face.track, one.second)]


def _faces(decision: Decision) -> list[str]:
    """Which face and why, where there was something to choose."""
    many = len(decision.found.tracks)
    if many < 2:
        return []
    several = len(decision.speakers) > 1
    return [
        f"face {speaker.choice.number} of {many}: {speaker.choice.reason}"
        + (f"; says '{speaker.speech.voice.audio}'" if several else "")
        for speaker in decision.speakers
    ]


def _copied(copies: CopyChoice | None, num: int) -> list[str]:
    """How much is not encoded."""
    if copies is None or not copies.num_copied:
        return []
    return [f"{copies.num_copied} of {num} frames are copied from the video without encoding"]


def _passed(decision: Decision) -> str:
    ranges = planned_ranges(decision)
    if not ranges:
        return ""
    longest = sorted(ranges, key=lambda one: -one.frames)[:_MOST_RANGES]
    named = [range_in_words(one) for one in sorted(longest, key=lambda one: one.start_s)]
    more = len(ranges) - len(longest)
    return f"; as they are stay {', '.join(named)}" + (f" and {more} more ranges" if more else "")


def range_in_words(one: PlannedRange) -> str:
    """Such as `0:02.0 to 0:03.4 (turned away)`."""
    when = f"{clock_time(one.start_s)} to {clock_time(one.end_s)}"
    return f"{when} ({reason_in_words(one.reason)})"
