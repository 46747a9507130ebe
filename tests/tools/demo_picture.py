"""Brings a portrait photograph to life: mouth, eyelids, head and camera by one smooth warp.

Three spaces, all in float pixels with centres at integers:

* **photo**: the photograph as it is;
* **face**: the photograph after mouth, lids and a little head turn moved (same axes);
* **output**: what the virtual camera sees of the nodding head.

Output pixels are looked up backwards: output → face (camera, nod) → photo (mesh warp).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

UPSCALE = 4  # the photograph is enlarged once, well, and sampled from there
SHEET = (158, 52, 292, 206)  # x0, y0, x1, y1 of the rubber sheet, photo px
HEAD_CENTRE = np.array([226.0, 100.0])
NECK = np.array([226.0, 196.0])
MOUTH_BOX = (190, 128, 256, 180)  # x0, y0, x1, y1, photo px
EYES_BOX = (182, 84, 274, 118)
MASK_SCALE = 8
JAW_PX = 7.2  # how far the lower lip falls at jaw 1
ROUNDING_PX = 2.4  # how far each corner comes in at rounding 1
REST_DEPTH = -4.0  # parts at this depth stay where they are when the head turns

# Edges of the lips where they meet teeth, left to right, measured on the photograph: the face mesh
# is a pixel off there, which is a fifth of the gap.
UPPER_EDGE = np.array(
    [
        [202.9, 139.4], [205.8, 140.5], [210.3, 141.6], [214.7, 142.5], [219.2, 143.3],
        [223.0, 143.7], [226.2, 143.4], [230.7, 143.1], [235.1, 142.5], [239.4, 141.3],
        [244.4, 140.6],
    ]
)  # fmt: skip
LOWER_EDGE = np.array(
    [
        [202.9, 139.4], [204.9, 142.3], [207.1, 144.3], [210.0, 146.5], [212.9, 147.9],
        [216.7, 148.8], [221.7, 149.2], [226.2, 149.1], [230.7, 148.7], [233.9, 147.4],
        [237.1, 145.9], [240.3, 143.9], [244.4, 140.6],
    ]
)  # fmt: skip

# Face-mesh numbers.
OUTER_LIPS_UPPER = (185, 40, 39, 37, 0, 267, 269, 270, 409)
OUTER_LIPS_LOWER = (146, 91, 181, 84, 17, 314, 405, 321, 375)
LIP_BODY = (
    *(76, 62, 78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87),
    *(178, 88, 95, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306, 292, 307, 320, 404, 315, 16),
    *(85, 180, 90, 77, 183, 42, 41, 38, 12, 268, 271, 272, 407, 325, 319, 403, 316, 15, 86),
    *(179, 89, 96, 61, 291),
)
EYE_RIGHT_UPPER = (33, 246, 161, 160, 159, 158, 157, 173, 133)
EYE_RIGHT_LOWER = (33, 7, 163, 144, 145, 153, 154, 155, 133)
EYE_LEFT_UPPER = (362, 398, 384, 385, 386, 387, 388, 466, 263)
EYE_LEFT_LOWER = (362, 382, 381, 380, 374, 373, 390, 249, 263)
CHIN, FOREHEAD = 152, 10


@dataclass(frozen=True, kw_only=True)
class Pose:
    """What moves in one frame.

    Attributes:
        jaw: How far the jaw hangs, 0 (teeth together) to 1.
        closing: How far the lips close over the teeth, 0 (smile as photographed) to 1.
        rounding: How far the corners of the mouth draw together, 0 to 1.
        blink: How far the lids are down, 0 to 1.
        yaw_deg: Turn of the head to the picture's right.
        pitch_deg: Nod, down positive.
        roll_deg: Tilt, clockwise positive.
        centre: Point that the camera looks at, photo px.
        view_width: Width of what the camera sees, photo px.
    """

    jaw: float
    closing: float
    rounding: float
    blink: float
    yaw_deg: float
    pitch_deg: float
    roll_deg: float
    centre: tuple[float, float]
    view_width: float


@dataclass(frozen=True, kw_only=True)
class Portrait:
    """The photograph, its landmarks and the sheet's control points.

    Attributes:
        enlarged: `UPSCALE` times the photograph, RGB. Shape (H, W, 3), float32.
        landmarks: Face mesh, xyz, photo px, z away from the camera. Shape (478, 3).
        points: Control points of the warp, photo px. Shape (C, 2).
        depth: Distance of each point towards the camera, photo px. Shape (C,).
        fixed: Points that never move (rim of the sheet). Shape (C,).
        sides: -1 on the upper edge of a mouth or eye slit, 1 on the lower, 0 elsewhere. Shape (C,).
    """

    enlarged: F32
    landmarks: F64
    points: F64
    depth: F64
    fixed: NDArray[np.bool_]
    sides: NDArray[np.int64]


def load_portrait(photo: U8) -> Portrait:
    """Enlarges the photograph and finds the face in it. `photo` is RGB uint8."""
    landmarks = find_landmarks(photo)
    enlarged = cv2.resize(photo, None, fx=UPSCALE, fy=UPSCALE, interpolation=cv2.INTER_LANCZOS4)
    soft = cv2.GaussianBlur(enlarged, (0, 0), 0.8 * UPSCALE)
    sharp = cv2.addWeighted(enlarged.astype(np.float32), 1.5, soft.astype(np.float32), -0.5, 0)
    skin = np.setdiff1d(np.arange(468), LIP_BODY)
    rim = _rim_points()
    lips = np.concatenate([UPPER_EDGE, LOWER_EDGE[1:-1]])
    points = np.concatenate([landmarks[skin, :2], lips, rim])
    lip_depth = np.full(len(lips), -landmarks[[13, 14], 2].mean())
    depth = np.concatenate([-landmarks[skin, 2], lip_depth, np.zeros(len(rim))])
    sides = np.zeros(len(points), dtype=np.int64)
    sides[: len(skin)] = _lid_sides(skin)
    sides[len(skin) + 1 : len(skin) + len(UPPER_EDGE) - 1] = -1
    sides[len(skin) + len(UPPER_EDGE) : len(skin) + len(lips)] = 1
    fixed = np.arange(len(points)) >= len(points) - len(rim)
    return Portrait(
        enlarged=sharp.astype(np.float32),
        landmarks=landmarks,
        points=points,
        depth=depth,
        fixed=fixed,
        sides=sides,
    )


def find_landmarks(photo: U8) -> F64:
    """MediaPipe's face mesh of the head, found on an enlarged cut-out. Shape (478, 3)."""
    import mediapipe as mp  # pyright: ignore[reportMissingImports]

    x, y, side, scale = 120, 0, 200, 5
    cut = np.ascontiguousarray(photo[y : y + side, x : x + side])
    cut = cv2.resize(cut, None, fx=scale, fy=scale, interpolation=cv2.INTER_LANCZOS4)
    solutions: Any = mp.solutions  # pyright: ignore[reportAttributeAccessIssue]
    with solutions.face_mesh.FaceMesh(static_image_mode=True, refine_landmarks=True) as mesh:
        found = mesh.process(cut).multi_face_landmarks
    if not found:
        raise SystemExit("MediaPipe found no face in the photograph; is it the right one?")
    unit = np.array([[p.x, p.y, p.z] for p in found[0].landmark], dtype=np.float64) * side
    return unit + np.array([x - 0.5 + 0.5 / scale, y - 0.5 + 0.5 / scale, 0.0])


