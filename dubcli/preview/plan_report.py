"""`dub plan`: look, decide and try, and tell what would be done. Writes a picture of the faces."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from dubcli import __version__
from dubcli.config import PlanConfig
from dubcli.core.errors import ConfigError, DubError, EncodeError
from dubcli.core.types import MediaInfo
from dubcli.face.detect import MediaPipeDetector
from dubcli.media.container.formats import container_of, default_output, plan_streams
from dubcli.media.container.probe import require_video
from dubcli.media.sound.audio_track import plan_audio, read_driving_audio
from dubcli.media.video.frame_reader import FrameReader
from dubcli.media.video.video_encoders import choose_encoder
from dubcli.pipeline.analysis import Analysis, analyse, expected_frames
from dubcli.pipeline.decision import Decision, decide, look
from dubcli.pipeline.device import choose_device
from dubcli.pipeline.face_choice import choose, known_person, own_sound
from dubcli.pipeline.job import Job, Progress, check_output, inspect, prepare_job, report_path
from dubcli.pipeline.renderer import Clock
from dubcli.pipeline.soundtrack import sound_edit
from dubcli.pipeline.summary import planned_ranges, remarks_on
from dubcli.preview.estimate import foresee, require_space
from dubcli.preview.faces_seen import faces_seen
from dubcli.preview.faces_sheet import draw_faces
from dubcli.preview.plan_types import Estimate, PlannedSpeaker, PlanReport, ResultFacts
from dubcli.preview.source_facts import source_facts
from dubcli.provenance.mark_choice import in_words
from dubcli.sync.scorer import source_offsets, source_warning


@dataclass(frozen=True, kw_only=True)
class _Outlook:
    """What a dub would do, as far as it would come.

    Attributes:
        found: Result of pass 1.
        speakers: Who would be dubbed.
        decision: All that the dub would follow.
        needed: What a trial foresees.
        error: What the dub would end with.
    """

    found: Analysis
    speakers: tuple[PlannedSpeaker, ...] = ()
    decision: Decision | None = None
    needed: Estimate | None = None
    error: DubError | None = None


def make_plan(config: PlanConfig, progress: Progress | None = None) -> PlanReport:
    """Tell what a dub would do, without doing it.

    All but the picture of the faces is made in a temporary folder. Where the dub would fail once it
    has looked at the frames, as without a usable face, the report has what was seen, and `error`.

    Args:
        config: What the dub would be told; without audio only the faces are looked at.
        progress: Called as (stage, done, total).

    Raises:
        DubError: The dub could not begin, or the picture cannot be written.
    """
    tell = progress or (lambda stage, done, total: None)
    notes: list[str] = []
    if config.finetune:
        notes.append("The person would be learned first, which takes minutes; this leaves it out.")
        config = replace(config, finetune=False, consent=False, identity=None)
    info = inspect(config)
    output = check_output(config, info) if config.voices else default_output(config.video, info)
    picture = _picture_path(config, output)
    clock = Clock()
    with tempfile.TemporaryDirectory(prefix="dub-plan-") as folder:
        began = time.perf_counter()
        job = prepare_job(config, info, output, Path(folder), None) if config.voices else None
        device = choose_device(config.device) if job is None else job.device
        clock.add("prepare", began)
        with FrameReader(
            config.video, info, config.threads, deinterlace=config.deinterlace
        ) as reader:
            if job is None:
                outlook = _look_only(config, info, reader, device, clock, tell)
            else:
                outlook = _look_and_try(job, reader, Path(folder), clock, tell)
            report = _report(config, info, outlook, device, clock)
            dubbed = [speaker.face for speaker in outlook.speakers]
            if picture is not None:
                is_drawn = draw_faces(outlook.found, dubbed, reader, require_video(info), picture)
                report = replace(report, picture=str(picture) if is_drawn else None)
        if job is not None and outlook.decision is not None:
            report = _with_result(report, job, outlook.decision, outlook.needed)
    return replace(report, notes=(*notes, *report.notes))


def _look_only(
    config: PlanConfig,
    info: MediaInfo,
    reader: FrameReader,
    device: torch.device,
    clock: Clock,
    tell: Progress,
) -> _Outlook:
    """Without audio: the faces, and which one would be chosen."""
    began = time.perf_counter()
    known = known_person(config.face, None)
    with MediaPipeDetector() as detector:
        found = analyse(reader, detector, expected_frames(info), tell)
    clock.add("analyse", began)
    listen = own_sound(config.video, found.times, device)
    try:
        size = require_video(info).display_size
        choice = choose(found, config.face, size, known, listen)
    except DubError as error:
        return _Outlook(found=found, error=error)
    chosen = PlannedSpeaker(
        face=choice.number, reason=choice.reason, audio=None, frames_dubbed=None
    )
    return _Outlook(found=found, speakers=(chosen,))


def _look_and_try(
    job: Job, reader: FrameReader, scratch: Path, clock: Clock, tell: Progress
) -> _Outlook:
    """What the dub does before its slow part, and a trial of that."""
    began = time.perf_counter()
    outlook = _Outlook(found=look(job, reader, tell))
    clock.add("analyse", began)
    try:
        decision = decide(job, reader, clock, tell, found=outlook.found)
        speakers = tuple(
            PlannedSpeaker(
                face=speaker.choice.number,
                reason=speaker.choice.reason,
                audio=str(speaker.speech.voice.audio),
                frames_dubbed=int((speaker.strength > 0).sum()),
            )
            for speaker in decision.speakers
        )
        outlook = _Outlook(found=decision.found, speakers=speakers, decision=decision)
        began = time.perf_counter()
        needed = foresee(job, decision, reader, scratch, tell, always=True)
        clock.add("trial", began)
        outlook = replace(outlook, needed=needed)
        require_space(needed, job.output)
    except DubError as error:
        return replace(outlook, error=error)
    return outlook


def _report(
    config: PlanConfig, info: MediaInfo, outlook: _Outlook, device: torch.device, clock: Clock
) -> PlanReport:
    """What was seen, and who would be dubbed."""
    began = time.perf_counter()
    shots, faces = faces_seen(outlook.found, partial(source_offsets, config.video, device=device))
    clock.add("faces", began)
    error = outlook.error
    return PlanReport(
        source=source_facts(info, outlook.found.times),
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
    report: PlanReport, job: Job, decision: Decision, needed: Estimate | None
) -> PlanReport:
    own, out_of_step = decision.own, source_warning(decision.own)
    num_corrupt = decision.found.num_corrupt
    damaged = f"{num_corrupt} damaged packets of the source would be left out."
    return replace(
        report,
        result=_result_facts(job, decision),
        passed=tuple(planned_ranges(decision)),
        estimate=needed,
        source_offset_ms=round(own.offset_ms) if own is not None and own.is_sure else None,
        notes=(
            *([damaged] if num_corrupt else []),
            *([out_of_step] if out_of_step else []),
            *remarks_on(job, decision),
        ),
        model=job.model_name,
    )


def _result_facts(job: Job, decision: Decision) -> ResultFacts:
    """What would be written."""
    schedule, container = decision.schedule, container_of(job.output)
    timeline = schedule.timeline
    encoder, pix_fmt, said = choose_encoder(job.video, job.encode)
    sound, heard = plan_audio(
        read_driving_audio(job.sound),
        container,
        schedule.audio_s,
        schedule.pad_s,
        schedule.begin_s + schedule.skip_s,
        sound_edit(job.config, job.info, job.levels, schedule),
    )
    _, streams = plan_streams(job.info.streams, container, job.info)
    return ResultFacts(
        path=str(job.output),
        exists=job.output.exists() or report_path(job.output).exists(),
        container=container.muxer,
        encoder=encoder,
        pix_fmt=pix_fmt,
        sound=sound.encoder,
        frames=len(timeline),
        frames_dubbed=int((decision.strength > 0).sum()),
        duration_s=round(float(timeline.duration_s), 3),
        sync_mode="pad" if job.config.is_part else job.config.sync_mode,
        timeline=timeline.description,
        begins_s=round(float(schedule.begin_s), 3),
        notes=(*said, *heard, *streams, *job.marks.notes),
        marks=in_words(job.marks.report()),
    )


def _picture_path(config: PlanConfig, output: Path) -> Path | None:
    """Where the picture of the faces goes, when it can be written there; None for none.

    Raises:
        ConfigError: It is no PNG, or exists.
        EncodeError: Its folder cannot be written.
    """
    if not config.picture:
        return None
    path = config.faces or output.with_name(f"{config.video.stem}.faces.png")
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
