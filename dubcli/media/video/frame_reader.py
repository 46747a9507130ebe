"""Decode video: upright pictures for analysis, native frames for editing, frame times."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import Any

from av.container.input import InputContainer
from av.error import EOFError as AvEndOfFile
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dubcli.core.closing import Closeable
from dubcli.core.errors import DecodeError
from dubcli.core.types import Frame, MediaInfo, VideoStreamInfo
from dubcli.media.container.probe import open_media, picture_decoder, require_video
from dubcli.media.sound.waveform import audio_duration, is_silent, read_waveform
from dubcli.media.video.canvas import CanvasFitter
from dubcli.media.video.deinterlace import deinterlaced
from dubcli.media.video.native_frame import NativeFrame
from dubcli.media.video.rgb_pictures import PictureMaker, reduced_size
from dubcli.media.video.timeline import FrameTimes

__all__ = [
    "FrameReader",
    "audio_duration",
    "frame_times",
    "is_silent",
    "read_waveform",
]

_REVERSE_FRAMES = 32
_REVERSE_BYTES = 256 << 20
_DIRECT_FRAMES = 64  # so near the start, decoding from there beats a seek
_UNDATED_FRAMES = 32
_SEEK_MARGINS = (0, 64, 512)


class FrameReader(Closeable):
    """Frames of one video, always numbered the same: presentation order, from 0.

    Every iterator decodes on its own, so several may run at once; memory does not grow with the
    video's length (but for eight bytes a frame). Damaged packets are skipped and counted.

    Args:
        path: The video.
        info: What `probe` said of it.
        threads: Decoder threads; 0 lets libav choose.
        deinterlace: Make interlaced frames progressive, in every iterator.

    Attributes:
        num_corrupt: Packets that the latest pass from the start could not decode.
        num_interlaced: Frames that the latest pass from the start was told are interlaced.

    Raises:
        ProbeError: The file has no video.
    """

    def __init__(
        self, path: Path, info: MediaInfo, threads: int = 0, *, deinterlace: bool = False
    ) -> None:
        self.num_corrupt = 0
        self.num_interlaced = 0
        self._deinterlace = deinterlace
        self._path = path
        self._video: VideoStreamInfo = require_video(info)
        self._threads = threads
        self._pts: list[int] = []
        self._end_pts: int | None = None
        self._is_damaged = False
        self._open: set[Generator[Any, None, None]] = set()

    def close(self) -> None:
        """Stop every iterator that is still running and close the file."""
        for running in list(self._open):
            running.close()
        self._open.clear()

    @property
    def times(self) -> FrameTimes:
        """When each frame is shown, as seen by a pass that reached the end.

        Raises:
            RuntimeError: No pass has reached the end yet.
        """
        if self._end_pts is None:
            raise RuntimeError("frame times are known after one pass through the video")
        return FrameTimes(
            pts=list(self._pts), end_pts=self._end_pts, time_base=self._video.time_base
        )

    def recall(self, times: FrameTimes, num_corrupt: int) -> None:
        """Take over what an earlier pass over the same file found, in place of a pass.

        Args:
            times: When each frame is shown.
            num_corrupt: Packets that could not be decoded.
        """
        self._pts, self._end_pts = list(times.pts), times.end_pts
        self.num_corrupt = num_corrupt
        self._is_damaged = num_corrupt > 0

    def frames(self, max_side: int | None = None) -> Iterator[Frame]:
        """Pictures for analysis: RGB, upright, square pixels.

        Args:
            max_side: Largest allowed longer side, px; None keeps the display size. Never enlarged.

        Yields:
            Every frame; `scale` is display px per image px.

        Raises:
            DecodeError: Not a single frame can be decoded.
        """
        return self._running(self._display_frames(max_side))

    def native_frames(self, start: int = 0, stop: int | None = None) -> Iterator[NativeFrame]:
        """Frames as the codec stores them.

        Args:
            start: First frame wanted.
            stop: First frame not wanted any more; None reads to the end.

        Yields:
            Frames `start` to `stop - 1`, fewer where the video ends.

        Raises:
            DecodeError: Not a single frame can be decoded.
        """
        return self._running(self._range(start, stop))

    def native_sequence(self, indices: Iterable[int]) -> Iterator[NativeFrame]:
        """Frames in any order that mostly runs forwards or backwards, as a timeline asks for.

        Repeats, restarts and runs in reverse work in constant memory: at most 32 frames (fewer
        for large ones) are held at once.

        Args:
            indices: Source frame numbers; may be endless.

        Yields:
            One frame for each number.

        Raises:
            DecodeError: A number lies beyond the last frame that can be decoded.
        """
        return self._running(self._sequence(indices))

    def _running(self, frames: Generator[Any, None, None]) -> Generator[Any, None, None]:
        """The same iterator, known to `close`."""

        def run() -> Generator[Any, None, None]:
            try:
                yield from frames
            finally:
                frames.close()
                self._open.discard(running)

        running = run()
        self._open.add(running)
        return running

    def _display_frames(self, max_side: int | None) -> Generator[Frame, None, None]:
        upright = self._video.display_size
        size = reduced_size(upright, max_side)
        turned = self._video.rotation_deg in (90, 270)
        width, height = size
        scaled = (height, width) if turned else (width, height)
        picture = PictureMaker(scaled, self._video.rotation_deg)
        scale = max(upright) / max(size)
        for native in self._range(0, None):
            image = picture(native.frame)
            yield Frame(index=native.index, pts=native.pts, image=image, scale=scale)

    def _range(self, start: int, stop: int | None) -> Generator[NativeFrame, None, None]:
        if stop is not None and stop <= start:
            return
        with closing(self._from(start)) as frames:
            for native in frames:
                yield native
                if stop is not None and native.index + 1 >= stop:
                    return

    def _sequence(self, indices: Iterable[int]) -> Generator[NativeFrame, None, None]:
        frames: Generator[NativeFrame, None, None] | None = None
        held: dict[int, NativeFrame] = {}
        position = 0
        try:
            for run in _descending_runs(indices, self._reverse_limit()):
                first, last = run[-1], run[0]
                held = {index: held[index] for index in set(run) & set(held)}
                if any(index not in held for index in run):
                    missing = min(index for index in run if index not in held)
                    if frames is None or missing < position:
                        if frames is not None:
                            frames.close()
                        frames, position = self._from(missing), missing
                    for native in frames:
                        position = native.index + 1
                        if native.index >= first:
                            held[native.index] = native
                        if native.index >= last:
                            break
                for index in run:
                    if index not in held:
                        raise DecodeError(
                            f"'{self._path}' ended before its frame {index}.",
                            "Is it still being written, or was it changed meanwhile? Run again.",
                        )
                    yield held[index]
        finally:
            if frames is not None:
                frames.close()

    def _reverse_limit(self) -> int:
        bytes_per_sample = 1 if self._video.pix_fmt.endswith("p") else 2
        frame_bytes = self._video.width * self._video.height * 3 * bytes_per_sample
        return max(2, min(_REVERSE_FRAMES, _REVERSE_BYTES // frame_bytes))

    def _from(self, start: int) -> Generator[NativeFrame, None, None]:
        """Frames from `start` on: by a seek where its exactness can be proved, else from 0."""
        expected = start
        if _DIRECT_FRAMES < start < len(self._pts):
            for margin in _SEEK_MARGINS:
                if start <= margin:
                    break
                with closing(self._after_seek(self._pts[start - margin])) as frames:
                    head = next(frames, None)
                    if head is None or head.index > expected:
                        continue
                    for native in chain([head], frames):
                        if native.index == expected:
                            yield native
                            expected += 1
                        elif native.index > expected:
                            break
                    break
            if self._end_pts is not None and expected == len(self._pts):
                return
        with closing(self._from_start()) as frames:
            for native in frames:
                if native.index >= expected:
                    yield native

    def _from_start(self) -> Generator[NativeFrame, None, None]:
        """Every frame of the video. What it learns of the frame times is kept."""
        self.num_corrupt = 0
        clock = _Clock(self._video)
        index = -1
        with closing(self._decode(None)) as frames:
            for index, (pts, frame) in enumerate(clock.stamped(frames)):
                if index == len(self._pts):
                    self._pts.append(pts)
                yield NativeFrame(index, pts, self._video.time_base, frame)
        if index < 0:
            raise DecodeError(
                f"No frame of '{self._path}' can be decoded.",
                "The file is damaged or incomplete; copy or convert it again.",
            )
        self._end_pts = clock.end_pts

    def _after_seek(self, pts: int | None) -> Generator[NativeFrame, None, None]:
        """Frames from the keyframe at or before `pts` (None: the first), numbered by their times.

        Frames in front of the keyframe may refer to what was not decoded, so they are left out.
        Ends early where a timestamp is not one that the pass from the start gave.
        """
        corrupt = self.num_corrupt
        trusted = is_first = False
        with closing(self._decode(pts)) as frames:
            for frame in frames:
                is_first = not trusted and frame.key_frame
                trusted = trusted or frame.key_frame
                # The first one was made progressive without the frame before it.
                if not trusted or (is_first and self._deinterlace):
                    continue
                index = -1 if frame.pts is None else bisect_left(self._pts, frame.pts)
                if not 0 <= index < len(self._pts) or self._pts[index] != frame.pts:
                    break
                yield NativeFrame(index, self._pts[index], self._video.time_base, frame)
        self.num_corrupt = corrupt

    def _decode(self, seek_pts: int | None) -> Generator[VideoFrame, None, None]:
        """Decoded frames in presentation order, from the start or from a keyframe."""
        given, corrupt = 0, self.num_corrupt
        if not self._is_damaged:
            try:
                for frame in self._decode_once(seek_pts, "AUTO"):
                    yield frame
                    given += 1
                return
            except _DamagedPacketError:
                # A decoder with frame threads loses good frames beside a damaged one. Without
                # them the same frames come first, then all that can be had.
                self._is_damaged, self.num_corrupt = True, corrupt
        yield from islice(self._decode_once(seek_pts, "SLICE"), given, None)

    def _decode_once(
        self, seek_pts: int | None, thread_type: str
    ) -> Generator[VideoFrame, None, None]:
        frames = self._decoded(seek_pts, thread_type)
        if self._deinterlace:
            with closing(frames):
                yield from deinterlaced(frames, self._video)
        else:
            yield from frames

    def _decoded(self, seek_pts: int | None, thread_type: str) -> Generator[VideoFrame, None, None]:
        fitted = CanvasFitter(self._video)
        if seek_pts is None:
            self.num_interlaced = 0
        with open_media(self._path) as container:
            stream = container.streams[self._video.index]
            assert isinstance(stream, VideoStream)
            decoder = picture_decoder(stream)
            decoder.thread_type = thread_type
            decoder.thread_count = self._threads
            if seek_pts is not None:
                try:
                    container.seek(seek_pts, stream=stream, backward=True)
                except FFmpegError:
                    return
            for packet in self._packets(container, stream):
                try:
                    frames = decoder.decode(packet)
                except AvEndOfFile:
                    return
                except FFmpegError as error:
                    if thread_type != "SLICE":
                        raise _DamagedPacketError from error
                    self.num_corrupt += 1
                    continue
                for frame in frames:
                    self.num_interlaced += frame.interlaced_frame and seek_pts is None
                    yield fitted(frame, decoder.sample_aspect_ratio)

    def _packets(self, container: InputContainer, stream: VideoStream) -> Iterator[Packet | None]:
        """The stream's packets, then None to flush the decoder, also where the file breaks off."""
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, AvEndOfFile):
                break
            except FFmpegError:
                self.num_corrupt += 1
                break
            if packet.size:
                yield packet
        yield None


