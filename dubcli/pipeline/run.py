"""`dub`: check, decide, render, join, report."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from dubcli.config import DubConfig
from dubcli.core.types import DubReport
from dubcli.media.container.remux import remux
from dubcli.media.video.frame_reader import FrameReader
from dubcli.media.video.frame_writer import EncodeOptions
from dubcli.pipeline.decision import Decision, decide
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
from dubcli.pipeline.marking import drop_stale_sidecar, finish_marks, tags_of
from dubcli.pipeline.renderer import Clock
from dubcli.pipeline.report import make_report, write_report
from dubcli.pipeline.resume import JobFolder, job_folder
from dubcli.pipeline.segments import SEGMENT_FRAMES, render_picture
from dubcli.pipeline.soundtrack import sound_edit
from dubcli.pipeline.summary import remarks_on, summary
from dubcli.preview.estimate import foresee, require_space
from dubcli.preview.plan_types import Estimate


def dub(
    config: DubConfig,
    progress: Progress | None = None,
    *,
    announce: Callable[[str], None] | None = None,
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
        announce: Called with sentences on what is about to be done, before the slow part.
        reference_frames: Source frames that may serve as references and tell how the person's
            mouth rests; all by default. For measurements that must not see the answer.
        encode: Encoder options in place of the configuration's.
        segment_frames: After about so many frames a segment is finished.

    Returns:
        The report, which also lies beside the result.

    Raises:
        DubError: See `dubcli.core.errors`.
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
        clock, began = Clock(), time.perf_counter()
        job = prepare_job(config, info, output, folder.path, encode)
        clock.add("prepare", began)
        with FrameReader(
            config.video, info, config.threads, deinterlace=config.deinterlace
        ) as reader:
            decision = decide(
                job, reader, clock, tell, kept=folder.analysis, reference_frames=reference_frames
            )
            needed = _foresee(job, decision, reader, folder, clock, tell, segment_frames)
            _announce(job, decision, needed, announce)
            notes = remarks_on(job, decision)
            picture, said = render_picture(
                job, decision, reader, folder, clock, tell, segment_frames
            )
        joined, heard = _join(picture, job, decision, folder, clock, tell)
        made = finish_marks(job, joined, clock, tell)
        report = make_report(job, decision, clock, notes + said + heard)
        _place(report, made, folder, job)
    return report


def _foresee(
    job: Job,
    decision: Decision,
    reader: FrameReader,
    folder: JobFolder,
    clock: Clock,
    tell: Progress,
    segment_frames: int,
) -> Estimate | None:
    """Time and space of a long job, by a trial; refuses what the disk cannot hold."""
    if folder.has_segments:
        return None  # of what an earlier run has left nothing is known
    began = time.perf_counter()
    needed = foresee(job, decision, reader, folder.path, tell, segment_frames=segment_frames)
    if needed is not None:
        clock.add("trial", began)
    require_space(needed, job.output)
    return needed


def _announce(
    job: Job,
    decision: Decision,
    needed: Estimate | None,
    announce: Callable[[str], None] | None,
) -> None:
    if announce is not None:
        for line in summary(job, decision, needed):
            announce(line)


def _join(
    picture: Path,
    job: Job,
    decision: Decision,
    folder: JobFolder,
    clock: Clock,
    tell: Progress,
) -> tuple[Path, list[str]]:
    """Put picture, driving audio and the source's other streams together; the file and notes."""
    target = folder.path / f"joined{job.output.suffix}"
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
        metadata=tags_of(job),
    )
    if picture != folder.segment(0):
        picture.unlink()  # a run that goes on joins it again: signing needs the room
    tell("join", 1, 1)
    clock.add("join", began)
    return target, notes


def _place(
    report: DubReport, made: Sequence[tuple[Path, Path]], folder: JobFolder, job: Job
) -> None:
    """Put report and result under their names, the result last: where it is, all is."""
    written = folder.path / "report.json"
    write_report(report, written)
    folder.place([(written, report_path(job.output)), *made])
    drop_stale_sidecar(job)
