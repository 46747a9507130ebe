"""The last step: encoded picture, new audio and all else of the source become one file."""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from av.stream import Disposition

from dubcli.errors import EncodeError, FfmpegError
from dubcli.media.audio_plan import (
    AudioPlan,
    Filters,
    SoundEdit,
    plan_audio,
    read_driving_audio,
)
from dubcli.media.containers import TEXT_SUBTITLES, Container, container_of, default_output
from dubcli.media.ffmpeg import build_argv, ffmpeg_binary, file_url, graph, run
from dubcli.media.probe import open_media
from dubcli.types import MediaInfo

__all__ = ["default_output", "remux"]

_MAX_CLOCK = 2**31 - 1
# Tags that describe the source's encoded data or container, wrong for the result.
_STALE_TAGS = ("bps", "duration", "number_of_", "_statistics", "encoder", "vendor_id", "rotate")
_BRAND_TAGS = ("major_brand", "minor_version", "compatible_brands")


@dataclass(frozen=True, kw_only=True)
class SourceStream:
    """One stream of the source. `kind` is PyAV's: video, audio, subtitle, attachment, data."""

    index: int
    kind: str
    codec: str
    disposition: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    duration_s: Fraction | None = None


@dataclass(frozen=True, kw_only=True)
class Picture:
    """The encoded video: codec, clock, end of its last frame and shape of a pixel."""

    codec: str
    time_base: Fraction
    end_s: Fraction
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class StreamPlan:
    """A stream of the source that goes into the result, by copy or through an encoder."""

    stream: SourceStream
    encoder: str = "copy"


@dataclass(frozen=True, kw_only=True)
class Job:
    """Everything that the ffmpeg command depends on; no file is looked at after this."""

    picture_path: Path
    picture: Picture
    audio_path: Path
    audio: AudioPlan
    source: MediaInfo
    source_path: Path
    video_tags: tuple[tuple[str, str], ...]
    others: tuple[StreamPlan, ...]
    cut_s: Fraction | None
    shift_s: Fraction
    container: Container
    metadata: dict[str, str]


def remux(
    *,
    picture: Path,
    source: Path,
    source_info: MediaInfo,
    audio: Path,
    audio_s: Fraction,
    pad_s: Fraction,
    output: Path,
    start_s: Fraction,
    metadata: dict[str, str] | None = None,
    audio_start_s: Fraction | None = None,
    edit: SoundEdit | None = None,
) -> list[str]:
    """Join the encoded picture, the driving audio and the source's other streams.

    The driving audio replaces the source's first audio stream; it is copied when it is used whole
    and the container keeps it exactly. All else is kept where the container can hold it.

    Args:
        picture: Intermediate file of `FrameWriter`.
        source: The video that was dubbed.
        source_info: Its facts.
        audio: File with the driving audio.
        audio_s: Where the driving audio is cut, s from its own start.
        pad_s: Silence after it, s.
        output: Final name; an existing file is replaced, at the very end and at once.
        start_s: Time of the first video frame on the output's clock, s.
        metadata: Tags to set on the file besides the source's.
        audio_start_s: Time of the first used audio sample on that clock, s; None for `start_s`.
        edit: What is done to the driving audio besides; nothing by default.

    Returns:
        Notes on what could not be kept.

    Raises:
        MediaError: The output cannot be written, an input is damaged, or ffmpeg failed.
    """
    container = _writable_container(output)
    begin_s = start_s if audio_start_s is None else audio_start_s
    plan, said = plan_audio(read_driving_audio(audio), container, audio_s, pad_s, begin_s, edit)
    streams = _read_source_streams(source)
    others, stream_notes = plan_streams(streams, container, source_info)
    shape = _read_picture(picture)
    job = Job(
        picture_path=picture,
        picture=shape,
        audio_path=audio,
        audio=plan,
        source=source_info,
        source_path=source,
        video_tags=_tags_of_video(streams, source_info),
        others=tuple(others),
        cut_s=_cut_time(streams, source_info, max(shape.end_s, plan.end_s)),
        shift_s=max(Fraction(0), -start_s),
        container=container,
        metadata=metadata or {},
    )
    _write_atomically(output, lambda target: _run_job(job, target))
    return [*_clock_notes(job, output), *said, *stream_notes]


def plan_streams(
    streams: list[SourceStream], container: Container, info: MediaInfo
) -> tuple[list[StreamPlan], list[str]]:
    """Which further streams of the source are kept, and how.

    Args:
        streams: All streams of the source.
        container: The result's.
        info: The source's facts: its dubbed video and replaced audio are left out.

    Returns:
        What to keep, and a note on each stream that is changed or dropped.
    """
    replaced = {item.index for item in (info.video, info.audio) if item is not None}
    plans, notes = [], []
    for stream in streams:
        if stream.index in replaced:
            continue
        encoder = _encoder_for(stream, container)
        name = f"{stream.kind} stream {stream.index} ({stream.codec})"
        if encoder is None:
            # Chapters of mp4 show up as a data stream too; they are kept as chapters.
            if stream.kind != "data" or stream.codec not in ("bin_data", "none"):
                notes.append(f"The {name} was dropped: {container.muxer} cannot hold it.")
            continue
        if encoder != "copy":
            notes.append(f"The {name} was converted: {container.muxer} cannot hold it as it is.")
        plans.append(StreamPlan(stream=stream, encoder=encoder))
    return plans, notes