def render(portrait: Portrait, pose: Pose, size: int) -> U8:
    """One picture of the portrait in a pose. Shape (size, size, 3), RGB uint8."""
    face_xy = _output_to_face(pose, size)
    photo_xy = face_xy + _sheet_offset(portrait, pose, face_xy)
    picture = _sample(portrait.enlarged, photo_xy)
    for patch, alpha in (
        _eyes(portrait, pose, face_xy),
        _mouth(portrait, pose, face_xy),
    ):
        picture += (patch - picture) * alpha[..., None]
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


# Control points


def _rim_points() -> F64:
    """Points along two nested frames around the face that pin the sheet down."""
    x0, y0, x1, y1 = SHEET
    frames = []
    for inset in (0, 7):
        xs = np.linspace(x0 + inset, x1 - inset, 12)
        ys = np.linspace(y0 + inset, y1 - inset, 14)[1:-1]
        frames += [np.stack([xs, np.full_like(xs, y)], 1) for y in (y0 + inset, y1 - inset)]
        frames += [np.stack([np.full_like(ys, x), ys], 1) for x in (x0 + inset, x1 - inset)]
    return np.concatenate(frames)


def _lid_sides(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which face-mesh points lie on an upper (-1) or lower (1) lid edge, corners left out."""
    upper = (*EYE_RIGHT_UPPER[1:-1], *EYE_LEFT_UPPER[1:-1])
    lower = (*EYE_RIGHT_LOWER[1:-1], *EYE_LEFT_LOWER[1:-1])
    return np.isin(numbers, lower).astype(np.int64) - np.isin(numbers, upper)


def _move_points(portrait: Portrait, pose: Pose) -> F64:
    """Where the control points go, face px. Shape (C, 2)."""
    shift = _mouth_shift(portrait.points, pose) + _lid_shift(portrait, portrait.points, pose)
    shift += _turn_shift(portrait.depth, pose)
    shift[portrait.fixed] = 0.0
    return portrait.points + shift


def _mouth_shift(points: F64, pose: Pose) -> F64:
    """Movement of skin and lips by jaw, closing and rounding, face px. Shape (C, 2)."""
    x, y = points.T
    left, right = UPPER_EDGE[0], UPPER_EDGE[-1]
    middle, half_width = (left[0] + right[0]) / 2, (right[0] - left[0]) / 2
    across = (x - middle) / half_width
    corner_y = np.interp(x, [left[0], right[0]], [left[1], right[1]])
    upper_y = np.interp(x, UPPER_EDGE[:, 0], UPPER_EDGE[:, 1])
    lower_y = np.interp(x, LOWER_EDGE[:, 0], LOWER_EDGE[:, 1])
    is_lower = (y > (upper_y + lower_y) / 2) | (np.abs(across) > 1) & (y > corner_y)
    arch = np.clip(1 - across**2, 0, None)
    # Below the mouth the jaw bone carries everything; towards the ears it hardly moves.
    bone = _smoothstep((y - corner_y) / 16) * np.exp(-((x - middle) ** 2) / (2 * 21.0**2))
    at_lip = np.exp(-np.clip(y - lower_y, 0, None) / 7.0)
    carried = np.where(np.abs(across) < 1, at_lip * np.sqrt(arch) + (1 - at_lip) * bone, bone)
    shift = np.zeros_like(points)
    shift[:, 1] += JAW_PX * pose.jaw * np.where(is_lower, carried * 0.95, 0.0)
    near_upper = np.exp(-np.clip(upper_y - y, 0, None) / 6.0) * ~is_lower
    near_lower = np.exp(-np.clip(y - lower_y, 0, None) / 9.0) * is_lower
    gap = lower_y - upper_y
    shift[:, 1] += pose.closing * gap * (0.32 * near_upper - 0.6 * near_lower)
    reach = np.exp(-0.5 * ((y - corner_y - 4) / 11) ** 2)
    pull = across * np.exp(-0.5 * np.clip(np.abs(across) - 1, 0, None) ** 2 / 0.35**2)
    shift[:, 0] -= ROUNDING_PX * (pose.rounding + 0.35 * pose.jaw) * pull * reach
    shift[:, 1] += 0.8 * pose.rounding * np.abs(pull) * reach
    return shift


def _lid_shift(portrait: Portrait, points: F64, pose: Pose) -> F64:
    """Movement of the lids, face px: the upper comes down, the lower rises a little."""
    shift = np.zeros_like(points)
    x, y = points.T
    for upper, lower in _eye_edges(portrait):
        inside = (x >= upper[0, 0]) & (x <= upper[-1, 0])
        upper_y = np.interp(x, upper[:, 0], upper[:, 1])
        lower_y = np.interp(x, lower[:, 0], lower[:, 1])
        gap = np.clip(lower_y - upper_y, 0, None)
        above, below = upper_y - y, y - lower_y
        lid = np.clip(1 - np.clip(above, 0, None) / 6.5, 0, 1) * (above > -0.5 * gap - 0.01)
        bag = np.clip(1 - np.clip(below, 0, None) / 5.0, 0, 1) * (below > -0.5 * gap - 0.01)
        move = 0.86 * lid * (below < 0) - 0.1 * bag * (below >= -0.25 * gap)
        shift[:, 1] += np.where(inside, pose.blink * gap * move, 0.0)
    return shift


def _turn_shift(depth: F64, pose: Pose) -> F64:
    """Parallax of a small head turn, face px: near points travel further. Shape (C, 2)."""
    near = depth - REST_DEPTH
    turn = np.sin(np.radians([pose.yaw_deg, pose.pitch_deg]))
    return near[:, None] * turn


def _eye_edges(portrait: Portrait) -> list[tuple[F64, F64]]:
    """Upper and lower lid edge of both eyes, left to right, photo px."""
    xy = portrait.landmarks[:, :2]
    right = (xy[list(EYE_RIGHT_UPPER)], xy[list(EYE_RIGHT_LOWER)])
    left = (xy[list(EYE_LEFT_UPPER)], xy[list(EYE_LEFT_LOWER)])
    return [right, left]


# The warp


def _output_to_face(pose: Pose, size: int) -> F64:
    """Face position of every output pixel: camera, then the nod undone. Shape (S, S, 2)."""
    at = (np.arange(size) - (size - 1) / 2) * (pose.view_width / size)
    xy = np.stack(np.meshgrid(at + pose.centre[0], at + pose.centre[1]), axis=-1)
    angle = np.radians(-pose.roll_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    # The whole head turns about the neck; shoulders and wall stay.
    away = np.linalg.norm((xy - HEAD_CENTRE) / np.array([88.0, 108.0]), axis=-1)
    inside: F64 = np.asarray((away - 0.72) / 0.75, np.float64)
    weight = 1 - _smoothstep(inside)
    below: F64 = np.asarray((xy[..., 1] - 160.0) / 40.0, np.float64)
    neck = 1 - _smoothstep(below)
    return xy + (weight * neck)[..., None] * ((xy - NECK) @ turn.T + NECK - xy)


def _sheet_offset(portrait: Portrait, pose: Pose, face_xy: F64) -> F64:
    """Face → photo offset of every output pixel. Shape (S, S, 2).

    Two splines, one that does not know the lower edges of the slits and one that does not know
    the upper, so that a closing slit pinches neither: each holds on its own side.
    """
    x0, y0, x1, y1 = SHEET
    grid = np.stack(np.meshgrid(np.arange(x0, x1 + 1.0), np.arange(y0, y1 + 1.0)), axis=-1)
    moved = _move_points(portrait, pose)
    rim = np.minimum.reduce(
        [grid[..., 0] - x0, x1 - grid[..., 0], grid[..., 1] - y0, y1 - grid[..., 1]]
    )
    hold = _smoothstep(rim / 8.0)[..., None]
    above, below = (
        _look_up(hold * _spline(portrait.points, moved, portrait.sides != other, grid), face_xy)
        for other in (1, -1)
    )
    return above + _below_slits(portrait, pose, face_xy)[..., None] * (below - above)


def _look_up(offset: F64, face_xy: F64) -> F64:
    """Reads the sheet's offset at each output pixel, 0 beyond the sheet."""
    at = (face_xy - SHEET[:2]).astype(np.float32)
    return cv2.remap(
        offset.astype(np.float32),
        at[..., 0],
        at[..., 1],
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_CONSTANT,
    ).astype(np.float64)


def _spline(points: F64, moved: F64, used: NDArray[np.bool_], grid: F64) -> F64:
    flat = _thin_plate(moved[used], (points - moved)[used], grid.reshape(-1, 2))
    return flat.reshape(grid.shape)


def _below_slits(portrait: Portrait, pose: Pose, face_xy: F64) -> F64:
    """1 under the middle line of the mouth or an eye, 0 over it, 0.5 far from all three."""
    x, y = face_xy[..., 0], face_xy[..., 1]
    below = np.full(x.shape, 0.5)
    for upper, lower in _moved_edges(portrait, pose):
        middle = (
            np.interp(x, upper[:, 0], upper[:, 1]) + np.interp(x, lower[:, 0], lower[:, 1])
        ) / 2
        beside = np.maximum(upper[0, 0] - x, x - upper[-1, 0])
        soft = 0.12 + np.clip(beside, 0, None)
        near = np.exp(-(((y - middle) / 16) ** 2)) * (1 - _smoothstep(beside / 5))
        below += 0.5 * np.clip((y - middle) / soft, -1, 1) * near
    return np.clip(below, 0, 1)


def _moved_edges(portrait: Portrait, pose: Pose) -> list[tuple[F64, F64]]:
    """Upper and lower edge of the mouth and of both eyes, as posed, face px."""
    lips = _turn_shift(np.array([-portrait.landmarks[13, 2]]), pose)[0]
    lids = _turn_shift(np.array([-portrait.landmarks[159, 2]]), pose)[0]
    upper, lower = (edge + _mouth_shift(edge, pose) + lips for edge in (UPPER_EDGE, LOWER_EDGE))
    moved = [(upper, lower)]
    for eye in _eye_edges(portrait):
        upper, lower = (edge + _lid_shift(portrait, edge, pose) + lids for edge in eye)
        moved.append((upper, lower))
    return moved


def _thin_plate(centres: F64, values: F64, at: F64) -> F64:
    """Smoothed thin-plate spline through `values` at `centres`, evaluated at `at`."""
    num = len(centres)
    affine = np.concatenate([np.ones((num, 1)), centres / 100], axis=1)
    system = np.zeros((num + 3, num + 3))
    system[:num, :num] = _bending(centres, centres) + 2.0 * np.eye(num)
    system[:num, num:] = affine
    system[num:, :num] = affine.T
    weights = np.linalg.solve(system, np.concatenate([values, np.zeros((3, 2))]))
    plane = np.concatenate([np.ones((len(at), 1)), at / 100], axis=1)
    return _bending(at, centres) @ weights[:num] + plane @ weights[num:]


def _bending(a: F64, b: F64) -> F64:
    squared = np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T, 1e-9)
    return squared * np.log(squared)


