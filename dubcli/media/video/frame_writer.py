"""Frames to a video file: every frame at its own time, in its own size, format and colours."""

from __future__ import annotations

import contextlib
import errno
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
from av.error import FFmpegError

from dubcli.core.errors import EncodeError
from dubcli.core.types import VideoStreamInfo
from dubcli.media.container.boxes import add_boxes
from dubcli.media.container.cropping import clean_aperture
from dubcli.media.container.ffmpeg import file_url
from dubcli.media.video.hdr import container_boxes
from dubcli.media.video.pixel_conversion import to_format
from dubcli.media.video.svt_av1 import quiet_svt
from dubcli.media.video.video_encoders import (
    EncodeOptions,
    choose_encoder,
    encoder_settings,
    has_alpha,
)

_FRAME_DURATION = 1 << 8  # AV_CODEC_FLAG_FRAME_DURATION: the last frame's length is the source's
_PROGRESSIVE = 1  # AVFieldOrder
_REORDER_DEPTH = 4  # frames; no preset of x265 reorders further
# mov and mp4 carry decode times beside presentation times and take any clock. What neither holds,
# VP8 and the transparency of VP9, ends in Matroska anyway, whose clock is 1 ms.
# By the names of encoders and of their codecs.
_INTERMEDIATE = {
    **dict.fromkeys(("libsvtav1", "av1", "libvpx-vp9", "vp9", "ffv1"), "mp4"),
    **dict.fromkeys(("libvpx", "vp8"), "matroska"),
}


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
        self._is_transparent = has_alpha(self.pix_fmt)
        self._container = open_intermediate(
            path, self.encoder, self._time_base, is_transparent=self._is_transparent
        )
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
            add_boxes(self.path, self._boxes())

    def _boxes(self) -> bytes:
        """What the container tells of the picture, and libav's Python side cannot say."""
        if self._container.format.name not in ("mov", "mp4"):
            return b""
        info = self._info
        return container_boxes(info) + clean_aperture(info.crop, info.width, info.height)

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
        settings = encoder_settings(self.encoder, options, self.pix_fmt, info)
        with self._reported(), quiet_svt():
            stream: Any = self._container.add_stream(
                self.encoder, rate=info.frame_rate, options=settings
            )
            context = stream.codec_context
            context.width, context.height = info.width, info.height
            context.pix_fmt = self.pix_fmt
            context.time_base = self._time_base
            stream.time_base = self._time_base
            context.sample_aspect_ratio = options.beside.sar if options.beside else info.sar
            context.thread_count = options.threads
            context.flags |= _FRAME_DURATION
            context.colorspace = info.color_space
            context.color_range = info.color_range
            context.color_trc = info.color_transfer
            context.color_primaries = info.color_primaries
            if info.is_interlaced:  # nobody writes such frames but deinterlaced
                context.field_order = _PROGRESSIVE
            if self._is_transparent and "vpx" in self.encoder:
                stream.metadata["alpha_mode"] = "1"  # Matroska's word for it
            self._container.start_encoding()
        return stream

    def _prepare(self, frame: av.VideoFrame, pts: int) -> av.VideoFrame:
        info = self._info
        duration = frame.duration or round(1 / (info.frame_rate * info.time_base))
        frame = to_format(frame, self.pix_fmt)
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


def open_intermediate(
    path: Path, encoder: str, time_base: Fraction, *, is_transparent: bool = False
) -> Any:
    """A container for an intermediate file, whose clock is the source's.

    Args:
        path: File to write.
        encoder: Name of the encoder, or of the codec, whose packets it will hold.
        time_base: Seconds per unit; its numerator is 1.
        is_transparent: The packets carry transparency; for VP8 and VP9 it lies beside them.

    Raises:
        EncodeError: It cannot be written.
    """
    muxer = _INTERMEDIATE.get(encoder, "mov")
    if is_transparent and encoder in ("libvpx-vp9", "vp9"):
        muxer = "matroska"
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