def build_remux_argv(job: Job, binary: str, target: Path) -> list[str]:
    """The ffmpeg command of a job. Looks at no file.

    Args:
        job: What to join.
        binary: ffmpeg.
        target: File to write.
    """
    rotation = job.source.video.rotation_deg if job.source.video else 0
    # The option counts counter-clockwise.
    turn = {"display_rotation": -rotation} if rotation else {}
    picture = graph.input(file_url(job.picture_path), **turn)
    delay = {"itsoffset": _seconds(job.audio.delay_s)} if job.audio.delay_s else {}
    source = graph.input(file_url(job.source_path))
    audio = _filtered(graph.input(file_url(job.audio_path), **delay)["a:0"], job.audio.filters)
    if job.audio.own_index is not None:
        own = _filtered(source[str(job.audio.own_index)], job.audio.own_filters)
        # Neither is made quieter, and the mix ends with the new audio.
        audio = graph.filter([audio, own], "amix", inputs=2, duration="first", normalize=0)
    kept = [source[str(plan.stream.index)] for plan in job.others]
    # An optional stream that no file has: the source must be an input for its tags and chapters
    # even when no stream of it is kept.
    maps = [picture["v:0"], audio, *kept, source["t:9999?"]]
    stream = graph.output(*maps, file_url(target), **_output_options(job))
    argv = build_argv(binary, stream)
    inputs = [argv[place + 1] for place, word in enumerate(argv) if word == "-i"]
    index = max(i for i, name in enumerate(inputs) if name == file_url(job.source_path))
    return [*argv[:-1], *_tag_options(job, index), argv[-1]]


def _filtered(stream: Any, filters: Filters) -> Any:
    for name, settings in filters:
        stream = stream.filter(name, **settings)
    return stream


def _output_options(job: Job) -> dict[str, Any]:
    """Options per output stream: 0 is the picture, 1 the driving audio, then the others."""
    options: dict[str, Any] = {
        "f": job.container.muxer,
        "copyts": None,
        "c:0": "copy",
        "c:1": job.audio.encoder,
        "disposition:1": "default",
    }
    if job.audio.bit_rate is not None:
        options["b:1"] = job.audio.bit_rate
    if job.audio.encoder == "aac":
        # Noise is encoded as it is, not replaced by other noise of the same loudness.
        options["aac_pns:1"] = 0
    if job.audio.encoder == "libopus" and (job.audio.channels or 0) > 2:
        # Left to itself, ffmpeg writes the channels of 5.0 and 6.1 in another order.
        options["mapping_family:1"] = 1
    for number, plan in enumerate(job.others, start=2):
        options[f"c:{number}"] = plan.encoder
        # Only the new audio is the default one.
        marks = [mark for mark in plan.stream.disposition if mark != "default"]
        if plan.stream.kind == "subtitle":
            marks = list(plan.stream.disposition)
        options[f"disposition:{number}"] = "+".join(marks) or "0"
        if plan.encoder == "aac":
            options[f"b:{number}"] = "256k"
    video = job.source.video
    if video is not None and video.sar not in (0, 1):
        aspect = Fraction(job.picture.width, job.picture.height) * video.sar
        options["aspect:0"] = f"{aspect.numerator}:{aspect.denominator}"
    if job.cut_s is not None:
        options["t"] = _seconds(job.cut_s)
    if job.shift_s:
        options["output_ts_offset"] = _seconds(job.shift_s)
    if job.container.muxer in ("mp4", "mov"):
        clock = job.picture.time_base.denominator
        whole = math.lcm(clock, job.audio.sample_rate)
        # Starts and lengths of tracks are written on the movie's clock: both tracks' ticks fit it.
        options |= {"movflags": "+faststart", "video_track_timescale": clock}
        options["movie_timescale"] = whole if whole <= _MAX_CLOCK else clock
        if job.picture.codec == "hevc":
            options["tag:0"] = "hvc1"  # the only one that QuickTime plays
    return options


def _tag_options(job: Job, source_index: int) -> list[str]:
    options = ["-map_metadata", str(source_index), "-map_chapters", str(source_index)]
    tags = {name: "" for name in _BRAND_TAGS} | job.metadata
    for name, value in tags.items():
        options += ["-metadata", f"{name}={value}"]
    for name, value in job.video_tags:
        if not name.lower().startswith(_STALE_TAGS):
            options += ["-metadata:s:0", f"{name}={value}"]
    return options


