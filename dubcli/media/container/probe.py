"""What a media file holds, read with PyAV alone."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.codec.context import CodecContext
from av.container.input import InputContainer
from av.error import EOFError as AvEndOfFile
from av.error import FFmpegError
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dubcli.core.errors import ProbeError
from dubcli.core.file_names import address_in
from dubcli.core.types import AudioStreamInfo, MediaInfo, SourceStream, VideoStreamInfo
from dubcli.media.container.cropping import read_crop
from dubcli.media.video.deinterlace import SELF_TELLING
from dubcli.media.video.hdr import read_dynamic, read_light_level, read_mastering

_FIRST_WITHOUT_METADATA_ERRORS = 19
# libav renders plain text as "video" (ANSI art).
_NOT_MEDIA_FORMATS = {"tty", "ffmetadata", "bin", "xbin", "adf"}
# These lead to other files, devices or the network: libav would go there while it opens the file.
_LEADING_ELSEWHERE = {
    *("concat", "hls", "dash", "webm_dash_manifest", "imf", "vobsub"),
    *("sdp", "rtsp", "rtp", "sap", "lavfi"),
}
_HEAD_BYTES = 512
_PACKETS_TO_FIRST_FRAME = 2000
_PACKETS_TO_FIRST_SOUND = 50
_HIGHEST_RATE_HZ = 6_144_000  # studio's 384 kHz times sixteen; a resampler for more takes gigabytes
_MOST_CHANNELS = 24  # 22.2, the most that a speaker layout has
# Frames that are asked whether they are interlaced: the very first may be progressive.
_FIRST_FRAMES = 12
_PROGRESSIVE = 1  # AVFieldOrder; those of interlaced video are greater
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
_VARIABLE_BIT_RATE_MARK = 0x3FFFF * 400  # what MPEG-1/2 headers say for "variable"
_NOT_SOUND_OR_PICTURE = (
    Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
)


def probe(path: Path) -> MediaInfo:
    """Describe the streams of a file.

    The first frame is decoded, because only it tells rotation, pixel format and colour for sure.

    Args:
        path: Media file.

    Returns:
        The facts; `video` and `audio` are the first usable stream of each kind, or None.

    Raises:
        ProbeError: The file is missing, unreadable, empty, not media, or has no stream to use.
    """
    with open_media(path) as container:
        video_stream = find_video_stream(container)
        audio_stream = find_audio_stream(container)
        if video_stream is None and audio_stream is None:
            raise ProbeError(
                f"'{path}' has no video or audio that can be decoded.",
                "Give a video or audio file, e.g. .mp4, .mkv, .mov, .wav.",
            )
        audio = None if audio_stream is None else _audio_info(audio_stream)
        video = None if video_stream is None else _video_info(path, container, video_stream)
        duration = container.duration
        return MediaInfo(
            path=path,
            container=container.format.name,
            duration_s=None if duration is None else Fraction(duration, av.time_base),
            video=video,
            audio=audio,
            num_audio=len(container.streams.audio),
            num_subtitles=len(container.streams.subtitles),
            num_video=sum(_is_moving_picture(stream) for stream in container.streams.video),
            streams=tuple(_source_stream(container, stream) for stream in container.streams),
        )


def require_video(info: MediaInfo) -> VideoStreamInfo:
    """The video stream's facts.

    Raises:
        ProbeError: The file has no video.
    """
    if info.video is None:
        raise ProbeError(f"'{info.path}' has no video stream.", "Give a video file as input.")
    return info.video


def require_audio(info: MediaInfo) -> AudioStreamInfo:
    """The first audio stream's facts.

    Raises:
        ProbeError: The file has no audio, or none that anything could play.
    """
    if info.audio is None:
        raise ProbeError(
            f"'{info.path}' has no audio stream.",
            "Give a file with sound, e.g. --audio speech.wav.",
        )
    if not 0 < info.audio.sample_rate <= _HIGHEST_RATE_HZ:
        raise ProbeError(
            f"'{info.path}' claims {info.audio.sample_rate} samples a second.",
            "Its header is damaged; copy or convert it again.",
        )
    if not 0 < info.audio.channels <= _MOST_CHANNELS:
        raise ProbeError(
            f"'{info.path}' has {info.audio.channels} channels.",
            "Convert it to stereo first, e.g. ffmpeg -i IN -ac 2 OUT.wav.",
        )
    return info.audio


@contextmanager
def open_media(path: Path) -> Iterator[InputContainer]:
    """Open a file for reading and close it after the block.

    Args:
        path: Media file; any characters are allowed in its name.

    Raises:
        ProbeError: The file is missing, unreadable, empty or not media.
    """
    check_readable(path)
    try:
        # An absolute path cannot be mistaken for a protocol ("a:b.mp4").
        container = av.open(os.path.abspath(path), mode="r", **_open_options())
    except (FFmpegError, ValueError) as error:
        if _is_text(path):
            raise _no_media(path) from error
        raise ProbeError(
            f"'{path}' is not a media file, or its header is damaged.",
            "Play it to check it; if it is incomplete, copy or download it again.",
        ) from error
    with container:
        if _NOT_MEDIA_FORMATS & set(container.format.name.split(",")):
            raise _no_media(path)
        yield container


def _no_media(path: Path) -> ProbeError:
    return ProbeError(
        f"'{path}' is a text file or a playlist, not media.",
        "Give a video or audio file, e.g. .mp4, .mkv, .mov, .wav.",
    )


def _is_text(path: Path) -> bool:
    with suppress(OSError), path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
        return not set(head) & set(range(9)) and "\ufffd" not in head[:-3].decode(errors="replace")
    return False


def _open_options() -> dict[str, Any]:
    """Only this file is read, and tags in odd encodings do not fail it.

    PyAV 19 knows the option for tags no more.
    """
    formats = ",".join(sorted(av.formats_available - _LEADING_ELSEWHERE))
    options: dict[str, Any] = {
        "options": {"protocol_whitelist": "file", "format_whitelist": formats}
    }
    if int(av.__version__.split(".")[0]) < _FIRST_WITHOUT_METADATA_ERRORS:
        options["metadata_errors"] = "replace"
    return options


def check_readable(path: Path) -> None:
    """Fail with the plain reason when a path is not a readable, non-empty file.

    Raises:
        ProbeError: Missing, a directory, not permitted, empty, or not a regular file.
    """
    refuse_address(path)
    try:
        exists, is_file = path.exists(), path.is_file()
        if path.is_dir():
            raise ProbeError(f"'{path}' is a directory.", "Give one file.")
        if not exists:
            raise ProbeError(f"'{path}' does not exist.", "Check the name and the folder.")
        if not is_file:
            raise ProbeError(f"'{path}' is not a regular file.", "Copy the data to a file first.")
        with path.open("rb") as stream:
            empty = not stream.read(1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        is_long = getattr(error, "errno", None) == errno.ENAMETOOLONG
        raise ProbeError(
            f"'{path}' cannot be read: {reason}.",
            "Give the file a shorter name." if is_long else "Check its permissions (ls -l).",
        ) from error
    if empty:
        raise ProbeError(f"'{path}' is empty.", "Copy or download it again.")


def refuse_address(path: Path) -> None:
    """Tell what to do with an address or a pipe in place of a file.

    Raises:
        ProbeError: It is one, and no file has that name.
    """
    if path == Path("-") and not path.exists():
        raise ProbeError(
            "'-' is standard input, and a dub reads its files more than once.",
            "Save it first, e.g. cat > video.mp4, and give that name.",
        )
    address = address_in(path)
    if address is None or os.path.lexists(path):
        return
    if address.lower().startswith("file:"):
        raise ProbeError(
            f"'{address}' is an address, not a file's name.",
            "Give the path alone, without what stands before its first slash.",
        )
    raise ProbeError(
        f"'{address}' is an address; only files are read.",
        f"Download it first, e.g. curl -L -O '{address}', and give the file's name.",
    )


def find_video_stream(container: InputContainer) -> VideoStream | None:
    """The first stream of moving pictures that can be decoded; cover pictures do not count."""
    return next((s for s in container.streams.video if _is_moving_picture(s)), None)


def find_audio_stream(container: InputContainer) -> AudioStream | None:
    """The first audio stream that can be decoded; of several they are tried."""
    known = [s for s in container.streams.audio if _has_decoder(s)]
    if len(known) < 2:
        return known[0] if known else None
    heard: int | None = None
    with (
        suppress(FFmpegError, OSError, ValueError),
        av.open(container.name, mode="r", **_open_options()) as other,
    ):
        heard = _first_heard(other, {stream.index for stream in known})
    return next((s for s in known if s.index == heard), known[0])


def _first_heard(container: InputContainer, wanted: set[int]) -> int | None:
    """Index of the first wanted stream of which a packet near the beginning can be decoded."""
    streams = [stream for stream in container.streams.audio if stream.index in wanted]
    heard: set[int] = set()
    tried = dict.fromkeys(wanted, 0)
    try:
        for packet in container.demux(streams):
            index = packet.stream_index
            tried[index] += packet.size > 0
            with suppress(FFmpegError):
                if packet.size and packet.decode():
                    heard.add(index)
            if min(wanted) in heard or max(tried.values()) > _PACKETS_TO_FIRST_SOUND:
                break
    except FFmpegError:
        pass  # what was heard up to here counts
    return min(heard, default=None)


def clockwise_rotation(frame: VideoFrame) -> int:
    """The clockwise turn that a player applies to a frame: 0, 90, 180 or 270 degrees.

    libav reports the display matrix's angle counter-clockwise; angles between are rounded.
    """
    return round(-frame.rotation / 90) % 4 * 90


def codec_name(stream: Any) -> str:
    """What libav calls a stream's codec, whichever decoder reads it; `none` where none does."""
    context = stream.codec_context
    if context is None:
        return (stream.name or "none") if stream.type == "data" else "none"
    return context.codec.canonical_name


