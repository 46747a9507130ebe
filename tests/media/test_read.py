from __future__ import annotations

import hashlib
import os
from fractions import Fraction
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
from clips import (
    ClipSpec,
    make_clip,
    make_rotated_clip,
    make_tone,
    make_vfr_clip,
    run_ffmpeg,
    truncate,
    vfr_pts,
)

from dubcli.core.errors import DecodeError, ProbeError
from dubcli.core.types import FramePatch
from dubcli.media.container.probe import probe
from dubcli.media.video.frame_reader import FrameReader, frame_times
from dubcli.media.video.native_frame import NativeFrame
from dubcli.media.video.timeline import FrameTimes, build_timeline

B_FRAMES = ("-preset", "medium", "-bf", "3", "-x264-params", "scenecut=0:b-adapt=0")


def _open(path: Path) -> FrameReader:
    return FrameReader(path, probe(path))


def _digest(native: NativeFrame) -> str:
    return hashlib.sha256(native.frame.to_ndarray().tobytes()).hexdigest()


def _seconds(times: FrameTimes) -> list[Fraction]:
    return [pts * times.time_base for pts in times.pts]


@pytest.mark.parametrize("rate", ["24000/1001", "30000/1001", "60", "1", "120"])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_timestamps_are_the_files(tmp_path: Path, rate: str, suffix: str) -> None:
    clip = make_clip(tmp_path / f"a.{suffix}", ClipSpec(rate=rate))
    times = frame_times(clip, probe(clip))
    exact = [n / Fraction(rate) for n in range(13)]
    rounding = times.time_base / 2 if suffix == "mkv" else 0
    measured = [*_seconds(times), times.end_pts * times.time_base]
    for value, expected in zip(measured, exact, strict=True):
        assert abs(value - expected) <= max(rounding, 0 if value != measured[-1] else rounding * 2)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_variable_rate_is_exact(tmp_path: Path, suffix: str) -> None:
    clip = make_vfr_clip(tmp_path / f"a.{suffix}")
    with _open(clip) as reader:
        pts = [frame.pts for frame in reader.frames()]
        times = reader.times
    assert [value * times.time_base * 1000 for value in pts] == vfr_pts()
    assert times.pts == pts
    assert times.end_pts > pts[-1]


@pytest.mark.parametrize("start_s", [2.5, 0.04])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_start_time_is_kept(tmp_path: Path, start_s: float, suffix: str) -> None:
    offset = start_s
    options = ("-muxdelay", "0") if suffix == "ts" else ()
    if suffix == "ts":
        offset = start_s
    clip = make_clip(tmp_path / f"a.{suffix}", ClipSpec(start_s=offset, options=options))
    times = frame_times(clip, probe(clip))
    assert float(times.pts[0] * times.time_base) == pytest.approx(start_s, abs=0.001)
    assert float(times.duration_s) == pytest.approx(12 / 25, abs=0.002)


def test_negative_timestamps_are_kept(tmp_path: Path) -> None:
    options = ("-avoid_negative_ts", "disabled")
    clip = make_clip(tmp_path / "a.mkv", ClipSpec(start_s=-0.2, options=options))
    times = frame_times(clip, probe(clip))
    assert _seconds(times) == [Fraction(n, 25) for n in range(-5, 7)]


