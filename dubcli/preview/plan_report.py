"""`dub plan`: look, decide and try, and tell what would be done. Writes a picture of the faces."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from dubcli import __version__
from dubcli.config import PlanConfig
from dubcli.core.errors import ConfigError, DubError, EncodeError
from dubcli.core.file_names import fitting_name
from dubcli.core.progress import Progress
from dubcli.core.types import MediaInfo
from dubcli.media.container.formats import choose_streams, container_of, default_output
from dubcli.media.container.probe import require_video
from dubcli.media.sound.audio_track import arrange_audio
from dubcli.media.video.frame_reader import FrameReader
from dubcli.media.video.video_encoders import choose_encoder
from dubcli.pipeline.analysis import analyse, expected_frames, find_faces
from dubcli.pipeline.analysis_cache import Analysis
from dubcli.pipeline.context import Clock, RunContext
from dubcli.pipeline.copy_choice import CopyChoice, choose_copies
from dubcli.pipeline.decision import Decision, Speaker, decide
from dubcli.pipeline.engine import Engine, engine_for
from dubcli.pipeline.face_choice import choose, known_people
from dubcli.pipeline.inputs import LoadedJob, load_inputs
from dubcli.pipeline.job import inspect, report_path, validate
from dubcli.pipeline.resume import JobFolder
from dubcli.pipeline.run import open_source
from dubcli.pipeline.soundtrack import on_output_clock, sound_edit
from dubcli.pipeline.speakers import prepare_speakers, second_people
from dubcli.pipeline.summary import planned_ranges, remarks_on
from dubcli.pipeline.usable_source import usable_source
from dubcli.preview.estimate import estimate_needs, require_space
from dubcli.preview.faces_seen import faces_seen
from dubcli.preview.faces_sheet import draw_faces
from dubcli.preview.plan_types import Estimate, PlannedSpeaker, PlanReport, ResultFacts
from dubcli.preview.source_facts import source_facts
from dubcli.provenance.mark_choice import in_words
from dubcli.sync.source_sync import SourceSync, source_warning


@dataclass(frozen=True, kw_only=True)
class _Outlook:
    """What a dub would do, as far as it would come.

    Attributes:
        found: Result of pass 1.
        own_sound: Compares mouths with the source's own sound.
        speakers: Who would be dubbed.
        decision: All that the dub would follow.
        copies: What it would copy from the source.
        notes: What is to be told of people and sound.
        needed: What a trial foresees.
        error: What the dub would end with.
    """

    found: Analysis
    own_sound: SourceSync
    speakers: tuple[PlannedSpeaker, ...] = ()
    decision: Decision | None = None
    copies: CopyChoice | None = None
    notes: tuple[str, ...] = ()
    needed: Estimate | None = None
    error: DubError | None = None


def make_plan(
    config: PlanConfig, progress: Progress | None = None, *, engine: Engine | None = None
) -> PlanReport:
    """Tell what a dub would do, without doing it.

    All but the picture of the faces is made in a temporary folder. Where the dub would fail once it
    has looked at the frames, as without a usable face, the report has what was seen, and `error`.

    Args:
        config: What the dub would be told; without audio only the faces are looked at.
        progress: Called as (stage, done, total).
        engine: Holds loaded models; one for this plan alone by default.

    Raises:
        DubError: The dub could not begin, or the picture cannot be written.
    """
    notes: list[str] = []
    if config.finetune:
        notes.append("The person would be learned first, which takes minutes; this leaves it out.")
        config = replace(config, finetune=False, consent=False, identity=None)
    with (
        engine_for(engine, config.device, config.threads) as engine,
        tempfile.TemporaryDirectory(prefix="dub-plan-") as folder,
    ):
        scratch = JobFolder(path=Path(folder), is_resumed=False, is_kept=False)
        make = _plan_dub if config.voices else _plan_faces
        report = make(config, engine, scratch, progress)
    return replace(report, notes=(*notes, *report.notes))


def _plan_dub(
    config: PlanConfig, engine: Engine, folder: JobFolder, progress: Progress | None
) -> PlanReport:
    """What the dub does before its slow part, and a trial of that."""
    checked = validate(config, engine)
    picture = picture_path(config, checked.output)
    clock, began = Clock(), time.perf_counter()
    job = load_inputs(checked, engine, folder.path)
    clock.add("prepare", began)
    with open_source(config, job.info, engine, clock, progress, folder) as context:
        outlook = _look_and_try(context, job)
        report = _report(config, job.info, outlook, job.device, clock)
        report = _with_picture(report, outlook, context.reader, job.info, picture)
    if outlook.decision is not None and outlook.copies is not None:
        report = _with_result(report, job, outlook.decision, outlook.copies, outlook)
    return report


def _plan_faces(
    config: PlanConfig, engine: Engine, folder: JobFolder, progress: Progress | None
) -> PlanReport:
    """Without audio: the faces, and which one would be chosen."""
    info, _ = inspect(config)
    picture = picture_path(config, default_output(config.video, info))
    source = usable_source(info, folder.path)
    info = source.info
    clock, device = Clock(), engine.device(config.device)
    with open_source(config, info, engine, clock, progress, folder) as context:
        outlook = _look_only(context, config, info, device)
        report = _report(config, info, outlook, device, clock)
        report = replace(report, notes=source.notes)
        return _with_picture(report, outlook, context.reader, info, picture)


def _with_picture(
    report: PlanReport,
    outlook: _Outlook,
    reader: FrameReader,
    info: MediaInfo,
    picture: Path | None,
) -> PlanReport:
    """The report, with the numbered picture of the faces where one is wanted."""
    if picture is None:
        return report
    dubbed = [speaker.face for speaker in outlook.speakers]
    is_drawn = draw_faces(outlook.found, dubbed, reader, require_video(info), picture)
    return replace(report, picture=str(picture) if is_drawn else None)


def _look_only(
    context: RunContext, config: PlanConfig, info: MediaInfo, device: torch.device
) -> _Outlook:
    began = time.perf_counter()
    engine = context.engine
    (known,) = known_people(engine, [config.face], None, config.detector)
    with engine.detector(config.detector) as detector:
        found = analyse(
            context.reader,
            detector,
            expected_frames(info),
            context.progress,
            engine.segmenter(),
            recogniser=engine.recogniser(),
        )
    context.clock.add("analyse", began)
    outlook = _Outlook(found=found, own_sound=engine.source_sound(info, device))
    try:
        choice = choose(
            found,
            config.face,
            require_video(info).display_size,
            known,
            lambda tracks: outlook.own_sound.of_tracks(tracks, found.times),
        )
    except DubError as error:
        return replace(outlook, error=error)
    chosen = PlannedSpeaker(
        face=choice.number, reason=choice.reason, audio=None, frames_dubbed=None
    )
    return replace(outlook, speakers=(chosen,))


def _look_and_try(context: RunContext, job: LoadedJob) -> _Outlook:
    began = time.perf_counter()
    engine = context.engine
    known = known_people(
        engine, [s.voice.face for s in job.speeches], job.identity, job.config.detector
    )
    second = second_people(context, job)
    found = find_faces(context, job)
    began = context.clock.add("analyse", began)
    own_sound = engine.source_sound(job.info, job.device)
    outlook = _Outlook(found=found, own_sound=own_sound)
    try:
        decision = decide(job, found, known, own_sound)
        prepared = prepare_speakers(context, job, decision, own_sound, second)
        began = context.clock.add("references", began)
        copies = choose_copies(context, job, decision)
        outlook = replace(
            outlook,
            found=decision.found,
            speakers=tuple(_planned(speaker) for speaker in decision.speakers),
            decision=decision,
            copies=copies,
            notes=tuple(remarks_on(job, decision, prepared, engine.recogniser())),
        )
        needed = estimate_needs(context, job, decision, prepared, copies, always=True)
        context.clock.add("trial", began)
        outlook = replace(outlook, needed=needed)
        require_space(needed, job.output)
    except DubError as error:
        return replace(outlook, error=error)
    return outlook


def _planned(speaker: Speaker) -> PlannedSpeaker:
    return PlannedSpeaker(
        face=speaker.choice.number,
        reason=speaker.choice.reason,
        audio=str(speaker.speech.voice.audio),
        frames_dubbed=int((speaker.strength > 0).sum()),
    )


def _report(
    config: PlanConfig, info: MediaInfo, outlook: _Outlook, device: torch.device, clock: Clock
) -> PlanReport:
    """What was seen, and who would be dubbed."""
    began = time.perf_counter()
    shots, faces = faces_seen(outlook.found, outlook.own_sound.of_mouths)
    clock.add("faces", began)
    error = outlook.error
    return PlanReport(
        source=replace(source_facts(info, outlook.found.times), path=str(config.video)),
        faces=tuple(faces),
        shots=tuple(shots),
        speakers=outlook.speakers,
        error=None if error is None else str(error),
        exit_code=0 if error is None else error.exit_code,
        device=str(device),
        seconds={stage: round(value, 3) for stage, value in clock.seconds.items()},
        config=config.as_json(),
        version=__version__,
    )


def _with_result(
    report: PlanReport,
    job: LoadedJob,
    decision: Decision,
    copies: CopyChoice,
    outlook: _Outlook,
) -> PlanReport:
    own, out_of_step = decision.own, source_warning(decision.own)
    num_corrupt = decision.found.num_corrupt
    damaged = f"{num_corrupt} damaged packets of the source would be left out."
    return replace(
        report,
        result=_result_facts(job, decision, copies),
        passed=tuple(planned_ranges(decision)),
        estimate=outlook.needed,
        source_offset_ms=round(own.offset_ms) if own is not None and own.is_sure else None,
        notes=(
            *([damaged] if num_corrupt else []),
            *([out_of_step] if out_of_step else []),
            *outlook.notes,
        ),
        model=job.model_name,
    )


def _result_facts(job: LoadedJob, decision: Decision, copies: CopyChoice) -> ResultFacts:
    """What would be written."""
    schedule, _ = on_output_clock(decision.schedule)
    container = container_of(job.output)
    timeline = schedule.timeline
    encoder, pix_fmt, said = choose_encoder(job.video, job.encode)
    sound, heard = arrange_audio(
        job.driving,
        container,
        schedule.audio_s,
        schedule.pad_s,
        schedule.begin_s + schedule.skip_s,
        sound_edit(job.config, job.info, job.levels, schedule),
    )
    _, streams = choose_streams(job.info.streams, container, job.info)
    return ResultFacts(
        path=str(job.output),
        exists=job.output.exists() or report_path(job.output).exists(),
        container=container.muxer,
        encoder=encoder,
        pix_fmt=pix_fmt,
        sound=sound.encoder,
        frames=len(timeline),
        frames_dubbed=int((decision.strength > 0).sum()),
        frames_copied=copies.num_copied,
        encoded_whole_because=copies.reason,
        duration_s=round(float(timeline.duration_s), 3),
        sync_mode="pad" if job.config.is_part else job.config.sync_mode,
        timeline=timeline.description,
        begins_s=round(float(decision.schedule.begin_s), 3),
        notes=(*said, *heard, *streams, *job.marks.notes),
        marks=in_words(job.marks.report()),
    )


def picture_path(config: PlanConfig, output: Path) -> Path | None:
    """Where the picture of the faces goes, when it can be written there; None for none.

    Args:
        config: Of the plan.
        output: Of the dub, beside which the picture lies where it is not named.

    Raises:
        ConfigError: It is no PNG, or exists.
        EncodeError: Its folder cannot be written.
    """
    if not config.picture:
        return None
    path = config.faces or output.with_name(
        fitting_name(config.video.stem, ".faces.png", output.parent)
    )
    if path.suffix.lower() != ".png":
        raise ConfigError(f"'{path}' is no name for a PNG.", "Use --faces NAME.png.")
    if path.is_dir():
        raise EncodeError(f"'{path}' is a folder.", "Name a file with --faces.")
    if path.exists() and not config.overwrite:
        raise ConfigError(
            f"'{path}' exists.", "Use -y to replace it, --faces for another name, or --no-picture."
        )
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise EncodeError(
            f"'{path.parent}' cannot be written.", "Choose another with --faces, or --no-picture."
        )
    return path
