"""What each output container can hold, and which name a result gets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dubcli.errors import EncodeError
from dubcli.types import MediaInfo

PCM = ("pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le", "pcm_u8")
LOSSLESS_AUDIO = (*PCM, "flac", "alac", "wavpack", "tta", "pcm_s16be", "pcm_s24be", "pcm_s32be")
TEXT_SUBTITLES = ("subrip", "ass", "ssa", "webvtt", "mov_text", "text", "hdmv_text_subtitle")

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
    encoders=("libx264", "libx265", "prores_ks"),
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
)
CONTAINERS = {".mp4": _MP4, ".m4v": _MP4, ".mov": _MOV, ".mkv": _MATROSKA, ".webm": _WEBM}

# Encoders to try for a source codec, best first; the last resort follows.
_FAMILIES = {
    "hevc": ("libx265",),
    "av1": ("libsvtav1", "libvpx-vp9"),
    "vp9": ("libvpx-vp9", "libsvtav1"),
    "vp8": ("libvpx", "libvpx-vp9"),
    "prores": ("prores_ks",),
    "ffv1": ("ffv1",),
    "rawvideo": ("ffv1",),
    "huffyuv": ("ffv1",),
    "ffvhuff": ("ffv1",),
    "utvideo": ("ffv1",),
}
_LAST_RESORT = ("libx264",)
_LAST_RESORT_WEBM = ("libvpx-vp9", "libsvtav1")


def container_of(output: Path) -> Container:
    """The container that a file name asks for.

    Raises:
        EncodeError: The extension is none of those that keep frame times and audio exact.
    """
    found = CONTAINERS.get(output.suffix.lower())
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
    Matroska holds.
    """
    codec = info.video.codec if info.video else "h264"
    family = _FAMILIES.get(codec, _LAST_RESORT)
    suffix = video.suffix.lower()
    same = CONTAINERS.get(suffix)
    if same is not None and any(name in same.encoders for name in family):
        chosen = video.suffix
    elif any(name in _MP4.encoders for name in family):
        chosen = ".mp4"
    else:
        chosen = ".mkv"
    return video.with_name(f"{video.stem}.dubbed{chosen}")
