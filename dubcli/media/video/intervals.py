"""Parts of a video, and how to reach them without decoding what lies before.

A dub numbers frames by a pass from the start. Footage that is only sampled need not: wherever the
container dates every frame, its packets tell the same numbers without decoding.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import chain, pairwise
from pathlib import Path

from av.error import FFmpegError
from av.packet import Packet
from av.stream import Discard
from av.video.stream import VideoStream

from dubcli.core.errors import DecodeError
from dubcli.core.types import MediaInfo
from dubcli.media.container.probe import open_media, require_video
from dubcli.media.video.frame_reader import FrameReader
from dubcli.media.video.native_frame import NativeFrame
from dubcli.media.video.timeline import FrameTimes

# Frames before a stretch at which decoding may begin, should no keyframe come at once.
_SEEK_MARGINS = (0, 64, 512)
_TRIAL_FRAMES = 3


def survey(path: Path, info: MediaInfo, threads: int = 0) -> FrameTimes | None:
    """When each frame is shown, as told by the packets; only two short trials are decoded.

    Args:
        path: The video.
        info: What `probe` said of it.
        threads: Decoder threads; 0 lets libav choose.

    Returns:
        None where this cannot be trusted: packets without a time or with the same one, or a seek
        to the start or the middle that does not find the frames that belong there.

    Raises:
        ProbeError: The file is unreadable or has no video.
    """
    video = require_video(info)
    pts: list[int] = []
    duration = 0
    for packet in _packets(path, video.index):
        if packet.pts is None:
            return None
        pts.append(packet.pts)
        duration = packet.duration or duration
    pts.sort()
    if not pts or any(one == other for one, other in pairwise(pts)):
        return None
    usual = max(1, round(1 / (video.frame_rate * video.time_base)))
    times = FrameTimes(pts=pts, end_pts=pts[-1] + (duration or usual), time_base=video.time_base)
    for start in (0, len(pts) // 2):
        trial = range(start, min(len(pts), start + _TRIAL_FRAMES))
        with StretchReader(path, info, times, trial, threads=threads) as reader:
            found = [native.pts for native in reader.native_frames()]
        if found != [pts[index] for index in trial]:
            return None
    return times


class StretchReader(FrameReader):
    """A range of a video's frames as if it were a video of its own: numbered from 0.

    Args:
        path: The video.
        info: What `probe` said of it.
        times: When each frame of the whole video is shown.
        frames: Numbers of the wanted frames in the whole video.
        is_surveyed: `times` come from `survey`: the stretch is reached by a seek alone, and a
            frame that cannot be decoded is passed over. Else frames are counted from the start
            wherever a seek cannot be proved exact.
        threads: Decoder threads; 0 lets libav choose.
    """

    def __init__(
        self,
        path: Path,
        info: MediaInfo,
        times: FrameTimes,
        frames: range,
        *,
        is_surveyed: bool = True,
        threads: int = 0,
    ) -> None:
        super().__init__(path, info, threads)
        self._pts = list(times.pts)
        self._end_pts = times.end_pts
        self._frames = frames
        self._is_surveyed = is_surveyed
        self._seen: list[int] = []

    @property
    def numbers(self) -> list[int]:
        """Number in the whole video of each frame of the stretch, as seen by a full pass.

        Raises:
            DecodeError: Not a single frame of the stretch can be decoded.
        """
        if not self._seen:
            at_s = float(self._pts[self._frames.start] * self._video.time_base)
            raise DecodeError(
                f"No frame of '{self._path}' can be decoded from {at_s:.1f} s on.",
                "The file is damaged there; copy or convert it again.",
            )
        return list(self._seen)

    @property
    def times(self) -> FrameTimes:
        """When each frame of the stretch is shown, as seen by a full pass.

        Raises:
            DecodeError: Not a single frame of the stretch can be decoded.
        """
        numbers = self.numbers
        after = numbers[-1] + 1
        end_pts = self._pts[after] if after < len(self._pts) else self._end_pts
        assert end_pts is not None
        return FrameTimes(
            pts=[self._pts[index] for index in numbers],
            end_pts=end_pts,
            time_base=self._video.time_base,
        )

    def _from(self, start: int) -> Generator[NativeFrame, None, None]:
        seen: list[int] = []
        with closing(self._wanted()) as frames:
            for position, native in enumerate(frames):
                seen.append(native.index)
                if position >= start:
                    yield NativeFrame(position, native.pts, native.time_base, native.frame)
        self._seen = seen

    def _wanted(self) -> Generator[NativeFrame, None, None]:
        """The stretch's frames, numbered as in the whole video."""
        source = self._found() if self._is_surveyed else super()._from(self._frames.start)
        with closing(source) as frames:
            for native in frames:
                if native.index >= self._frames.stop:
                    return
                if native.index >= self._frames.start:
                    yield native

    def _found(self) -> Generator[NativeFrame, None, None]:
        """Frames from a keyframe at or before the stretch, wherever a seek finds one."""
        for margin in _SEEK_MARGINS:
            begin = max(0, self._frames.start - margin)
            with closing(self._after_seek(self._pts[begin] if begin else None)) as frames:
                head = next(frames, None)
                if head is not None and (head.index <= self._frames.start or begin == 0):
                    yield from chain([head], frames)
                    return


def _packets(path: Path, index: int) -> Iterator[Packet]:
    """A stream's packets that show something, up to where the file breaks off."""
    with open_media(path) as container:
        stream = container.streams[index]
        assert isinstance(stream, VideoStream)
        for other in container.streams:
            if other.index != index:
                other.discard = Discard.all
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, FFmpegError):
                return
            if packet.size and not packet.is_discard:
                yield packet
