"""Parts of a picture, encoded one by one, joined into one."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from dubcli.core.errors import EncodeError
from dubcli.core.types import Int, VideoStreamInfo
from dubcli.media.container.concat import count_packets, join_segments, packet_sizes
from dubcli.media.video.frame_writer import EncodeOptions, FrameWriter

SIZE = 64
TIME_BASE = Fraction(1, 12_800)


def _stream(codec: str, pix_fmt: str) -> VideoStreamInfo:
    return VideoStreamInfo(
        index=0,
        codec=codec,
        width=SIZE,
        height=SIZE,
        frame_rate=Fraction(25),
        time_base=TIME_BASE,
        start_pts=0,
        num_frames_from_header=None,
        sar=Fraction(1),
        rotation_deg=0,
        pix_fmt=pix_fmt,
        color_space=1,
        color_range=1,
        color_transfer=1,
        color_primaries=1,
    )


def _frames(count: int) -> list[av.VideoFrame]:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 255, (SIZE, SIZE, 3), np.uint8)
    return [av.VideoFrame.from_ndarray(np.roll(base, 2 * i, 1), "rgb24") for i in range(count)]


def _times(count: int, start: int = 0) -> Int:
    """Of a variable rate: every third frame is shown three times as long."""
    steps = np.where(np.arange(count) % 3 == 0, 1536, 512)
    return (start + np.concatenate([[0], np.cumsum(steps)[:-1]])).astype(np.int64)


def _encode(
    folder: Path, stream: VideoStreamInfo, options: EncodeOptions, bounds: list[int], pts: Int
) -> list[Path]:
    frames = _frames(len(pts))
    paths: list[Path] = []
    for number, (first, stop) in enumerate(pairwise(bounds)):
        paths.append(folder / f"{number}.mov")
        with FrameWriter(paths[-1], stream, options) as writer:
            for index in range(first, stop):
                writer.write(frames[index].reformat(format=writer.pix_fmt), int(pts[index]))
    return paths


def _decoded(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def _packets(path: Path) -> list[Fraction]:
    """Presentation times, in order, seconds."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    decode = [packet.dts for packet in packets if packet.dts is not None]
    assert len(decode) == len(packets)
    assert all(b > a for a, b in pairwise(decode))
    return sorted((packet.pts or 0) * (packet.time_base or Fraction(0)) for packet in packets)


@pytest.mark.parametrize("start", [0, 12_800, -1024])
@pytest.mark.parametrize(
    ("codec", "pix_fmt", "suffix"),
    [
        ("h264", "yuv420p", ".mp4"),
        ("hevc", "yuv420p10le", ".mp4"),
        ("av1", "yuv420p", ".mp4"),
        ("vp9", "yuv420p", ".webm"),
        ("vp8", "yuv420p", ".mkv"),
        ("prores", "yuv422p10le", ".mov"),
        ("ffv1", "yuv444p", ".mkv"),
    ],
)
def test_the_joined_parts_show_every_frame_at_its_time(
    codec: str, pix_fmt: str, suffix: str, start: int, tmp_path: Path
) -> None:
    stream = _stream(codec, pix_fmt)
    options = EncodeOptions(output=tmp_path / f"out{suffix}", crf=4, threads=1)
    pts = _times(41, start)
    end = int(pts[-1]) + 512
    parts = _encode(tmp_path, stream, options, [0, 16, 17, 32, 41], pts)
    assert [count_packets(part) for part in parts] == [16, 1, 15, 9]
    joined = tmp_path / f"joined{parts[0].suffix}"
    join_segments(parts, joined, pts, end, TIME_BASE)
    # Matroska, which holds the last two, counts milliseconds.
    error = Fraction(1, 1000) if codec in ("vp8", "ffv1") else 0
    wanted = [int(tick) * TIME_BASE for tick in pts]
    if start < 0:  # such a start is written in a way that hides the first frame's own time
        (tmp_path / "whole").mkdir()
        wanted = _packets(*_encode(tmp_path / "whole", stream, options, [0, 41], pts))
    assert all(abs(a - b) <= error for a, b in zip(_packets(joined), wanted, strict=True))
    if start >= 0:  # a player leaves out what lies before 0
        shown = [frame for part in parts for frame in _decoded(part)]
        both = zip(_decoded(joined), shown, strict=True)
        assert all(np.array_equal(a.to_ndarray(), b.to_ndarray()) for a, b in both)


def test_parts_that_were_encoded_otherwise_are_refused(tmp_path: Path) -> None:
    pts = _times(32)
    options = EncodeOptions(output=tmp_path / "out.mp4")
    first = _encode(tmp_path, _stream("h264", "yuv420p"), options, [0, 16], pts)
    (tmp_path / "b").mkdir()
    other = _encode(tmp_path / "b", _stream("h264", "yuv444p"), options, [0, 16], pts)
    target = tmp_path / "joined.mov"
    with pytest.raises(EncodeError, match="otherwise"):
        join_segments([*first, *other], target, pts, int(pts[-1]) + 512, TIME_BASE)
    assert not target.exists()


def test_a_part_that_is_short_of_frames_is_refused(tmp_path: Path) -> None:
    pts = _times(32)
    options = EncodeOptions(output=tmp_path / "out.mp4")
    parts = _encode(tmp_path, _stream("h264", "yuv420p"), options, [0, 16, 30], pts)
    target = tmp_path / "joined.mov"
    with pytest.raises(EncodeError, match="32 frames were to be joined, 30"):
        join_segments(parts, target, pts, int(pts[-1]) + 512, TIME_BASE)
    assert not target.exists()


def test_a_broken_file_holds_no_packets(tmp_path: Path) -> None:
    (tmp_path / "a.mov").write_bytes(b"\0" * 100)
    assert count_packets(tmp_path / "a.mov") == 0
    assert count_packets(tmp_path / "missing.mov") == 0
    with pytest.raises(EncodeError):
        packet_sizes(tmp_path / "a.mov")


def test_sizes_of_packets_add_up_and_the_key_frame_comes_first(tmp_path: Path) -> None:
    options = EncodeOptions(output=tmp_path / "out.mp4", threads=1)
    (part,) = _encode(tmp_path, _stream("h264", "yuv420p"), options, [0, 12], _times(12))
    sizes = packet_sizes(part)
    assert len(sizes) == count_packets(part) == 12
    assert sizes[0] == max(sizes)
    assert 0.5 * part.stat().st_size < sum(sizes) < part.stat().st_size
