"""Draw a mouth from its landmarks, and deform references to it.

All coordinates are crop px, xy, pixel centres at integers. Points are the speaking points of
`face.landmarks`: outer lips (20), inner lips (20), jaw (21), skin between (41).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

OUTER = slice(0, 20)
INNER = slice(20, 40)
JAW = slice(40, 61)
NUM_CHANNELS = 3
INNER_TOP, INNER_BOTTOM = 20 + 15, 20 + 5
# Least thickness of a lip over that at rest: the second percentile of 213 people's frames, in which
# the mouth is no more open than at rest, and in which it is open by `_WIDE` more.
_CLOSED_THICKNESS, _OPEN_THICKNESS, _WIDE = 0.85, 0.7, 0.1

# What a picture with less of a share adds to a mixture cannot be seen.
_LEAST_SHARE = 1 / 1024
# Maps of features have at least so many channels.
_MANY_CHANNELS = 8


def pixel_grid(height: int, width: int, stride: int, origin: tuple[int, int]) -> Tensor:
    """Centres of `stride`-px cells in crop px. Shape (h, w, 2), xy; `origin` is y, x."""
    y = (torch.arange(height) + 0.5) * stride - 0.5 + origin[0]
    x = (torch.arange(width) + 0.5) * stride - 0.5 + origin[1]
    return torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).flip(-1)


def draw_mouth(points: Tensor, grid: Tensor, softness_px: float, refine: int = 2) -> Tensor:
    """Lips, open mouth and jaw line as soft maps; differentiable in the points.

    Distances are computed on the given grid and resized, since they are close to linear between
    its cells; the edges are drawn afterwards.

    Args:
        points: Speaking points. Shape (T, S, 2), crop px.
        grid: Cells. Shape (h, w, 2), crop px.
        softness_px: Width of the edges.
        refine: How many times finer than the grid the maps are.

    Returns:
        Filled outer lips, filled mouth opening, jaw curve, in [0, 1].
        Shape (T, 3, h * refine, w * refine).
    """
    grid = grid.to(points.device, points.dtype)
    lips = outline_distance(points[:, OUTER], grid)
    opening = outline_distance(points[:, INNER], grid)
    jaw = _line_distance(points[:, JAW], grid, closed=False)
    distances = functional.interpolate(
        torch.stack([lips, opening, jaw], 1),
        scale_factor=refine,
        mode="bilinear",
        align_corners=False,
    )
    filled = torch.sigmoid(distances[:, :2] * (2.0 / softness_px))
    curve = torch.exp(-0.5 * (distances[:, 2:] / (1.5 * softness_px)) ** 2)
    return torch.cat([filled, curve], 1)


def closed_not_crossed(points: Tensor) -> Tensor:
    """Speaking points whose inner lips touch where they would pass through each other.

    A mouth that is wanted more than closed would be drawn as an opening turned inside out.

    Args:
        points: Canonical or placed, y downwards. Shape (T, S, 2 or 3).
    """
    ring = points[:, INNER]
    half = ring.shape[1] // 2
    lower, upper = ring[:, 1:half], ring[:, half + 1 :].flip(1)
    overlap = (upper[..., 1] - lower[..., 1]).clamp_min(0) / 2
    moved = torch.zeros_like(ring[..., 1])
    moved[:, 1:half], moved[:, half + 1 :] = overlap, -overlap.flip(1)
    out = points.clone()
    out[:, INNER, 1] += moved
    return out


def keep_lip_thickness(points: Tensor, rest: Tensor) -> Tensor:
    """Speaking points whose lips are no thinner than speech makes them.

    A mouth that closes further than the one at rest would squeeze its lips to a line where that
    one is open; where a lip is too thin, its outer edge moves away from the inner one.

    Args:
        points: Canonical, y downwards. Shape (T, S, 3).
        rest: The same person's at rest. Shape (S, 3).
    """
    thickness, usual = _lip_thickness(points), _lip_thickness(rest[None])
    gaps = [(x[:, INNER_BOTTOM, 1] - x[:, INNER_TOP, 1])[:, None] for x in (points, rest[None])]
    openness = ((gaps[0] - gaps[1]) / _WIDE).clamp(0, 1)
    share = _CLOSED_THICKNESS + (_OPEN_THICKNESS - _CLOSED_THICKNESS) * openness
    missing = (share * usual.clamp_min(0) - thickness).clamp_min(0)
    out = points.clone()
    out[:, OUTER, 1] += missing * _outwards(points)
    return out


def _lip_thickness(points: Tensor) -> Tensor:
    """Height between the outer and the inner edge at each point of a ring. Shape (T, 20)."""
    return (points[:, OUTER, 1] - points[:, INNER, 1]) * _outwards(points)


def _outwards(points: Tensor) -> Tensor:
    """Which way is out of the mouth at each point of a ring: 1 down, -1 up, 0 in the corners."""
    sign = points.new_zeros(INNER.stop - INNER.start)
    half = len(sign) // 2
    sign[1:half], sign[half + 1 :] = 1, -1
    return sign


def outline_distance(polygon: Tensor, grid: Tensor) -> Tensor:
    """Distance to a closed outline, positive inside. Shape (T, h, w)."""
    distance = _line_distance(polygon, grid, closed=True)
    return torch.where(_is_inside(polygon, grid), distance, -distance)


def _ends(line: Tensor, closed: bool) -> tuple[Tensor, Tensor]:
    if closed:
        return line, line.roll(-1, 1)
    return line[:, :-1], line[:, 1:]


def _line_distance(line: Tensor, grid: Tensor, closed: bool) -> Tensor:
    """Distance of each grid point to a polyline (T, V, 2). Shape (T, h, w)."""
    # Coordinate by coordinate: sums over a last axis of two are slow.
    a, b = (end[:, None, None].unbind(-1) for end in _ends(line, closed))
    along = [end - start for start, end in zip(a, b, strict=True)]
    length = (along[0] ** 2 + along[1] ** 2).clamp_min(1e-6)
    places = grid[None, :, :, None].unbind(-1)
    offset = [place - start for place, start in zip(places, a, strict=True)]
    t = ((offset[0] * along[0] + offset[1] * along[1]) / length).clamp(0, 1)
    gap = [apart - t * way for apart, way in zip(offset, along, strict=True)]
    return (gap[0] ** 2 + gap[1] ** 2).amin(-1).clamp_min(1e-6).sqrt()


def _is_inside(polygon: Tensor, grid: Tensor) -> Tensor:
    """Even-odd rule. Shape (T, h, w), bool."""
    a, b = (end[:, None, None] for end in _ends(polygon.detach(), closed=True))
    x, y = grid[None, :, :, None, 0], grid[None, :, :, None, 1]
    straddles = (a[..., 1] > y) != (b[..., 1] > y)
    rise = b[..., 1] - a[..., 1]
    rise = torch.where(rise.abs() < 1e-6, torch.full_like(rise, 1e-6), rise)
    crossing = a[..., 0] + (y - a[..., 1]) / rise * (b[..., 0] - a[..., 0])
    return ((straddles & (x < crossing)).sum(-1) % 2).bool()


def landmark_displacement(
    target: Tensor, references: Tensor, grid: Tensor, unit_px: float
) -> Tensor:
    """Smooth deformation that carries target landmarks onto each reference's.

    Shepard's inverse-distance interpolation (doi:10.1145/800186.810616), power 3.

    Args:
        target: Shape (T, S, 2), crop px.
        references: Shape (N, S, 2), or (T, N, S, 2) where each frame has its own, crop px.
        grid: Target pixels. Shape (h, w, 2), crop px.
        unit_px: Length that makes distances scale-free, px.

    Returns:
        Displacement from a target pixel to where the reference shows it. Shape (T, N, h, w, 2).
    """
    grid = grid.to(target.device, target.dtype)
    height, width, _ = grid.shape
    # By differences: the matrix product that cdist prefers loses digits: 0.001 px here.
    cells = (grid.reshape(1, -1, 1, 2) / unit_px).unbind(-1)
    marks = (target[:, None] / unit_px).unbind(-1)
    distance2 = (cells[0] - marks[0]) ** 2 + (cells[1] - marks[1]) ** 2
    root = (distance2 + 1e-3).rsqrt()
    weight = root * root * root
    weight = weight / weight.sum(-1, keepdim=True)
    shift = references - target[:, None]
    # Not in mixed precision: whatever is added to these positions would take its few digits.
    with torch.autocast(target.device.type, enabled=False):
        moved = torch.einsum("tps,tnsc->tnpc", weight, shift)
    return moved.reshape(*moved.shape[:2], height, width, 2)


def shape_distance(target: Tensor, references: Tensor, unit_px: float) -> Tensor:
    """How much each reference's lips differ from the target's, position removed. Shape (T, N).

    References (N, S, 2), or (T, N, S, 2) where each frame has its own.
    """
    lips = slice(0, JAW.start)
    a, b = target[:, None, lips], references[..., lips, :]
    a, b = a - a.mean(-2, keepdim=True), b - b.mean(-2, keepdim=True)
    return ((a - b) ** 2).sum(-1).mean(-1) / unit_px**2


def normalised(grid: Tensor, crop_size: tuple[int, int]) -> Tensor:
    """Crop px to the [-1, 1] of `grid_sample` with `align_corners=False`."""
    size = torch.tensor(crop_size[::-1], device=grid.device, dtype=grid.dtype)
    return (2 * grid + 1) / size - 1


def warp(pictures: Tensor, grid: Tensor, *, cubic: bool = False) -> Tensor:
    """Sample pictures (N, C, H, W) at normalised grids (T, N, h, w, 2) to (T, N, C, h, w).

    Pictures may also be each frame's own, (T, N, C, H, W).

    `cubic` keeps fine texture that the average of four pixels would blur (not on mps, which has
    no such kernel).
    """
    frames, num = grid.shape[:2]
    channels = pictures.shape[-3]
    is_learned_of = torch.is_grad_enabled() or pictures.device.type != "cpu"
    if not cubic and channels >= _MANY_CHANNELS and not is_learned_of:
        return _rows_sampled(pictures, grid)
    flat = grid.reshape(frames * num, *grid.shape[2:])
    repeated = pictures.expand(frames, *pictures.shape[-4:]).reshape(-1, *pictures.shape[-3:])
    sampled = functional.grid_sample(
        repeated,
        flat,
        mode="bicubic" if cubic and pictures.device.type != "mps" else "bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return sampled.reshape(frames, num, *sampled.shape[1:])


def _rows_sampled(pictures: Tensor, grid: Tensor) -> Tensor:
    """`warp` by four rows of channels a place, which is several times as fast.

    The result has its channels last in memory, and its pictures first.
    """
    frames, num, high, wide = grid.shape[:4]
    channels, height, width = pictures.shape[-3:]
    size = grid.new_tensor((width, height))
    # As `grid_sample` has it with `align_corners=False` and the border going on.
    place = ((grid.transpose(0, 1) + 1) * size - 1).div(2).nan_to_num()
    place = place.clamp_min(0).minimum(size - 1)
    low = place.floor()
    share = place - low
    x0, y0 = low.long().unbind(-1)
    x1, y1 = (x0 + 1).clamp_max(width - 1), (y0 + 1).clamp_max(height - 1)
    picture = torch.arange(num, device=grid.device)[:, None]
    if _is_each_frames_own(pictures):
        picture = picture + num * torch.arange(frames, device=grid.device)
    start = (height * width * picture)[:, :, None, None]
    rows = torch.stack([start + width * y + x for y in (y0, y1) for x in (x0, x1)], -1)
    right, down = share.unbind(-1)
    weights = torch.stack([v * u for v in (1 - down, down) for u in (1 - right, right)], -1)
    table = pictures.movedim(-3, -1).reshape(-1, channels).float()
    sampled = functional.embedding_bag(
        rows.reshape(-1, 4), table, mode="sum", per_sample_weights=weights.reshape(-1, 4).float()
    )
    made = sampled.reshape(num, frames, high, wide, channels)
    return made.permute(1, 0, 4, 2, 3)


def _is_each_frames_own(pictures: Tensor) -> bool:
    """Whether pictures, as `warp` takes them, differ from frame to frame; one set serves all."""
    return pictures.ndim == 5 and len(pictures) > 1


def warped_mixture(pictures: Tensor, grid: Tensor, shares: Tensor) -> Tensor:
    """Pictures (N, 3, H, W), sampled by cubic interpolation and mixed, to (T, 3, h, w).

    For generation: what has next to no share anywhere in a frame is not sampled there, so nothing
    can be learned of it.

    Args:
        pictures: As `warp` takes them.
        grid: As `warp` takes it. Shape (T, N, h, w, 2).
        shares: Of each picture, 0 to 1. Shape (T, N, h, w).
    """
    is_seen = shares.amax((-2, -1)) >= _LEAST_SHARE
    mixed = grid.new_zeros(len(grid), pictures.shape[-3], *grid.shape[2:4])
    for which in range(grid.shape[1]):
        frame = is_seen[:, which].nonzero()[:, 0]
        given = pictures[..., which, :, :, :]
        is_own = _is_each_frames_own(pictures)
        given = given[frame] if is_own else given.expand(len(frame), -1, -1, -1)
        sampled = functional.grid_sample(
            given,
            grid[frame, which],
            # mps has no kernel for it.
            mode="bilinear" if pictures.device.type == "mps" else "bicubic",
            padding_mode="border",
            align_corners=False,
        )
        mixed.index_add_(0, frame, sampled * shares[frame, which][:, None])
    return mixed


def resize_grid(grid: Tensor, height: int, width: int) -> Tensor:
    """Bilinear resize of (T, N, h, w, 2) fields to (T, N, height, width, 2)."""
    frames, num = grid.shape[:2]
    planes = grid.permute(0, 1, 4, 2, 3).flatten(0, 1)
    planes = functional.interpolate(planes, (height, width), mode="bilinear", align_corners=False)
    return planes.reshape(frames, num, 2, height, width).permute(0, 1, 3, 4, 2)