def test_missing_timestamps_are_counted_on(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.h264", ClipSpec(options=B_FRAMES))
    times = frame_times(clip, probe(clip))
    assert len(times) == 12
    assert len(set(np.diff([*times.pts, times.end_pts]))) == 1
    assert float(times.duration_s) == pytest.approx(12 / 25)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_pictures_stand_upright(tmp_path: Path, degrees: int) -> None:
    flat = tmp_path / "flat.mp4"
    box = "color=black:s=64x48:r=25,drawbox=0:0:20:20:red:fill"
    run_ffmpeg("-f", "lavfi", "-i", box, "-frames:v", "3", "-pix_fmt", "yuv444p", flat)
    clip = tmp_path / "a.mp4"
    run_ffmpeg("-display_rotation", str(-degrees), "-i", flat, "-c", "copy", clip)
    with _open(clip) as reader:
        image = next(reader.frames()).image
        assert next(reader.native_frames()).width == 64
    assert image.shape == ((64, 48, 3) if degrees in (90, 270) else (48, 64, 3))
    corners = [image[5, 5], image[5, -5], image[-5, -5], image[-5, 5]]  # clockwise
    reds = [int(corner[0]) > 200 and int(corner[1]) < 60 for corner in corners]
    assert reds == [number == degrees // 90 for number in range(4)]


def test_pictures_have_square_pixels_and_a_scale(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mkv", ClipSpec(size=(96, 64), sar="4/3"))
    with _open(clip) as reader:
        full, small = next(reader.frames()), next(reader.frames(max_side=32))
        never_enlarged = next(reader.frames(max_side=4000))
    assert full.image.shape == (64, 128, 3)
    assert full.scale == 1
    assert small.image.shape == (16, 32, 3)
    assert small.scale == 4
    assert never_enlarged.image.shape == full.image.shape
    assert small.image.flags.c_contiguous
    assert small.image.dtype == np.uint8


@pytest.mark.parametrize("size", [(458, 362), (361, 1921), (1920, 1080), (17, 1000)])
def test_one_scale_serves_both_axes(tmp_path: Path, size: tuple[int, int]) -> None:
    clip = make_clip(tmp_path / "a.mkv", ClipSpec(size=size, codec="ffv1", frames=1))
    with _open(clip) as reader:
        frame = next(reader.frames(max_side=320))
    height, width = frame.image.shape[:2]
    assert 300 <= max(width, height) <= 320
    assert abs(width * frame.scale - size[0]) < 1.1 * frame.scale * 0.25
    assert abs(height * frame.scale - size[1]) < 1.1 * frame.scale * 0.25


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "size", "suffix"),
    [
        ("libx264", "yuv420p", (64, 48), "mp4"),
        ("libx264", "yuvj420p", (64, 48), "mp4"),
        ("libx264", "yuv422p", (64, 47), "mp4"),
        ("libx264", "yuv444p", (63, 47), "mp4"),
        ("libx264", "yuv420p10le", (64, 48), "mkv"),
        ("libx264", "yuv422p10le", (64, 48), "mov"),
        ("libx264", "gray", (64, 48), "mp4"),
        ("libx264rgb", "rgb24", (64, 48), "mkv"),
        ("ffv1", "yuv420p", (63, 47), "mkv"),
        ("ffv1", "yuv420p16le", (64, 48), "mkv"),
        ("ffv1", "bgra", (64, 48), "mkv"),
        ("rawvideo", "nv12", (64, 48), "nut"),
        ("rawvideo", "yuyv422", (64, 48), "nut"),
        ("rawvideo", "bgr24", (63, 47), "avi"),
        ("mpeg4", "yuv420p", (64, 48), "avi"),
        ("mpeg1video", "yuv420p", (64, 48), "mpg"),
        ("gif", "pal8", (64, 48), "gif"),
    ],
)
def test_formats_codecs_and_odd_sizes(
    tmp_path: Path, codec: str, pix_fmt: str, size: tuple[int, int], suffix: str
) -> None:
    spec = ClipSpec(codec=codec, pix_fmt=pix_fmt, size=size, frames=5)
    with _open(make_clip(tmp_path / f"a.{suffix}", spec)) as reader:
        pairs = list(zip(reader.frames(), reader.native_frames(), strict=True))
        assert len(pairs) == 5
        for frame, native in pairs:
            assert (frame.index, frame.pts) == (native.index, native.pts)
            assert (native.width, native.height) == size
            region = native.rgb_region(0, 0, *size)
            # The two differ in rounding and chroma interpolation, not in colours or place.
            assert np.abs(frame.image.mean((0, 1)) - region.mean((0, 1))).max() < 4
            luma = [np.asarray(p, np.float64) @ [0.3, 0.6, 0.1] for p in (frame.image, region)]
            assert np.corrcoef(luma[0].ravel(), luma[1].ravel())[0, 1] > 0.97
            alpha = np.zeros((9, 9), np.float32)
            alpha[2:7, 2:7] = 1
            rgb = np.ones((9, 9, 3), np.float32)
            after = native.blend(FramePatch(x=11, y=9, rgb=rgb, alpha=alpha))
            white = after.rgb_region(14, 12, 2, 2)
            assert white.min() >= 250
            changed = np.any(after.rgb_region(0, 0, *size) != region, axis=2)
            assert not changed[:8].any()
            assert not changed[18:].any()


def test_blended_frame_keeps_its_side_data(tmp_path: Path) -> None:
    clip = make_rotated_clip(tmp_path / "a.mp4", 90)
    with _open(clip) as reader:
        native = next(reader.native_frames())
        alpha = np.ones((4, 4), np.float32)
        out = native.blend(FramePatch(x=0, y=0, rgb=np.zeros((4, 4, 3), np.float32), alpha=alpha))
    assert out.frame.rotation == native.frame.rotation != 0
    assert len(out.frame.side_data) == len(native.frame.side_data) > 0


def test_decoding_goes_on_as_if_nothing_was_blended(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", ClipSpec(frames=20, options=B_FRAMES))
    with _open(clip) as reader:
        expected = [_digest(native) for native in reader.native_frames()]
        seen = []
        for native in reader.native_frames():
            seen.append(_digest(native))
            rgb = np.zeros((48, 64, 3), np.float32)
            native.blend(FramePatch(x=0, y=0, rgb=rgb, alpha=np.ones((48, 64), np.float32)))
            assert _digest(native) == seen[-1]
    assert seen == expected


def test_ranges(tmp_path: Path) -> None:
    with _open(make_clip(tmp_path / "a.mp4")) as reader:
        assert [native.index for native in reader.native_frames(3, 7)] == [3, 4, 5, 6]
        assert [native.index for native in reader.native_frames(10)] == [10, 11]
        assert list(reader.native_frames(5, 5)) == []
        assert list(reader.native_frames(50)) == []


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "mpg", "avi"])
@pytest.mark.parametrize("gop", [12, 250])
def test_any_sequence_shows_the_same_pictures(tmp_path: Path, suffix: str, gop: int) -> None:
    codec, options = "libx264", B_FRAMES
    if suffix in ("mpg", "avi"):
        codec, options = "mpeg2video" if suffix == "mpg" else "mpeg4", ("-bf", "2", "-qscale", "3")
    spec = ClipSpec(frames=150, gop=gop, codec=codec, options=options)
    clip = make_clip(tmp_path / f"a.{suffix}", spec)
    with _open(clip) as reader:
        known = [(native.pts, _digest(native)) for native in reader.native_frames()]
        assert len(known) == 150
        forth, back = list(range(150)), list(range(148, -1, -1))
        wanted = [*forth, *back, *range(1, 20), *range(5), 149, 149, 149, 70, 71, 3, 148, 0]
        for fresh in (False, True):
            source = _open(clip) if fresh else reader
            with source:
                shown = [(n.index, n.pts, _digest(n)) for n in source.native_sequence(wanted)]
            assert shown == [(index, *known[index]) for index in wanted]


