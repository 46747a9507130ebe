"""Shapes and surfaces that things in front of faces are drawn with."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dubcli.core.types import F32, F64
from dubcli.face.landmarks import CHEEKS, LIPS_OUTER, SPEAKING, STABLE, inter_ocular

_MM_BETWEEN_EYES = 63.0
# Shapes are drawn this many times finer, then averaged.
FINER = 2
SHIFT = 4


@dataclass(frozen=True, kw_only=True)
class FaceScene:
    """A face to be covered.

    Attributes:
        face: Its crop. Shape (H, W, 3), float32, 0 to 255.
        points: Kept points, px of the crop. Shape (K, 2), float32.
        other: Another person's crop, which lends textures. Same shape.
        other_points: Kept points in it. Shape (K, 2).
        rng: Chance.
    """

    face: F32
    points: F32
    other: F32
    other_points: F32
    rng: np.random.Generator

    @property
    def size(self) -> tuple[int, int]:
        """Height, width, px."""
        return self.face.shape[0], self.face.shape[1]

    @property
    def mm(self) -> float:
        """Pixels a millimetre on the face."""
        return float(inter_ocular(self.points)) / _MM_BETWEEN_EYES

    def target(self) -> F64:
        """A point on the lower face, mostly about the mouth. Shape (2,)."""
        group = SPEAKING if self.rng.random() < 0.5 else LIPS_OUTER
        points = self.points[group]
        spot = points[self.rng.integers(len(points))].astype(np.float64)
        return spot + self.rng.normal(0, 8 * self.mm, 2)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What lies on top: RGB (H, W, 3), 0 to 255, and how much of each pixel it hides (H, W)."""

    rgb: F32
    alpha: F32


def any_surface(scene: FaceScene) -> F32:
    """Any texture: plain, striped, mottled, somebody's skin, or a part of another picture."""
    rng = scene.rng
    kind = rng.random()
    if kind < 0.3:
        return plain(any_colour(rng), scene) + noise(rng, scene.size, rng.uniform(0, 8))
    if kind < 0.45:
        turn = rng.uniform(0, np.pi)
        along = grid_of(scene.size) @ np.array([np.cos(turn), np.sin(turn)])
        share = 0.5 + 0.5 * np.sin(along / rng.uniform(0.6, 8))
        return (
            any_colour(rng) * share[..., None] + any_colour(rng) * (1 - share[..., None])
        ).astype(np.float32)
    if kind < 0.65:
        cells = rng.uniform(0, 255, (int(rng.integers(2, 20)), int(rng.integers(2, 16)), 3))
        flat = cells.mean((0, 1)) + (cells - cells.mean((0, 1))) * rng.uniform(0.1, 0.9)
        return _resized(flat.astype(np.float32), scene.size)
    if kind < 0.75:
        return skin(scene)
    return _part(rng, scene.other, rng.uniform(0.2, 0.9), scene.size)


def skin(scene: FaceScene) -> F32:
    """Skin of this or another person, as large as the canvas."""
    rng = scene.rng
    own = rng.random() < 0.6
    image, points = (scene.face, scene.points) if own else (scene.other, scene.other_points)
    # Cheeks beside the nose, and the brow.
    spots = (points[CHEEKS][-4:], points[STABLE][8:10])[int(rng.random() < 0.35)]
    spot = spots[rng.integers(len(spots))]
    reach = max(3, round(9 * scene.mm))
    x = int(np.clip(spot[0], reach, image.shape[1] - reach - 1))
    y = int(np.clip(spot[1], reach, image.shape[0] - reach - 1))
    patch = image[y - reach : y + reach, x - reach : x + reach]
    flat = patch.mean((0, 1)) + (patch - patch.mean((0, 1))) * rng.uniform(0.3, 1.2)
    skin = _resized(flat, scene.size) * rng.uniform(0.7, 1.2) * rng.normal(1, 0.04, 3)
    return (skin + noise(rng, scene.size, rng.uniform(0, 4))).astype(np.float32)


def _part(rng: np.random.Generator, image: F32, share: float, size: tuple[int, int]) -> F32:
    high, wide = (max(2, int(share * side)) for side in image.shape[:2])
    y = int(rng.integers(image.shape[0] - high + 1))
    x = int(rng.integers(image.shape[1] - wide + 1))
    part = np.rot90(image[y : y + high, x : x + wide], int(rng.integers(4)))
    return _resized(np.ascontiguousarray(part), size)


def any_colour(rng: np.random.Generator) -> F64:
    """A colour, mostly dull. Shape (3,)."""
    grey = rng.uniform(5, 250)
    return np.clip(grey + rng.normal(0, rng.choice([3, 60]), 3), 0, 255)


def plain(colour: F64, scene: FaceScene) -> F32:
    """One colour all over. Shape (H, W, 3)."""
    return np.broadcast_to(colour, (*scene.size, 3)).astype(np.float32)


