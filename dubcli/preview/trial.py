"""A short measured trial of the slow part: how long it will take and what it will weigh."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from dubcli.core.types import Bool, Window
from dubcli.media.container.concat import packet_sizes
from dubcli.media.video.frame_writer import FrameWriter
from dubcli.media.video.native_frame import NativeFrame
from dubcli.pipeline.context import Clock, RunContext
from dubcli.pipeline.decision import Decision
from dubcli.pipeline.inputs import LoadedJob
from dubcli.pipeline.job import Job
from dubcli.pipeline.marking import show_mark
from dubcli.pipeline.queues import Sink, prefetch
from dubcli.pipeline.renderer import Renderer, rendered
from dubcli.pipeline.speakers import PreparedSpeaker, make_renderers

# Windows that are tried where lips are dubbed, and where they are not.
_DUBBED_WINDOWS, _PASSED_WINDOWS = 3, 1
# A smaller share of frames that pass through is not worth a window of its own.
_LEAST_PASSED = 0.05


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a few windows took.

    Attributes:
        frames: How many frames were encoded.
        dubbed_frame_s: Seconds for a dubbed frame.
        passed_frame_s: Seconds for a frame that passes through.
        key_frame_bytes: Size of an encoded key frame.
        frame_bytes: Size of another one.
    """

    frames: int
    dubbed_frame_s: float
    passed_frame_s: float
    key_frame_bytes: float
    frame_bytes: float


def try_out(
    context: RunContext,
    job: LoadedJob,
    decision: Decision,
    speakers: Sequence[PreparedSpeaker],
) -> Trial:
    """Dub and encode a few windows, spread over the video, the way that the slow part will.

    The first one is dubbed twice, for a network's first call is slow. Nothing is left behind.

    Args:
        context: Of the run.
        job: What is to be done.
        decision: How.
        speakers: Who is dubbed.

    Raises:
        MediaError: The source breaks off, or the picture cannot be encoded or written.
        DeviceError: The device has too little memory.
    """
    renderers = make_renderers(context, job, decision, speakers, Clock())
    windows = renderers[0].windows()
    is_dubbed = decision.strength > 0
    dubbed = pick_windows(windows, is_dubbed, _DUBBED_WINDOWS)
    passed: list[Window] = []
    if not dubbed or 1 - is_dubbed.mean() >= _LEAST_PASSED:
        passed = pick_windows(windows, ~is_dubbed, _PASSED_WINDOWS)
    runs = [*dubbed[:1], *dubbed, *passed]
    measured: list[_Measured] = []
    total = sum(window.emit_stop - window.emit_start for window in runs)
    for window in runs:
        measured.append(_run(context, job, decision, renderers, window))
        context.progress("trial", sum(len(one.sizes) for one in measured), total)
    measured = measured[len(dubbed[:1]) :]
    sizes = [size for one in measured for size in one.sizes]
    keys = [one.sizes[0] for one in measured]
    # Where one kind was not tried, frames of it are few or none.
    dubbed_s = _pace(measured[: len(dubbed)] or measured)
    passed_s = _pace(measured[len(dubbed) :] or measured)
    others = len(sizes) - len(keys)
    return Trial(
        frames=len(sizes),
        dubbed_frame_s=dubbed_s,
        passed_frame_s=passed_s,
        key_frame_bytes=sum(keys) / len(keys),
        frame_bytes=(sum(sizes) - sum(keys)) / others if others else sum(keys) / len(keys),
    )


def pick_windows(windows: Sequence[Window], wanted: Bool, most: int) -> list[Window]:
    """Windows that hold the most wanted frames, evenly spread, at most so many.

    Args:
        windows: All of them, in order.
        wanted: Which positions count. Shape (N,).
        most: How many windows.
    """
    counts = [int(wanted[w.emit_start : w.emit_stop].sum()) for w in windows]
    fullest = max(counts, default=0)
    full = [w for w, count in zip(windows, counts, strict=True) if count == fullest > 0]
    num = min(most, len(full))
    # The middles of as many equal parts.
    return [full[(2 * part + 1) * len(full) // (2 * num)] for part in range(num)]


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """Seconds that a window took, and the sizes of its encoded frames, a key frame's first."""

    seconds: float
    sizes: list[int]


def _run(
    context: RunContext,
    job: Job,
    decision: Decision,
    renderers: Sequence[Renderer],
    window: Window,
) -> _Measured:
    timeline, path = decision.schedule.timeline, context.folder.path / "trial.mov"
    positions = range(window.emit_start, window.emit_stop)
    indices = timeline.source_index[window.emit_start : window.emit_stop].tolist()
    try:
        with (
            prefetch(context.reader.native_sequence(indices)) as source,
            FrameWriter(path, job.video, job.encode) as writer,
        ):
            first = next(source)  # looking for the place in the file is no part of the pace
            began = time.perf_counter()
            with rendered(renderers, chain([first], source), [window]) as dubbed:
                frames = show_mark(job, decision, dubbed, positions)
                pts = timeline.pts[window.emit_start : window.emit_stop].tolist()
                _write(writer, zip(frames, pts, strict=True))
        seconds = time.perf_counter() - began
        return _Measured(seconds=seconds, sizes=packet_sizes(path))
    finally:
        path.unlink(missing_ok=True)


def _write(writer: FrameWriter, frames: Iterator[tuple[NativeFrame, int]]) -> None:
    """Encode frames with their timestamps beside the thread that makes them."""
    sink = Sink[tuple[NativeFrame, int]](lambda item: writer.write(item[0].frame, item[1]))
    try:
        for item in frames:
            sink.put(item)
        sink.finish()
    finally:
        sink.stop()


def _pace(measured: Sequence[_Measured]) -> float:
    """Seconds a frame."""
    return sum(one.seconds for one in measured) / sum(len(one.sizes) for one in measured)


def num_key_frames(num_frames: int, num_cuts: int, num_segments: int) -> int:
    """About how many key frames the encoder makes: at cuts, at segments, every 250 frames."""
    return min(num_frames, num_segments + num_cuts + num_frames // 250)


def num_cuts(decision: Decision) -> int:
    """How often the picture of the result jumps."""
    shot = decision.speakers[0].choice.track.shot[decision.schedule.timeline.source_index]
    return int(np.count_nonzero(np.diff(shot)))