def test_sequence_follows_a_timeline(tmp_path: Path) -> None:
    clip = make_vfr_clip(tmp_path / "a.mp4")
    times = frame_times(clip, probe(clip))
    for mode in ("loop", "bounce", "freeze"):
        timeline = build_timeline(times, times.duration_s * 3, mode)
        with _open(clip) as reader:
            shown = [
                native.index for native in reader.native_sequence(timeline.source_index.tolist())
            ]
        assert shown == timeline.source_index.tolist()


def test_sequence_may_be_endless_and_backwards_at_first(tmp_path: Path) -> None:
    with _open(make_clip(tmp_path / "a.mp4")) as reader:
        frames = reader.native_sequence(index % 12 for index in count())
        assert [native.index for native in islice(frames, 30)] == [n % 12 for n in range(30)]
        assert [n.index for n in reader.native_sequence([9, 4, 4, 2])] == [9, 4, 4, 2]
        with pytest.raises(DecodeError, match="ended before its frame 12"):
            list(reader.native_sequence([11, 12]))


def test_truncated_file_gives_what_it_has(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "a.mkv", ClipSpec(frames=50, gop=10))
    cut = truncate(whole, tmp_path / "cut.mkv", 0.6)
    with _open(cut) as reader:
        indices = [native.index for native in reader.native_frames()]
        assert 20 < len(indices) < 50
        assert indices == list(range(len(indices)))
        assert len(reader.times) == len(indices)
    with _open(whole) as reader, _open(cut) as shorter:
        for a, b in islice(zip(reader.native_frames(), shorter.native_frames(), strict=False), 20):
            assert _digest(a) == _digest(b)


