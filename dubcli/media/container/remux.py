"""The last step: encoded picture, new audio and all else of the source become one file."""

from __future__ import annotations

import math
import os
import secrets
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from dubcli.core.atomic_io import move_file
from dubcli.core.errors import EncodeError, FfmpegError, MediaError
from dubcli.core.types import MediaInfo, SourceStream
from dubcli.media.container.ffmpeg import build_argv, ffmpeg_binary, file_url, graph, run
from dubcli.media.container.formats import (
    ATTACH,
    CONTAINERS,
    Container,
    StreamCopy,
    choose_streams,
    container_of,
    default_output,
)
from dubcli.media.container.probe import open_media
from dubcli.media.sound.audio_track import (
    AudioArrangement,
    DrivingAudio,
    Filters,
    SoundEdit,
    arrange_audio,
)
from dubcli.media.sound.recording import read_recording

__all__ = ["default_output", "remux"]

_MAX_CLOCK = 2**31 - 1
# Tags that describe the source's encoded data or container, wrong for the result.
_STALE_TAGS = (
    *("bps", "duration", "number_of_", "_statistics", "encoder", "vendor_id", "rotate"),
    "alpha_mode",
)
_BRAND_TAGS = ("major_brand", "minor_version", "compatible_brands")


@dataclass(frozen=True, kw_only=True)
class EncodedPicture:
    """The encoded video: codec, clock, end of its last frame and shape of a pixel."""

    codec: str
    time_base: Fraction
    end_s: Fraction
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Cover:
    """A picture that becomes an attached file."""

    path: Path
    name: str
    mime_type: str


@dataclass(frozen=True, kw_only=True)
class Muxed:
    """What became of a file that was put together.

    Attributes:
        notes: What could not be kept.
        lowered_db: How much quieter the driving audio was made so that no peak clips, dB.
    """

    notes: tuple[str, ...]
    lowered_db: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RemuxJob:
    """Everything that the ffmpeg command depends on; no file is looked at after this."""

    picture_path: Path
    picture: EncodedPicture
    audio_path: Path
    audio: AudioArrangement
    source: MediaInfo
    source_path: Path
    video_tags: tuple[tuple[str, str], ...]
    others: tuple[StreamCopy, ...]
    cut_s: Fraction | None
    shift_s: Fraction
    container: Container
    metadata: dict[str, str]
    covers: tuple[Cover, ...] = ()


def remux(
    *,
    picture: Path,
    source_info: MediaInfo,
    audio: Path,
    audio_s: Fraction,
    pad_s: Fraction,
    output: Path,
    start_s: Fraction,
    metadata: dict[str, str] | None = None,
    audio_start_s: Fraction | None = None,
    edit: SoundEdit | None = None,
    sound: DrivingAudio | None = None,
    shift_s: Fraction = Fraction(0),
    source_name: Path | None = None,
) -> Muxed:
    """Join the picture, the driving audio in place of the source's first, and its other streams.

    Args:
        picture: Intermediate file of `FrameWriter`.
        source_info: Facts of the video that was dubbed.
        audio: File with the driving audio.
        audio_s: Where the driving audio is cut, s from its own start.
        pad_s: Silence after it, s.
        output: Final name; an existing file is replaced, at the very end and at once.
        start_s: Time of the first video frame on the output's clock, s; not below 0.
        metadata: Tags to set on the file besides the source's.
        audio_start_s: Time of the first used audio sample on that clock, s; None for `start_s`.
        edit: What is done to the driving audio besides; nothing by default.
        sound: Facts of the driving audio; None to decode it for them.
        shift_s: How much later the output's clock shows what the source's own streams show, s.
        source_name: The video as the user named it, where its facts are of a copy.

    Raises:
        MediaError: The output cannot be written, an input is damaged, or ffmpeg failed.
    """
    container = _writable_container(output)
    begin_s = start_s if audio_start_s is None else audio_start_s
    sound = sound or read_recording(audio).audio
    arranged, said = arrange_audio(sound, container, audio_s, pad_s, begin_s, edit)
    shape = _read_picture(picture)
    others, stream_notes = choose_streams(source_info.streams, container, source_info)
    job = RemuxJob(
        picture_path=picture,
        picture=shape,
        audio_path=audio,
        audio=arranged,
        source=source_info,
        source_path=source_info.path,
        video_tags=_tags_of_video(source_info),
        others=tuple(copy for copy in others if copy.encoder != ATTACH),
        cut_s=_cut_time(source_info, max(shape.end_s, arranged.end_s), shift_s, edit),
        shift_s=shift_s,
        container=container,
        metadata=metadata or {},
    )
    _require_inputs(job)
    _write_with_covers(job, [copy.stream for copy in others if copy.encoder == ATTACH], output)
    notes = (*_clock_notes(job, output, source_name or source_info.path), *said, *stream_notes)
    return Muxed(notes=notes, lowered_db=arranged.lowered_db)


