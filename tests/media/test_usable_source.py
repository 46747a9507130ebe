"""Sources whose clock jumps or whose pictures change their form midway."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clips import ClipSpec, make_clip, run_ffmpeg

from dubcli.media.container.probe import probe, require_video
from dubcli.media.video.frame_reader import FrameReader
from dubcli.pipeline.usable_source import UsableSource, usable_source

FRAMES = 12
STEP = Fraction(1, 25)


def _use(path: Path, folder: Path) -> UsableSource:
    return usable_source(probe(path), folder)


def _frames(source: UsableSource) -> tuple[list[Fraction], list[tuple[int, int]]]:
    """When each frame is shown, seconds from the first, and its size."""
    video = require_video(source.info)
    with FrameReader(source.info.path, source.info) as reader:
        natives = [
            (one.pts * video.time_base, (one.width, one.height)) for one in reader.native_frames()
        ]
    return [time - natives[0][0] for time, _ in natives], [size for _, size in natives]


def _joined(target: Path, *pieces: Path) -> Path:
    target.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    return target


def _piece(path: Path, start_s: float, **changes: Any) -> Path:
    codec = "mpeg2video" if path.suffix == ".vob" else "libx264"
    sound = ("-c:a", "mp2", "-b:a", "64k")
    spec: dict[str, Any] = {"audio_s": 0.48, "frames": FRAMES, "codec": codec, "options": sound}
    return make_clip(path, ClipSpec(start_s=start_s, **(spec | changes)))


@pytest.mark.parametrize("suffix", [".ts", ".vob"])
@pytest.mark.parametrize("starts", [(0.0, 5000.0), (5000.0, 0.001), (0.001, 0.001)])
def test_recordings_that_were_joined_follow_each_other(
    starts: tuple[float, float], suffix: str, tmp_path: Path
) -> None:
    pieces = [_piece(tmp_path / f"{n}{suffix}", start_s) for n, start_s in enumerate(starts)]
    source = _use(_joined(tmp_path / f"in{suffix}", *pieces), tmp_path)
    times, _ = _frames(source)
    assert len(times) == 2 * FRAMES
    assert max(np.diff([float(time) for time in times])) < 0.06
    (note,) = source.notes
    assert "clock jumps by" in note
    assert "at 0:00.5" in note


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".flv"])
def test_a_copy_that_took_a_jump_over_is_mended_too(suffix: str, tmp_path: Path) -> None:
    sound = ("-c:a", "aac")
    pieces = [
        _piece(tmp_path / f"{n}.ts", start_s, options=sound) for n, start_s in enumerate((0, 5000))
    ]
    joined = _joined(tmp_path / "joined.ts", *pieces)
    path = tmp_path / f"in{suffix}"
    run_ffmpeg("-i", joined, "-c", "copy", "-copyts", path)
    source = _use(path, tmp_path)
    times, _ = _frames(source)
    assert len(times) == 2 * FRAMES
    assert times[-1] < 2
    assert len(source.notes) == 1


def test_a_picture_that_is_held_while_the_sound_goes_on_stays(tmp_path: Path) -> None:
    slow = "setpts='if(gte(N,6),PTS+20/TB,PTS)'"
    options = ("-fps_mode", "passthrough", "-c:a", "aac")
    clip = make_clip(
        tmp_path / "a.mkv", ClipSpec(audio_s=21, video_filter=slow, frames=12, options=options)
    )
    source = _use(clip, tmp_path)
    assert source.info.path == clip
    assert not source.notes


def test_a_plain_source_is_taken_as_it_is(tmp_path: Path) -> None:
    for suffix in ("mp4", "mkv", "ts"):
        clip = make_clip(tmp_path / f"a.{suffix}", ClipSpec(audio_s=0.4, gop=4))
        info = probe(clip)
        source = usable_source(info, tmp_path)
        assert source.info == info
        assert not source.notes


def _two_sizes(folder: Path, sizes: tuple[tuple[int, int], ...], **changes: Any) -> Path:
    pieces = [
        make_clip(
            folder / f"{n}.ts", ClipSpec(size=size, frames=FRAMES, start_s=n * 0.48, **changes)
        )
        for n, size in enumerate(sizes)
    ]
    return _joined(folder / "in.ts", *pieces)


def test_smaller_pictures_are_scaled_up_to_the_largest(tmp_path: Path) -> None:
    source = _use(_two_sizes(tmp_path, ((64, 48), (128, 96))), tmp_path)
    times, sizes = _frames(source)
    assert len(times) == 2 * FRAMES
    assert set(sizes) == {(128, 96)}
    (note,) = source.notes
    assert "64x48 px from 0:00.0 to 0:00.5" in note
    assert "128x96" in note


def test_a_turned_picture_keeps_its_shape(tmp_path: Path) -> None:
    """A square of one colour in the middle stays one, between bars at the sides."""
    square = "drawbox=x=(iw-24)/2:y=(ih-24)/2:w=24:h=24:color=white:t=fill"
    flat = f"lutyuv=y=60:u=128:v=128,{square}"
    path = _two_sizes(tmp_path, ((96, 64), (64, 96)), video_filter=flat)
    source = _use(path, tmp_path)
    video = require_video(source.info)
    with FrameReader(path, source.info) as reader:
        last = list(reader.frames())[-1].image
    assert video.width * video.height == 96 * 64
    rows, columns = np.nonzero(last[..., 1] > 200)
    high, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert abs(high - wide) <= 2
    assert wide == pytest.approx(16, abs=2)
    assert last[32, 4].max() < 30  # a bar


def test_pictures_after_a_seek_are_those_of_a_pass_from_the_start(tmp_path: Path) -> None:
    path = _two_sizes(tmp_path, ((64, 48), (128, 96)), gop=4)
    source = _use(path, tmp_path)
    with FrameReader(path, source.info) as reader:
        whole = [one.frame.to_ndarray() for one in reader.native_frames()]
        for start in (3, 14, 20):
            (one,) = reader.native_frames(start, start + 1)
            assert np.array_equal(one.frame.to_ndarray(), whole[start])


def test_a_pixel_format_that_changes_is_the_richest_one(tmp_path: Path) -> None:
    pieces = [
        make_clip(tmp_path / f"{n}.ts", ClipSpec(frames=FRAMES, start_s=n * 0.48, pix_fmt=name))
        for n, name in enumerate(("yuv420p", "yuv444p"))
    ]
    source = _use(_joined(tmp_path / "in.ts", *pieces), tmp_path)
    assert require_video(source.info).pix_fmt == "yuv444p"
    (note,) = source.notes
    assert "yuv444p at 0:00.5" in note


def test_webm_that_changes_size(tmp_path: Path) -> None:
    vp9 = ClipSpec(codec="libvpx-vp9", frames=FRAMES, options=("-deadline", "realtime"))
    clips = [
        make_clip(tmp_path / f"{n}.webm", replace(vp9, size=size))
        for n, size in enumerate(((64, 48), (128, 96)))
    ]
    path = tmp_path / "in.webm"
    later = 0
    with av.open(str(clips[0])) as first, av.open(str(path), "w") as made:
        copy: Any = made.add_stream_from_template(first.streams.video[0])
        for clip in clips:
            with av.open(str(clip)) as given:
                for packet in given.demux(given.streams.video[0]):
                    if packet.pts is not None:
                        packet.pts += later
                        packet.dts = packet.pts
                        packet.stream = copy
                        made.mux(packet)
            later += 480
    source = _use(path, tmp_path)
    _, sizes = _frames(source)
    assert sizes == [(128, 96)] * (2 * FRAMES)
    assert len(source.notes) == 1
