"""Pass 1: who is where. Keeps geometry only, so memory hardly grows with length."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from fractions import Fraction

from dubcli.core.errors import ConfigError, NoFaceError
from dubcli.core.formatting import reasons_in_words, remedy
from dubcli.core.progress import Progress
from dubcli.core.types import FaceObservation, FaceTrack, Frame, MediaInfo
from dubcli.face.detect import MAX_SIDE, FaceDetector
from dubcli.face.recognition import FaceEmbedder, load_recogniser
from dubcli.face.shots import ShotDetector, Verdict
from dubcli.face.sighting import Sighting
from dubcli.face.track import Tracker
from dubcli.face.usability import where_seen
from dubcli.media.video.frame_reader import FrameReader
from dubcli.occlusion.ranges import Segmenter
from dubcli.occlusion.segmenter import load_segmenter
from dubcli.pipeline.analysis_cache import Analysis, load_analysis, save_analysis
from dubcli.pipeline.context import RunContext
from dubcli.pipeline.inputs import LoadedJob
from dubcli.pipeline.part import looked_at, require_start
from dubcli.pipeline.queues import prefetch


def expected_frames(info: MediaInfo) -> int:
    """How many frames a file claims to have, or by its length and rate; 0 where it says neither."""
    video = info.video
    if video is None:
        return 0
    if video.num_frames_from_header:
        return video.num_frames_from_header
    return 0 if info.duration_s is None else max(0, round(info.duration_s * video.frame_rate))


def find_faces(context: RunContext, job: LoadedJob) -> Analysis:
    """Pass 1: who is where; taken from the run's folder where an earlier run has looked.

    Args:
        context: Of the run.
        job: What is to be done.

    Raises:
        ConfigError: A part that the video does not have.
        MediaError: The video breaks off.
    """
    kept = context.folder.analysis
    found = None if kept is None else load_analysis(kept)
    if found is not None:
        context.reader.recall(found.times, found.num_corrupt)
        return found
    if job.info.duration_s is not None:
        # Not after the long pass; headers are rounded.
        require_start(job.config, job.info.duration_s, 1)
    with context.engine.detector(job.config.detector) as detector:
        found = analyse(
            context.reader,
            detector,
            expected_frames(job.info),
            context.progress,
            context.engine.segmenter(),
            recogniser=context.engine.recogniser(),
            part=looked_at(job.config, job.audio_s, job.video),
        )
    if kept is not None:
        save_analysis(found, kept)
    return found


def analyse(
    reader: FrameReader,
    detector: FaceDetector,
    expected_frames: int,
    progress: Progress,
    segmenter: Segmenter | None = None,
    *,
    recogniser: FaceEmbedder | None = None,
    part: tuple[Fraction, Fraction] | None = None,
) -> Analysis:
    """Detect and track faces over the whole video, or a part of it; cuts are found everywhere.

    Args:
        reader: Of the video.
        detector: Finds faces.
        expected_frames: What the file says, for `progress`; 0 where it does not.
        progress: Called as (stage, done, total).
        segmenter: Segments what lies in front of a face; by default the network that the
            manifest names.
        recogniser: Tells who a face is; by default the network that the manifest names.
        part: From when to when faces are looked for, units of the video's clock; None for all.

    Raises:
        MediaError: The video breaks off.
        WeightsError: A network's weights are missing or damaged.
    """
    tracker = Tracker(segmenter or load_segmenter(), recogniser or load_recogniser())
    shots = ShotDetector()
    waiting: deque[list[Sighting]] = deque()
    # Decoding, detection and what is kept of each face run side by side.
    with (
        prefetch(reader.frames(MAX_SIDE)) as frames,
        prefetch(_detected(frames, detector, part)) as detected,
    ):
        for frame, faces in detected:
            waiting.append(tracker.look(frame, faces))
            _follow(tracker, waiting, shots.update(frame.image))
            done = frame.index + 1
            # Of a header that was wrong nothing is known any more, until the end.
            progress("analyse", done, expected_frames if done <= expected_frames else 0)
    _follow(tracker, waiting, shots.finish())
    num = len(reader.times)
    if num != expected_frames:
        progress("analyse", num, num)
    return Analysis(
        times=reader.times,
        tracks=tracker.finish(),
        num_corrupt=reader.num_corrupt,
        num_interlaced=reader.num_interlaced,
    )


def _detected(
    frames: Iterator[Frame], detector: FaceDetector, part: tuple[Fraction, Fraction] | None
) -> Iterator[tuple[Frame, list[FaceObservation]]]:
    """Frames with their faces; those outside the part have none."""
    for frame in frames:
        is_looked_at = part is None or part[0] <= frame.pts < part[1]
        yield frame, detector.detect(frame) if is_looked_at else []


def _follow(tracker: Tracker, waiting: deque[list[Sighting]], verdicts: Sequence[Verdict]) -> None:
    """Hand on the faces of those frames of which it is known by now how they belong together."""
    for verdict in verdicts:
        tracker.add(waiting.popleft(), verdict.is_cut, verdict.spoilt)


def usable_faces(analysis: Analysis) -> list[FaceTrack]:
    """The tracks that can be dubbed, numbered from 1 in this order, largest first.

    Raises:
        NoFaceError: No face, or none that can be dubbed.
    """
    usable = [track for track in analysis.tracks if track.valid.any()]
    if not usable:
        raise _no_usable_face(analysis.tracks)
    return usable


def _no_usable_face(tracks: Sequence[FaceTrack]) -> NoFaceError:
    """What is wrong with the faces of a video, in how many frames, and what to do."""
    if not tracks:
        return NoFaceError("No face was found in the video.", remedy({}))
    counts = Counter(
        reason
        for track in tracks
        for reason, is_seen in zip(track.reasons, where_seen(track.reasons), strict=True)
        if is_seen
    )
    if not counts:
        return NoFaceError("No face is seen for long enough in the video.", remedy({}))
    return NoFaceError(
        f"No frame of the video shows a face that can be dubbed ({reasons_in_words(counts)}).",
        remedy(counts),
    )


def choose_face(analysis: Analysis, number: int) -> FaceTrack:
    """The track of a number; `pipeline.face_choice` knows other ways to say which.

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
