"""What was done, as a value and beside the result."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dubcli import __version__
from dubcli.core.reports import DubReport, SpeakerReport
from dubcli.media.container.remux import Muxed
from dubcli.pipeline.context import Clock
from dubcli.pipeline.decision import Decision
from dubcli.pipeline.inputs import LoadedJob
from dubcli.pipeline.part import is_inside
from dubcli.pipeline.passed_ranges import PassedRange, passed_ranges
from dubcli.pipeline.segments import Picture
from dubcli.pipeline.speakers import PreparedSpeaker
from dubcli.sync.source_sync import source_warning


def make_report(
    job: LoadedJob,
    decision: Decision,
    speakers: Sequence[PreparedSpeaker],
    clock: Clock,
    picture: Picture,
    notes: list[str],
    muxed: Muxed,
) -> DubReport:
    """Put together the report of a finished dub.

    Args:
        job: What was to be done.
        decision: How.
        speakers: Who was dubbed.
        clock: Seconds per stage.
        picture: What was rendered.
        notes: What the stages before want to be told.
        muxed: How it was put together.
    """
    notes = [*notes, *picture.notes, *muxed.notes]
    timeline, found = decision.schedule.timeline, decision.found
    reasons = passed_reasons(decision)
    first, own = speakers[0], decision.own
    choice = first.speaker.choice
    return DubReport(
        output=str(job.output),
        frames=len(timeline),
        frames_dubbed=reasons.count(""),
        frames_passed_through=dict(Counter(reason for reason in reasons if reason)),
        passed_through=[one.as_json() for one in left_ranges(decision)],
        **picture.copies.as_report(timeline),
        width=job.video.width,
        height=job.video.height,
        model=job.model_name,
        weights_sha256=job.weights_sha256,
        motion_model=None if job.models.is_one else job.motion_entry.name,
        model_facts=picture.model_facts,
        model_ranges=picture.model_ranges,
        device=str(job.device),
        sync_mode="pad" if job.config.is_part else job.config.sync_mode,
        seconds={stage: round(value, 3) for stage, value in clock.seconds.items()},
        config=job.config.as_json(),
        warnings=_warnings(decision, reasons) + notes + job.marks.notes,
        identity=job.identity.name if job.identity else None,
        references=[] if job.identity else first.face.reference_frames,
        shots=int(choice.track.shot.max()) + 1,
        shot_ranges=shot_ranges(decision),
        faces=len(found.tracks),
        face=choice.number,
        face_reason=choice.reason,
        speakers=[_of_speaker(speaker) for speaker in speakers],
        duration_s=round(float(timeline.duration_s), 6),
        source_offset_ms=round(own.offset_ms) if own is not None and own.is_sure else None,
        audio_offset_s=job.config.audio_offset,
        audio_gain_db=round(job.levels.gain_db - muxed.lowered_db, 2),
        original_mixed_db=None if job.levels.own_db is None else round(job.levels.own_db, 2),
        marks=job.marks.report(),
        version=__version__,
    )


def passed_reasons(decision: Decision) -> list[str]:
    """Why each position of the timeline shows the source's own picture, '' where it does not.

    With several speakers it is the first one's reason.
    """
    timeline, first = decision.schedule.timeline, decision.speakers[0]
    inside = is_inside(decision.schedule.part, timeline).tolist()
    shown = (decision.strength > 0).tolist()
    reasons: list[str] = []
    for place, index in enumerate(timeline.source_index.tolist()):
        if not inside[place]:
            reasons.append("outside")
        elif shown[place]:
            reasons.append("")
        elif first.visible[index] <= 0:
            reasons.append(first.choice.track.reasons[index] or "fade")
        else:
            reasons.append("silence")
    return reasons


def left_ranges(decision: Decision) -> list[PassedRange]:
    """Where the result shows the source's own picture, and why."""
    timeline = decision.schedule.timeline
    return passed_ranges(
        passed_reasons(decision), timeline.pts.tolist(), timeline.end_pts, timeline.time_base
    )


def shot_ranges(decision: Decision) -> list[dict[str, Any]]:
    """Which shot of the source the result shows when: start_s, end_s, shot, numbers from 1."""
    timeline = decision.schedule.timeline
    shots = decision.speakers[0].choice.track.shot[timeline.source_index]
    ranges = passed_ranges(
        [str(shot + 1) for shot in shots.tolist()],
        timeline.pts.tolist(),
        timeline.end_pts,
        timeline.time_base,
    )
    values = [one.as_json() for one in ranges]
    return [
        {"start_s": one["start_s"], "end_s": one["end_s"], "shot": int(one["reason"])}
        for one in values
    ]


def write_report(report: DubReport, path: Path) -> None:
    """The report as JSON."""
    path.write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")


def _warnings(decision: Decision, reasons: list[str]) -> list[str]:
    timeline, found = decision.schedule.timeline, decision.found
    warnings = [timeline.description] if "match" not in timeline.description else []
    if found.num_corrupt:
        warnings.append(f"{found.num_corrupt} damaged packets of the source were left out.")
    asked = [reason for reason in reasons if reason != "outside"]
    unusable = sum(reason not in ("", "silence") for reason in asked)
    if unusable * 2 > len(asked):
        warnings.append("More than half of the frames were left as they are.")
    out_of_step = source_warning(decision.own)
    return [*warnings, out_of_step] if out_of_step else warnings


def _of_speaker(one: PreparedSpeaker) -> SpeakerReport:
    speaker = one.speaker
    return SpeakerReport(
        face=speaker.choice.number,
        reason=speaker.choice.reason,
        audio=str(speaker.speech.voice.audio),
        frames_dubbed=int(np.count_nonzero(speaker.strength > 0)),
        references=one.face.reference_frames,
    )
