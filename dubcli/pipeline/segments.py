"""Pass 2 in segments: each is a file of its own, so that a killed job loses at most one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from dubcli.config import DubConfig
from dubcli.core.atomic_io import move_file
from dubcli.core.types import Window
from dubcli.face.pose import Pose
from dubcli.media.container.concat import (
    PacketRun,
    PictureClock,
    count_packets,
    join_runs,
    run_of,
)
from dubcli.media.packet_copy.copy_plan import FrameRange
from dubcli.media.video.frame_writer import EncodeOptions, FrameWriter, choose_encoder
from dubcli.media.video.native_frame import NativeFrame
from dubcli.media.video.timeline import Timeline
from dubcli.models.api import Part
from dubcli.pipeline.context import RunContext
from dubcli.pipeline.copy_choice import CopyChoice
from dubcli.pipeline.decision import Decision
from dubcli.pipeline.inputs import LoadedJob
from dubcli.pipeline.job import Job
from dubcli.pipeline.landmark_file import MouthLog, write_landmarks
from dubcli.pipeline.marking import show_mark
from dubcli.pipeline.model_figures import FigureLog, figure_ranges
from dubcli.pipeline.queues import Sink, prefetch
from dubcli.pipeline.renderer import Renderer, rendered
from dubcli.pipeline.resume import JobFolder
from dubcli.pipeline.soundtrack import on_output_clock
from dubcli.pipeline.speakers import PreparedSpeaker, make_renderers


@dataclass(frozen=True, kw_only=True)
class Picture:
    """The dubbed picture.

    Attributes:
        path: Its file.
        copies: What of it was copied from the source.
        notes: What the encoder and an interrupted run want to be told.
        model_facts: What the models report of the job, by name of their weights; those with
            nothing to report are left out.
        model_ranges: What they report of ranges of time, see `figure_ranges`.
        landmarks: The landmark file, where one is wanted.
    """

    path: Path
    copies: CopyChoice
    notes: list[str]
    model_facts: dict[str, dict[str, Any]]
    model_ranges: list[dict[str, object]]
    landmarks: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Frames that are encoded into one file.

    Attributes:
        windows: What they are generated in.
        within: The encoded range that they belong to; others do not depend on it.
    """

    windows: tuple[Window, ...]
    within: FrameRange

    @property
    def start(self) -> int:
        """Position of its first frame."""
        return self.windows[0].emit_start

    @property
    def stop(self) -> int:
        """Position after its last frame."""
        return self.windows[-1].emit_stop

    def __len__(self) -> int:
        return self.stop - self.start


def cut_segments(
    windows: Sequence[Window], ranges: Sequence[FrameRange], least: int
) -> list[Segment]:
    """Divide the encoded ranges into segments of at least so many frames, but for their last.

    Args:
        windows: Of all frames, in order.
        ranges: They tile the frames; no dubbed frame lies in a copied one.
        least: Frames.
    """
    segments: list[Segment] = []
    for within in ranges:
        if within.is_copied:
            continue
        groups: list[list[Window]] = [[]]
        for window in _clipped(windows, within):
            if groups[-1] and window.emit_start - groups[-1][0].emit_start >= least:
                groups.append([])
            groups[-1].append(window)
        segments += [Segment(windows=tuple(group), within=within) for group in groups]
    return segments


def _clipped(windows: Sequence[Window], within: FrameRange) -> list[Window]:
    """Windows as far as they lie in a range. What they lose shows no dubbed frame."""
    low, high = within.start, within.stop
    return [
        Window(
            max(low, one.start),
            min(high, one.stop),
            max(low, one.emit_start),
            min(high, one.emit_stop),
        )
        for one in windows
        if one.emit_start < high and one.emit_stop > low
    ]


def render_picture(
    context: RunContext,
    job: LoadedJob,
    decision: Decision,
    speakers: Sequence[PreparedSpeaker],
    copies: CopyChoice,
) -> Picture:
    """Write the dubbed picture; segments that an earlier run has finished are taken as they are.

    Args:
        context: Of the run.
        job: What is to be done.
        decision: How.
        speakers: Who is dubbed.
        copies: What is copied.

    Raises:
        MediaError: The source breaks off, or the picture cannot be encoded or written.
        DeviceError: The device has too little memory.
    """
    timeline, folder = decision.schedule.timeline, context.folder
    renderers = make_renderers(context, job, decision, speakers)
    segments = cut_segments(renderers[0].windows(), copies.ranges, context.segment_frames)
    first = _num_finished(folder, segments)
    _, _, said = choose_encoder(job.video, copies.encode)
    notes: list[str] = []
    if first and not folder.is_split:
        frame = segments[first - 1].stop
        notes.append(f"{frame} of {len(timeline)} frames were there from an interrupted run.")
    if first < len(segments):
        numbers = range(first, len(segments))
        said = _render(context, job, decision, renderers, segments, numbers, copies.encode)
    if copies.num_copied:
        context.progress("dub", len(timeline), len(timeline))
    notes += said
    figures = FigureLog()
    for number in range(len(segments)):
        figures.load(folder.segment(number, ".json"))
    specs = job.models.render.spec.figures
    return Picture(
        path=_joined(folder, segments, copies, decision),
        copies=copies,
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
    copies: CopyChoice,
) -> int:
    """How many segments `render_picture` writes for the same arguments."""
    windows = make_renderers(context, job, decision, speakers)[0].windows()
    return len(cut_segments(windows, copies.ranges, context.segment_frames))


