"""Small valid files of every common container: a face that speaks for half a second or less."""

from __future__ import annotations

import subprocess
from pathlib import Path

import dubcli
from dubcli.media.container.ffmpeg import ffmpeg_binary

_ASSETS = Path(dubcli.__file__).parent / "assets"
FRAMES, RATE, SIDE = 12, 25, 160
_H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
_AAC = ("-c:a", "aac", "-b:a", "64k")
_OPUS = ("-c:a", "libopus")
_VIDEOS: dict[str, tuple[str, ...]] = {
    "face.mp4": (*_H264, *_AAC),
    "start.mp4": (*_H264, *_AAC, "-movflags", "+faststart"),
    "parts.mp4": (*_H264, *_AAC, "-movflags", "frag_keyframe+empty_moov"),
    "face.mkv": (*_H264, *_AAC),
    "face.webm": ("-c:v", "libvpx", "-deadline", "realtime", "-b:v", "400k", *_OPUS),
    "face.mov": ("-c:v", "mjpeg", "-q:v", "3", "-pix_fmt", "yuvj420p", "-c:a", "pcm_s16le"),
    "face.avi": ("-c:v", "mpeg4", "-q:v", "3", "-c:a", "mp2"),
    "face.ts": (*_H264, *_AAC),
    "face.mpg": ("-c:v", "mpeg2video", "-q:v", "3", "-c:a", "mp2"),
    "raw.avi": ("-c:v", "rawvideo", "-pix_fmt", "yuv420p", "-c:a", "pcm_s16le"),
    "mute.mp4": (*_H264, "-an"),
}
_SOUNDS: dict[str, tuple[str, ...]] = {
    "speech.wav": ("-c:a", "pcm_s16le"),
    "float.wav": ("-c:a", "pcm_f32le"),
    "speech.mp3": ("-c:a", "libmp3lame"),
    "speech.ogg": ("-c:a", "libvorbis"),
    "speech.opus": _OPUS,
    "speech.m4a": _AAC,
    "speech.flac": ("-c:a", "flac"),
}


def ffmpeg(*arguments: str | Path) -> None:
    """Run ffmpeg; a failure shows what it said."""
    words = [f"file:{word}" if isinstance(word, Path) else word for word in arguments]
    argv = [ffmpeg_binary(), "-nostdin", "-loglevel", "error", "-y", *words]
    done = subprocess.run(argv, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, f"{argv}\n{done.stderr.decode('utf-8', 'replace')}"


def make_tiny(folder: Path, frames: int = FRAMES) -> Path:
    """Write all of them into a folder; the same bytes on every run of one ffmpeg.

    Args:
        folder: Where they go.
        frames: How many, in two groups of pictures; sounds are as long.
    """
    seconds = str(frames / RATE)
    exact = ("-bitexact", "-threads", "1")
    inputs = ("-i", _ASSETS / "demo.mp4", "-i", _ASSETS / "demo_speech.wav")
    shape = ("-vf", f"scale={SIDE}:{SIDE}", "-frames:v", str(frames), "-g", str(frames // 2))
    mapped = ("-map", "0:v", "-map", "1:a", "-t", seconds)
    for name, options in _VIDEOS.items():
        ffmpeg(*inputs, *mapped, *shape, *options, *exact, folder / name)
    for name, options in _SOUNDS.items():
        ffmpeg("-i", _ASSETS / "demo_speech.wav", "-t", seconds, *options, *exact, folder / name)
    ffmpeg("-i", _ASSETS / "demo_speech.wav", "-t", "1.6", *exact, folder / "long.wav")
    return folder
