"""Pass 1: who is where. Keeps geometry only, so memory hardly grows with length."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dubcli.errors import ConfigError, NoFaceError
from dubcli.face.detect import FaceDetector
from dubcli.face.shots import ShotDetector
from dubcli.face.track import Tracker
from dubcli.media.read import FrameReader
from dubcli.media.timeline import FrameTimes
from dubcli.pipeline.queues import prefetch
from dubcli.types import FaceTrack

Progress = Callable[[str, int, int], None]
# The landmark network looks at 256 px; a longer side than this only costs time.
MAX_SIDE = 960


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """What pass 1 found: frame times and every person, largest first."""

    times: FrameTimes
    tracks: list[FaceTrack]
    num_corrupt: int


def analyse(
    reader: FrameReader, detector: FaceDetector, expected_frames: int, progress: Progress
) -> Analysis:
    """Detect and track faces over the whole video."""
    tracker, shots = Tracker(), ShotDetector()
    with prefetch(reader.frames(MAX_SIDE)) as frames:
        for frame in frames:
            tracker.update(frame, detector.detect(frame), shots.update(frame.image))
            progress("analyse", frame.index + 1, max(expected_frames, frame.index + 1))
    return Analysis(times=reader.times, tracks=tracker.finish(), num_corrupt=reader.num_corrupt)


def usable_faces(analysis: Analysis) -> list[FaceTrack]:
    """The tracks that can be dubbed, numbered from 1 in this order, largest first.

    Raises:
        NoFaceError: No face, or none that can be dubbed.
    """
    usable = [track for track in analysis.tracks if track.valid.any()]
    if not usable:
        seen = sorted({reason for track in analysis.tracks for reason in track.reasons if reason})
        why = f" (faces were {', '.join(seen)})" if seen else ""
        raise NoFaceError(
            f"No frame of the video shows a usable face{why}.",
            "Use footage in which a face is at least 40 px high and turned to the camera.",
        )
    return usable


def choose_face(analysis: Analysis, number: int) -> FaceTrack:
    """The track of a number; `pipeline.choose` knows other ways to say which.

    Args:
        analysis: Result of pass 1.
        number: 1 for the largest face.

    Raises:
        NoFaceError: No face, or none that can be dubbed.
        ConfigError: Fewer faces than `number`.
    """
    usable = usable_faces(analysis)
    if number > len(usable):
        raise ConfigError(
            f"Face {number} does not exist: the video shows {len(usable)}.",
            f"Use --face 1{f' to {len(usable)}' if len(usable) > 1 else ''}.",
        )
    return usable[number - 1]
