"""Interlaced video: noticed, refused by default, made progressive frame by frame when asked."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from clips import run_ffmpeg
from joining import frames_of, join, planes_of, times_of

from dubcli.core.errors import ProbeError
from dubcli.media.container.probe import probe, require_video
from dubcli.media.video.deinterlace import deinterlace_notes, refuse_interlaced
from dubcli.media.video.frame_reader import FrameReader

NUM_FRAMES = 14
# A picture that moves by 8 px from field to field: interlaced frames show combs.
MOVING = "nullsrc=s=96x80:r=50,geq=lum='if(between(mod(X-8*N,96),0,39),200,40)':cb=128:cr=128"
SIZES = {"dnxhd": "1920x1080", "dvvideo": "720x576"}  # these take no other
INTERLACED = {
    "mbaff.mp4": ("-c:v", "libx264", "-flags", "+ildct+ilme"),
    "mbaff.ts": ("-c:v", "libx264", "-flags", "+ildct+ilme", "-bf", "2"),
    "dvd.mpg": ("-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-q:v", "2"),
    "hdv.mkv": ("-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-q:v", "2"),
    "prores.mov": ("-c:v", "prores_ks", "-flags", "+ildct"),
    "dnxhd.mov": ("-c:v", "dnxhd", "-b:v", "120M", "-flags", "+ildct"),
    "ffv1.mkv": ("-c:v", "ffv1"),
    "asp.avi": ("-c:v", "mpeg4", "-flags", "+ildct+ilme", "-q:v", "2"),
    "dv.avi": ("-pix_fmt", "yuv420p", "-c:v", "dvvideo"),
    "mjpeg.mov": ("-c:v", "mjpeg", "-field_order", "tt", "-q:v", "2"),
}


def interlaced_clip(
    path: Path, *encoder: str, order: str = "tff", frames: int = NUM_FRAMES
) -> Path:
    weave = "interleave_top" if order == "tff" else "interleave_bottom"
    size = next((size for codec, size in SIZES.items() if codec in encoder), "96x80")
    moving = f"{MOVING},scale={size}:flags=neighbor"
    run_ffmpeg(
        *("-f", "lavfi", "-i", moving, "-vf", f"tinterlace={weave},setfield={order}"),
        *("-frames:v", str(frames), "-pix_fmt", "yuv420p", *encoder, path),
    )
    return path


def combing(frame: av.VideoFrame) -> float:
    """How much lines differ from both their neighbours, but not these from each other."""
    luma = planes_of(frame)[0].astype(float)
    above, here, below = luma[:-2], luma[1:-1], luma[2:]
    return float(np.maximum(0, np.abs(here - (above + below) / 2) - np.abs(above - below)).mean())


@pytest.mark.parametrize("name", INTERLACED)
def test_it_is_noticed_and_refused_with_the_flag(name: str, tmp_path: Path) -> None:
    video = require_video(probe(interlaced_clip(tmp_path / name, *INTERLACED[name])))
    assert video.is_interlaced
    with pytest.raises(ProbeError, match=r"interlaced.*--deinterlace"):
        refuse_interlaced(video, deinterlace=False)
    refuse_interlaced(video, deinterlace=True)
    assert "bwdif" in deinterlace_notes(video, True)[0]


@pytest.mark.parametrize("order", ["tff", "bff"])
@pytest.mark.parametrize("name", INTERLACED)
def test_each_frame_is_made_progressive_at_its_own_time(
    name: str, order: str, tmp_path: Path
) -> None:
    options = INTERLACED[name]
    if name == "mjpeg.mov" and order == "bff":
        options = tuple("bb" if word == "tt" else word for word in options)
    if name == "dv.avi":
        order = "bff"  # the only order that DV has
    source = interlaced_clip(tmp_path / name, *options, order=order)
    result = join(source, deinterlace=True)
    assert times_of(result.output) == times_of(source)
    assert len(times_of(source)) == NUM_FRAMES
    before = [combing(frame) for frame in frames_of(source)]
    after = [combing(frame) for frame in frames_of(result.output)]
    assert np.mean(after) < np.mean(before) / 4
    made = require_video(probe(result.output))
    assert not made.is_interlaced
    assert made.field_order in (0, 1)
    assert not any(frame.interlaced_frame for frame in frames_of(result.output))


def test_the_right_field_is_shown_first(tmp_path: Path) -> None:
    """A frame shows the moment of its first field, whichever that is."""
    bars = {}
    for order in ("tff", "bff"):
        source = interlaced_clip(tmp_path / f"{order}.mkv", "-c:v", "ffv1", order=order)
        middle = frames_of(join(source, deinterlace=True, lossless=True).output)[6]
        bars[order] = planes_of(middle)[0]
    assert np.abs(bars["tff"] - bars["bff"]).mean() < 2


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_very_short_clips_lose_nothing(frames: int, tmp_path: Path) -> None:
    source = interlaced_clip(tmp_path / "in.mkv", "-c:v", "ffv1", frames=frames)
    assert times_of(join(source, deinterlace=True).output) == times_of(source)
    assert len(times_of(source)) == frames


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("codec", ["libx264", "mpeg2video", "prores_ks", "ffv1", "mjpeg"])
def test_progressive_video_is_not_touched(codec: str, asked: bool, tmp_path: Path) -> None:
    source = tmp_path / "in.mov"
    run_ffmpeg(
        "-f",
        "lavfi",
        "-i",
        "testsrc2=s=96x80:d=0.3",
        "-c:v",
        codec,
        "-strict",
        "-2",
        *(("-f", "matroska") if codec == "ffv1" else ()),
        source,
    )
    video = require_video(probe(source))
    assert not video.is_interlaced
    refuse_interlaced(video, deinterlace=False)
    assert deinterlace_notes(video, False) == []
    assert "changed nothing" in deinterlace_notes(video, True)[0]
    result = join(source, tmp_path / "out.mkv", deinterlace=asked, lossless=True)
    for before, after in zip(frames_of(source), frames_of(result.output), strict=True):
        pairs = zip(planes_of(before), planes_of(after), strict=True)
        assert all(np.array_equal(old, new) for old, new in pairs)


def test_progressive_frames_of_mixed_video_are_not_touched(tmp_path: Path) -> None:
    """Broadcasts change between both; the stream is interlaced where some frames are."""
    graph = (
        "[0:v]tinterlace=interleave_top,setfield=tff,trim=end_frame=8[a];"
        "[1:v]format=yuv420p,setfield=prog,trim=end_frame=8[b];[a][b]concat=n=2,format=yuv420p"
    )
    source = tmp_path / "in.mkv"
    progressive = MOVING.replace("r=50", "r=25")
    run_ffmpeg(
        *("-f", "lavfi", "-i", MOVING, "-f", "lavfi", "-i", progressive),
        *("-filter_complex", graph, "-frames:v", "16", "-c:v", "ffv1"),
        source,
    )
    assert require_video(probe(source)).is_interlaced
    marks = [frame.interlaced_frame for frame in frames_of(source)]
    assert marks == [True] * 8 + [False] * 8
    result = join(source, deinterlace=True, lossless=True)
    for frame, made, is_marked in zip(
        frames_of(source), frames_of(result.output), marks, strict=True
    ):
        if not is_marked:
            assert np.array_equal(planes_of(frame)[0], planes_of(made)[0])
    with FrameReader(source, probe(source), 1) as reader:
        assert len(list(reader.native_frames())) == 16
        assert reader.num_interlaced == sum(marks)


@pytest.mark.parametrize("asked", [False, True])
def test_interlaced_frames_further_on_are_counted(asked: bool, tmp_path: Path) -> None:
    graph = (
        "[0:v]format=yuv420p,setfield=prog,trim=end_frame=20[a];"
        "[1:v]tinterlace=interleave_top,setfield=tff,trim=end_frame=5[b];[a][b]concat=n=2"
    )
    source = tmp_path / "in.mkv"
    inputs = ("-f", "lavfi", "-i", MOVING.replace("r=50", "r=25"), "-f", "lavfi", "-i", MOVING)
    run_ffmpeg(
        *(*inputs, "-filter_complex", f"{graph},format=yuv420p", "-frames:v", "25"),
        *("-c:v", "ffv1", source),
    )
    info = probe(source)
    assert not require_video(info).is_interlaced
    with FrameReader(source, info, 1, deinterlace=asked) as reader:
        combs = [combing(native.frame) for native in reader.native_frames()]
        assert reader.num_interlaced == 5
        said = deinterlace_notes(require_video(info), asked, reader.num_interlaced)
    assert ("made progressive" in said[0]) is asked
    assert ("5 frames further on" in said[0]) is not asked
    assert bool(np.mean(combs[20:]) < 0.5) is asked


@pytest.mark.parametrize("name", ["mbaff.mp4", "mbaff.ts", "hdv.mkv"])
def test_both_passes_and_any_order_show_the_same_pictures(name: str, tmp_path: Path) -> None:
    source = interlaced_clip(tmp_path / name, *INTERLACED[name], "-g", "12", frames=200)
    info = probe(source)
    with FrameReader(source, info, 1, deinterlace=True) as reader:
        truth = [planes_of(native.frame)[0] for native in reader.native_frames()]
        assert len(truth) == len(reader.times) == 200
        order = [150, 151, 149, 148, 72, 73, 199, 0, 96, 95, 96]
        for wanted, native in zip(order, reader.native_sequence(order), strict=True):
            assert native.index == wanted
            assert np.array_equal(planes_of(native.frame)[0], truth[wanted]), wanted
        picture = next(iter(reader.frames()))
        assert picture.image.shape == (80, 96, 3)


def test_hevc_of_single_fields_is_refused_with_the_way_out(tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    run_ffmpeg(
        "-f",
        "lavfi",
        "-i",
        MOVING,
        "-frames:v",
        "6",
        "-c:v",
        "libx265",
        "-x265-params",
        "log-level=error:interlace=tff",
        source,
    )
    for asked in (False, True):
        with pytest.raises(ProbeError, match=r"each field as a picture.*ffmpeg -i"):
            refuse_interlaced(require_video(probe(source)), asked)


def test_deep_and_full_chroma_stay_so(tmp_path: Path) -> None:
    source = tmp_path / "in.mov"
    run_ffmpeg(
        *("-f", "lavfi", "-i", MOVING, "-vf", "tinterlace=interleave_top,setfield=tff"),
        *("-frames:v", "6", "-pix_fmt", "yuv422p10le", "-c:v", "prores_ks", "-flags", "+ildct"),
        *("-profile:v", "lt", source),
    )
    result = join(source, deinterlace=True)
    made = require_video(probe(result.output))
    assert (made.codec, made.profile, made.pix_fmt) == ("prores", "LT", "yuv422p10le")