def noise(rng: np.random.Generator, size: tuple[int, int], spread: float) -> F32:
    """Grey noise, fine or coarse. Shape (H, W, 1)."""
    step = int(rng.integers(1, 4))
    coarse = rng.normal(0, spread, (size[0] // step + 1, size[1] // step + 1)).astype(np.float32)
    return _resized(coarse, size)[..., None]


def mesh(rng: np.random.Generator, size: tuple[int, int]) -> F32:
    """Wire mesh or foam. Shape (H, W, 1)."""
    if rng.random() < 0.5:
        return noise(rng, size, rng.uniform(2, 14))
    grid = grid_of(size) * rng.uniform(0.8, 2.5)
    wires = np.sin(grid.sum(-1)) * np.sin(grid[..., 0] - grid[..., 1])
    return (wires[..., None] * rng.uniform(5, 45)).astype(np.float32)


def rounded(fine: F32, scene: FaceScene) -> F32:
    """Light on something round: darker towards its edges. Shape (H, W, 1)."""
    return coarse(_bulge(fine), scene)[..., None]


def _bulge(fine: F32) -> F32:
    inside = (fine > 0.5).astype(np.uint8)
    depth = np.asarray(cv2.distanceTransform(inside, cv2.DIST_L2, 3), np.float32)
    most = float(depth.max()) or 1.0
    return (0.55 + 0.45 * np.sqrt(np.minimum(depth / most, 1))).astype(np.float32)


def put(shade: F32, whole: F32, one: F32, light: float) -> None:
    """Lay a shape over others, with its own light."""
    where = one > 0.5
    shade[where] = (_bulge(one) * light)[where]
    np.maximum(whole, one, out=whole)


def capsule(scene: FaceScene, spots: list[F64], width: float) -> F32:
    """A thick line with round ends through some spots, fine px. Shape (2 H, 2 W)."""
    fine = np.zeros((scene.size[0] * FINER, scene.size[1] * FINER), np.float32)
    thick = max(1, round(width * FINER))
    ring = fixed(np.stack(spots))
    cv2.polylines(fine, [ring], False, (1.0,), thick, cv2.LINE_8, SHIFT)
    return fine


def polygon(scene: FaceScene, ring: F64) -> F32:
    """A ring of points (M, 2), filled. Shape (2 H, 2 W)."""
    fine = np.zeros((scene.size[0] * FINER, scene.size[1] * FINER), np.float32)
    cv2.fillPoly(fine, [fixed(ring)], (1.0,), cv2.LINE_8, SHIFT)
    return fine


def fixed(points: F64) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    """Points in cv2's fixed-point numbers, on the finer canvas. Shape (M, 2)."""
    finer = (points + 0.5) * FINER - 0.5
    return np.round(np.clip(finer, -4000, 4000) * (1 << SHIFT)).astype(np.int32)


def blob(
    rng: np.random.Generator, centre: F64, radius: float, spikes: float, num: int | np.integer
) -> F64:
    """A ring of points around a centre, rough by `spikes`. Shape (num, 2)."""
    angle = np.sort(rng.uniform(0, 2 * np.pi, int(num)))
    reach = radius * np.clip(rng.normal(1, spikes, int(num)), 0.3, 2)
    return centre + np.stack([np.cos(angle) * reach, np.sin(angle) * reach], 1)


def box_ring(rng: np.random.Generator, centre: F64, wide: float, high: float, turn: float) -> F64:
    """Corners of a rectangle, turned by chance. Shape (4, 2)."""
    corners = np.array([[-wide, -high], [wide, -high], [wide, high], [-wide, high]]) / 2
    return turned(corners, rng.normal(0, turn)) + centre


def ellipse(centre: F64, long: float, short: float, angle: float) -> F64:
    """A ring of points on an ellipse. Shape (32, 2)."""
    around = np.linspace(0, 2 * np.pi, 33)[:-1]
    ring = np.stack([np.cos(around) * long, np.sin(around) * short], 1)
    return turned(ring, angle) + centre


def turned(points: F64, angle: float) -> F64:
    """Points (M, 2) turned about the origin, radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]])


def grid_of(size: tuple[int, int]) -> F64:
    """x, y of each pixel. Shape (H, W, 2)."""
    y, x = np.mgrid[: size[0], : size[1]]
    return np.stack([x, y], -1).astype(np.float64)


def coarse(fine: F32, scene: FaceScene) -> F32:
    """A fine shape averaged to the canvas. Shape (H, W)."""
    return np.asarray(cv2.resize(fine, scene.size[::-1], interpolation=cv2.INTER_AREA), np.float32)


def _resized(image: F32, size: tuple[int, int]) -> F32:
    return np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def soft(alpha: F32, sigma: float) -> F32:
    """A blurred shape; `sigma` in px."""
    return np.asarray(cv2.GaussianBlur(alpha, (0, 0), sigma), np.float32)


def motion(rng: np.random.Generator, length: int) -> F32:
    """A kernel that smears along a line."""
    kernel = np.zeros((length, length), np.float32)
    angle, middle = rng.uniform(0, np.pi), (length - 1) / 2
    reach = np.array([np.cos(angle), np.sin(angle)]) * middle
    ends = [(round(middle + sign * reach[0]), round(middle + sign * reach[1])) for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], (1.0,))
    return kernel / kernel.sum()
