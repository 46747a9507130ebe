"""Several encoded files that follow each other become one, without encoding anything again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError

from dubcli.core.errors import EncodeError
from dubcli.core.types import Int
from dubcli.media.container.ffmpeg import file_url
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
        ranks = [_ranks(path) for path in segments]
        num = sum(len(own) for own in ranks)
        if num != len(ticks):
            raise EncodeError(
                f"{len(ticks)} frames were to be joined, {num} were there.",
                "Run the command again.",
            )
        starts = np.cumsum([0, *(len(own) for own in ranks[:-1])])
        order = np.concatenate([start + own for start, own in zip(starts, ranks, strict=True)])
        depth = max(_reordering(own) for own in ranks)
        step = max(1, int(ticks[1] - ticks[0])) if num > 1 else 1
        decode = np.concatenate([ticks[0] - step * np.arange(depth, 0, -1), ticks])
        # A track ends with its last packet in decode order, see `FrameWriter`.
        end = end_pts * time_base.numerator - int(ticks[0] - decode[0])
        ends = np.append(decode[1:num], end)
        _write(segments, target, np.stack([ticks[order], decode[:num], ends], 1), clock)
    except (FFmpegError, OSError) as error:
        target.unlink(missing_ok=True)
        raise encode_error(target, error) from error
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _write(segments: Sequence[Path], target: Path, times: Int, clock: Fraction) -> None:
    """Copy all packets; when each is shown, is decoded, and ends: times of shape (n, 3)."""
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
            packets = chain.from_iterable(_packets(path, extradata) for path in segments)
            for packet, (shown, decoded, end) in zip(packets, times.tolist(), strict=True):
                packet.stream = stream
                packet.time_base = clock
                packet.pts, packet.dts = shown, decoded
                packet.duration = max(1, end - decoded)
                output.mux(packet)


def _packets(path: Path, extradata: bytes | None) -> Iterator[Any]:
    """Packets of a segment in decode order."""
    with av.open(file_url(path)) as container:
        stream = container.streams.video[0]
        if stream.codec_context.extradata != extradata:
            raise EncodeError(
                f"'{path.name}' was encoded otherwise than the parts before.",
                "Delete the folder that it lies in and run the command again.",
            )
        yield from (packet for packet in container.demux(stream) if packet.size)


def _ranks(path: Path) -> Int:
    """Each packet's place in order of presentation; packets in decode order. Shape (n,)."""
    with av.open(file_url(path)) as container:
        packets = container.demux(container.streams.video[0])
        times = np.array([packet.pts for packet in packets if packet.size], np.int64)
    return np.argsort(np.argsort(times, kind="stable"), kind="stable")


def _reordering(ranks: Int) -> int:
    """By how many frames a packet is at most decoded later than presentation order has it."""
    return int(np.max(np.arange(len(ranks)) - ranks, initial=0))
