"""Frames to a video file: every frame at its own time, in its own size, format and colours."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
from av.error import FFmpegError

from dubcli.errors import EncodeError
from dubcli.media.containers import container_of, encoder_candidates
from dubcli.media.ffmpeg import file_url
from dubcli.types import VideoStreamInfo

_UNSPECIFIED = 2  # ISO 23091 code point of "unknown" for primaries, transfer and matrix
_BT709 = 1
_MIN_SIDE = {"libx265": 64, "libsvtav1": 64}  # smaller pictures crash or are refused
_FRAME_DURATION = 1 << 8  # AV_CODEC_FLAG_FRAME_DURATION: the last frame's length is the source's
_REORDER_DEPTH = 4  # frames; no preset of x265 reorders further
_NEEDS_EVEN = ("libx264", "libx265")
# mov and mp4 carry decode times beside presentation times and take any clock. What neither holds
# ends in Matroska anyway, whose clock is 1 ms.
# By the names of encoders and of their codecs.
_INTERMEDIATE = {
    **dict.fromkeys(("libsvtav1", "av1", "libvpx-vp9", "vp9"), "mp4"),
    **dict.fromkeys(("libvpx", "vp8", "ffv1"), "matroska"),
}
_LOSSLESS = ("ffv1", "libx264", "libvpx-vp9")
_KEEPS_ALPHA = ("ffv1", "prores_ks")
_SEMI_PLANAR = ("nv12", "nv16", "nv21", "nv20le")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class EncodeOptions:
    """How frames are encoded.

    Attributes:
        output: Name of the final file; its extension decides which codecs may be used.
        crf: Quality on x264's scale, 0 to 51; 16 is visually lossless. Mapped for other encoders.
        lossless: Decode to exactly the frames that were written.
        encoder: Use this encoder instead of the one of the source's codec family.
        preset: Speed preset in the encoder's own words; None for a fast one.
        threads: Encoder threads, 0 for all cores.
    """

    output: Path
    crf: int = 16
    lossless: bool = False
    encoder: str | None = None
    preset: str | None = None
    threads: int = 0


class FrameWriter:
    """Encodes frames, one by one, into an intermediate file that keeps their times exactly.

    Attributes:
        notes: What could not be kept, for the report.
        num_frames: Frames written so far.
        encoder: Name of the encoder.
    """

    def __init__(self, path: Path, stream: VideoStreamInfo, options: EncodeOptions) -> None:
        """Open the file and the encoder.

        Args:
            path: Intermediate file; replaced when it exists, removed when writing fails.
            stream: The source's video stream: size, time base, format and colours to keep.
            options: How to encode.

        Raises:
            EncodeError: The folder cannot be written or no encoder takes these frames.
        """
        self.path = path
        self.notes: list[str] = []
        self.num_frames = 0
        self._info = stream
        self._last_pts: int | None = None
        self._decode_times: deque[int] = deque()
        self._held: av.Packet | None = None
        self._lag = 0  # from decode to presentation of the first frame, ticks
        self._end_pts = 0
        # A clock with numerator 1: containers and encoders take no other.
        self._time_base = Fraction(1, stream.time_base.denominator)
        self.encoder, self.pix_fmt, notes = choose_encoder(stream, options)
        self.notes += notes
        self._container = open_intermediate(path, self.encoder, self._time_base)
        try:
            self._stream = self._open_stream(options)
        except BaseException:
            self._discard()
            raise

    def write(self, frame: av.VideoFrame, pts: int) -> None:
        """Encode one frame. Its time, colour tags and picture type are overwritten.

        Args:
            frame: Picture in coded space, of the source's size.
            pts: Presentation time in units of the source stream's time base; must rise.

        Raises:
            EncodeError: Times do not rise, the size differs, or encoding or the disk fails.
        """
        if self._last_pts is not None and pts <= self._last_pts:
            raise EncodeError(
                f"Frame {self.num_frames} has time {pts}, not after {self._last_pts}.",
                "Repair the timestamps of the source, e.g. with ffmpeg.",
            )
        size, wanted = (frame.width, frame.height), (self._info.width, self._info.height)
        if size != wanted:
            raise EncodeError(
                f"Frame {self.num_frames} is {size[0]}x{size[1]} px, the video {wanted[0]}x"
                f"{wanted[1]} px.",
                "Re-encode the source to one size first.",
            )
        with self._reported():
            self._encode(self._prepare(frame, pts))
        self._last_pts = pts
        self.num_frames += 1

    def close(self) -> None:
        """Flush the encoder and finish the file.

        Raises:
            EncodeError: No frame was written, or encoding or the disk fails.
        """
        if self.num_frames == 0:
            self._discard()
            raise EncodeError("No frame was written.", "Check that the video has frames.")
        with self._reported():
            self._encode(None)
            self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._discard()

    def _open_stream(self, options: EncodeOptions) -> Any:
        info = self._info
        settings = _encoder_settings(self.encoder, options, self.pix_fmt)
        with self._reported(), _quiet_svt():
            stream: Any = self._container.add_stream(
                self.encoder, rate=info.frame_rate, options=settings
            )
            context = stream.codec_context
            context.width, context.height = info.width, info.height
            context.pix_fmt = self.pix_fmt
            context.time_base = self._time_base
            stream.time_base = self._time_base
            context.sample_aspect_ratio = info.sar
            context.thread_count = options.threads
            context.flags |= _FRAME_DURATION
            context.colorspace = info.color_space
            context.color_range = info.color_range
            context.color_trc = info.color_transfer
            context.color_primaries = info.color_primaries
            self._container.start_encoding()
        return stream

    def _prepare(self, frame: av.VideoFrame, pts: int) -> av.VideoFrame:
        info = self._info
        duration = frame.duration or round(1 / (info.frame_rate * info.time_base))
        if frame.format.name != self.pix_fmt:
            frame = frame.reformat(format=self.pix_fmt)
        frame.pts = pts * info.time_base.numerator
        frame.time_base = self._time_base
        frame.duration = duration * info.time_base.numerator
        self._end_pts = frame.pts + frame.duration
        frame.pict_type = 0  # the source's choice of key frames would be obeyed otherwise
        frame.colorspace = info.color_space
        frame.color_range = info.color_range
        frame.color_trc = info.color_transfer
        frame.color_primaries = info.color_primaries
        if not self.num_frames:
            # x265 invents decode times for clips shorter than its reordering: they are made here,
            # the presentation times delayed by some frames.
            first, step = frame.pts, max(1, frame.duration)
            self._decode_times.extend(first - back * step for back in range(_REORDER_DEPTH, 0, -1))
        return frame

    def _encode(self, frame: av.VideoFrame | None) -> None:
        if frame is not None and frame.pts is not None and self.encoder == "libx265":
            self._decode_times.append(frame.pts)
        for packet in self._stream.encode(frame):
            if self.encoder == "libx265":
                packet.dts = self._decode_times.popleft()
            if self._held is not None:
                self._container.mux(self._held)
            elif packet.dts is not None and packet.pts is not None:
                self._lag = packet.pts - packet.dts
            self._held = packet
        if frame is None and self._held is not None:
            # A track lasts as long as its packets in decode order: the last one of them ends it,
            # whichever frame it holds.
            last = self._held
            if last.dts is not None:
                last.duration = max(1, self._end_pts - self._lag - last.dts)
            self._container.mux(last)
            self._held = None

    def _discard(self) -> None:
        """Close without caring for the result, and remove the file."""
        with contextlib.suppress(FFmpegError, OSError):
            self._container.close()
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        """Turn libav's errors into ours; nothing is left under the file's name."""
        try:
            yield
        except (FFmpegError, OSError, ValueError) as error:
            self._discard()
            raise encode_error(self.path, error) from error


def choose_encoder(stream: VideoStreamInfo, options: EncodeOptions) -> tuple[str, str, list[str]]:
    """Encoder and pixel format that keep the most of a stream.

    Args:
        stream: The source's video stream.
        options: Output name, lossless or not, forced encoder.

    Returns:
        Encoder, pixel format, and notes on what is not kept.

    Raises:
        EncodeError: The output's extension is not supported, or there is no such encoder.
    """
    container = container_of(options.output)
    candidates = encoder_candidates(stream.codec, container)
    if options.lossless:
        exact = [name for name in _LOSSLESS if name in container.encoders]
        candidates = (exact[0],)
    if options.encoder is not None:
        candidates = (options.encoder,)
    side = min(stream.width, stream.height)
    usable = [name for name in candidates if side >= _MIN_SIDE.get(name, 1)] or ["libx264"]
    choices = [(name, _pixel_format(name, stream)) for name in usable]
    same = [choice for choice in choices if choice[1] == stream.pix_fmt]
    encoder, pix_fmt = (same or choices)[0]
    notes = []
    if encoder != candidates[0]:
        reason = "small pictures" if candidates[0] not in usable else stream.pix_fmt
        notes.append(f"Video is encoded by {encoder}: {candidates[0]} cannot take {reason}.")
    if pix_fmt != stream.pix_fmt:
        size = f" at {stream.width}x{stream.height} px" if encoder in _NEEDS_EVEN else ""
        notes.append(
            f"Pixel format changed from {stream.pix_fmt} to {pix_fmt}: {encoder} cannot hold "
            f"{stream.pix_fmt}{size}."
        )
    return encoder, pix_fmt, notes


def _pixel_format(encoder: str, stream: VideoStreamInfo) -> str:
    """The format nearest to the source's that an encoder takes at this size."""
    try:
        offered = av.Codec(encoder, "w").video_formats or []
    except (FFmpegError, ValueError) as error:
        raise EncodeError(
            f"The encoder '{encoder}' is not available.", "Leave the choice to the default."
        ) from error
    source = _Layout.of(av.VideoFormat(stream.pix_fmt))
    fitting = []
    for video_format in offered:
        layout = _Layout.of(video_format)
        if encoder in _NEEDS_EVEN and not layout.divides(stream.width, stream.height):
            continue
        if layout.name == stream.pix_fmt:
            return layout.name
        special = layout.name in _SEMI_PLANAR or layout.has_alpha or layout.is_rgb
        if encoder in _KEEPS_ALPHA or not special:
            fitting.append((layout.distance(source), layout.name))
    return min(fitting)[1]


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """What distinguishes pixel formats: depth, subsampling (log2), colour model, alpha, range."""

    name: str
    bits: int
    shift_x: int
    shift_y: int
    is_rgb: bool
    is_gray: bool
    is_full_range: bool
    has_alpha: bool

    @classmethod
    def of(cls, video_format: Any) -> Self:
        parts = video_format.components
        is_rgb = bool(video_format.is_rgb or video_format.has_palette)
        return cls(
            name=video_format.name,
            bits=8 if video_format.has_palette else max(part.bits for part in parts),
            shift_x=(256 // video_format.chroma_width(256)).bit_length() - 1,
            shift_y=(256 // video_format.chroma_height(256)).bit_length() - 1,
            is_rgb=is_rgb,
            is_gray=len(parts) < 3 and not is_rgb,
            is_full_range=video_format.name.startswith("yuvj"),
            has_alpha=len(parts) in (2, 4),
        )

    def divides(self, width: int, height: int) -> bool:
        return width % (1 << self.shift_x) == 0 and height % (1 << self.shift_y) == 0

    def distance(self, source: Self) -> tuple[int, ...]:
        """Sorts by what is lost first, then by what is added for nothing."""
        return (
            source.is_gray is False and self.is_gray,
            self.is_full_range != source.is_full_range,
            max(0, source.bits - self.bits),
            max(0, self.shift_x - source.shift_x) + max(0, self.shift_y - source.shift_y),
            source.has_alpha and not self.has_alpha,
            self.is_rgb != source.is_rgb,
            abs(self.bits - source.bits),
            abs(self.shift_x - source.shift_x) + abs(self.shift_y - source.shift_y),
            self.is_gray != source.is_gray,
            self.has_alpha != source.has_alpha,
        )


def _encoder_settings(encoder: str, options: EncodeOptions, pix_fmt: str) -> dict[str, str]:
    """Private options of an encoder.

    Presets were chosen by encoded frames per second on one core at equal quality; CRF scales are
    matched by PSNR on talking heads.
    """
    crf, lossless = options.crf, options.lossless
    chosen: dict[str, str] = {}
    if encoder == "libx264":
        chosen = {"preset": "veryfast", **({"qp": "0"} if lossless else {"crf": str(crf)})}
    elif encoder == "libx265":
        chosen = {"preset": "superfast", "x265-params": "log-level=error"}
        chosen["crf"] = str(min(51, crf + 2))
        if options.threads:
            chosen["x265-params"] += f":pools={options.threads}"
    elif encoder == "libsvtav1":
        chosen = {"preset": "8", "crf": str(min(63, round(crf * 1.35)))}
        if options.threads:
            chosen["svtav1-params"] = f"lp={options.threads}"
    elif encoder == "libvpx-vp9":
        chosen = {"deadline": "realtime", "cpu-used": "6", "row-mt": "1"}
        quality = {"b": "0", "crf": str(min(63, round(crf * 1.3)))}
        chosen |= {"lossless": "1"} if lossless else quality
    elif encoder == "libvpx":
        # VP8 obeys the quality only under a bit rate it never reaches.
        chosen = {"deadline": "realtime", "cpu-used": "4", "b": "100M", "qmin": "0"}
        chosen["crf"] = str(max(4, min(63, round(crf * 0.8))))
    elif encoder == "prores_ks":
        chosen = {"profile": "4444" if "444" in pix_fmt else "hq", "vendor": "apl0"}
    elif encoder == "ffv1":
        chosen = {"level": "3", "slices": "4", "g": "1"}
    if options.preset is not None:
        chosen["cpu-used" if "vpx" in encoder else "preset"] = options.preset
    return chosen


def open_intermediate(path: Path, encoder: str, time_base: Fraction) -> Any:
    """A container for an intermediate file, whose clock is the source's.

    Args:
        path: File to write.
        encoder: Name of the encoder, or of the codec, whose packets it will hold.
        time_base: Seconds per unit; its numerator is 1.

    Raises:
        EncodeError: It cannot be written.
    """
    muxer = _INTERMEDIATE.get(encoder, "mov")
    settings = {}
    if muxer != "matroska":
        # Both clocks in the source's ticks; the movie's is what a late start is written in.
        clock = str(time_base.denominator)
        settings = {"video_track_timescale": clock, "movie_timescale": clock}
    try:
        return av.open(file_url(path), "w", format=muxer, container_options=settings)
    except (FFmpegError, OSError) as error:
        raise encode_error(path, error) from error


def encode_error(path: Path, error: Exception) -> EncodeError:
    """What libav or the system said of a file that is written, as one of our errors."""
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT):
        return EncodeError(
            f"The disk is full while writing '{path}'.",
            "Free some space, or choose another folder.",
        )
    reason = getattr(error, "strerror", None) or str(error)
    if number in (errno.EACCES, errno.ENOENT, errno.ENOTDIR, errno.EROFS, errno.EISDIR):
        return EncodeError(
            f"'{path}' cannot be written: {reason}.", "Choose a folder that exists and is yours."
        )
    return EncodeError(
        f"Encoding to '{path.name}' failed: {reason}.", "Try another output extension, e.g. .mkv."
    )


@contextlib.contextmanager
def _quiet_svt() -> Iterator[None]:
    """SVT-AV1 prints its settings on standard error unless this variable asks for errors only."""
    before = os.environ.get("SVT_LOG")
    os.environ["SVT_LOG"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["SVT_LOG"]
        else:
            os.environ["SVT_LOG"] = before