def render_segments(
    context: RunContext,
    job: LoadedJob,
    decision: Decision,
    speakers: Sequence[PreparedSpeaker],
    copies: CopyChoice,
    numbers: range,
) -> None:
    """Write some segments of the picture as `render_picture` would, and what was noted of them.

    Args:
        context: Of the run.
        job: What is to be done.
        decision: How.
        speakers: Who is dubbed.
        copies: What is copied.
        numbers: Which segments.

    Raises:
        MediaError: The source breaks off, or the picture cannot be encoded or written.
        DeviceError: The device has too little memory.
    """
    renderers = make_renderers(context, job, decision, speakers)
    segments = cut_segments(renderers[0].windows(), copies.ranges, context.segment_frames)
    _render(context, job, decision, renderers, segments, numbers, copies.encode)


def _joined(
    folder: JobFolder, segments: Sequence[Segment], copies: CopyChoice, decision: Decision
) -> Path:
    """The picture in one file: of its segments, and of what is copied between them."""
    paths = [folder.segment(number) for number in range(len(segments))]
    splice = copies.splice
    if splice is None and len(paths) == 1:
        return paths[0]
    runs: list[PacketRun] = []
    template = paths[0] if splice is None else splice.template
    for one in copies.ranges:
        if splice is not None and one.is_copied:
            runs.append(splice.index.run(one.start, one.stop))
            continue
        own = [path for path, part in zip(paths, segments, strict=True) if part.within == one]
        rewrite = None if splice is None else splice.sets.rewrite
        runs += [replace(run_of(path, like=template), rewrite=rewrite) for path in own]
    shown = on_output_clock(decision.schedule)[0].timeline
    clock = PictureClock(pts=shown.pts, end_pts=shown.end_pts, time_base=shown.time_base)
    path = folder.path / "picture.mov"
    join_runs(runs, template, path, clock, None if splice is None else splice.sets.extradata)
    return path


def _render(
    context: RunContext,
    job: LoadedJob,
    decision: Decision,
    renderers: Sequence[Renderer],
    segments: list[Segment],
    numbers: range,
    encode: EncodeOptions,
) -> list[str]:
    """Write segments; returns what the encoder wants to be told."""
    said: list[str] = []
    for within, group in groupby(numbers, lambda number: segments[number].within):
        own = [part for part in segments if part.within == within]
        todo = [(number, segments[number]) for number in group]
        said = _render_range(context, job, decision, renderers, own, todo, encode)
    return said


def _render_range(
    context: RunContext,
    job: LoadedJob,
    decision: Decision,
    renderers: Sequence[Renderer],
    own: list[Segment],
    todo: list[tuple[int, Segment]],
    encode: EncodeOptions,
) -> list[str]:
    """Write segments of one range that follow each other: of all its segments, those to do."""
    timeline = decision.schedule.timeline
    shown = on_output_clock(decision.schedule)[0].timeline
    said: list[str] = []
    start, stop = todo[0][1].start, own[-1].stop
    context_frames = sum(one.context for one in renderers)
    # To the end of the range, wherever the last segment ends: frames may depend on later ones.
    windows_from = _with_context(own, start, context_frames)
    begin = windows_from[0].emit_start
    indices = timeline.source_index[begin:stop].tolist()
    with (
        prefetch(context.reader.native_sequence(indices)) as source,
        rendered(renderers, source, windows_from) as dubbed,
    ):
        frames = islice(dubbed, start - begin, None)
        frames = show_mark(job, decision, frames, range(start, stop))
        for number, part in todo:
            made, said = _write_segment(context, job, shown, part, frames, encode)
            _finish_segment(made, job.config, context.folder, renderers, part, number)
    return said


def _named(facts: Mapping[Part, dict[str, Any]], job: Job) -> dict[str, dict[str, Any]]:
    """What models report by name of their weights; those with nothing to report are left out."""
    return {job.entries[part].name: told for part, told in facts.items() if told}


def _finish_segment(
    made: Path,
    config: DubConfig,
    folder: JobFolder,
    renderers: Sequence[Renderer],
    part: Segment,
    number: int,
) -> None:
    """Save what was noted of the frames of a segment, then give it its name.

    From then on a run that goes on takes it as finished.
    """
    renderers[0].figures.take(part.start, part.stop).save(folder.segment(number, ".json"))
    for face, renderer in enumerate(renderers):
        mouths = renderer.mouths.take(part.start, part.stop)
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


def _with_context(own: Sequence[Segment], start: int, context: int) -> list[Window]:
    """The windows of a range from a frame on, and those before it that hold its context."""
    windows = [window for part in own for window in part.windows]
    begin = next(n for n, window in enumerate(windows) if window.emit_start == start)
    while begin and windows[begin].emit_start > max(0, start - context):
        begin -= 1
    return windows[begin:]


def _num_finished(folder: JobFolder, segments: Sequence[Segment]) -> int:
    """How many segments from the first on an earlier run has finished."""
    if not folder.is_resumed:
        return 0
    for number, part in enumerate(segments):
        if count_packets(folder.segment(number)) != len(part):
            return number
    return len(segments)


def _write_segment(
    context: RunContext,
    job: Job,
    timeline: Timeline,
    part: Segment,
    frames: Iterator[NativeFrame],
    encode: EncodeOptions,
) -> tuple[Path, list[str]]:
    """Write the next frames of a stream; returns the file, and the encoder's notes."""
    clock = context.clock
    partial = context.folder.path / "segment.part.mov"
    position = part.start
    with FrameWriter(partial, job.video, encode) as writer:
        sink = Sink[tuple[NativeFrame, int]](lambda item: writer.write(item[0].frame, item[1]))
        try:
            for native in islice(frames, len(part)):
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