def _encoder_for(stream: SourceStream, container: Container) -> str | None:
    """`copy`, an encoder, or None for a stream that the container cannot hold."""
    if stream.kind == "audio":
        return "copy" if stream.codec in container.other_audio else container.lossy_encoder
    if stream.kind == "subtitle":
        if stream.codec in container.subtitles:
            return "copy"
        return container.text_encoder if stream.codec in TEXT_SUBTITLES else None
    if stream.kind == "attachment":
        return "copy" if container.attachments else None
    if stream.kind == "video" and "attached_pic" in stream.disposition:
        return "copy" if container.pictures and stream.codec in ("mjpeg", "png") else None
    return None


def _read_source_streams(path: Path) -> list[SourceStream]:
    with open_media(path) as container:
        return [_source_stream(stream) for stream in container.streams]


def _source_stream(stream: Any) -> SourceStream:
    context = stream.codec_context
    marks = tuple(str(flag.name) for flag in Disposition if flag & stream.disposition)
    duration = stream.duration
    return SourceStream(
        index=stream.index,
        kind=stream.type,
        codec="none" if context is None else context.codec.canonical_name,
        disposition=marks,
        tags=tuple(stream.metadata.items()),
        duration_s=None if duration is None else duration * stream.time_base,
    )


def _tags_of_video(streams: list[SourceStream], info: MediaInfo) -> tuple[tuple[str, str], ...]:
    index = info.video.index if info.video else -1
    return next((stream.tags for stream in streams if stream.index == index), ())


def _read_picture(path: Path) -> Picture:
    with open_media(path) as container:
        stream: Any = container.streams.video[0]
        context = stream.codec_context
        if stream.duration is not None:
            end_s = ((stream.start_time or 0) + stream.duration) * stream.time_base
        else:
            end_s = Fraction(container.duration or 0, 1_000_000)
        return Picture(
            codec=context.codec.canonical_name,
            time_base=stream.time_base,
            end_s=end_s,
            width=context.width,
            height=context.height,
        )


def _cut_time(streams: list[SourceStream], info: MediaInfo, end_s: Fraction) -> Fraction | None:
    """Where to cut the source's other streams; None when none outlives picture and audio."""
    lengths = [stream.duration_s for stream in streams if stream.duration_s is not None]
    longest = max([*lengths, info.duration_s or Fraction(0)], default=Fraction(0))
    # A little beyond the end, so that rounding never costs the last frame.
    limit = end_s + Fraction(1, 20)
    return limit if longest > limit else None


def _clock_notes(job: Job, output: Path) -> list[str]:
    notes = []
    suffix = job.source_path.suffix
    if suffix.lower() != output.suffix.lower():
        notes.append(
            f"The result is {output.suffix.lower()} instead of {suffix}: "
            + (
                "as its name asks."
                if suffix.lower() in (".mp4", ".m4v", ".mov", ".mkv", ".webm")
                else f"{suffix} files cannot keep today's codecs with exact times."
            )
        )
    ticks = job.container.ticks_per_s
    video = job.source.video
    if ticks is not None and video is not None and (video.time_base * ticks).denominator != 1:
        notes.append(f"Frame times are rounded to 1/{ticks} s: {job.container.muxer} has no finer.")
    if job.shift_s:
        notes.append(f"The video starts {_seconds(job.shift_s)} s before 0; all was moved to 0.")
    return notes


def _run_job(job: Job, target: Path) -> None:
    run(build_remux_argv(job, ffmpeg_binary(), target))


def _writable_container(output: Path) -> Container:
    container = container_of(output)
    folder = output.parent
    if not folder.is_dir():
        raise EncodeError(
            f"The folder '{folder}' does not exist.", "Create it, or choose another output name."
        )
    if output.is_dir():
        raise EncodeError(f"'{output}' is a folder.", "Give the name of a file, e.g. with -o.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise EncodeError(f"The folder '{folder}' cannot be written.", "Choose another with -o.")
    return container


def _write_atomically(output: Path, write: Callable[[Path], None]) -> None:
    """Write beside the final name, then rename; nothing is left when writing fails."""
    target = output.with_name(f".dub-{secrets.token_hex(6)}{output.suffix}")
    try:
        write(target)
        os.replace(target, output)
    except OSError as error:
        raise EncodeError(
            f"'{output}' cannot be written: {error.strerror}.", "Choose another output name."
        ) from error
    except FfmpegError as error:
        if "Permission denied" in error.stderr or "Read-only file system" in error.stderr:
            raise EncodeError(
                f"'{output}' cannot be written: permission denied.", "Choose another folder."
            ) from error
        raise
    finally:
        target.unlink(missing_ok=True)


def _seconds(value: Fraction) -> str:
    """Decimal seconds in ffmpeg's resolution, 1 µs."""
    return f"{round(value * 1_000_000) / 1_000_000:.6f}"
