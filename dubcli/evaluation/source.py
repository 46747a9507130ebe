"""What is known of a source clip before anything is dubbed, and aligned crops of any video of it.

A result shows the same face at the same place, so one alignment, the source's, cuts both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from dubcli.composite.mask import paste_mask
from dubcli.core.errors import MediaError, NoFaceError
from dubcli.core.progress import no_progress
from dubcli.core.types import DETECTORS, F32, F64, U8, Alignment, Bool, FaceTrack, Int, MediaInfo
from dubcli.evaluation.clips import EvalClip
from dubcli.face.crop import cut_crop
from dubcli.face.landmarks import mouth_open
from dubcli.face.pose import (
    Pose,
    apply_matrix,
    compose,
    crop_alignment,
    invert_matrix,
)
from dubcli.face.references import detail_factor, finer_matrix
from dubcli.face.track import smooth_pose
from dubcli.media.container.probe import probe, require_video
from dubcli.media.video.frame_reader import FrameReader
from dubcli.media.video.spaces import coded_to_display
from dubcli.media.video.timeline import FrameTimes
from dubcli.metrics.lips import MouthSeries
from dubcli.pipeline.analysis import analyse, choose_face
from dubcli.pipeline.engine import Engine, engine_for

CROP_SIZE = (208, 160)
# Soft edge of a paste over the crop's height, as the pipeline has it.
FEATHER = 10 / 208
# Frames of this first part of a clip lend references in reconstruction; the rest is scored. The
# second is what `dub finetune --half` learns from.
REFERENCE_SHARE, HALF_SHARE = 0.4, 0.5
MIN_SCORED = 8


@dataclass(frozen=True)
class Source:
    """A clip after pass 1.

    Attributes:
        clip: What the list says of it.
        info: Facts of the file.
        times: When each frame is shown.
        track: The largest face.
        pose: Its smoothed pose, display px.
        alignment: Display px to crop px of `CROP_SIZE`.
        factor: How many times finer than the crop the clip shows the face, 1 to 4.
        split: First frame that is scored in reconstruction.
        valid: The frame shows the face and may be dubbed. Shape (T,).
        mouth: The true mouth, NaN in frames that are not valid.
    """

    clip: EvalClip
    info: MediaInfo
    times: FrameTimes
    track: FaceTrack
    pose: Pose
    alignment: Alignment
    factor: int
    split: int
    valid: Bool
    mouth: MouthSeries

    def __len__(self) -> int:
        return len(self.track)

    @cached_property
    def seconds(self) -> F64:
        """Time of each frame after the first one, seconds. Shape (T,)."""
        pts = np.array(self.times.pts, np.int64)
        return (pts - pts[0]) * float(self.times.time_base)

    @property
    def duration_s(self) -> Fraction:
        """From the start of the first to the end of the last frame, seconds."""
        return self.times.duration_s

    @cached_property
    def scored(self) -> Int:
        """Valid frames behind the references' part."""
        return np.flatnonzero(self.valid & (np.arange(len(self)) >= self.split))

    def until(self, stop: int) -> Source:
        """The clip's first frames; `split` stays where it is."""
        if stop >= len(self):
            return self
        pts = self.times.pts
        frames = np.arange(stop)
        return replace(
            self,
            times=FrameTimes(pts=pts[:stop], end_pts=pts[stop], time_base=self.times.time_base),
            track=self.track.until(stop),
            pose=self.pose.at(frames),
            alignment=replace(self.alignment, frame_to_crop=self.alignment.frame_to_crop[:stop]),
            valid=self.valid[:stop],
            mouth=MouthSeries(
                opening=self.mouth.opening[:stop],
                boxes=self.mouth.boxes[:stop],
                landmarks=self.mouth.landmarks[:stop],
            ),
        )

    def paste_alpha(self, index: int) -> F32:
        """Where a paste over the source's own lower face would lie, in the fine crop. (fH, fW)."""
        matrix = self.alignment.frame_to_crop[index]
        points = apply_matrix(self.track.landmarks[index][None], matrix[None])[0]
        alpha = paste_mask(points, points, CROP_SIZE, FEATHER * CROP_SIZE[0]).alpha
        size = (CROP_SIZE[1] * self.factor, CROP_SIZE[0] * self.factor)
        return np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_LINEAR), np.float32)

    def in_crop(self, landmarks: F32, index: int) -> F32:
        """Points (K, 3) of a frame, display px, as fine-crop px (K, 2)."""
        matrix = finer_matrix(self.alignment.frame_to_crop[index], self.factor)
        return apply_matrix(landmarks[None], matrix[None])[0][:, :2]