def test_truncated_mp4_with_its_index_in_front(tmp_path: Path) -> None:
    spec = ClipSpec(frames=50, gop=10, options=("-movflags", "+faststart"))
    cut = truncate(make_clip(tmp_path / "a.mp4", spec), tmp_path / "cut.mp4", 0.7)
    with _open(cut) as reader:
        assert 15 < sum(1 for _ in reader.frames(32)) < 50


def test_damaged_packets_are_skipped_and_counted(tmp_path: Path) -> None:
    spec = ClipSpec(codec="magicyuv", frames=20)
    data = bytearray(make_clip(tmp_path / "a.avi", spec).read_bytes())
    starts = [at for at in range(len(data)) if data.startswith(b"00dc", at)][1:22]
    for number in (6, 7, 12):
        data[starts[number] + 8 : starts[number + 1]] = bytes(
            starts[number + 1] - starts[number] - 8
        )
    damaged = tmp_path / "b.avi"
    damaged.write_bytes(data)
    with _open(damaged) as reader:
        frames = sum(1 for _ in reader.native_frames())
        assert reader.num_corrupt == 3
        assert frames == 17
        assert len(reader.times) == frames
        first_count = reader.num_corrupt
        assert sum(1 for _ in reader.frames()) == frames
        assert reader.num_corrupt == first_count


def test_file_without_a_single_frame(tmp_path: Path) -> None:
    spec = ClipSpec(frames=50, options=("-movflags", "+faststart"))
    whole = make_clip(tmp_path / "a.mp4", spec)
    info = probe(whole)
    data = whole.read_bytes()
    media = data.index(b"mdat") + 4
    whole.write_bytes(data[:media] + bytes(len(data) - media))
    with FrameReader(whole, info) as reader, pytest.raises(DecodeError, match="No frame"):
        list(reader.frames())
    with pytest.raises(DecodeError, match="No frame"):
        frame_times(whole, info)


def test_reader_needs_video(tmp_path: Path) -> None:
    tone = make_tone(tmp_path / "a.wav")
    with pytest.raises(ProbeError, match="no video"):
        FrameReader(tone, probe(tone))


def test_leaving_the_block_closes_the_file(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4")
    with _open(clip) as reader:
        running = reader.native_frames()
        next(running)
        handles = Path("/proc/self/fd")
        if handles.exists():
            assert any(os.path.realpath(h) == str(clip) for h in handles.iterdir())
    assert list(running) == []
    if handles.exists():
        assert not any(os.path.realpath(h) == str(clip) for h in handles.iterdir())
    with pytest.raises(RuntimeError, match="one pass"):
        _ = reader.times


def test_second_video_stream_is_left_alone(tmp_path: Path) -> None:
    one = make_clip(tmp_path / "one.mp4", ClipSpec(frames=7, audio_s=0.2))
    two = make_clip(tmp_path / "two.mp4", ClipSpec(frames=9, size=(32, 32)))
    both = tmp_path / "both.mkv"
    run_ffmpeg(
        "-i", one, "-i", two, "-map", "0:a", "-map", "0:v", "-map", "1:v", "-c", "copy", both
    )
    info = probe(both)
    assert info.num_video == 2
    assert info.video is not None
    assert info.video.index == 1
    with FrameReader(both, info) as reader:
        assert [frame.image.shape for frame in reader.frames()] == [(48, 64, 3)] * 7
