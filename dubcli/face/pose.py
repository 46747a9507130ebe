"""Head pose from bone landmarks, pose-free faces, and the crop that follows the head.

A face is `scale * rotation @ canonical + translation` (weak perspective, display px) of a mean
face whose origin lies between the eyes and the nose and whose unit is the distance between the
eye centres. Only points that speech does not move take part, so neither the crop nor the pose
knows what the mouth does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from dubcli.core.errors import AlignmentError
from dubcli.core.types import F32, F64, Alignment, Int
from dubcli.face.landmarks import LIPS_OUTER, STABLE

# Where the canonical origin lies in a crop, and how many crop heights one inter-ocular distance
# takes: eyes to below the chin of a wide-open mouth fit, with the jaw's sides.
_ORIGIN_X, _ORIGIN_Y, _UNIT = 0.5, 0.25, 0.28
# Half the width of the mouth box, and its top and bottom below the canonical origin; inter-ocular
# distances. It holds the lips of a wide-open mouth.
_BOX_HALF_WIDTH, _BOX_TOP, _BOX_BOTTOM = 0.6, 0.9, 2.0


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Canonical units to display px, one per frame.

    Attributes:
        scale: Display px per canonical unit. Shape (T,).
        rotation: Proper rotations. Shape (T, 3, 3).
        translation: Display px. Shape (T, 3).
    """

    scale: F64
    rotation: F64
    translation: F64

    def __len__(self) -> int:
        return len(self.scale)

    def at(self, frames: Int) -> Pose:
        """The poses of some frames."""
        return Pose(
            scale=self.scale[frames],
            rotation=self.rotation[frames],
            translation=self.translation[frames],
        )

    def yaw_deg(self) -> F64:
        """Turn of the head to its side, degrees; 0 is frontal. Shape (T,)."""
        return np.degrees(np.arcsin(np.clip(self._depth_axis()[:, 0], -1, 1)))

    def pitch_deg(self) -> F64:
        """Nod of the head, degrees; 0 is frontal. Shape (T,)."""
        return np.degrees(np.arcsin(np.clip(self._depth_axis()[:, 1], -1, 1)))

    def roll_deg(self) -> F64:
        """Turn of the head within the picture, clockwise, degrees; 0 is upright. Shape (T,)."""
        return np.degrees(np.arctan2(self.rotation[:, 1, 0], self.rotation[:, 0, 0]))

    def _depth_axis(self) -> F64:
        """X and y of the face's z axis in the picture, turned by quarters until it is upright.

        Of somebody who lies down, a nod goes along the picture's x axis. Shape (T, 2).
        """
        quarter = np.radians(90 * np.round(self.roll_deg() / 90))
        x, y = self.rotation[:, 0, 2], self.rotation[:, 1, 2]
        cos, sin = np.cos(quarter), np.sin(quarter)
        return np.stack([cos * x + sin * y, cos * y - sin * x], 1)


@cache
def mean_face() -> F32:
    """The canonical mean face: x right, y down, z away from the camera. Shape (K, 3).

    Median of Procrustes-aligned landmarks of 54 people, made symmetric.
    """
    return np.load(Path(__file__).with_name("mean_face.npy"))


def similarity_from_points(source: F64, target: F64) -> tuple[F64, F64, F64]:
    """Least-squares similarities from `source` to each of `target`.

    Closed form of Umeyama 1991, eq. 40-42 (doi:10.1109/34.88573), without reflection.

    Args:
        source: Points. Shape (K, D).
        target: The same points elsewhere. Shape (T, K, D).

    Returns:
        Scale (T,), rotation (T, D, D), translation (T, D).

    Raises:
        AlignmentError: All points of a set coincide.
    """
    source_mean, target_mean = source.mean(0), target.mean(1)
    a, b = source - source_mean, target - target_mean[:, None]
    spread = (a**2).sum()
    if spread < 1e-12 or not np.isfinite(b).all() or ((b**2).sum((1, 2)) < 1e-12).any():
        raise AlignmentError("All landmarks coincide.", "Use footage with a larger face.")
    u, d, vt = np.linalg.svd(np.einsum("tki,kj->tij", b, a))
    sign = np.ones_like(d)
    sign[:, -1] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * sign[:, None]) @ vt
    scale = (d * sign).sum(1) / spread
    translation = target_mean - scale[:, None] * (rotation @ source_mean)
    return scale, rotation, translation


def fit_pose(landmarks: F32) -> Pose:
    """Pose of the mean face in each frame.

    Args:
        landmarks: Kept points, xyz, display px. Shape (T, K, 3).

    Raises:
        AlignmentError: The landmarks of a frame coincide.
    """
    source = mean_face()[STABLE].astype(np.float64)
    scale, rotation, translation = similarity_from_points(
        source, landmarks[:, STABLE].astype(np.float64)
    )
    return Pose(scale=scale, rotation=rotation, translation=translation)