def analyse_source(
    clip: EvalClip,
    threads: int = 0,
    share: float = REFERENCE_SHARE,
    *,
    engine: Engine | None = None,
    detector: str = DETECTORS[0],
) -> Source:
    """Pass 1 over a clip, as the pipeline does it.

    Args:
        clip: The clip.
        threads: Of the decoder; 0 for all cores.
        share: Of the frames, from the first one on, that is not scored in reconstruction.
        engine: Holds loaded networks; one for this clip alone by default.
        detector: What finds faces, one of `DETECTORS`.

    Raises:
        MediaError: The clip cannot be read.
        NoFaceError: It shows no usable face, or too few frames of one.
    """
    info = probe(clip.path)
    video = require_video(info)
    with (
        engine_for(engine, "auto", threads) as engine,
        FrameReader(clip.path, info, threads) as reader,
        engine.detector(detector) as finder,
    ):
        expected, segmenter = video.num_frames_from_header or 0, engine.segmenter()
        found = analyse(
            reader, finder, expected, no_progress, segmenter, recogniser=engine.recogniser()
        )
    track = choose_face(found, 1)
    pose = smooth_pose(track)
    alignment = crop_alignment(pose, CROP_SIZE)
    valid = track.valid & ~track.interpolated
    split = math.floor(share * len(track))
    if valid[split:].sum() < MIN_SCORED or not valid[:split].any():
        raise NoFaceError(
            f"'{clip.path}' shows a usable face in too few frames.",
            "Use a clip that shows the face throughout, at least a second long.",
        )
    landmarks = np.where(valid[:, None, None], track.landmarks, np.nan).astype(np.float32)
    boxes = np.where(valid[:, None], track.boxes, np.nan).astype(np.float32)
    return Source(
        clip=clip,
        info=info,
        times=found.times,
        track=track,
        pose=pose,
        alignment=alignment,
        factor=detail_factor(alignment, np.flatnonzero(valid)),
        split=split,
        valid=valid,
        mouth=MouthSeries(opening=mouth_open(landmarks), boxes=boxes, landmarks=landmarks),
    )


def aligned_crops(path: Path, source: Source, start: int) -> Iterator[tuple[int, U8]]:
    """Fine crops of a video of the source's face, by the source's alignment.

    Args:
        path: The source itself or a result with the same frames.
        source: Where the face is.
        start: First frame wanted.

    Yields:
        Frame number and crop, RGB, uint8, shape (208 f, 160 f, 3), up to the end.
    """
    size = (CROP_SIZE[0] * source.factor, CROP_SIZE[1] * source.factor)
    return cut_frames(
        path, finer_matrix(source.alignment.frame_to_crop, source.factor), size, start
    )


def cut_frames(
    path: Path, matrices: F64, size: tuple[int, int], start: int = 0
) -> Iterator[tuple[int, U8]]:
    """A part of each frame of a video, each by its own matrix.

    Args:
        path: The video.
        matrices: Display px to px of the part. Shape (T, 2, 3).
        size: Height, width of the part, px.
        start: First frame wanted.

    Yields:
        Frame number and picture, RGB, uint8, shape (*size, 3), up to frame T - 1 or the end.
    """
    info = probe(path)
    to_display = coded_to_display(require_video(info))
    with FrameReader(path, info) as reader:
        for native in reader.native_frames(start, len(matrices)):
            to_part = compose(matrices[native.index], to_display)
            x, y, width, height = region_under(to_part, size, (native.width, native.height))
            matrix = compose(to_part, np.array([[1.0, 0, x], [0, 1.0, y]]))
            yield native.index, cut_crop(native.rgb_region(x, y, width, height), matrix, size)


def chosen_cuts(
    path: Path, matrices: F64, size: tuple[int, int], frames: Sequence[int] | Int
) -> U8:
    """Parts of some frames, ascending, see `cut_frames`. Shape (N, *size, 3)."""
    wanted = {int(frame) for frame in frames}
    parts = cut_frames(path, matrices, size, min(wanted))
    return np.stack([picture for index, picture in parts if index in wanted])


def region_under(
    to_part: F64, size: tuple[int, int], frame_size: tuple[int, int]
) -> tuple[int, int, int, int]:
    """The region of a coded frame that a part shows, with a margin: x, y, width, height."""
    height, width = size
    corners = np.array([(0, 0), (width, 0), (0, height), (width, height)], np.float64)
    back = invert_matrix(to_part)
    spots = corners @ back[:, :2].T + back[:, 2]
    low = np.floor(spots.min(0)).astype(int) - 4
    high = np.ceil(spots.max(0)).astype(int) + 5
    low = np.clip(low, 0, (frame_size[0] - 1, frame_size[1] - 1)) // 2 * 2
    high = np.clip(high, low + 1, frame_size)
    return int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1])


def check_length(source: Source, mouth: MouthSeries, result: Path) -> None:
    """Refuse a dub that has not as many frames as its source.

    Raises:
        MediaError: It has more or fewer.
    """
    if len(mouth) != len(source):
        raise MediaError(
            f"'{result.name}' of '{source.clip.path}' has {len(mouth)} frames, not {len(source)}.",
            "This is a fault of the dub: please report it.",
        )
