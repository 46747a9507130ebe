"""`dub`: check, decide, render, join, report."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

from dubcli import __version__
from dubcli.config import DubConfig
from dubcli.media.read import FrameReader
from dubcli.media.remux import remux
from dubcli.media.write import EncodeOptions
from dubcli.pipeline.decide import Decision, decide
from dubcli.pipeline.job import (
    Job,
    Progress,
    check_output,
    fingerprint,
    inspect,
    prepare_job,
    report_path,
    require_free,
)
from dubcli.pipeline.job_folder import JobFolder, job_folder
from dubcli.pipeline.person import remarks
from dubcli.pipeline.render import Clock
from dubcli.pipeline.report import make_report, write_report
from dubcli.pipeline.segments import SEGMENT_FRAMES, render_picture
from dubcli.pipeline.sound import sound_edit, sound_notes
from dubcli.types import DubReport


def dub(
    config: DubConfig,
    progress: Progress | None = None,
    *,
    reference_frames: range | None = None,
    encode: EncodeOptions | None = None,
    segment_frames: int = SEGMENT_FRAMES,
) -> DubReport:
    """Give the person in a video lips that speak other audio.

    A run that was killed leaves its finished segments beside the output; the same call goes on
    from there, with the same result as if it had never been interrupted.

    Args:
        config: What to do.
        progress: Called as (stage, done, total).
        reference_frames: Source frames that may serve as references and tell how the person's
            mouth rests; all by default. For measurements that must not see the answer.
        encode: Encoder options in place of the configuration's.
        segment_frames: After about so many frames a segment is finished.

    Returns:
        The report, which also lies beside the result.

    Raises:
        DubError: See `dubcli.errors`.
    """
    tell = progress or (lambda stage, done, total: None)
    info = inspect(config)
    output = check_output(config, info)
    extras = {
        "reference_frames": None if reference_frames is None else str(reference_frames),
        "encode": None if encode is None else str(asdict(encode)),
        "segment_frames": segment_frames,
    }
    with job_folder(output, fingerprint(config, output, extras)) as folder:
        if not folder.was_finishing:
            require_free(output, config)
        clock = Clock()
        began = time.perf_counter()
        job = prepare_job(config, info, output, folder.path, encode)
        clock.add("prepare", began)
        with FrameReader(config.video, job.info, config.threads) as reader:
            decision = decide(
                job, reader, clock, tell, kept=folder.analysis, reference_frames=reference_frames
            )
            notes = _remarks(job, decision)
            picture, said = render_picture(
                job, decision, reader, folder, clock, tell, segment_frames
            )
        joined = folder.path / f"joined{output.suffix}"
        notes += said + _join(picture, job, decision, joined, clock, tell)
        report = make_report(job, decision, clock, notes)
        _place(report, joined, folder, output)
    return report


def _remarks(job: Job, decision: Decision) -> list[str]:
    """What is to be told of the people and of the sound."""
    notes = [note for speaker in decision.speakers for note in remarks(speaker.looks, job.identity)]
    return notes + sound_notes(job.levels, decision.schedule, decision.found.times)


def _join(
    picture: Path, job: Job, decision: Decision, target: Path, clock: Clock, tell: Progress
) -> list[str]:
    """Put picture, driving audio and the source's other streams together; returns notes."""
    schedule = decision.schedule
    timeline = schedule.timeline
    began = time.perf_counter()
    tell("join", 0, 1)
    notes = remux(
        picture=picture,
        source=job.config.video,
        source_info=job.info,
        audio=job.sound,
        audio_s=schedule.audio_s,
        pad_s=schedule.pad_s,
        output=target,
        start_s=int(timeline.pts[0]) * timeline.time_base,
        audio_start_s=schedule.begin_s + schedule.skip_s,
        edit=sound_edit(job.config, job.info, job.levels, schedule),
        metadata={"comment": f"Lips dubbed by dub {__version__} ({job.model_name})"},
    )
    tell("join", 1, 1)
    clock.add("join", began)
    return notes


def _place(report: DubReport, joined: Path, folder: JobFolder, output: Path) -> None:
    """Put report and result under their names, the result last: where it is, all is."""
    written = folder.path / "report.json"
    write_report(report, written)
    folder.place([(written, report_path(output)), (joined, output)])
