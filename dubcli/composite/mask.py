"""Masks in crop space: what the network repaints, and how its patch is laid over the frame.

Crops are those of `face.pose.crop_alignment`: upright, the canonical origin at half the width and
a quarter of the height, one inter-ocular distance 0.28 heights long.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import cv2
import numpy as np

from dubcli.core.smooth_step import smooth_step
from dubcli.core.types import F32, F64, FramePatch, PasteMask
from dubcli.face.landmarks import CHEEKS, JAW, LIPS_INNER, LIPS_OUTER, SPEAKING, position

PasteHull = Literal["lower-face", "face"]
# The fixed region: from just under the nose tip to the crop's lower edge, and how round its upper
# corners are; shares of the crop's height, and of its width for the sides.
_TOP, _SIDE, _CORNER = 96 / 208, 8 / 160, 24 / 208
# Widest soft edge inside the fixed region, share of the height: the upper lip is not far below.
_WIDEST_RAMP = 8 / 208
# How much of the growth the sides of the jaw get; the chin, which moves most, gets all.
_GROWTH_ASIDE = 0.6
# A mask's last grey level: below it nothing could be seen.
_LEAST_ALPHA = 1 / 255
# Probabilities up to the first leave a patch as it is, from the second on they hide it.
_FREE, _IN_FRONT = 0.15, 0.5
# How far around a thing in front the patch is held back as well, share of the picture's height,
# and spots that are left out because they are noise, share of the picture.
_GUARD, _LEAST_SPOT = 2 / 104, 10 / (104 * 80)
_NOSE_TIP = position(1)
# cv2 polygons take fixed-point coordinates with this many binary digits.
_SHIFT = 4


def fixed_mask(crop_size: tuple[int, int]) -> F32:
    """The large region that the network repaints, the same in every frame.

    It holds the mouth, both cheeks and the chin of a wide-open mouth, so its outline tells
    nothing about what the source mouth does.

    Args:
        crop_size: Height, width of the crop, px.

    Returns:
        1 inside, 0 outside. Shape (H, W).
    """
    height, width = crop_size
    top, side = round(_TOP * height), round(_SIDE * width)
    radius = round(_CORNER * height)
    mask = np.zeros((height, width), np.float32)
    mask[top + radius :, side : width - side] = 1
    mask[top : top + radius, side + radius : width - side - radius] = 1
    for x in (side + radius, width - side - radius - 1):
        cv2.circle(mask, (x, top + radius), radius, (1.0,), -1)
    return mask


def hull_mask(landmarks: F32, crop_size: tuple[int, int]) -> F32:
    """IPTalker's mask: the convex hull of the lower face, which moves with the source mouth.

    Args:
        landmarks: Kept points, crop px. Shape (K, 2 or 3).
        crop_size: Height, width of the crop, px.

    Returns:
        1 inside, 0 outside. Shape (H, W).
    """
    return _fill_hull(landmarks[SPEAKING, :2], crop_size)


def paste_mask(
    source_landmarks: F32,
    generated_landmarks: F32,
    crop_size: tuple[int, int],
    feather_px: float,
    *,
    hull: PasteHull = "lower-face",
) -> PasteMask:
    """Blend weight of a patch: a Gaussian-smoothed hull of landmarks.

    The union of the source's and the generated hull is covered, so that neither chin shows beside
    the other. `lower-face` is full on mouth and chin and fades out over the cheeks; nothing above
    the nose tip and nothing outside the fixed region is covered. `face` is IPTalker's paste
    (arXiv:2501.04586, section III-D, fig. 5): the hull of all landmarks, up to the crop's edge.

    Args:
        source_landmarks: Kept points of the frame, crop px. Shape (K, 2 or 3).
        generated_landmarks: Kept points that the patch shows, crop px. Shape (K, 2 or 3).
        crop_size: Height, width of the crop, px.
        feather_px: Width of the soft edge, crop px.
        hull: What is covered.

    Returns:
        1 well inside, exactly 0 outside the support.
    """
    source, generated = (
        np.asarray(marks, np.float64)[:, :2] for marks in (source_landmarks, generated_landmarks)
    )
    if hull == "face":
        outline, region = np.concatenate([source, generated]), np.ones(crop_size, np.float32)
    else:
        outline, region = _lower_outline(source, generated, feather_px), fixed_mask(crop_size)
    alpha = cv2.GaussianBlur(
        _fill_hull(outline, crop_size),
        (0, 0),
        max(0.5 * feather_px, 0.3),
        borderType=cv2.BORDER_REPLICATE,
    )
    alpha *= _inner_ramp(region, min(feather_px, _WIDEST_RAMP * crop_size[0]))
    alpha[alpha < _LEAST_ALPHA] = 0
    return PasteMask(alpha=np.minimum(alpha, 1))


def occlude(patch: FramePatch, probability: F32, to_coded: F64) -> FramePatch:
    """Hold a patch back where something lies in front of the face, so that its pixels stay.

    Args:
        patch: In place.
        probability: That something lies in front, in a small crop's px. Shape (h, w).
        to_coded: Homogeneous px of that crop to coded px. Shape (2, 3).

    Returns:
        The patch with alpha exactly 0 on the thing and a narrow guard around it, in full a little
        further on.
    """
    free = _free(probability)
    if free.all():
        return patch
    to_box = to_coded.copy()
    to_box[:, 2] -= (patch.x, patch.y)
    height, width = patch.alpha.shape
    share = cv2.warpAffine(
        free,
        to_box,
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    alpha = patch.alpha * np.asarray(share, np.float32)
    alpha[alpha < _LEAST_ALPHA] = 0
    return replace(patch, alpha=alpha)


def _free(probability: F32) -> F32:
    """How much of the patch each pixel may show, 0 to 1, with a soft edge. Shape (h, w)."""
    height, width = probability.shape
    in_front = (probability >= _IN_FRONT).astype(np.uint8)
    num, labels, stats, _ = cv2.connectedComponentsWithStats(in_front)
    keep = stats[:num, cv2.CC_STAT_AREA] >= _LEAST_SPOT * height * width
    keep[0] = False
    spots = keep[np.asarray(labels, np.int64)]
    if not spots.any():
        return np.ones_like(probability)
    reach = max(1, round(_GUARD * height))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    hard = np.asarray(cv2.dilate(spots.astype(np.uint8), disc)) > 0
    around = np.asarray(cv2.dilate(hard.astype(np.uint8), disc)) > 0
    share = np.clip((probability - _FREE) / (_IN_FRONT - _FREE), 0, 1) * around
    soft = cv2.GaussianBlur(np.maximum(hard, share).astype(np.float32), (0, 0), reach / 2)
    free = np.clip(1 - np.maximum(np.asarray(soft), share), 0, 1).astype(np.float32)
    free[hard] = 0
    return free


def _lower_outline(source: F64, generated: F64, feather_px: float) -> F64:
    """Points around both lower faces, moved out for the soft edge. Shape (M, 2)."""
    both = (source, generated)
    outline = np.concatenate([_lower_face(marks) for marks in both])
    lips = np.concatenate([marks[LIPS_OUTER] for marks in both])
    return _grow(outline, lips, float(source[_NOSE_TIP, 1]), feather_px)


def _lower_face(landmarks: F64) -> F64:
    """Lips, cheeks and the jaw line, as far as they lie below the nose tip. Shape (M, 2)."""
    groups = (JAW, LIPS_OUTER, LIPS_INNER, CHEEKS)
    points = np.concatenate([landmarks[group] for group in groups])
    below = points[points[:, 1] >= landmarks[_NOSE_TIP, 1]]
    return below if len(below) >= 3 else points


def _grow(outline: F64, lips: F64, level: float, reach: float) -> F64:
    """Move points away from the mouth: by `reach` at the chin, less aside and towards the nose.

    A soft edge is centred on the outline, so without this a chin's own edge would be half seen
    through the patch, twice where the two chins differ.
    """
    centre = lips.mean(0)
    away = outline - centre
    length = np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-6)
    share = np.clip((outline[:, 1:] - level) / max(float(centre[1]) - level, 1.0), 0, 1)
    down = np.clip(away[:, 1:] / length, 0, 1)
    growth = reach * share * (_GROWTH_ASIDE + (1 - _GROWTH_ASIDE) * down)
    return outline + growth * away / length


def _fill_hull(points: F32 | F64, crop_size: tuple[int, int]) -> F32:
    mask = np.zeros(crop_size, np.float32)
    fixed = np.round(points * (1 << _SHIFT)).astype(np.int32)
    cv2.fillConvexPoly(mask, cv2.convexHull(fixed), (1.0,), shift=_SHIFT)
    return mask


def _inner_ramp(mask: F32, width: float) -> F32:
    """A mask that rises from 0 at its edge, the crop's edge included, to 1 `width` px inside."""
    padded = cv2.copyMakeBorder((mask > 0).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    # The transform is 1 on the outermost pixels inside.
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    share = np.clip((distance - 0.5) / max(width, 1.0), 0, 1)
    return smooth_step(share).astype(np.float32)
