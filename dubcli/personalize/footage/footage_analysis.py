"""Videos to learn a person from: opened once, and looked at in stretches (pass 1)."""

from __future__ import annotations

import filecmp
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from dubcli.core.errors import MediaError
from dubcli.core.progress import Progress
from dubcli.core.types import Int, MediaInfo
from dubcli.face.track import smooth_pose
from dubcli.media.container.probe import probe
from dubcli.media.video.frame_reader import frame_times
from dubcli.media.video.intervals import StretchReader, survey
from dubcli.media.video.timeline import FrameTimes
from dubcli.personalize.footage.face_clustering import Appearance, usable_seconds
from dubcli.personalize.footage.sampling import spread_stretches
from dubcli.pipeline.analysis import Analysis, analyse
from dubcli.pipeline.engine import Engine
from dubcli.sync.lip_motion import lips_move
from dubcli.sync.scorer import mouth_of_track
from dubcli.training.data.prepare import MIN_USABLE


@dataclass(frozen=True, kw_only=True, eq=False)
class Video:
    """A file that can be read.

    Attributes:
        number: Position among the readable files.
        path: The file.
        info: What `probe` said of it.
        times: When each of all its frames is shown.
        is_surveyed: `times` come from the packets, so any stretch is quickly reached.
        stop: Frames from this one on are not looked at.
        threads: Decoder threads.
    """

    number: int
    path: Path
    info: MediaInfo
    times: FrameTimes
    is_surveyed: bool
    stop: int
    threads: int

    def at_s(self, frame: int) -> Fraction:
        """When a frame begins (the one after the last: when that ends), container's clock."""
        pts = self.times.pts[frame] if frame < len(self.times) else self.times.end_pts
        return pts * self.times.time_base

    @property
    def length_s(self) -> Fraction:
        """How long that is which may be looked at, seconds."""
        return self.at_s(self.stop) - self.at_s(0)

    @property
    def end_s(self) -> Fraction | None:
        """Where it is cut off on the container's clock; None where it is not."""
        return self.at_s(self.stop) if self.stop < len(self.times) else None

    def open(self, frames: range) -> StretchReader:
        """Some of its frames as a video of their own."""
        return StretchReader(
            self.path,
            self.info,
            self.times,
            frames,
            is_surveyed=self.is_surveyed,
            threads=self.threads,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class FootagePart:
    """A stretch of a video after pass 1.

    Attributes:
        video: What it is of.
        frames: Frames that were asked for.
        found: Times and faces, numbered as in the stretch.
        numbers: Number in the video of each frame that could be decoded. Shape (T,).
        appearances: Its usable faces, largest first.
    """

    video: Video
    frames: range
    found: Analysis
    numbers: Int
    appearances: list[Appearance]


@dataclass(frozen=True, kw_only=True)
class FaceSearch:
    """Pass 1 with what an engine has loaded.

    Attributes:
        engine: Holds the networks.
        detector: What finds faces, one of `DETECTORS`.
    """

    engine: Engine
    detector: str

    def __call__(self, reader: StretchReader, num_frames: int, progress: Progress) -> Analysis:
        """Faces of a stretch."""
        with self.engine.detector(self.detector) as finder:
            return analyse(
                reader,
                finder,
                num_frames,
                progress,
                self.engine.segmenter(),
                recogniser=self.engine.recogniser(),
            )


def open_videos(
    paths: Sequence[Path], left_out: dict[str, str], *, half: bool, threads: int, needs_first: bool
) -> list[Video]:
    """Every file that can be read, each content once.

    Args:
        paths: Files.
        left_out: Receives those that are not used, and why.
        half: Only the first half of the frames may be looked at.
        threads: Decoder threads.
        needs_first: The first file must be among them.

    Raises:
        MediaError: None can be read, or the first cannot although it must: its own error.
    """
    videos: list[Video] = []
    errors: list[MediaError] = []
    for position, path in enumerate(paths):
        twin = next((video for video in videos if _is_same_file(path, video.path)), None)
        if twin is not None:
            if path != twin.path:
                left_out[str(path)] = f"the same as '{twin.path}'"
            continue
        try:
            videos.append(_open_video(len(videos), path, half, threads))
        except MediaError as error:
            if needs_first and position == 0:
                raise
            errors.append(error)
            left_out[str(path)] = f"cannot be read: {error.cause}"
    if not videos:
        raise errors[0]
    return videos


def view(
    videos: Sequence[Video],
    limit_s: float,
    phase: float,
    earlier: Sequence[FootagePart],
    left_out: dict[str, str],
    search: FaceSearch,
    progress: Progress,
) -> list[FootagePart]:
    """Look for faces in all videos, or in stretches of them where there is more than wanted.

    Args:
        videos: From `open_videos`.
        limit_s: How much is wanted, seconds.
        phase: Where in its share of the whole each stretch lies; see `spread_stretches`.
        earlier: Parts of earlier calls: what overlaps them is not looked at again.
        left_out: Receives videos that turn out to be unreadable.
        search: Looks for faces.
        progress: Called as frames are read.

    Raises:
        MediaError: Not one video can be decoded; the first one's own error.
    """
    chosen = _frames_to_view(videos, limit_s, phase, earlier)
    before = sum(len(part.frames) for part in earlier)
    total = before + sum(len(frames) for _, frames in chosen)
    parts: list[FootagePart] = []
    failed: dict[int, MediaError] = {}
    for video, frames in chosen:
        done = before

        def tell(stage: str, now: int, _: int, done: int = done) -> None:
            progress(stage, done + now, total)

        try:
            parts.append(_view_part(video, frames, len(earlier) + len(parts), search, tell))
        except MediaError as error:
            failed.setdefault(video.number, error)
        before += len(frames)
    read = {part.video.number for part in (*earlier, *parts)}
    if not read:
        raise failed[min(failed)]
    for number, error in failed.items():
        if number not in read:
            left_out[str(videos[number].path)] = f"cannot be read: {error.cause}"
    return parts


def _is_same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other) or (
            one.stat().st_size == other.stat().st_size and filecmp.cmp(one, other, shallow=False)
        )
    except OSError:
        return False