# Inside mouth and eyes: nothing there is skin, so nothing is stretched


def _mouth(portrait: Portrait, pose: Pose, face_xy: F64) -> tuple[F64, F64]:
    """What shows between the lips, and where: still teeth above a dark cavity."""
    shift = _turn_shift(np.array([-portrait.landmarks[13, 2]]), pose)[0]
    upper, lower = _moved_edges(portrait, pose)[0]
    opening = _area_mask(upper, lower, MOUTH_BOX, 0.45, face_xy)
    teeth_bottom = LOWER_EDGE - np.array([0.0, 0.45])
    teeth = _area_mask(UPPER_EDGE - [0, 3] + shift, teeth_bottom + shift, MOUTH_BOX, 0.4, face_xy)
    photo = _sample(portrait.enlarged, face_xy - shift)
    depth = np.interp(face_xy[..., 0], lower[:, 0], lower[:, 1]) - face_xy[..., 1]
    tongue = np.exp(-np.clip(depth, 0, None) / 2.5)[..., None]
    # Less light falls on teeth behind closing lips.
    photo += 0.85 * pose.closing**2 * (np.array([104.0, 52.0, 50.0]) - photo)
    cavity = np.array([34.0, 14.0, 13.0]) + tongue * np.array([58.0, 26.0, 26.0])
    return cavity + (photo - cavity) * teeth[..., None], opening