def _require_inputs(job: RemuxJob) -> None:
    """Ffmpeg would say that something is missing, and not what."""
    for path in (job.picture_path, job.audio_path, job.source_path):
        if not path.exists():
            raise MediaError(
                f"'{path}' is no longer there.", "Put it back, then run the same command again."
            )


def _write_with_covers(job: RemuxJob, attached: Sequence[SourceStream], output: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="dub-") as folder:
        covers = tuple(_extract(job.source_path, stream, Path(folder)) for stream in attached)
        whole = replace(job, covers=covers)
        _write_atomically(output, lambda target: _run_job(whole, target))


def build_remux_argv(job: RemuxJob, binary: str, target: Path) -> list[str]:
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
    later = {"itsoffset": _seconds(job.shift_s)} if job.shift_s else {}
    source = graph.input(file_url(job.source_path), **later)
    driving = graph.input(file_url(job.audio_path), **delay)[str(job.audio.index)]
    audio = _filtered(driving, job.audio.filters)
    if job.audio.own_index is not None:
        own = _own_layers(source[str(job.audio.own_index)], job.audio)
        until = "longest" if job.audio.own_goes_on else "first"
        # Neither is made quieter.
        audio = graph.filter(
            [audio, *own], "amix", inputs=1 + len(own), duration=until, normalize=0
        )
    kept = [source[str(copy.stream.index)] for copy in job.others]
    # An optional stream that no file has: the source must be an input for its tags and chapters
    # even when no stream of it is kept.
    maps = [picture["v:0"], audio, *kept, source["t:9999?"]]
    stream = graph.output(*maps, file_url(target), **_output_options(job))
    argv = build_argv(binary, stream)
    inputs = [argv[place + 1] for place, word in enumerate(argv) if word == "-i"]
    index = max(i for i, name in enumerate(inputs) if name == file_url(job.source_path))
    return [*argv[:-1], *_cover_options(job), *_tag_options(job, index), argv[-1]]


def _own_layers(own: Any, arranged: AudioArrangement) -> list[Any]:
    """The source's own sound, as often as it is added, each time changed in another way."""
    own = _filtered(own, arranged.own_filters)
    if len(arranged.own_layers) < 2:
        return [_filtered(own, *arranged.own_layers)] if arranged.own_layers else [own]
    copies = own.filter_multi_output("asplit", len(arranged.own_layers))
    return [_filtered(copies[place], layer) for place, layer in enumerate(arranged.own_layers)]


def _filtered(stream: Any, filters: Filters) -> Any:
    for name, settings in filters:
        stream = stream.filter(name, **settings)
    return stream


def _output_options(job: RemuxJob) -> dict[str, Any]:
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
    for number, copy in enumerate(job.others, start=2):
        options[f"c:{number}"] = copy.encoder
        # Only the new audio is the default one.
        marks = [mark for mark in copy.stream.disposition if mark != "default"]
        if copy.stream.kind == "subtitle":
            marks = list(copy.stream.disposition)
        options[f"disposition:{number}"] = "+".join(marks) or "0"
        if copy.encoder == "aac":
            options[f"b:{number}"] = "256k"
    if job.cut_s is not None:
        options["t"] = _seconds(job.cut_s)
    if job.container.muxer in ("mp4", "mov"):
        clock = job.picture.time_base.denominator
        whole = math.lcm(clock, job.audio.sample_rate)
        # Starts and lengths of tracks are written on the movie's clock: both tracks' ticks fit it.
        options |= {"movflags": "+faststart", "video_track_timescale": clock}
        options["movie_timescale"] = whole if whole <= _MAX_CLOCK else clock
        if job.picture.codec == "hevc":
            options["tag:0"] = "hvc1"  # the only one that QuickTime plays
    return options