def to_canonical(landmarks: F32, pose: Pose) -> F32:
    """Take the pose out of landmarks. Display px (T, K, 3) to canonical units (T, K, 3)."""
    centred = landmarks - pose.translation[:, None]
    turned = np.einsum("tki,tij->tkj", centred, pose.rotation)
    return (turned / pose.scale[:, None, None]).astype(np.float32)


def to_display(canonical: F32, pose: Pose) -> F32:
    """Put canonical landmarks (T, K, 3) into each frame's pose, display px (T, K, 3)."""
    turned = np.einsum("tkj,tij->tki", canonical, pose.rotation)
    return (turned * pose.scale[:, None, None] + pose.translation[:, None]).astype(np.float32)


def crop_alignment(pose: Pose, crop_size: tuple[int, int]) -> Alignment:
    """The upright crop around each posed face.

    The similarity takes scale and in-plane turn from the pose, so that a head turned aside keeps
    its size.

    Args:
        pose: Pose per frame, display px.
        crop_size: Height, width of the crop, px.
    """
    height, width = crop_size
    roll = np.radians(pose.roll_deg())
    factor = _UNIT * height / pose.scale
    cos, sin = factor * np.cos(roll), factor * np.sin(roll)
    linear = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], -2)
    anchor = np.array([_ORIGIN_X * width - 0.5, _ORIGIN_Y * height - 0.5])
    shift = anchor - np.einsum("tij,tj->ti", linear, pose.translation[:, :2])
    return Alignment(
        frame_to_crop=np.concatenate([linear, shift[..., None]], -1), crop_size=crop_size
    )


def transform_pose(pose: Pose, matrices: F64) -> Pose:
    """A pose in display px as seen through similarities into another space.

    Args:
        pose: Canonical units to display px.
        matrices: Display px to the other space's px, one similarity per frame. Shape (T, 2, 3).
    """
    linear = matrices[:, :, :2]
    factor = np.sqrt(np.linalg.det(linear))
    turn = np.zeros((len(pose), 3, 3))
    turn[:, :2, :2] = linear / factor[:, None, None]
    turn[:, 2, 2] = 1
    flat = np.einsum("tij,tj->ti", linear, pose.translation[:, :2]) + matrices[:, :, 2]
    return Pose(
        scale=pose.scale * factor,
        rotation=turn @ pose.rotation,
        translation=np.concatenate([flat, factor[:, None] * pose.translation[:, 2:]], 1),
    )


def apply_matrix(points: F32, matrices: F64) -> F32:
    """Map points (T, K, 2 or 3) by matrices (T, 2, 3); z is scaled with them."""
    moved = np.einsum("tij,tkj->tki", matrices[:, :, :2], points[..., :2])
    moved = moved + matrices[:, None, :, 2]
    if points.shape[-1] == 2:
        return moved.astype(np.float32)
    factor = np.sqrt(np.abs(np.linalg.det(matrices[:, :, :2])))
    depth = points[..., 2:] * factor[:, None, None]
    return np.concatenate([moved, depth], -1).astype(np.float32)


def invert_matrix(matrices: F64) -> F64:
    """Invert 2x3 affine matrices. Shape (..., 2, 3)."""
    linear = np.linalg.inv(matrices[..., :2])
    shift = -np.einsum("...ij,...j->...i", linear, matrices[..., 2])
    return np.asarray(np.concatenate([linear, shift[..., None]], -1), np.float64)


def compose(outer: F64, inner: F64) -> F64:
    """The affine map `outer(inner(x))`. Shapes broadcast to (..., 2, 3)."""
    linear = outer[..., :2] @ inner[..., :2]
    shift = np.einsum("...ij,...j->...i", outer[..., :2], inner[..., 2]) + outer[..., 2]
    return np.asarray(np.concatenate([linear, shift[..., None]], -1), np.float64)


def mouth_box(crop_size: tuple[int, int], factor: int = 1) -> tuple[slice, slice]:
    """Rows and columns of the mouth box in a crop `factor` times as fine.

    1.2 by 1.1 inter-ocular distances, fixed to the head: neither mouth moves it.

    Args:
        crop_size: Height, width of the crop, px.
        factor: How many times finer the picture is.
    """
    height, width = crop_size
    unit, row, column = _UNIT * height, _ORIGIN_Y * height, _ORIGIN_X * width
    middle = float(mean_face()[LIPS_OUTER, 0].mean())
    rows = (row + _BOX_TOP * unit, row + _BOX_BOTTOM * unit)
    columns = (
        column + (middle - _BOX_HALF_WIDTH) * unit,
        column + (middle + _BOX_HALF_WIDTH) * unit,
    )
    return (
        slice(round(factor * rows[0]), round(factor * rows[1])),
        slice(round(factor * columns[0]), round(factor * columns[1])),
    )