def _eyes(portrait: Portrait, pose: Pose, face_xy: F64) -> tuple[F64, F64]:
    """The eyeballs, still, and where the lids leave them free."""
    free = np.zeros(face_xy.shape[:2])
    shift = _turn_shift(np.array([-portrait.landmarks[159, 2]]), pose)[0]
    for upper, lower in _moved_edges(portrait, pose)[1:]:
        free = np.maximum(free, _area_mask(upper, lower, EYES_BOX, 0.35, face_xy))
    ball = _sample(portrait.enlarged, face_xy - shift)
    # Lids and lashes shade the ball as they close.
    ball += 0.8 * pose.blink**2 * (np.array([88.0, 60.0, 48.0]) - ball)
    return ball, free


def _area_mask(
    upper: F64, lower: F64, box: tuple[int, int, int, int], blur: float, face_xy: F64
) -> F64:
    """How much of each output pixel lies between two edges, in [0, 1]. `blur` in face px."""
    x0, y0, x1, y1 = box
    x = x0 + (np.arange((x1 - x0) * MASK_SCALE) + 0.5) / MASK_SCALE - 0.5
    y = y0 + (np.arange((y1 - y0) * MASK_SCALE) + 0.5) / MASK_SCALE - 0.5
    top = np.interp(x, upper[:, 0], upper[:, 1])
    bottom = np.interp(x, lower[:, 0], lower[:, 1])
    inside = np.minimum(y[:, None] - top, bottom - y[:, None])
    inside[:, (x < upper[0, 0]) | (x > upper[-1, 0])] = -1.0
    mask = np.clip(inside * MASK_SCALE + 0.5, 0, 1).astype(np.float32)
    mask = cv2.GaussianBlur(mask, (0, 0), blur * MASK_SCALE)
    at = ((face_xy - [x0 - 0.5, y0 - 0.5]) * MASK_SCALE - 0.5).astype(np.float32)
    return cv2.remap(
        mask, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    ).astype(np.float64)


def _sample(enlarged: F32, photo_xy: F64) -> F64:
    at = ((photo_xy + 0.5) * UPSCALE - 0.5).astype(np.float32)
    picture = cv2.remap(
        enlarged, at[..., 0], at[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    return picture.astype(np.float64)


def _smoothstep(x: F64) -> F64:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)
