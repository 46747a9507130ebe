"""Several encoded files that follow each other become one, without encoding anything again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError

from dubcli.errors import EncodeError
from dubcli.media.ffmpeg import file_url
from dubcli.media.write import encode_error, open_intermediate
from dubcli.types import Int


def count_packets(path: Path) -> int:
    """How many packets of video a file holds; 0 where it cannot be read."""
    try:
        with av.open(file_url(path)) as container:
            return sum(1 for packet in container.demux(container.streams.video[0]) if packet.size)
    except (FFmpegError, OSError, IndexError, ValueError):
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


def join_segments(
    segments: Sequence[Path], target: Path, pts: Int, end_pts: int, time_base: Fraction
) -> None:
    """Put the files of consecutive `FrameWriter`s into one.

    Presentation times are those of `pts`, to the tick. Decode times are made anew: each segment's
    begin before its own first frame, which lies before the last ones of the segment before.

    Args:
        segments: Files in order; each begins with a key frame and is encoded the same way.
        target: File to write; removed when that fails.
        pts: Presentation time of every frame, rising, units of `time_base`. Shape (n,).
        end_pts: When the last frame stops being shown, same units.
        time_base: Seconds per unit.

    Raises:
        EncodeError: A segment is damaged or does not fit the others, or the disk is full.
    """
    ticks = pts * time_base.numerator
    clock = Fraction(1, time_base.denominator)
    try:
        depth = max(_reordering(path) for path in segments)
        step = max(1, int(ticks[1] - ticks[0])) if len(ticks) > 1 else 1
        before = ticks[0] - step * np.arange(depth, 0, -1)
        decode = np.concatenate([before, ticks])
        _write(segments, target, ticks, decode, end_pts * time_base.numerator, clock)
    except (FFmpegError, OSError) as error:
        target.unlink(missing_ok=True)
        raise encode_error(target, error) from error
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _write(
    segments: Sequence[Path], target: Path, ticks: Int, decode: Int, end: int, clock: Fraction
) -> None:
    with av.open(file_url(segments[0])) as first:
        template = first.streams.video[0]
        # Transparency of VP8 and VP9 lies beside the packets, which only Matroska holds.
        tags = {name.lower(): value for name, value in template.metadata.items()}
        is_transparent = tags.get("alpha_mode") == "1"
        codec = template.codec_context.codec.canonical_name
        with open_intermediate(target, codec, clock, is_transparent=is_transparent) as output:
            stream: Any = output.add_stream_from_template(template, opaque=True)
            if is_transparent:
                stream.metadata["alpha_mode"] = "1"
            stream.time_base = clock
            extradata = template.codec_context.extradata
            lag = int(ticks[0] - decode[0])
            done = 0
            for path in segments:
                base = done
                for rank, packet in _ranked(path, extradata):
                    packet.stream = stream
                    packet.time_base = clock
                    packet.pts, packet.dts = int(ticks[base + rank]), int(decode[done])
                    done += 1
                    is_last = done == len(ticks)
                    # A track ends with its last packet in decode order, see `FrameWriter`.
                    after = end - lag if is_last else int(decode[done])
                    packet.duration = max(1, after - packet.dts)
                    output.mux(packet)
    if done != len(ticks):
        raise EncodeError(
            f"{len(ticks)} frames were to be joined, {done} were there.",
            "Run the command again.",
        )


def _ranked(path: Path, extradata: bytes | None) -> Iterator[tuple[int, Any]]:
    """Packets of a segment in decode order, each with its place in order of presentation."""
    order = np.argsort(np.argsort(_times(path), kind="stable"), kind="stable")
    with av.open(file_url(path)) as container:
        stream = container.streams.video[0]
        if stream.codec_context.extradata != extradata:
            raise EncodeError(
                f"'{path.name}' was encoded otherwise than the parts before.",
                "Delete the folder that it lies in and run the command again.",
            )
        packets = (packet for packet in container.demux(stream) if packet.size)
        yield from zip(order.tolist(), packets, strict=True)


def _times(path: Path) -> Int:
    """Presentation times in decode order, in the file's own ticks."""
    with av.open(file_url(path)) as container:
        packets = container.demux(container.streams.video[0])
        return np.array([packet.pts for packet in packets if packet.size], np.int64)


def _reordering(path: Path) -> int:
    """By how many frames a packet is at most decoded later than presentation order has it."""
    times = _times(path)
    rank = np.argsort(np.argsort(times, kind="stable"), kind="stable")
    return int(np.max(np.arange(len(times)) - rank, initial=0))
