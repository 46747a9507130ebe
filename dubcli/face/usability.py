"""In which frames a face may be dubbed, and why not in the others."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from dubcli.core.flag_runs import true_runs
from dubcli.core.types import F32, Bool, Int
from dubcli.face.landmarks import CHIN, EYE_CORNERS, JAW, LIPS_OUTER
from dubcli.face.pose import fit_pose

MIN_FACE_PX = 40
MAX_YAW_DEG, MAX_PITCH_DEG = 50.0, 45.0
MIN_RUN_FRAMES = 3
# How much of the face's height the lips and the jaw may lie outside the frame.
_LIPS_MARGIN, _JAW_MARGIN = 0.02, 0.15


class Reason(StrEnum):
    """Why a face is not dubbed in a frame."""

    NO_FACE = "no_face"
    TOO_SMALL = "too_small"
    TURNED_AWAY = "turned_away"
    CUT_OFF = "cut_off"
    COVERED = "covered"
    BLURRED = "blurred"
    BRIEF = "brief"
    CROSS_FADE = "cross_fade"
    FLASH = "flash"
    TOO_DARK = "too_dark"
    OVEREXPOSED = "overexposed"


# Frames that say neither where a face is nor what it looks like.
_UNSEEN = (Reason.NO_FACE, Reason.CROSS_FADE, Reason.FLASH)


def where_seen(reasons: Sequence[str]) -> Bool:
    """In which frames somebody's face was found, dubbed or not.

    Args:
        reasons: As `FaceTrack.reasons` has them. Length T.
    """
    return np.array([reason not in _UNSEEN for reason in reasons], np.bool_)


def frame_validity(
    present: Bool,
    boxes: F32,
    landmarks: F32,
    shot: Int,
    size: tuple[float, float],
    hard: tuple[Bool, Bool],
    spoilt: NDArray[np.str_] | None = None,
    light: NDArray[np.str_] | None = None,
) -> tuple[Bool, tuple[str, ...]]:
    """Where a face may be dubbed, and why not elsewhere; the first reason that holds counts.

    `spoilt` and `light` hold a reason of their own for some frames, '' for the others; the latter
    from `light.unusable_light`. Shape (T,).
    """
    if spoilt is None:
        spoilt = np.full(len(boxes), "")
    if light is None:
        light = np.full(len(boxes), "")
    height = boxes[:, 3] - boxes[:, 1]
    turned = np.zeros(len(boxes), bool)
    pose = fit_pose(landmarks[present])
    turned[present] = (np.abs(pose.yaw_deg()) > MAX_YAW_DEG) | (
        np.abs(pose.pitch_deg()) > MAX_PITCH_DEG
    )
    jaw = _lower_jaw(landmarks)
    cut_off = (_outside(landmarks[:, LIPS_OUTER], size) > _LIPS_MARGIN * height) | (
        _outside(jaw, size) > _JAW_MARGIN * height
    )
    causes = (
        (spoilt == Reason.CROSS_FADE.value, Reason.CROSS_FADE),
        (spoilt == Reason.FLASH.value, Reason.FLASH),
        (~present, Reason.NO_FACE),
        (light == Reason.TOO_DARK.value, Reason.TOO_DARK),
        (light == Reason.OVEREXPOSED.value, Reason.OVEREXPOSED),
        (height < MIN_FACE_PX, Reason.TOO_SMALL),
        (turned, Reason.TURNED_AWAY),
        (cut_off, Reason.CUT_OFF),
        (hard[0], Reason.COVERED),
        (hard[1], Reason.BLURRED),
    )
    valid = ~np.logical_or.reduce([where for where, _ in causes])
    brief = _brief(valid, shot)
    reasons = np.select(
        [*(where for where, _ in causes), brief],
        [*(reason.value for _, reason in causes), Reason.BRIEF.value],
        default="",
    )
    return valid & ~brief, tuple(str(reason) for reason in reasons)


def run_numbers(valid: Bool, shot: Int) -> Int:
    """Number of the run each frame belongs to: same shot, valid throughout; else by itself."""
    starts = np.ones(len(valid), bool)
    starts[1:] = (shot[1:] != shot[:-1]) | ~valid[1:] | ~valid[:-1]
    return np.cumsum(starts) - 1


def beside_known(spoilt: Bool, known: Bool) -> Bool:
    """Those spoilt frames whose run has a frame with the face just before or after. Shape (T,)."""
    beside = np.zeros(len(spoilt), bool)
    padded = np.concatenate([[False], known, [False]])
    for start, stop in true_runs(spoilt):
        beside[start:stop] = padded[start] or padded[stop + 1] or known[start:stop].any()
    return beside


def _brief(valid: Bool, shot: Int) -> Bool:
    """Valid frames of runs too short to be worth a dub; a whole short shot is no such run."""
    run = run_numbers(valid, shot)
    length = np.bincount(run)[run] if len(run) else run
    shot_length = np.bincount(shot)[shot] if len(shot) else shot
    return valid & (length < MIN_RUN_FRAMES) & (length < shot_length)


def _lower_jaw(landmarks: F32) -> F32:
    """The jaw line from lip level down, as the face stands: its ends lie at the ears. (T, J, 3)."""
    jaw = landmarks[:, JAW]
    lips = landmarks[:, LIPS_OUTER, :2].mean(1)
    down = lips - landmarks[:, EYE_CORNERS, :2].mean(1)
    is_lower = np.einsum("tji,ti->tj", jaw[..., :2] - lips[:, None], down) > 0
    return np.where(is_lower[..., None], jaw, landmarks[:, CHIN, None])


def _outside(points: F32, size: tuple[float, float]) -> F32:
    """How far the outermost of some points lies outside the frame. (T, M, 3) to (T,), px."""
    low = -points[..., :2].min(1)
    high = points[..., :2].max(1) - np.array([size[0] - 1, size[1] - 1], np.float32)
    return np.maximum(low, high).max(-1)