def picture_decoder(stream: VideoStream) -> VideoCodecContext:
    """The decoder that sees all of a stream: its own, or one that also reads transparency.

    VP8 and VP9 keep transparency beside their frames, where libav's own decoders do not look.
    """
    context = stream.codec_context
    name = _ALPHA_DECODERS.get(codec_name(stream))
    tags = {tag.lower(): value for tag, value in stream.metadata.items()}
    if name is None or tags.get("alpha_mode") != "1":
        return context
    decoder = CodecContext.create(name, "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.extradata = context.extradata
    return decoder


def _source_stream(container: InputContainer, stream: Any) -> SourceStream:
    marks = tuple(str(flag.name) for flag in Disposition if flag & stream.disposition)
    duration = stream.duration
    return SourceStream(
        index=stream.index,
        kind=stream.type,
        codec=_role(container, stream) or codec_name(stream),
        disposition=marks,
        tags=tuple(stream.metadata.items()),
        duration_s=None if duration is None else duration * Fraction(stream.time_base),
    )


def _role(container: InputContainer, stream: Any) -> str | None:
    """What a data stream of an mp4 is there for; libav tells it of the whole file besides."""
    if stream.type != "data" or "mp4" not in container.format.name.split(","):
        return None
    if stream.name == "bin_data" and container.chapters():
        return "chapters"
    if stream.name is None and "timecode" in stream.metadata:
        return "timecode"
    return None


def _is_moving_picture(stream: VideoStream) -> bool:
    return _has_decoder(stream) and not stream.disposition & _NOT_SOUND_OR_PICTURE


def _has_decoder(stream: VideoStream | AudioStream) -> bool:
    # PyAV leaves the context out when libav knows no decoder for the stream.
    return getattr(stream, "codec_context", None) is not None


def _audio_info(stream: AudioStream) -> AudioStreamInfo:
    context = stream.codec_context
    rate = context.sample_rate or 0
    return AudioStreamInfo(
        index=stream.index,
        codec=codec_name(stream),
        sample_rate=rate,
        channels=context.channels,
        start_pts=stream.start_time or 0,
        time_base=Fraction(stream.time_base or Fraction(1, rate or 1)),
    )


def _video_info(path: Path, container: InputContainer, stream: VideoStream) -> VideoStreamInfo:
    context = stream.codec_context
    codec = codec_name(stream)
    frames = _first_frames(container, stream)
    frame = frames[0] if frames else None
    if frame is None and (not context.width or not context.height or context.pix_fmt is None):
        raise _undecodable(path, codec)
    tagged = context if frame is None else frame
    start_pts = None if frame is None else frame.pts
    bit_rate = stream.bit_rate
    size = (tagged.width, tagged.height)
    return VideoStreamInfo(
        index=stream.index,
        codec=codec,
        width=size[0],
        height=size[1],
        frame_rate=_frame_rate(stream),
        time_base=Fraction(stream.time_base or Fraction(1, 90_000)),
        start_pts=start_pts if start_pts is not None else stream.start_time or 0,
        num_frames_from_header=stream.frames or None,
        sar=plausible_sar(stream.sample_aspect_ratio),
        rotation_deg=0 if frame is None else clockwise_rotation(frame),
        pix_fmt=(context.pix_fmt or "yuv420p") if frame is None else frame.format.name,
        color_space=int(tagged.colorspace),
        color_range=int(tagged.color_range),
        color_transfer=int(tagged.color_trc),
        color_primaries=int(tagged.color_primaries),
        bit_rate=bit_rate if bit_rate and bit_rate != _VARIABLE_BIT_RATE_MARK else None,
        profile=stream.profile or "",
        field_order=context.field_order,
        is_interlaced=_is_interlaced(codec, context.field_order, frames),
        mastering=None if frame is None else read_mastering(frame),
        light_level=None if frame is None else read_light_level(frame),
        dynamic_hdr=read_dynamic(frame, path, container.format.name, stream.index),
        crop=read_crop(path, container.format.name, stream.index, size),
    )


def _undecodable(path: Path, codec: str) -> ProbeError:
    if codec == "webp":
        return ProbeError(
            f"'{path}' is an animated WebP, which cannot be decoded here.",
            "Convert it first, e.g. with ImageMagick: magick IN.webp OUT.gif",
        )
    return ProbeError(
        f"No frame of '{path}' can be decoded ({codec}).",
        "The file may be damaged or encrypted; copy or convert it again.",
    )


def _is_interlaced(codec: str, field_order: int, frames: list[VideoFrame]) -> bool:
    """What the first frames say; where a codec's frames cannot, what the stream says."""
    if any(frame.interlaced_frame for frame in frames):
        return True
    return codec not in SELF_TELLING and field_order > _PROGRESSIVE


def _first_frames(container: InputContainer, stream: VideoStream) -> list[VideoFrame]:
    """The first few frames, or those that the beginning of a damaged file has."""
    decoder = picture_decoder(stream)
    packets = container.demux(stream)
    found: list[VideoFrame] = []
    for _ in range(_PACKETS_TO_FIRST_FRAME):
        try:
            packet = next(packets)
            found += decoder.decode(packet if packet.size else None)
        except (StopIteration, AvEndOfFile):
            break
        except FFmpegError:
            continue
        if len(found) >= _FIRST_FRAMES:
            break
    return found[:_FIRST_FRAMES]


def _frame_rate(stream: VideoStream) -> Fraction:
    """Average frames per second; 25 where a file does not tell (only used where pts lack)."""
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate:
            return Fraction(rate)
    return Fraction(25)


def plausible_sar(sar: Fraction | None) -> Fraction:
    """Width over height of one sample; 1 where unknown or nonsense."""
    if not sar or not Fraction(1, 10) <= sar <= 10:
        return Fraction(1)
    return Fraction(sar)
