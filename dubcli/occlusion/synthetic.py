"""Made things in front of faces: hands, microphones, cups, masks, hair, writing and others.

Everything is drawn by chance onto a canvas of the crop's size, in the colours and textures of other
pictures, so that what stands in front of a face is known exactly. Sizes follow from the distance
between the eyes, which is about 63 mm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dubcli.core.types import F32, F64, U8
from dubcli.face.landmarks import CHEEKS, CHIN, JAW, LIPS_OUTER, STABLE
from dubcli.occlusion.drawing import (
    FINER,
    SHIFT,
    FaceScene,
    Layer,
    any_colour,
    any_surface,
    blob,
    box_ring,
    capsule,
    coarse,
    ellipse,
    fixed,
    grid_of,
    mesh,
    motion,
    noise,
    plain,
    polygon,
    put,
    rounded,
    skin,
    soft,
    turned,
)

_WORDS = "the LIVE breaking news today said 2024 WOW subscribe we know that mouth #1 $9.99 ok"


def hand(scene: FaceScene) -> Layer:
    """Fingers, or fingers and palm, from any side."""
    rng, mm = scene.rng, scene.mm
    angle = rng.uniform(0, 2 * np.pi)
    towards = np.array([np.cos(angle), np.sin(angle)])
    aside = np.array([-towards[1], towards[0]])
    tip = scene.target() + towards * rng.uniform(-10, 40) * mm
    width = rng.uniform(13, 21) * mm
    num = int(rng.integers(1, 5))
    gap = rng.uniform(0.85, 1.35) * width
    shade = np.zeros((scene.size[0] * FINER, scene.size[1] * FINER), np.float32)
    whole = np.zeros_like(shade)
    bend = rng.uniform(-0.35, 0.35)
    for number in range(num):
        place = (number - (num - 1) / 2) * gap
        reach = rng.uniform(-8, 8) * mm - 1.5 * abs(place) * rng.uniform(0, 0.3)
        end = tip + aside * place + towards * reach
        middle = end - towards * 30 * mm + aside * bend * 20 * mm
        root = middle - towards * 50 * mm
        one = capsule(scene, [end, middle, root], width * rng.uniform(0.85, 1.1))
        put(shade, whole, one, rng.uniform(0.9, 1.0))
    if num > 2 or rng.random() < 0.4:
        palm = tip - towards * rng.uniform(60, 85) * mm
        ring = blob(rng, palm, rng.uniform(38, 55) * mm, 0.12, 9)
        put(shade, whole, polygon(scene, ring), 1.0)
        wrist = [palm, palm - towards * 160 * mm]
        put(shade, whole, capsule(scene, wrist, rng.uniform(48, 62) * mm), 1.0)
    rgb = skin(scene) * coarse(shade, scene)[..., None]
    if rng.random() < 0.15:
        # A glove, or a sleeve.
        rgb = any_colour(rng) * coarse(shade, scene)[..., None] + noise(rng, scene.size, 4)
    return Layer(rgb=rgb, alpha=coarse(whole, scene))


def microphone(scene: FaceScene) -> Layer:
    """A head of mesh or foam on a stick."""
    rng, mm = scene.rng, scene.mm
    centre = scene.target() + rng.normal(0, 8 * mm, 2)
    angle = rng.uniform(0.15, 0.85) * np.pi if rng.random() < 0.8 else rng.uniform(0, 2 * np.pi)
    away = np.array([np.cos(angle), np.sin(angle)])
    radius = rng.uniform(9, 34) * mm
    head = polygon(scene, ellipse(centre, radius * rng.uniform(1, 1.35), radius, angle))
    stick = capsule(scene, [centre, centre + away * 250 * mm], radius * rng.uniform(0.4, 1.3))
    alpha = np.maximum(head, stick)
    dark = np.full(3, rng.uniform(5, 70)) + rng.normal(0, 6, 3)
    head_colour = any_colour(rng) if rng.random() < 0.3 else dark
    rgb = np.broadcast_to(dark, (*scene.size, 3)) * rounded(stick, scene)
    wires = plain(head_colour, scene) + mesh(rng, scene.size)
    inside = coarse(head, scene)[..., None]
    rgb = rgb * (1 - inside) + wires * rounded(head, scene) * inside
    return Layer(rgb=rgb.astype(np.float32), alpha=coarse(alpha, scene))


def cup(scene: FaceScene) -> Layer:
    """A cup, glass or bottle, upright or tilted, with light running down it."""
    rng, mm = scene.rng, scene.mm
    centre, angle = scene.target(), rng.normal(0, 0.4)
    half, height = rng.uniform(22, 45) * mm, rng.uniform(60, 130) * mm
    taper = rng.uniform(0.6, 1.0)
    corners = np.array([[-half, 0], [half, 0], [half * taper, height], [-half * taper, height]])
    body = polygon(scene, turned(corners, angle) + centre)
    rim = polygon(scene, ellipse(centre, half, half * rng.uniform(0.1, 0.4), angle))
    alpha = np.maximum(body, rim)
    across = (grid_of(scene.size) - centre) @ np.array([np.cos(angle), np.sin(angle)]) / half
    light = 0.75 + 0.35 * np.cos(3 * (across - rng.uniform(-0.6, 0.6)))
    rgb = any_surface(scene) * light[..., None]
    inside = coarse(rim, scene)[..., None]
    rgb = rgb * (1 - inside) + plain(any_colour(rng), scene) * 0.7 * inside
    return Layer(rgb=rgb.astype(np.float32), alpha=coarse(alpha, scene))


def book(scene: FaceScene) -> Layer:
    """A board, sheet or book with lines of writing."""
    rng, mm = scene.rng, scene.mm
    ring = box_ring(rng, scene.target(), rng.uniform(50, 140) * mm, rng.uniform(60, 180) * mm, 0.5)
    # Held by a corner or an edge rather than by its middle.
    ring += rng.uniform(-0.5, 0.5, 2) * (ring.max(0) - ring.min(0))
    rgb = any_surface(scene)
    if rng.random() < 0.6:
        ink = plain(any_colour(rng), scene)
        rows = (np.arange(scene.size[0]) // int(rng.integers(1, 5))) % 2 == 0
        lines = np.where(rows[:, None], rng.random(scene.size) < 0.6, False)
        rgb = np.where(lines[..., None], ink, rgb)
    return Layer(rgb=rgb.astype(np.float32), alpha=coarse(polygon(scene, ring), scene))


def surgical_mask(scene: FaceScene) -> Layer:
    """A mask with folds, in its usual colours, from the nose to below the chin."""
    rng = scene.rng
    colours = ((150, 195, 220), (235, 238, 240), (35, 35, 40), (170, 215, 195), (225, 180, 195))
    colour = np.array(colours[rng.integers(len(colours))], np.float64) + rng.normal(0, 14, 3)
    rows = np.arange(scene.size[0])[:, None] / (rng.uniform(6, 14) * scene.mm)
    folds = 1 + rng.uniform(0, 0.14) * np.sin(2 * np.pi * rows + rng.uniform(0, 6))
    return _worn(scene, plain(colour, scene) * folds[..., None], rng.uniform(0.1, 0.75))


def cloth_mask(scene: FaceScene) -> Layer:
    """A mask of any stuff."""
    return _worn(scene, any_surface(scene), scene.rng.uniform(0.1, 0.75))


def hair(scene: FaceScene) -> Layer:
    """Strands, or a lock of many, that hang over the face."""
    rng, mm = scene.rng, scene.mm
    fine = np.zeros((scene.size[0] * FINER, scene.size[1] * FINER), np.float32)
    through = scene.target()
    lean = rng.uniform(-0.6, 0.6)
    spread = rng.uniform(3, 22) * mm
    bend = rng.uniform(-25, 25) * mm
    along = np.linspace(-1.6, 1.2, 14)
    shade = np.ones_like(fine)
    for _ in range(int(rng.integers(6, 60))):
        start = through + np.array([rng.normal(0, spread), 0])
        curve = np.stack([along * lean * 60 * mm + bend * along**2, along * 70 * mm], 1)
        curve += start + np.cumsum(rng.normal(0, 0.5 * mm, curve.shape), 0)
        thick = int(rng.integers(1, 4))
        cv2.polylines(fine, [fixed(curve)], False, (1.0,), thick, cv2.LINE_8, SHIFT)
        tone = float(rng.uniform(0.6, 1.4))
        cv2.polylines(shade, [fixed(curve)], False, (tone,), thick, cv2.LINE_8, SHIFT)
    tones = ((25, 20, 18), (60, 42, 30), (110, 80, 50), (175, 145, 100), (150, 70, 35), (150,) * 3)
    colour = np.array(tones[rng.integers(len(tones))], np.float64) * rng.uniform(0.6, 1.3)
    rgb = plain(colour, scene) * coarse(shade, scene)[..., None]
    return Layer(rgb=rgb.astype(np.float32), alpha=coarse(fine, scene))


def pole(scene: FaceScene) -> Layer:
    """A straight bar across the picture."""
    rng = scene.rng
    centre, angle = scene.target(), rng.uniform(0, np.pi)
    along = np.array([np.cos(angle), np.sin(angle)]) * 300 * scene.mm
    bar = capsule(scene, [centre - along, centre + along], rng.uniform(6, 45) * scene.mm)
    rgb = any_surface(scene) * rounded(bar, scene)
    return Layer(rgb=rgb.astype(np.float32), alpha=coarse(bar, scene))


def caption(scene: FaceScene) -> Layer:
    """Writing over the picture, with or without a box behind it."""
    rng = scene.rng
    height, width = scene.size
    fine = np.zeros((height * FINER, width * FINER), np.float32)
    box = np.zeros_like(fine)
    words = np.array(_WORDS.split())
    scale, thick = rng.uniform(0.5, 1.6), int(rng.integers(1, 5))
    x, y = rng.uniform(-0.3, 0.3) * fine.shape[1], scene.target()[1] * FINER
    font = int(rng.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX]))
    for line in range(int(rng.integers(1, 3))):
        text = " ".join(rng.choice(words, int(rng.integers(2, 6))))
        (wide, high), _ = cv2.getTextSize(text, font, scale, thick)
        spot = (int(x), int(y + line * 1.5 * high))
        cv2.putText(fine, text, spot, font, scale, (1.0,), thick, cv2.LINE_AA)
        corners = (spot[0] - 5, spot[1] - high - 5), (spot[0] + wide + 5, spot[1] + high // 2)
        cv2.rectangle(box, *corners, (1.0,), -1)
    ink = coarse(fine, scene)[..., None]
    white = rng.random() < 0.6
    colour = np.full(3, rng.uniform(220, 255)) if white else any_colour(rng)
    back = rng.uniform(0, 60) if colour.mean() > 120 else rng.uniform(190, 255)
    kind = rng.random()
    if kind < 0.4:
        behind = box * float(rng.uniform(0.6, 1.0))
    else:
        edge = np.ones((5, 5), np.uint8)
        behind = np.asarray(cv2.dilate(fine, edge), np.float32) if kind < 0.7 else fine
    rgb = np.full((height, width, 3), back) * (1 - ink) + colour * ink
    return Layer(rgb=rgb.astype(np.float32), alpha=coarse(np.maximum(fine, behind), scene))


def anything(scene: FaceScene) -> Layer:
    """A blob or a polygon with any texture."""
    rng = scene.rng
    spikes = rng.uniform(0.05, 0.5)
    ring = blob(rng, scene.target(), rng.uniform(10, 60) * scene.mm, spikes, rng.integers(3, 12))
    shape = polygon(scene, ring)
    rgb = any_surface(scene) * (rounded(shape, scene) if rng.random() < 0.4 else 1.0)
    return Layer(rgb=rgb.astype(np.float32), alpha=coarse(shape, scene))


def phone(scene: FaceScene) -> Layer:
    """A telephone seen from behind, held before the mouth."""
    rng, mm = scene.rng, scene.mm
    angle = rng.normal(0, 0.6)
    half = np.array([rng.uniform(33, 40), rng.uniform(68, 80)]) * mm * rng.uniform(0.9, 1.2)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    centre = scene.target()
    ring = turned(corners, angle) + centre
    fine = polygon(scene, ring)
    colour = np.array(
        ((20, 20, 24), (225, 225, 228), (60, 70, 95), (200, 170, 150))[rng.integers(4)]
    )
    lens = turned(
        np.array([[-0.55, -0.8], [-0.1, -0.8], [-0.1, -0.4], [-0.55, -0.4]]) * half, angle
    )
    rgb = plain(colour, scene) * np.linspace(0.85, 1.15, scene.size[0])[:, None, None]
    inside = coarse(polygon(scene, lens + centre), scene)[..., None]
    rgb = rgb * (1 - inside) + 15 * inside
    return Layer(rgb=rgb.astype(np.float32), alpha=coarse(fine, scene))


def scarf(scene: FaceScene) -> Layer:
    """A knitted scarf that is drawn up over chin and mouth."""
    rng, mm = scene.rng, scene.mm
    height, width = scene.size
    lips = scene.points[LIPS_OUTER, 1]
    edge = rng.uniform(lips.min() - 12 * mm, lips.max() + 6 * mm)
    x = np.arange(0, width + 8, 8)
    wave = edge + np.cumsum(rng.normal(0, 2 * mm, len(x)))
    ring = np.concatenate([np.stack([x, wave], 1), [[width, height], [0, height]]])
    grid = grid_of(scene.size)
    turn = rng.uniform(0, np.pi)
    along = grid @ np.array([np.cos(turn), np.sin(turn)])
    stripe = np.sin(along / (rng.uniform(3, 12) * mm)) > 0
    rgb = np.where(stripe[..., None], any_colour(rng), any_colour(rng)) * np.ones(
        (height, width, 1)
    )
    knit = 1 + 0.15 * np.sin(grid[..., 0] * 2) * np.sin(grid[..., 1] * 2)
    rgb = rgb * knit[..., None] + noise(rng, scene.size, 5)
    return Layer(rgb=rgb.astype(np.float32), alpha=coarse(polygon(scene, ring), scene))


Painter = Callable[[FaceScene], Layer]
# How often each is drawn while training, and what is only ever scored.
LEARNT: dict[str, tuple[Painter, float]] = {
    "hand": (hand, 5.0),
    "microphone": (microphone, 3.0),
    "surgical mask": (surgical_mask, 1.2),
    "cloth mask": (cloth_mask, 1.0),
    "cup": (cup, 1.3),
    "book": (book, 1.3),
    "hair": (hair, 1.5),
    "pole": (pole, 1.0),
    "caption": (caption, 1.2),
    "anything": (anything, 2.0),
}
HELD_OUT: dict[str, Painter] = {"phone": phone, "scarf": scarf}


def cover(scene: FaceScene, painter: Painter) -> tuple[F32, F32]:
    """Put one thing in front of a face, with a shadow on it.

    Returns:
        The picture (H, W, 3), float32, 0 to 255, and what is covered (H, W), 0 to 1.
    """
    rng = scene.rng
    layer = painter(scene)
    alpha = layer.alpha
    if rng.random() < 0.4:
        alpha = soft(alpha, rng.uniform(0.3, 1.2))
    if rng.random() < 0.15:
        kernel = motion(rng, int(rng.integers(3, 8)))
        alpha, rgb = cv2.filter2D(alpha, -1, kernel), cv2.filter2D(layer.rgb, -1, kernel)
        layer = Layer(rgb=np.asarray(rgb, np.float32), alpha=np.asarray(alpha, np.float32))
        alpha = layer.alpha
    face = scene.face
    if rng.random() < 0.5:
        moved = np.roll(alpha, rng.integers(-4, 5, 2).tolist(), (0, 1))
        face = face * (1 - rng.uniform(0, 0.5) * soft(moved, rng.uniform(1.5, 4)))[..., None]
    rgb = np.clip(layer.rgb * rng.uniform(0.75, 1.2), 0, 255)
    inside = alpha[..., None]
    return (face * (1 - inside) + rgb * inside).astype(np.float32), alpha


def disturb(scene: FaceScene, same: F32) -> F32:
    """What looks as if something had been put in front of a face, and is the face itself.

    Args:
        scene: The face.
        same: Another crop of the same person. Shape (H, W, 3).

    Returns:
        The picture. Shape (H, W, 3).
    """
    rng = scene.rng
    shape = polygon(scene, blob(rng, scene.target(), rng.uniform(8, 45) * scene.mm, 0.4, 8))
    alpha = soft(coarse(shape, scene), rng.uniform(0.3, 3))[..., None]
    kind = rng.random()
    if kind < 0.45:
        return np.asarray(scene.face * (1 - alpha) + same * alpha, np.float32)
    if kind < 0.75:
        lit = scene.face * (1 + alpha * rng.uniform(-0.6, 0.5))
        return np.asarray(np.clip(lit, 0, 255), np.float32)
    return _bearded(scene)


def _bearded(scene: FaceScene) -> F32:
    """Stubble or a beard around the lips and along the jaw."""
    rng = scene.rng
    ring = np.concatenate([scene.points[JAW], scene.points[CHEEKS][:8]])
    level = scene.points[LIPS_OUTER, 1].min() - rng.uniform(2, 10) * scene.mm
    ring = ring[ring[:, 1] > level]
    if len(ring) < 3:
        return scene.face
    hull = np.asarray(cv2.convexHull(ring.astype(np.float32)))[:, 0].astype(np.float64)
    area = soft(coarse(polygon(scene, hull), scene), rng.uniform(1.5, 3))
    lips = scene.points[LIPS_OUTER].astype(np.float64)
    lips = lips.mean(0) + (lips - lips.mean(0)) * rng.uniform(1.0, 1.2)
    area = area * (1 - coarse(polygon(scene, lips), scene))
    curls = np.clip(0.7 + noise(rng, scene.size, 0.4)[..., :1], 0, 1)
    tone = np.array(((20, 17, 15), (60, 42, 30), (130, 125, 120), (95, 60, 35))[rng.integers(4)])
    inside = area[..., None] * rng.uniform(0.2, 0.9) * curls
    return (scene.face * (1 - inside) + tone * inside).astype(np.float32)


def _worn(scene: FaceScene, rgb: F64 | F32, rise: float) -> Layer:
    """Stuff that is fitted from `rise` of the nose's length up to below the chin."""
    rng, mm = scene.rng, scene.mm
    points = scene.points.astype(np.float64)
    jaw = points[JAW]
    top = points[LIPS_OUTER, 1].min()
    nose = points[STABLE, 1]
    level = top - rise * (top - np.quantile(nose, 0.45))
    below = jaw[jaw[:, 1] > level]
    centre = points[LIPS_OUTER].mean(0)
    bridge = np.array([centre[0], level - rng.uniform(0, 8) * mm])
    below = centre + (below - centre) * rng.uniform(0.95, 1.12)
    ring = np.concatenate([below, [bridge]])
    hull = np.asarray(cv2.convexHull(ring.astype(np.float32)))[:, 0].astype(np.float64)
    fine = polygon(scene, hull)
    for end in (below[0], below[-1]):
        ear = end + np.array([np.sign(end[0] - centre[0]) * 15, -25]) * mm
        put(fine, fine, capsule(scene, [end, ear], 3 * mm), 1.0)
    side = np.abs(grid_of(scene.size)[..., 0] - centre[0]) / (60 * mm)
    light = 1.05 - 0.3 * np.clip(side, 0, 1) ** 2 + 0.05 * noise(rng, scene.size, 1)[..., 0]
    below_chin = points[CHIN, 1]
    light = light - 0.2 * (grid_of(scene.size)[..., 1] > below_chin)
    return Layer(rgb=(rgb * light[..., None]).astype(np.float32), alpha=coarse(fine, scene))


