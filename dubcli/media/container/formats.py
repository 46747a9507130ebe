"""What each output container can hold, and which name a result gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dubcli.core.errors import EncodeError
from dubcli.core.file_names import fitting_name
from dubcli.core.types import MediaInfo, SourceStream

PCM = ("pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le", "pcm_u8")
LOSSLESS_AUDIO = (*PCM, "flac", "alac", "wavpack", "tta", "pcm_s16be", "pcm_s24be", "pcm_s32be")
TEXT_SUBTITLES = ("subrip", "ass", "ssa", "webvtt", "mov_text", "text", "hdmv_text_subtitle")

ATTACH = "attach"

_MP4_VIDEO = ("libx264", "libx265", "libsvtav1", "libvpx-vp9")


@dataclass(frozen=True, kw_only=True)
class Container:
    """Facts of one output container.

    Attributes:
        muxer: ffmpeg's name for it.
        encoders: Video encoders whose result it holds, in order of preference.
        exact_audio: Codecs of the new audio that are copied: known to come out of this container
            with the same samples, none shifted and none lost.
        other_audio: Codecs that further audio streams may have.
        lossy_encoder: Audio encoder for lossy input.
        lossless_encoder: Audio encoder for lossless input.
        layout_encoder: Audio encoder for channel layouts that AAC cannot hold, such as 7.1.
        subtitles: Subtitle codecs that are copied.
        text_encoder: Subtitle encoder for text of another kind.
        attachments: Fonts and other files can be attached.
        pictures: A cover picture can be attached.
        ticks_per_s: Clock of the frame times; None when it can be chosen.
        transparent_vpx: Transparency of VP8 and VP9 has a place beside their frames.
    """

    muxer: str
    encoders: tuple[str, ...]
    exact_audio: tuple[str, ...]
    other_audio: tuple[str, ...]
    lossy_encoder: str
    lossless_encoder: str
    layout_encoder: str
    subtitles: tuple[str, ...]
    text_encoder: str
    attachments: bool = False
    pictures: bool = False
    ticks_per_s: int | None = None
    transparent_vpx: bool = False


_MP4 = Container(
    muxer="mp4",
    encoders=_MP4_VIDEO,
    exact_audio=("aac", "alac", "ac3", "eac3"),
    other_audio=("aac", "alac", "mp3", "mp2", "ac3", "eac3", "opus", "flac", "dts"),
    lossy_encoder="aac",
    lossless_encoder="aac",
    layout_encoder="flac",
    subtitles=("mov_text", "dvd_subtitle"),
    text_encoder="mov_text",
    pictures=True,
)
_MOV = Container(
    muxer="mov",
    encoders=("libx264", "libx265", "prores_ks", "png", "qtrle"),
    exact_audio=("aac", "alac", "ac3", "eac3", "pcm_s16le", "pcm_s24le", "pcm_s32le"),
    other_audio=("aac", "alac", "mp3", "ac3", "eac3", *PCM, "pcm_s16be", "pcm_s24be"),
    lossy_encoder="aac",
    lossless_encoder="aac",
    layout_encoder="pcm_s24le",
    subtitles=("mov_text",),
    text_encoder="mov_text",
)
_MATROSKA = Container(
    muxer="matroska",
    encoders=(*_MP4_VIDEO, "libvpx", "prores_ks", "ffv1"),
    exact_audio=("flac", "opus", "aac", "alac", "ac3", "eac3", *PCM),
    other_audio=(
        *("aac", "alac", "mp3", "mp2", "ac3", "eac3", "opus", "vorbis", "flac", "dts", "truehd"),
        *("wavpack", "tta", *PCM, "pcm_s16be", "pcm_s24be"),
    ),
    lossy_encoder="aac",
    lossless_encoder="flac",
    layout_encoder="flac",
    subtitles=(
        *("subrip", "ass", "ssa", "webvtt", "text", "dvd_subtitle", "dvb_subtitle"),
        *("hdmv_pgs_subtitle", "hdmv_text_subtitle"),
    ),
    text_encoder="subrip",
    attachments=True,
    ticks_per_s=1000,
    transparent_vpx=True,
)
_WEBM = Container(
    muxer="webm",
    encoders=("libvpx-vp9", "libsvtav1", "libvpx"),
    exact_audio=("opus",),
    other_audio=("opus", "vorbis"),
    lossy_encoder="libopus",
    lossless_encoder="libopus",
    layout_encoder="libopus",
    subtitles=("webvtt",),
    text_encoder="webvtt",
    ticks_per_s=1000,
    transparent_vpx=True,
)
CONTAINERS = {".mp4": _MP4, ".m4v": _MP4, ".mov": _MOV, ".mkv": _MATROSKA, ".webm": _WEBM}

# Encoders to try for a source codec, best first; the last resort follows.
_FAMILIES = {
    "hevc": ("libx265",),
    "av1": ("libsvtav1", "libvpx-vp9", "libx265"),
    "vp9": ("libvpx-vp9", "libsvtav1", "libx265"),
    "vp8": ("libvpx", "libvpx-vp9"),
    "prores": ("prores_ks",),
    "ffv1": ("ffv1",),
    "rawvideo": ("ffv1",),
    "huffyuv": ("ffv1",),
    "ffvhuff": ("ffv1",),
    "utvideo": ("ffv1",),
    "magicyuv": ("ffv1",),
    "png": ("png", "ffv1"),
    "qtrle": ("qtrle", "ffv1"),
}
_LAST_RESORT = ("libx264",)
_LAST_RESORT_WEBM = ("libvpx-vp9", "libsvtav1")


def container_of(output: Path) -> Container:
    """The container that a file name asks for.

    Raises:
        EncodeError: The extension is none of those that keep frame times and audio exact.
    """
    found = CONTAINERS.get(output.suffix.lower())
    if found is None and not output.suffix:
        raise EncodeError(
            f"'{output}' has no ending that tells what kind of file to write.",
            f"Use a name that ends in {', '.join(CONTAINERS)}.",
        )
    if found is None:
        raise EncodeError(
            f"'{output.name}' cannot be written: '{output.suffix}' files do not keep every frame "
            "time and audio sample.",
            f"Use a name that ends in {', '.join(CONTAINERS)}.",
        )
    return found


def encoder_candidates(codec: str, container: Container) -> tuple[str, ...]:
    """Encoders for a source codec that a container can hold, best first. Never empty."""
    last = _LAST_RESORT if "libx264" in container.encoders else _LAST_RESORT_WEBM
    wanted = dict.fromkeys((*_FAMILIES.get(codec, ()), *last))
    return tuple(name for name in wanted if name in container.encoders)


def default_output(video: Path, info: MediaInfo) -> Path:
    """Where the result goes when no name is given: `<stem>.dubbed<extension>` beside the video.

    The extension is the source's where that container keeps frame times and audio exact and
    holds the codec that is written for the source; else `.mp4`, or `.mkv` for codecs that only
    Matroska holds, and where `.mp4` would lose streams that `.mkv` keeps. A name that the file
    system would not hold is shortened.
    """
    codec = info.video.codec if info.video else "h264"
    family = _FAMILIES.get(codec, _LAST_RESORT)
    suffix = video.suffix.lower()
    same = CONTAINERS.get(suffix)
    if same is not None and any(name in same.encoders for name in family):
        chosen = video.suffix
    elif any(name in _MP4.encoders for name in family) and not _loses_more(_MP4, _MATROSKA, info):
        chosen = ".mp4"
    else:
        chosen = ".mkv"
    return video.with_name(fitting_name(video.stem, f".dubbed{chosen}", video.parent))


def _loses_more(one: Container, other: Container, info: MediaInfo) -> bool:
    kept = [len(choose_streams(info.streams, item, info)[0]) for item in (one, other)]
    return kept[0] < kept[1]


@dataclass(frozen=True, kw_only=True)
class StreamCopy:
    """A stream of the source that goes into the result, by copy or through an encoder.

    Attributes:
        stream: The stream.
        encoder: `copy`, an encoder, or `ATTACH` for a picture that becomes an attached file.
    """

    stream: SourceStream
    encoder: str = "copy"


def choose_streams(
    streams: Sequence[SourceStream], container: Container, info: MediaInfo
) -> tuple[list[StreamCopy], list[str]]:
    """Which further streams of the source are kept, and how.

    Args:
        streams: All streams of the source.
        container: The result's.
        info: The source's facts: its dubbed video and replaced audio are left out.

    Returns:
        What to keep, and a note on each stream that is changed or dropped.
    """
    replaced = {item.index for item in (info.video, info.audio) if item is not None}
    copies, notes = [], []
    for stream in streams:
        if stream.index in replaced:
            continue
        encoder = _encoder_for(stream, container)
        name = f"{stream.kind} stream {stream.index} ({stream.codec})"
        if encoder is None:
            # Chapters and timecode are kept as the file's and the picture's own.
            if stream.kind != "data" or stream.codec not in ("chapters", "timecode"):
                notes.append(f"The {name} was dropped: {container.muxer} cannot hold it.")
            continue
        if encoder not in ("copy", ATTACH):
            notes.append(f"The {name} was converted: {container.muxer} cannot hold it as it is.")
        copies.append(StreamCopy(stream=stream, encoder=encoder))
    return copies, notes


def _encoder_for(stream: SourceStream, container: Container) -> str | None:
    """`copy`, an encoder, or None for a stream that the container cannot hold."""
    if stream.kind == "audio":
        if stream.codec == "none":  # no decoder knows it
            return None
        return "copy" if stream.codec in container.other_audio else container.lossy_encoder
    if stream.kind == "subtitle":
        if stream.codec in container.subtitles:
            return "copy"
        return container.text_encoder if stream.codec in TEXT_SUBTITLES else None
    if stream.kind == "attachment":
        return "copy" if container.attachments else None
    is_cover = stream.kind == "video" and "attached_pic" in stream.disposition
    if is_cover and stream.codec in ("mjpeg", "png"):
        if container.pictures:
            return "copy"
        return ATTACH if container.attachments else None
    return None