def _cover_options(job: RemuxJob) -> list[str]:
    options: list[str] = []
    # Attached files come after those that the source has already.
    first = sum(copy.stream.kind == "attachment" for copy in job.others)
    for number, cover in enumerate(job.covers, first):
        options += ["-attach", file_url(cover.path)]
        options += [f"-metadata:s:t:{number}", f"mimetype={cover.mime_type}"]
        options += [f"-metadata:s:t:{number}", f"filename={cover.name}"]
    return options


def _tag_options(job: RemuxJob, source_index: int) -> list[str]:
    options = ["-map_metadata", str(source_index), "-map_chapters", str(source_index)]
    tags = {name: "" for name in _BRAND_TAGS} | job.metadata
    for name, value in tags.items():
        options += ["-metadata", f"{name}={value}"]
    for name, value in job.video_tags:
        if not name.lower().startswith(_STALE_TAGS):
            options += ["-metadata:s:0", f"{name}={value}"]
    return options


def _extract(path: Path, stream: SourceStream, folder: Path) -> Cover:
    """Write the picture of a stream into a folder."""
    ending = "png" if stream.codec == "png" else "jpg"
    tags = {name.lower(): value for name, value in stream.tags}
    target = folder / f"{stream.index}.{ending}"
    with open_media(path) as container:
        packets = container.demux(container.streams[stream.index])
        target.write_bytes(next((bytes(packet) for packet in packets if packet.size), b""))
    return Cover(
        path=target,
        # By this name players know it.
        name=tags.get("filename", f"cover.{ending}"),
        mime_type="image/png" if ending == "png" else "image/jpeg",
    )


def _tags_of_video(info: MediaInfo) -> tuple[tuple[str, str], ...]:
    index = info.video.index if info.video else -1
    return next((stream.tags for stream in info.streams if stream.index == index), ())


def _read_picture(path: Path) -> EncodedPicture:
    with open_media(path) as container:
        stream: Any = container.streams.video[0]
        context = stream.codec_context
        if stream.duration is not None:
            end_s = ((stream.start_time or 0) + stream.duration) * Fraction(stream.time_base)
        else:
            end_s = Fraction(container.duration or 0, 1_000_000)
        return EncodedPicture(
            codec=context.codec.canonical_name,
            time_base=Fraction(stream.time_base),
            end_s=end_s,
            width=context.width,
            height=context.height,
        )


def _cut_time(
    info: MediaInfo,
    end_s: Fraction,
    shift_s: Fraction,
    edit: SoundEdit | None,
) -> Fraction | None:
    """Where to cut the source's other streams; None when none outlives picture and audio.

    Where only a part is dubbed, nothing around it is cut.
    """
    if edit is not None and edit.part is not None:
        return None
    lengths = [stream.duration_s for stream in info.streams if stream.duration_s is not None]
    longest = max([*lengths, info.duration_s or Fraction(0)], default=Fraction(0)) + shift_s
    # A little beyond the end, so that rounding never costs the last frame.
    limit = end_s + Fraction(1, 20)
    return limit if longest > limit else None


def _clock_notes(job: RemuxJob, output: Path, source: Path) -> list[str]:
    notes: list[str] = []
    suffix = source.suffix
    if suffix.lower() != output.suffix.lower():
        notes.append(
            f"The result is {output.suffix.lower()} instead of {suffix}: "
            + (
                "as its name asks."
                if suffix.lower() in CONTAINERS
                else f"{suffix} files cannot keep today's codecs with exact times."
            )
        )
    ticks = job.container.ticks_per_s
    video = job.source.video
    if ticks is not None and video is not None and (video.time_base * ticks).denominator != 1:
        notes.append(f"Frame times are rounded to 1/{ticks} s: {job.container.muxer} has no finer.")
    if job.shift_s:
        begin = _seconds(job.shift_s)
        notes.append(f"The source's clock begins {begin} s before 0; all was moved to 0.")
    return notes


def _run_job(job: RemuxJob, target: Path) -> None:
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
        move_file(target, output)
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