def _lit(image: F32, rng: np.random.Generator) -> F32:
    """The picture under a light from one side, and flatter or harder than it was."""
    lit: NDArray[Any] = image
    if rng.random() < 0.4:
        height, width = image.shape[:2]
        angle = rng.uniform(0, 2 * np.pi)
        away = grid_of((height, width)) / (width, height) - rng.uniform(0.25, 0.75, 2)
        along = away @ np.array([np.cos(angle), np.sin(angle)])
        # From a soft fall of light to the edge of a shadow.
        side = np.tanh(along * rng.uniform(1, 12))
        lit = lit * (1 - rng.uniform(0, 0.45) * (1 + side) / 2)[..., None]
    middle = lit.mean()
    return (middle + (lit - middle) * rng.uniform(0.55, 1.3)).astype(np.float32)


def worn_out(image: F32, rng: np.random.Generator) -> U8:
    """A picture as cameras and codecs leave it: light, size, blur, noise, blocks.

    Args:
        image: RGB, 0 to 255. Shape (H, W, 3).
        rng: Chance.
    """
    height, width = image.shape[:2]
    if rng.random() < 0.4:
        factor = rng.uniform(0.3, 0.9)
        small = (max(8, int(width * factor)), max(8, int(height * factor)))
        reduced = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        whole = cv2.resize(reduced, (width, height), interpolation=cv2.INTER_CUBIC)
        image = np.asarray(whole, np.float32)
    if rng.random() < 0.1:
        smeared = cv2.filter2D(image, -1, motion(rng, int(rng.integers(3, 7))))
        image = np.asarray(smeared, np.float32)
    gain = rng.uniform(0.6, 1.4) * rng.normal(1, 0.06, 3)
    light = 255 * np.clip(_lit(image, rng) / 255 * gain, 0, 1) ** rng.uniform(0.7, 1.4)
    if rng.random() < 0.2:
        light = light.mean(-1, keepdims=True) * np.ones(3)
    light = light + rng.normal(0, rng.uniform(0, 5), image.shape)
    picture = np.clip(light, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 95))]
        picture = cv2.imdecode(cv2.imencode(".jpg", picture, quality)[1], cv2.IMREAD_COLOR)
    return np.asarray(picture, np.uint8)
