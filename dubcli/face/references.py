"""Which frames lend their texture to the mouth, and the crops cut from them.

Frames are chosen by geometry, sharpness and light: frontal, sharp, in the light that most frames
show, and as unlike in mouth shape as the video offers (farthest-point choice, Gonzalez 1985,
doi:10.1016/0304-3975(85)90224-5).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from dubcli.core.errors import NoFaceError
from dubcli.core.types import F32, F64, U8, Alignment, Bool, FaceTrack, Int, References
from dubcli.face.crop import cut_crop
from dubcli.face.landmarks import MOUTH_LEFT, MOUTH_RIGHT, mouth_open
from dubcli.face.light import FaceLight
from dubcli.face.pose import Pose, apply_matrix, to_canonical

MAX_DETAIL_FACTOR = 4
# Turn of the head that makes a frame worth 1/e as much.
_TURN_DEG = 25.0
# Frames worth less than this share of a good one are left out, unless too few remain.
_LEAST_WORTH = 0.35
# The least that a frame in another light is worth, as a share of one in the usual light.
_LEAST_LIKE_LIT = 0.01
# Mouth openings this close to the least and to the greatest count as closed and as wide open.
_CLOSED_SPAN, _OPEN_SHARE = 0.01, 0.97


def select_references(
    track: FaceTrack,
    pose: Pose,
    num: int,
    allowed: Bool | None = None,
    like_lit: F32 | None = None,
) -> list[int]:
    """Choose the frames that show one person's mouth best and most variously.

    Args:
        track: The person.
        pose: Pose per frame of the track.
        num: How many frames, at least 1.
        allowed: Frames of the track that may be chosen; all by default. Shape (T,).
        like_lit: How like the usual light each frame's is, see `face.light.FaceLight`. Shape (T,).

    Returns:
        Exactly `num` frame indices in ascending order, with a most closed and a wide-open mouth
        among them (from two on); some repeat where the track has fewer usable frames.

    Raises:
        NoFaceError: No usable frame.
    """
    frames, worth = _candidates(track, pose, num, allowed, like_lit)
    shapes = _mouth_shapes(to_canonical(track.landmarks[frames], pose.at(frames)))
    chosen = _spread(shapes, worth, num)
    picked = [track.start + int(frames[index]) for index in chosen]
    return sorted(picked[index % len(picked)] for index in range(num))


def select_by_opening(
    track: FaceTrack,
    pose: Pose,
    num: int,
    allowed: Bool | None = None,
    like_lit: F32 | None = None,
) -> list[int]:
    """Frames evenly out of all good ones, sorted by how far the mouth is open.

    PersonaTalk's reference selection (arXiv:2409.05379, algorithm 1), among frames that are sharp,
    frontal and uncovered.

    Args:
        track: The person.
        pose: Pose per frame of the track.
        num: How many frames, at least 1.
        allowed: Frames of the track that may be chosen; all by default. Shape (T,).
        like_lit: How like the usual light each frame's is, see `face.light.FaceLight`. Shape (T,).

    Returns:
        Exactly `num` frame indices from the most closed to the widest mouth; some repeat where the
        track has fewer good frames.

    Raises:
        NoFaceError: No usable frame.
    """
    frames, worth = _candidates(track, pose, num, allowed, like_lit)
    opening = mouth_open(to_canonical(track.landmarks[frames], pose.at(frames)))
    # Of equally open mouths the better picture comes first.
    order = np.lexsort((-worth, opening))
    even = np.linspace(0, len(order) - 1, num).round().astype(np.int64)
    return [track.start + int(frames[index]) for index in order[even]]


def _candidates(
    track: FaceTrack, pose: Pose, num: int, allowed: Bool | None, like_lit: F32 | None
) -> tuple[Int, F64]:
    """Good frames of the track, at least `num` where there are so many, and their worth."""
    usable = track.valid & ~track.interpolated
    if (usable & ~track.partially_occluded).any():
        # What lies in front of a mouth must not be lent as a part of it.
        usable = usable & ~track.partially_occluded
    if allowed is not None:
        usable = usable & allowed
    frames = np.flatnonzero(usable)
    if len(frames) == 0:
        raise NoFaceError(
            "No frame shows a face that can lend its mouth.",
            "Use footage with a larger, sharper face that looks towards the camera.",
        )
    worth = _worth(pose.at(frames), track.sharpness[frames])
    if like_lit is not None:
        worth = worth * np.maximum(like_lit[frames], _LEAST_LIKE_LIT)
    good = np.flatnonzero(worth >= _LEAST_WORTH * np.quantile(worth, 0.9))
    if len(good) < num:
        good = np.sort(np.argsort(-worth, kind="stable")[:num])
    return frames[good], worth[good]


def detail_factor(alignment: Alignment, frames: Int | Sequence[int]) -> int:
    """How many times finer than the crop the video shows the face in some frames.

    Args:
        alignment: Display px to crop px.
        frames: Positions in the alignment.

    Returns:
        A whole number from 1 (the face is no larger than the crop) to `MAX_DETAIL_FACTOR`.
    """
    linear = alignment.frame_to_crop[np.asarray(frames, dtype=np.int64), :, :2]
    finer = float(np.median(1 / np.sqrt(np.abs(np.linalg.det(linear)))))
    return int(np.clip(round(finer), 1, MAX_DETAIL_FACTOR))


def finer_matrix(to_crop: F64, factor: int) -> F64:
    """The map into a crop of `factor` times the size. Shape (..., 2, 3)."""
    matrix = to_crop * factor
    # The middle of the first crop pixel is the middle of a block of finer pixels.
    matrix[..., 2] += (factor - 1) / 2
    return matrix


def cut_references(
    pictures: Iterable[tuple[int, U8]],
    frame_indices: Sequence[int],
    track: FaceTrack,
    alignment: Alignment,
    light: FaceLight | None = None,
) -> References:
    """Cut the chosen frames.

    Args:
        pictures: Frame index and upright, square-pixel RGB picture at full size, uint8, of at
            least the frames in `frame_indices`, in any order; others are passed over.
        frame_indices: From `select_references`; may repeat.
        track: The person that they were chosen for.
        alignment: Full-size display px to crop px, one entry per frame of the track.
        light: Of the face; all are brought to its usual light.

    Returns:
        One entry per frame index, in that order.

    Raises:
        NoFaceError: The video no longer holds one of the frames.
    """
    positions = np.asarray(frame_indices, dtype=np.int64) - track.start
    height, width = alignment.crop_size
    factor = detail_factor(alignment, positions)
    fine_size = (height * factor, width * factor)
    cuts: dict[int, tuple[U8, U8]] = {}
    for index, picture in pictures:
        if index in frame_indices and index not in cuts:
            matrix = alignment.frame_to_crop[index - track.start]
            fine = cut_crop(picture, finer_matrix(matrix, factor), fine_size)
            coarse = cut_crop(picture, matrix, (height, width)) if factor > 1 else fine
            lit = None if light is None else light.at(index - track.start)
            if lit is not None:
                coarse, fine = lit.to_usual(coarse), lit.to_usual(fine)
            cuts[index] = (coarse, fine)
    missing = sorted(set(frame_indices) - cuts.keys())
    if missing:
        raise NoFaceError(
            f"Frame {missing[0]}, a reference of the face, cannot be read again.",
            "Check that the video did not change while it was dubbed.",
        )
    landmarks = track.landmarks[positions]
    return References(
        crops=np.stack([cuts[index][0] for index in frame_indices]),
        detail_crops=np.stack([cuts[index][1] for index in frame_indices]),
        landmarks=apply_matrix(landmarks, alignment.frame_to_crop[positions]),
        frame_indices=np.asarray(frame_indices, dtype=np.int64),
        mouth_open=mouth_open(landmarks),
    )


def _worth(pose: Pose, sharpness: F32) -> F64:
    """How good a picture of the face each frame is, 0 to 1: frontal, sharp, large."""
    pitch = pose.pitch_deg()
    turn = (pose.yaw_deg() / _TURN_DEG) ** 2 + ((pitch - np.median(pitch)) / _TURN_DEG) ** 2
    sharp = np.clip(sharpness / max(float(np.quantile(sharpness, 0.75)), 1e-6), 0.05, 1)
    large = np.clip(pose.scale / np.quantile(pose.scale, 0.75), 0.05, 1)
    return np.exp(-turn) * sharp * large


def _mouth_shapes(canonical: F32) -> F64:
    """Opening and width of the mouth, canonical units. Shape (T, 2)."""
    width = np.linalg.norm(canonical[:, MOUTH_LEFT] - canonical[:, MOUTH_RIGHT], axis=-1)
    return np.stack([mouth_open(canonical), width], -1).astype(np.float64)


def _spread(shapes: F64, worth: F64, num: int) -> list[int]:
    """Wide open, closed, then always the worthiest shape far from those chosen."""
    opening = shapes[:, 0]
    wide = opening >= np.quantile(opening, _OPEN_SHARE)
    closed = opening <= opening.min() + _CLOSED_SPAN
    chosen = [int(np.argmax(np.where(wide, worth, -1)))]
    if num > 1 and len(shapes) > 1:
        # A mouth that hardly moves may be both closed and wide open: take another frame then.
        others = np.where(closed, worth, -1)
        others[chosen[0]] = -2
        chosen.append(int(np.argmax(others)))
    while len(chosen) < min(num, len(shapes)):
        apart = np.linalg.norm(shapes[:, None] - shapes[chosen], axis=-1).min(1)
        gain = (apart + 1e-6) * worth
        gain[chosen] = -1
        chosen.append(int(np.argmax(gain)))
    return chosen