def _open_video(number: int, path: Path, half: bool, threads: int) -> Video:
    info = probe(path)
    surveyed = survey(path, info, threads)
    times = surveyed or frame_times(path, info)
    return Video(
        number=number,
        path=path,
        info=info,
        times=times,
        is_surveyed=surveyed is not None,
        stop=len(times) // 2 if half else len(times),
        threads=threads,
    )


def _frames_to_view(
    videos: Sequence[Video], limit_s: float, phase: float, earlier: Sequence[FootagePart]
) -> list[tuple[Video, range]]:
    # Where no seek is exact, all is decoded from the start: only the beginning is worth it.
    lengths = [
        float(video.length_s if video.is_surveyed else min(video.length_s, Fraction(limit_s)))
        for video in videos
    ]
    chosen: list[tuple[Video, range]] = []
    for number, begin_s, end_s in spread_stretches(lengths, limit_s, phase):
        video = videos[number]
        first, last = (_frame_at(video, time_s) for time_s in (begin_s, end_s))
        seen = [part.frames for part in earlier if part.video is video]
        chosen += [(video, frames) for frames in _unseen(range(first, last), seen)]
    return chosen


def _unseen(wanted: range, seen: Sequence[range]) -> list[range]:
    """What of a range lies outside others; scraps are not worth a look."""
    pieces = [wanted]
    for other in seen:
        sides = [
            (
                range(piece.start, min(piece.stop, other.start)),
                range(max(piece.start, other.stop), piece.stop),
            )
            for piece in pieces
        ]
        pieces = [side for pair in sides for side in pair if len(side)]
    return [piece for piece in pieces if piece == wanted or len(piece) >= 2 * MIN_USABLE]


def _frame_at(video: Video, time_s: float) -> int:
    """First frame at or after a time that counts from the video's start."""
    pts = video.times.pts
    return min(video.stop, bisect_left(pts, pts[0] + round(time_s / video.times.time_base)))


def _view_part(
    video: Video, frames: range, number: int, search: FaceSearch, progress: Progress
) -> FootagePart:
    with video.open(frames) as reader:
        found = search(reader, len(frames), progress)
        numbers = np.array(reader.numbers, np.int64)
    appearances = [
        Appearance(
            video=video.number,
            part=number,
            track=track,
            seconds=usable_seconds(track, found.times),
            height_px=float(np.median((track.boxes[:, 3] - track.boxes[:, 1])[track.valid])),
            is_still=lips_move(mouth_of_track(track, smooth_pose(track), found.times)) is False,
        )
        for track in found.tracks
        if (track.valid & ~track.interpolated).any()
    ]
    return FootagePart(
        video=video, frames=frames, found=found, numbers=numbers, appearances=appearances
    )
