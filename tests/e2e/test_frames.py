"""Frames in are frames out, each at its own time, in the source's size, shape and format."""

from __future__ import annotations

from pathlib import Path

import pytest
from studio import FACE_PX, NUM_FRAMES, X264, dub_here, face_clip, ffmpeg, pictures, speech, times

from dubcli.core.types import VideoStreamInfo
from dubcli.media.container.probe import probe, require_video

SCALE = f"scale={FACE_PX}:{FACE_PX}"
VARIABLE = f"{SCALE},settb=1/1000,setpts=40*N+5*mod(N*N\\,7)"
PASS_TIMES = ("-fps_mode", "passthrough", "-enc_time_base", "1:1000")
DEEP = (*X264, "-pix_fmt", "yuv422p10le")

# name -> file name, filters, options
CLIPS = {
    "29.97": ("in.mp4", f"{SCALE},setpts=N/(30000/1001)/TB", ("-r", "30000/1001")),
    "23.976 mkv": ("in.mkv", f"{SCALE},setpts=N/(24000/1001)/TB", ("-r", "24000/1001")),
    "59.94": ("in.mov", f"{SCALE},setpts=N/(60000/1001)/TB", ("-r", "60000/1001")),
    "variable mp4": ("in.mp4", VARIABLE, (*PASS_TIMES, "-video_track_timescale", "1000")),
    "variable mkv": ("in.mkv", VARIABLE, PASS_TIMES),
    "late start": ("in.mp4", SCALE, ("-output_ts_offset", "1.5")),
    "late start mkv": ("in.mkv", SCALE, ("-output_ts_offset", "1.5")),
    "wide pixels": ("in.mp4", f"scale={FACE_PX * 3 // 4}:{FACE_PX},setsar=4/3", ()),
    "portrait": ("in.mp4", f"{SCALE},crop={FACE_PX * 3 // 4}:{FACE_PX}", ()),
    "odd size": ("in.mp4", f"{SCALE},crop=225:231:8:4", ("-pix_fmt", "yuv444p")),
    "10 bits 4:2:2": ("in.mp4", SCALE, DEEP),
    "HEVC": ("in.mp4", SCALE, ("-c:v", "libx265", "-x265-params", "log-level=error")),
    "VP9": ("in.webm", SCALE, ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8")),
    "no end": ("in.mp4", SCALE, ("-bf", "3", "-movflags", "frag_keyframe+empty_moov")),
}


def kept(video: VideoStreamInfo) -> tuple[object, ...]:
    """What the result's picture must have in common with the source's."""
    size = video.width, video.height
    return (*size, video.sar, video.rotation_deg, video.pix_fmt, video.color_space)


def check(source: Path, folder: Path, sound: str = "speech.wav") -> Path:
    """Dub a clip to the same kind of file; same frames, times and shape."""
    output = folder / f"out{source.suffix}"
    report = dub_here(source, speech(folder / sound, 0.6), output)
    before, after = require_video(probe(source)), require_video(probe(output))
    assert times(output) == times(source)
    assert len(times(output)) == report.frames == NUM_FRAMES
    assert report.frames_dubbed == NUM_FRAMES
    assert report.frames_passed_through == {}
    assert kept(after) == kept(before)
    assert (report.width, report.height) == (before.width, before.height)
    return output


@pytest.mark.parametrize("name", CLIPS)
def test_every_frame_keeps_its_time_and_shape(name: str, tmp_path: Path) -> None:
    file_name, filters, options = CLIPS[name]
    check(face_clip(tmp_path / file_name, filters, *options), tmp_path)


@pytest.mark.parametrize("clockwise", [90, 180, 270])
def test_a_turned_video_stays_turned(clockwise: int, tmp_path: Path) -> None:
    # Stored so that the face is upright after the player's turn.
    stored = {90: "transpose=2", 180: "hflip,vflip", 270: "transpose=1"}[clockwise]
    shape = f"{SCALE},crop={FACE_PX}:{FACE_PX - 24}"
    flat = face_clip(tmp_path / "flat.mp4", f"{shape},{stored}")
    turned = tmp_path / "in.mp4"
    ffmpeg("-display_rotation", str(-clockwise), "-i", flat, "-c", "copy", turned)
    assert require_video(probe(turned)).rotation_deg == clockwise
    check(turned, tmp_path)


@pytest.mark.parametrize(
    ("file_name", "options"),
    [
        ("in.mpg", ("-c:v", "mpeg1video", "-q:v", "2")),
        ("in.avi", ("-c:v", "mpeg4", "-q:v", "2")),
        ("in.ts", X264),
    ],
)
def test_containers_that_cannot_be_written_become_mp4(
    file_name: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    source = face_clip(tmp_path / file_name, SCALE, *options)
    report = dub_here(source, speech(tmp_path / "speech.wav", 0.6), tmp_path / "out.mp4")
    assert times(tmp_path / "out.mp4") == times(source)
    assert report.frames == NUM_FRAMES
    assert any(".mp4 instead of" in note for note in report.warnings)


def test_one_frame_is_a_video_too(tmp_path: Path) -> None:
    source = face_clip(tmp_path / "in.mp4", frames=1)
    report = dub_here(source, speech(tmp_path / "speech.wav", 0.5), tmp_path / "out.mp4")
    assert report.frames == len(pictures(tmp_path / "out.mp4")) == 1
