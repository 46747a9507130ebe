"""Encoded pictures that follow each other become one file, without encoding anything again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError

from dubcli.core.closing import Closeable
from dubcli.core.errors import EncodeError
from dubcli.core.types import Int
from dubcli.media.container.ffmpeg import file_url
from dubcli.media.container.probe import open_media
from dubcli.media.video.frame_writer import encode_error, open_intermediate


def count_packets(path: Path) -> int:
    """How many packets of video a file holds; 0 where it cannot be read."""
    try:
        return len(packet_sizes(path))
    except (EncodeError, IndexError, ValueError):
        return 0


def packet_sizes(path: Path) -> list[int]:
    """Bytes of each packet of video that a file holds, in decode order: a key frame's first.

    Raises:
        EncodeError: It cannot be read.
    """
    try:
        with av.open(file_url(path)) as container:
            packets = container.demux(container.streams.video[0])
            return [packet.size for packet in packets if packet.size]
    except (FFmpegError, OSError) as error:
        raise encode_error(path, error) from error


@dataclass(frozen=True, kw_only=True)
class PacketRun:
    """Neighbouring packets of a file, the first of which needs none before it.

    Attributes:
        path: The file.
        first: How many packets of the stream come before them.
        ranks: The place of each in order of presentation, from 0; packets in decode order.
            Shape (n,), int64.
        stream: Index of their stream in the file.
        rewrite: Gives the bytes that a packet has in the result; None where it has its own.
    """

    path: Path
    first: int
    ranks: Int
    stream: int
    rewrite: Callable[[bytes], bytes] | None = None


@dataclass(frozen=True, kw_only=True)
class PictureClock:
    """When the frames of a picture are shown.

    Attributes:
        pts: Presentation time of every frame, rising, units of `time_base`. Shape (n,).
        end_pts: When the last frame stops being shown, same units.
        time_base: Seconds per unit.
    """

    pts: Int
    end_pts: int
    time_base: Fraction


def join_segments(
    segments: Sequence[Path], target: Path, pts: Int, end_pts: int, time_base: Fraction
) -> None:
    """Put the files of consecutive `FrameWriter`s into one, as `join_runs` does.

    Args:
        segments: Files in order; each begins with a key frame and is encoded the same way.
        target: File to write; removed when that fails.
        pts: Presentation time of every frame, rising, units of `time_base`. Shape (n,).
        end_pts: When the last frame stops being shown, same units.
        time_base: Seconds per unit.

    Raises:
        EncodeError: A segment is damaged or does not fit the others, or the disk is full.
    """
    clock = PictureClock(pts=pts, end_pts=end_pts, time_base=time_base)
    runs = [run_of(path, like=segments[0]) for path in segments]
    join_runs(runs, segments[0], target, clock)


def run_of(path: Path, like: Path) -> PacketRun:
    """All packets of a segment.

    Args:
        path: File of a `FrameWriter`.
        like: Another one, encoded the same way.

    Raises:
        EncodeError: It is damaged, or was encoded otherwise.
    """
    try:
        with av.open(file_url(path)) as container, av.open(file_url(like)) as other:
            stream = container.streams.video[0]
            expected = other.streams.video[0].codec_context.extradata
            if stream.codec_context.extradata != expected:
                raise EncodeError(
                    f"'{path.name}' was encoded otherwise than the parts before.",
                    "Delete the folder that it lies in and run the command again.",
                )
            times = [packet.pts or 0 for packet in container.demux(stream) if packet.size]
    except (FFmpegError, OSError) as error:
        raise encode_error(path, error) from error
    shown = np.argsort(np.array(times, np.int64), kind="stable")
    return PacketRun(path=path, first=0, ranks=np.argsort(shown, kind="stable"), stream=0)


def join_runs(
    runs: Sequence[PacketRun],
    template: Path,
    target: Path,
    clock: PictureClock,
    extradata: bytes | None = None,
) -> None:
    """Put packets of several files into one, in the order of the runs.

    Presentation times are those of the clock, to the tick. Decode times are made anew: each run's
    begin before its own first frame, which lies before the last ones of the run before.

    Args:
        runs: Packets; those of one file in its order.
        template: File of a `FrameWriter` whose stream is like the result's.
        target: File to write; removed when that fails.
        clock: When the frames are shown.
        extradata: What decoders are told before all packets; the template's where None.

    Raises:
        EncodeError: A file is damaged or has fewer packets than it had, or the disk is full.
    """
    time_base = Fraction(1, clock.time_base.denominator)
    try:
        num = sum(len(run.ranks) for run in runs)
        if num != len(clock.pts):
            raise EncodeError(
                f"{len(clock.pts)} frames were to be joined, {num} were there.",
                "Run the command again.",
            )
        _write(runs, template, target, _packet_times(runs, clock), time_base, extradata)
    except (FFmpegError, OSError, ValueError) as error:
        target.unlink(missing_ok=True)
        raise encode_error(target, error) from error
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _packet_times(runs: Sequence[PacketRun], clock: PictureClock) -> Int:
    """When each packet is shown, is decoded, and ends, in ticks. Shape (n, 3)."""
    ticks, num = clock.pts * clock.time_base.numerator, len(clock.pts)
    starts = np.cumsum([0, *(len(run.ranks) for run in runs[:-1])])
    order = np.concatenate([start + run.ranks for start, run in zip(starts, runs, strict=True)])
    depth = max(_reordering(run.ranks) for run in runs)
    step = max(1, int(ticks[1] - ticks[0])) if num > 1 else 1
    decode = np.concatenate([ticks[0] - step * np.arange(depth, 0, -1), ticks])
    # A track ends with its last packet in decode order, see `FrameWriter`.
    end = clock.end_pts * clock.time_base.numerator - int(ticks[0] - decode[0])
    return np.stack([ticks[order], decode[:num], np.append(decode[1:num], end)], 1)


def _write(
    runs: Sequence[PacketRun],
    template: Path,
    target: Path,
    times: Int,
    clock: Fraction,
    extradata: bytes | None,
) -> None:
    """Copy all packets; when each is shown, is decoded, and ends: times of shape (n, 3)."""
    with av.open(file_url(template)) as first:
        like = first.streams.video[0]
        # Transparency of VP8 and VP9 lies beside the packets, which only Matroska holds.
        tags = {name.lower(): value for name, value in like.metadata.items()}
        is_transparent = tags.get("alpha_mode") == "1"
        codec = like.codec_context.codec.canonical_name
        with open_intermediate(target, codec, clock, is_transparent=is_transparent) as output:
            stream: Any = output.add_stream_from_template(like, opaque=True)
            if is_transparent:
                stream.metadata["alpha_mode"] = "1"
            stream.time_base = clock
            if extradata is not None:
                stream.codec_context.extradata = extradata
            rows = zip(_packets(runs), times.tolist(), strict=True)
            for packet, (shown, decoded, end) in rows:
                packet.stream = stream
                packet.time_base = clock
                packet.pts, packet.dts = shown, decoded
                packet.duration = max(1, end - decoded)
                output.mux(packet)


def _packets(runs: Sequence[PacketRun]) -> Iterator[Any]:
    """Packets of all runs; a file that several lie in is read once."""
    later = Counter(run.path for run in runs)
    with ExitStack() as opened:
        reading: dict[Path, _Reading] = {}
        for run in runs:
            if run.path not in reading:
                reading[run.path] = _Reading(run.path, run.stream)
                opened.push(reading[run.path])
            yield from reading[run.path].take(run)
            later[run.path] -= 1
            if not later[run.path]:
                reading.pop(run.path).close()


class _Reading(Closeable):
    """Packets of one stream, read forwards."""

    def __init__(self, path: Path, stream: int) -> None:
        self._path, self._at = path, 0
        self._opened = ExitStack()
        container = self._opened.enter_context(open_media(path))
        packets = container.demux(container.streams[stream])
        self._packets = (packet for packet in packets if packet.size)

    def take(self, run: PacketRun) -> Iterator[Any]:
        """Packets of a run that does not lie before the one taken last.

        Raises:
            EncodeError: The file has fewer than it had.
        """
        skipped, self._at = run.first - self._at, run.first + len(run.ranks)
        count = 0
        for packet in islice(self._packets, skipped, skipped + len(run.ranks)):
            yield packet if run.rewrite is None else _rewritten(packet, run.rewrite)
            count += 1
        if count < len(run.ranks):
            raise EncodeError(
                f"'{self._path}' has fewer pictures than before.",
                "Was it changed meanwhile? Run the command again.",
            )

    def close(self) -> None:
        """Close the file."""
        self._opened.close()


def _rewritten(packet: Any, rewrite: Callable[[bytes], bytes]) -> Any:
    """Another packet in place of one, as far as `_write` does not set it anew."""
    made = av.Packet(rewrite(bytes(packet)))
    made.is_keyframe = packet.is_keyframe
    return made


def _reordering(ranks: Int) -> int:
    """By how many frames a packet is at most decoded later than presentation order has it."""
    return int(np.max(np.arange(len(ranks)) - ranks, initial=0))
