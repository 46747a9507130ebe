"""Pass 2 in segments: each is a file of its own, so that a killed job loses at most one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from dubcli.config import DubConfig
from dubcli.core.atomic_io import move_file
from dubcli.core.types import Window
from dubcli.face.pose import Pose
from dubcli.media.container.concat import count_packets, join_segments
from dubcli.media.video.frame_writer import FrameWriter, choose_encoder
from dubcli.media.video.native_frame import NativeFrame
from dubcli.media.video.timeline import Timeline
from dubcli.models.api import Part
from dubcli.pipeline.context import RunContext
from dubcli.pipeline.decision import Decision
from dubcli.pipeline.inputs import LoadedJob
from dubcli.pipeline.job import Job
from dubcli.pipeline.landmark_file import MouthLog, write_landmarks
from dubcli.pipeline.marking import show_mark
from dubcli.pipeline.model_figures import FigureLog, figure_ranges
from dubcli.pipeline.queues import Sink, prefetch
from dubcli.pipeline.renderer import Renderer
from dubcli.pipeline.resume import JobFolder
from dubcli.pipeline.soundtrack import on_output_clock
from dubcli.pipeline.speakers import PreparedSpeaker, make_renderers


@dataclass(frozen=True, kw_only=True)
class Picture:
    """The dubbed picture.

    Attributes:
        path: Its file.
        notes: What the encoder and an interrupted run want to be told.
        model_facts: What the models report of the job, by name of their weights; those with
            nothing to report are left out.
        model_ranges: What they report of ranges of time, see `figure_ranges`.
        landmarks: The landmark file, where one is wanted.
    """

    path: Path
    notes: list[str]
    model_facts: dict[str, dict[str, Any]]
    model_ranges: list[dict[str, object]]
    landmarks: Path | None = None


def group_windows(windows: Sequence[Window], least: int) -> list[list[Window]]:
    """Group windows into segments of at least so many frames, but for the last."""
    segments: list[list[Window]] = [[]]
    for window in windows:
        if segments[-1] and window.emit_start - segments[-1][0].emit_start >= least:
            segments.append([])
        segments[-1].append(window)
    return segments


def render_picture(
    context: RunContext,
    job: LoadedJob,
    decision: Decision,
    speakers: Sequence[PreparedSpeaker],
) -> Picture:
    """Write the dubbed picture; segments that an earlier run has finished are taken as they are.

    Args:
        context: Of the run.
        job: What is to be done.
        decision: How.
        speakers: Who is dubbed.

    Raises:
        MediaError: The source breaks off, or the picture cannot be encoded or written.
        DeviceError: The device has too little memory.
    """
    timeline, folder = decision.schedule.timeline, context.folder
    shown = on_output_clock(decision.schedule)[0].timeline
    renderers = make_renderers(context, job, decision, speakers)
    segments = group_windows(renderers[0].windows(), context.segment_frames)
    first = _num_finished(folder, segments)
    _, _, said = choose_encoder(job.video, job.encode)
    notes: list[str] = []
    if first and not folder.is_split:
        frame = segments[first - 1][-1].emit_stop
        notes.append(f"{frame} of {len(timeline)} frames were there from an interrupted run.")
    if first < len(segments):
        said = _render(context, job, decision, renderers, segments, range(first, len(segments)))
    notes += said
    paths = [folder.segment(number) for number in range(len(segments))]
    figures = FigureLog()
    for number in range(len(segments)):
        figures.load(folder.segment(number, ".json"))
    path = paths[0]
    if len(paths) > 1:
        path = folder.path / "picture.mov"
        join_segments(paths, path, shown.pts, shown.end_pts, shown.time_base)
    specs = job.models.render.spec.figures
    return Picture(
        path=path,
        notes=notes,
        model_facts=_named(renderers[0].facts, job),
        model_ranges=figure_ranges(figures, specs, timeline, renderers[0].cuts),
        landmarks=_join_mouths(job.config, decision, speakers, folder, len(segments)),
    )


def num_segments(
    context: RunContext,
    job: LoadedJob,
    decision: Decision,
    speakers: Sequence[PreparedSpeaker],
) -> int:
    """How many segments `render_picture` writes for the same arguments."""
    windows = make_renderers(context, job, decision, speakers)[0].windows()
    return len(group_windows(windows, context.segment_frames))


def render_segments(
    context: RunContext,
    job: LoadedJob,
    decision: Decision,
    speakers: Sequence[PreparedSpeaker],
    numbers: range,
) -> None:
    """Write some segments of the picture as `render_picture` would, and what was noted of them.

    Args:
        context: Of the run.
        job: What is to be done.
        decision: How.
        speakers: Who is dubbed.
        numbers: Which segments.

    Raises:
        MediaError: The source breaks off, or the picture cannot be encoded or written.
        DeviceError: The device has too little memory.
    """
    renderers = make_renderers(context, job, decision, speakers)
    segments = group_windows(renderers[0].windows(), context.segment_frames)
    _render(context, job, decision, renderers, segments, numbers)


def _render(
    context: RunContext,
    job: LoadedJob,
    decision: Decision,
    renderers: Sequence[Renderer],
    segments: list[list[Window]],
    numbers: range,
) -> list[str]:
    """Write segments that follow each other; returns what the encoder wants to be told."""
    timeline = decision.schedule.timeline
    shown = on_output_clock(decision.schedule)[0].timeline
    said: list[str] = []
    start = segments[numbers.start][0].emit_start
    context_frames = sum(one.context for one in renderers)
    # To the end of the video, wherever the last segment ends: frames may depend on later ones.
    windows_from = _with_context(segments, numbers.start, context_frames)
    begin = windows_from[0].emit_start
    indices = timeline.source_index[begin:].tolist()
    with prefetch(context.reader.native_sequence(indices)) as source:
        frames: Iterator[NativeFrame] = source
        for renderer in renderers:
            frames = renderer.frames(frames, windows_from)
        frames = islice(frames, start - begin, None)
        frames = show_mark(job, decision, frames, range(start, len(timeline)))
        for number in numbers:
            windows = segments[number]
            made, said = _write_segment(context, job, shown, windows, frames)
            _finish_segment(made, job.config, context.folder, renderers, windows, number)
    return said


def _named(facts: Mapping[Part, dict[str, Any]], job: Job) -> dict[str, dict[str, Any]]:
    """What models report by name of their weights; those with nothing to report are left out."""
    return {job.entries[part].name: told for part, told in facts.items() if told}


def _finish_segment(
    made: Path,
    config: DubConfig,
    folder: JobFolder,
    renderers: Sequence[Renderer],
    windows: list[Window],
    number: int,
) -> None:
    """Save what was noted of the frames of a segment, then give it its name.

    From then on a run that goes on takes it as finished.
    """
    span = windows[0].emit_start, windows[-1].emit_stop
    renderers[0].figures.take(*span).save(folder.segment(number, ".json"))
    for face, renderer in enumerate(renderers):
        mouths = renderer.mouths.take(*span)
        if config.landmarks_out is not None:
            mouths.save(_mouths(folder, number, face))
    move_file(made, folder.segment(number))


def _mouths(folder: JobFolder, number: int, face: int) -> Path:
    return folder.segment(number, f".mouths-{face}.npz")


def _join_mouths(
    config: DubConfig,
    decision: Decision,
    speakers: Sequence[PreparedSpeaker],
    folder: JobFolder,
    num: int,
) -> Path | None:
    """Write the landmark file of all segments, where one is wanted."""
    if config.landmarks_out is None:
        return None
    faces: list[tuple[MouthLog, Pose]] = []
    for face, speaker in enumerate(speakers):
        log = MouthLog()
        for number in range(num):
            log.values.update(MouthLog.load(_mouths(folder, number, face)).values)
        faces.append((log, speaker.face.pose))
    output = folder.path / "landmarks.json"
    write_landmarks(output, config.video, decision.schedule.timeline, faces)
    return output


def _with_context(segments: list[list[Window]], first: int, context: int) -> list[Window]:
    """The windows from a segment on, and those before it that hold its context, in order."""
    windows = list(chain.from_iterable(segments))
    begin = sum(len(part) for part in segments[:first])
    start = windows[begin].emit_start - context
    while begin and windows[begin].emit_start > max(0, start):
        begin -= 1
    return windows[begin:]


def _num_finished(folder: JobFolder, segments: list[list[Window]]) -> int:
    """How many segments from the first on an earlier run has finished."""
    if not folder.is_resumed:
        return 0
    for number, windows in enumerate(segments):
        if count_packets(folder.segment(number)) != _length(windows):
            return number
    return len(segments)


def _length(windows: list[Window]) -> int:
    return windows[-1].emit_stop - windows[0].emit_start


def _write_segment(
    context: RunContext,
    job: Job,
    timeline: Timeline,
    windows: list[Window],
    frames: Iterator[NativeFrame],
) -> tuple[Path, list[str]]:
    """Write the next frames of a stream; returns the file, and the encoder's notes."""
    clock = context.clock
    partial = context.folder.path / "segment.part.mov"
    position = windows[0].emit_start
    with FrameWriter(partial, job.video, job.encode) as writer:
        sink = Sink[tuple[NativeFrame, int]](lambda item: writer.write(item[0].frame, item[1]))
        try:
            for native in islice(frames, _length(windows)):
                began = time.perf_counter()
                sink.put((native, int(timeline.pts[position])))
                clock.add("encode_wait", began)
                position += 1
                context.progress("dub", position, len(timeline))
            began = time.perf_counter()
            sink.finish()
            clock.add("encode_wait", began)
        finally:
            sink.stop()
    return partial, writer.notes