def frame_times(path: Path, info: MediaInfo) -> FrameTimes:
    """When each frame is shown, by decoding the whole video once.

    After a pass over a `FrameReader`, its `times` tells the same for nothing.

    Raises:
        ProbeError: The file has no video.
        DecodeError: Not a single frame can be decoded.
    """
    with FrameReader(path, info) as reader:
        for _ in reader.native_frames():
            pass
        return reader.times


class _DamagedPacketError(Exception):
    """A packet could not be decoded."""


class _Clock:
    """Gives every frame a timestamp: its own, or a consistent one where that is missing.

    Timestamps that do not increase are moved on by one unit, because no container could hold
    them.
    """

    def __init__(self, video: VideoStreamInfo) -> None:
        self._usual = max(1, round(1 / (video.frame_rate * video.time_base)))
        self._start = video.start_pts
        self._last: int | None = None
        self._duration = self._usual

    @property
    def end_pts(self) -> int:
        """When the last stamped frame stops being shown."""
        return (self._start if self._last is None else self._last) + self._duration

    def stamped(self, frames: Iterable[VideoFrame]) -> Iterator[tuple[int, VideoFrame]]:
        """Timestamp and frame. First frames without one are dated back from the first that has."""
        waiting: list[VideoFrame] = []
        for frame in frames:
            if self._last is None and frame.pts is None and len(waiting) < _UNDATED_FRAMES:
                waiting.append(frame)
                continue
            if waiting and frame.pts is not None:
                self._start = frame.pts - sum(item.duration or self._usual for item in waiting)
            for item in (*waiting, frame):
                yield self._stamp(item), item
            waiting = []
        for item in waiting:
            yield self._stamp(item), item

    def _stamp(self, frame: VideoFrame) -> int:
        pts = frame.pts
        if self._last is None:
            pts = self._start if pts is None else pts
        else:
            if pts is None:
                is_later = frame.dts is not None and frame.dts > self._last
                pts = frame.dts if is_later else self._last + self._duration
            pts = max(pts or 0, self._last + 1)
            self._usual = pts - self._last
        self._last = pts
        self._duration = frame.duration or self._usual
        return pts


def _descending_runs(indices: Iterable[int], longest: int) -> Iterator[list[int]]:
    """Split a sequence where it rises, and after `longest` entries."""
    run: list[int] = []
    for index in indices:
        if run and (index > run[-1] or len(run) == longest):
            yield run
            run = []
        run.append(index)
    if run:
        yield run
