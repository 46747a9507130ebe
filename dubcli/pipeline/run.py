"""`dub`: check, look, decide, render, join, report. The main line of docs/architecture.md."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dubcli.compare.comparison import compare
from dubcli.config import CompareConfig, DubConfig
from dubcli.core.progress import Progress, no_progress
from dubcli.core.reports import DubReport
from dubcli.core.types import MediaInfo
from dubcli.media.container.remux import Muxed, remux
from dubcli.media.video.frame_reader import FrameReader
from dubcli.media.video.frame_writer import EncodeOptions
from dubcli.pipeline.analysis import find_faces
from dubcli.pipeline.context import SEGMENT_FRAMES, Clock, RunContext
from dubcli.pipeline.copy_choice import CopyChoice, choose_copies
from dubcli.pipeline.decision import Decision, decide
from dubcli.pipeline.engine import Engine, engine_for
from dubcli.pipeline.face_choice import known_people
from dubcli.pipeline.inputs import LoadedJob, load_inputs
from dubcli.pipeline.job import fingerprint, report_path, require_free, validate
from dubcli.pipeline.marking import drop_stale_sidecar, finish_marks, tags_of
from dubcli.pipeline.report import make_report, write_report
from dubcli.pipeline.resume import JobFolder, job_folder
from dubcli.pipeline.segments import Picture, render_picture
from dubcli.pipeline.soundtrack import on_output_clock, sound_edit
from dubcli.pipeline.speakers import PreparedSpeaker, prepare_speakers, second_people
from dubcli.pipeline.summary import remarks_on, summary
from dubcli.preview.estimate import estimate_needs, require_space
from dubcli.preview.plan_types import Estimate

_SOURCE, _DUB = "source", "dubbed"


def dub(
    config: DubConfig,
    progress: Progress | None = None,
    *,
    engine: Engine | None = None,
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
        engine: Holds loaded models; one for this run alone by default.
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
    extras = beside_config(reference_frames, encode, segment_frames)
    with engine_for(engine, config.device, config.threads) as engine:
        checked = validate(config, engine, encode)
        with job_folder(checked.output, fingerprint(checked, extras)) as folder:
            if not folder.was_finishing:
                require_free(checked.output, config)
            clock = Clock()
            job = load_inputs(checked, engine, folder.path, clock)
            with open_source(
                config, job.info, engine, clock, progress, folder, segment_frames
            ) as context:
                decision, speakers = look_and_decide(context, job, reference_frames)
                copies = choose_copies(context, job, decision)
                needed = foresee_needs(context, job, decision, speakers, copies)
                if announce is not None:
                    for line in summary(job, decision, needed, speakers, copies):
                        announce(line)
                notes = remarks_on(job, decision, speakers, engine.recogniser())
                picture = render_picture(context, job, decision, speakers, copies)
            joined, muxed = _join(context, job, decision, picture.path)
            made = finish_marks(context, job, joined)
            report = make_report(job, decision, speakers, clock, picture, notes, muxed)
            _place(report, [*_landmarks(picture, config), *made], folder, job)
    if config.compare is not None:
        write_comparison(config, checked.output)
    return report


def beside_config(
    reference_frames: range | None = None,
    encode: EncodeOptions | None = None,
    segment_frames: int = SEGMENT_FRAMES,
) -> dict[str, Any]:
    """What the result of `dub` depends on beside its configuration, for `job.fingerprint`."""
    return {
        "reference_frames": None if reference_frames is None else str(reference_frames),
        "encode": None if encode is None else str(asdict(encode)),
        "segment_frames": segment_frames,
    }


@contextmanager
def open_source(
    config: DubConfig,
    info: MediaInfo,
    engine: Engine,
    clock: Clock,
    progress: Progress | None,
    folder: JobFolder,
    segment_frames: int = SEGMENT_FRAMES,
) -> Iterator[RunContext]:
    """The context of a run, while its source is open for reading.

    Args:
        config: Names the source.
        info: Facts of it.
        engine: Holds loaded models.
        clock: Collects seconds per stage.
        progress: Called as (stage, done, total).
        folder: What the run writes before its results are in place.
        segment_frames: Least length of a segment, frames.
    """
    with FrameReader(info.path, info, config.threads, deinterlace=config.deinterlace) as reader:
        yield RunContext(
            engine=engine,
            reader=reader,
            clock=clock,
            progress=progress or no_progress,
            folder=folder,
            segment_frames=segment_frames,
        )


def look_and_decide(
    context: RunContext, job: LoadedJob, reference_frames: range | None = None
) -> tuple[Decision, tuple[PreparedSpeaker, ...]]:
    """Pass 1, what follows from it, and what the models need of each face.

    Args:
        context: Of the run.
        job: What is to be done.
        reference_frames: As `dub` takes it.

    Raises:
        NoFaceError: No face, or none that can be dubbed.
        ConfigError: No such face, several that fit, one face for two voices, a part that the
            video does not have, or too little speech in a video that an option names.
        MediaError: The video breaks off.
    """
    began = time.perf_counter()
    # Pictures and videos that name people are looked at before the long pass, not after it.
    known = known_people(
        context.engine,
        [s.voice.face for s in job.speeches],
        job.identity,
        job.config.detector,
    )
    second = second_people(context, job)
    found = find_faces(context, job)
    began = context.clock.add("analyse", began)
    own_sound = context.engine.source_sound(job.info, job.device)
    decision = decide(job, found, known, own_sound)
    speakers = prepare_speakers(context, job, decision, own_sound, second, reference_frames)
    context.clock.add("references", began)
    return decision, speakers


def foresee_needs(
    context: RunContext,
    job: LoadedJob,
    decision: Decision,
    speakers: Sequence[PreparedSpeaker],
    copies: CopyChoice,
) -> Estimate | None:
    """Time and space of a long job, by a trial; refuses what the disk cannot hold."""
    if context.folder.has_segments:
        return None  # of what an earlier run has left nothing is known
    began = time.perf_counter()
    needed = estimate_needs(context, job, decision, speakers, copies)
    if needed is not None:
        context.clock.add("trial", began)
    require_space(needed, job.output)
    return needed


def _join(
    context: RunContext, job: LoadedJob, decision: Decision, picture: Path
) -> tuple[Path, Muxed]:
    """Put picture, driving audio and the source's other streams together."""
    target = context.folder.path / f"joined{job.output.suffix}"
    schedule, later_s = on_output_clock(decision.schedule)
    timeline = schedule.timeline
    began = time.perf_counter()
    context.progress("join", 0, 1)
    muxed = remux(
        picture=picture,
        source_info=job.info,
        audio=job.sound,
        audio_s=schedule.audio_s,
        pad_s=schedule.pad_s,
        output=target,
        start_s=int(timeline.pts[0]) * timeline.time_base,
        audio_start_s=schedule.begin_s + schedule.skip_s,
        edit=sound_edit(job.config, job.info, job.levels, schedule),
        metadata=tags_of(job),
        sound=job.driving,
        shift_s=later_s,
        source_name=job.config.video,
    )
    if picture != context.folder.segment(0):
        picture.unlink()  # a run that goes on joins it again: signing needs the room
    context.progress("join", 1, 1)
    context.clock.add("join", began)
    return target, muxed


def _landmarks(picture: Picture, config: DubConfig) -> list[tuple[Path, Path]]:
    """The landmark file and where it goes, where one is wanted."""
    if picture.landmarks is None or config.landmarks_out is None:
        return []
    return [(picture.landmarks, config.landmarks_out)]


def _place(
    report: DubReport, made: Sequence[tuple[Path, Path]], folder: JobFolder, job: LoadedJob
) -> None:
    """Put report and result under their names, the result last: where it is, all is."""
    written = folder.path / "report.json"
    write_report(report, written)
    folder.place([(written, report_path(job.output)), *made])
    drop_stale_sidecar(job)


def write_comparison(config: DubConfig, result: Path) -> None:
    """Write source and result side by side, to the place that `config.compare` names.

    What stands there was cleared before the dub.

    Args:
        config: Of the dub.
        result: Its output.

    Raises:
        DubError: As `compare`.
    """
    assert config.compare is not None
    videos, labels = (config.video, result), (_SOURCE, _DUB)
    compare(CompareConfig(videos=videos, output=config.compare, overwrite=True, label=labels))
