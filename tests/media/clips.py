"""Small clips made at test time with the ffmpeg program: one call, one property under test."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from dubcli.media.container.ffmpeg import ffmpeg_binary


@dataclass(frozen=True, kw_only=True)
class ClipSpec:
    """What a test clip is like; the defaults make a plain H.264 clip without sound."""

    size: tuple[int, int] = (64, 48)
    rate: str = "25"
    frames: int = 12
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    gop: int = 250
    sar: str | None = None
    audio_s: float | None = None
    audio_rate: int = 48_000
    audio_delay_s: float = 0.0
    start_s: float = 0.0
    video_filter: str | None = None
    options: tuple[str, ...] = ()


def run_ffmpeg(*arguments: str | Path) -> None:
    """Run ffmpeg quietly; a failure shows what it said."""
    command = [ffmpeg_binary(), "-hide_banner", "-nostdin", "-loglevel", "error", "-y"]
    command += [f"file:{item}" if isinstance(item, Path) else item for item in arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stderr}"


def make_clip(path: Path, spec: ClipSpec | None = None) -> Path:
    """Moving test picture, with a tone where `audio_s` is set; returns `path`."""
    spec = spec or ClipSpec()
    width, height = spec.size
    source = f"testsrc2=s={width + width % 2}x{height + height % 2}:r={spec.rate}"
    arguments: list[str | Path] = ["-f", "lavfi", "-i", source]
    if spec.audio_s is not None:
        if spec.audio_delay_s:
            arguments += ["-itsoffset", str(spec.audio_delay_s)]
        tone = f"sine=f=440:r={spec.audio_rate}:d={spec.audio_s}"
        arguments += ["-f", "lavfi", "-i", tone, "-map", "0:v", "-map", "1:a"]
    # The source makes even sizes only.
    filters = [f"format=yuv444p,crop={width}:{height}:0:0"] if width % 2 or height % 2 else []
    filters += [spec.video_filter] if spec.video_filter else []
    filters += [f"setsar={spec.sar}"] if spec.sar else []
    if filters:
        arguments += ["-vf", ",".join(filters)]
    arguments += ["-frames:v", str(spec.frames), "-c:v", spec.codec, "-pix_fmt", spec.pix_fmt]
    arguments += ["-g", str(spec.gop), "-threads", "1"]
    if spec.codec == "libx264":
        arguments += ["-preset", "ultrafast", "-qp", "10"]
    if spec.start_s:
        arguments += ["-output_ts_offset", str(spec.start_s)]
    run_ffmpeg(*arguments, *spec.options, path)
    return path


def make_vfr_clip(path: Path, frames: int = 20) -> Path:
    """Frame durations between 10 and 70 ms: pts = 40 n + 5 (n^2 mod 7) in milliseconds."""
    times = "settb=1/1000,setpts=40*N+5*mod(N*N\\,7)"
    options = ("-fps_mode", "passthrough", "-enc_time_base", "1:1000")
    if path.suffix == ".mp4":
        options += ("-video_track_timescale", "1000")
    return make_clip(path, ClipSpec(frames=frames, video_filter=times, options=options))


def vfr_pts(frames: int = 20) -> list[int]:
    """The timestamps that `make_vfr_clip` writes, milliseconds."""
    return [40 * n + 5 * (n * n % 7) for n in range(frames)]


def make_rotated_clip(path: Path, clockwise_deg: int, size: tuple[int, int] = (64, 48)) -> Path:
    """A clip that a player turns clockwise by `clockwise_deg`."""
    flat = make_clip(path.with_name(f"flat-{path.name}"), ClipSpec(size=size))
    # ffmpeg counts counter-clockwise.
    run_ffmpeg("-display_rotation", str(-clockwise_deg), "-i", flat, "-c", "copy", path)
    return path


def make_tone(
    path: Path, seconds: float = 1.0, rate: int = 48_000, options: tuple[str, ...] = ()
) -> Path:
    """A 440 Hz tone at an eighth of full scale."""
    run_ffmpeg("-f", "lavfi", "-i", f"sine=f=440:r={rate}:d={seconds}", *options, path)
    return path


def truncate(source: Path, target: Path, share: float) -> Path:
    """A copy of the first part of a file."""
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return target
