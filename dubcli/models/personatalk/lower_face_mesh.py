"""PNCC: the lower face as a mesh whose vertices are coloured by their place on the mean face.

Section 3.1 draws a 3-D morphable model; here the mesh spans the speaking points.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dubcli.models.common.mouth_map import JAW, OUTER

# Delaunay triangulation of the mean rest of 213 people, without the triangles between the inner
# lips: an open mouth is a hole.
TRIANGLES: tuple[tuple[int, int, int], ...] = (
    *((0, 1, 20), (0, 1, 72), (0, 19, 20), (0, 19, 82), (0, 72, 82), (1, 2, 21)),
    *((1, 2, 74), (1, 20, 21), (1, 72, 74), (2, 3, 22), (2, 3, 74), (2, 21, 22)),
    *((3, 4, 23), (3, 4, 68), (3, 22, 23), (3, 68, 74), (4, 5, 24), (4, 5, 66)),
    *((4, 23, 24), (4, 66, 68), (5, 6, 26), (5, 6, 67), (5, 24, 25), (5, 25, 26)),
    *((5, 62, 66), (5, 62, 67), (6, 7, 27), (6, 7, 69), (6, 26, 27), (6, 67, 69)),
    *((7, 8, 28), (7, 8, 75), (7, 27, 28), (7, 69, 75), (8, 9, 29), (8, 9, 75)),
    *((8, 28, 29), (9, 10, 30), (9, 10, 73), (9, 29, 30), (9, 73, 75), (10, 11, 30)),
    *((10, 11, 83), (10, 73, 83), (11, 12, 31), (11, 12, 85), (11, 30, 31), (11, 83, 85)),
    *((12, 13, 32), (12, 13, 101), (12, 31, 32), (12, 85, 101), (13, 14, 33), (13, 14, 101)),
    *((13, 32, 33), (14, 15, 34), (14, 15, 61), (14, 33, 34), (14, 61, 101), (15, 16, 36)),
    *((15, 16, 61), (15, 34, 35), (15, 35, 36), (16, 17, 37), (16, 17, 100), (16, 36, 37)),
    *((16, 61, 100), (17, 18, 38), (17, 18, 100), (17, 37, 38), (18, 19, 39), (18, 19, 84)),
    *((18, 38, 39), (18, 84, 100), (19, 20, 39), (19, 82, 84), (40, 41, 99), (40, 60, 98)),
    *((40, 98, 99), (41, 42, 97), (41, 97, 99), (42, 43, 95), (42, 95, 97), (43, 44, 89)),
    *((43, 89, 91), (43, 91, 95), (44, 45, 79), (44, 79, 89), (45, 46, 81), (45, 79, 81)),
    *((46, 47, 81), (47, 48, 71), (47, 69, 71), (47, 69, 81), (48, 49, 71), (49, 50, 65)),
    *((49, 64, 65), (49, 64, 71), (50, 51, 65), (51, 52, 70), (51, 64, 65), (51, 64, 70)),
    *((52, 53, 70), (53, 54, 80), (53, 68, 70), (53, 68, 80), (54, 55, 80), (55, 56, 78)),
    *((55, 78, 80), (56, 57, 88), (56, 78, 88), (57, 58, 94), (57, 88, 90), (57, 90, 94)),
    *((58, 59, 96), (58, 94, 96), (59, 60, 98), (59, 96, 98), (61, 92, 98), (61, 92, 100)),
    *((61, 93, 99), (61, 93, 101), (61, 98, 99), (62, 63, 66), (62, 63, 67), (63, 64, 70)),
    *((63, 64, 71), (63, 66, 70), (63, 67, 71), (66, 68, 70), (67, 69, 71), (68, 74, 80)),
    *((69, 75, 81), (72, 74, 76), (72, 76, 82), (73, 75, 77), (73, 77, 83), (74, 76, 78)),
    *((74, 78, 80), (75, 77, 79), (75, 79, 81), (76, 78, 86), (76, 82, 86), (77, 79, 87)),
    *((77, 83, 87), (78, 86, 88), (79, 87, 89), (82, 84, 90), (82, 86, 90), (83, 85, 91)),
    *((83, 87, 91), (84, 90, 92), (84, 92, 100), (85, 91, 93), (85, 93, 101), (86, 88, 90)),
    *((87, 89, 91), (90, 92, 94), (91, 93, 95), (92, 94, 98), (93, 95, 99), (94, 96, 98)),
    *((95, 97, 99),),
)
NUM_CHANNELS = 3
# Colours lie above 0, the colour of what shows no mesh.
_DARKEST = 0.2
# Barycentric coordinates may be negative by so much: neighbours leave no gap between them.
_SLACK = 1e-4


def vertex_colours(mean_face: Tensor) -> Tensor:
    """Place of each vertex on the mean face (S, 3), its range brought to [0.2, 1]. Shape (S, 3)."""
    low, high = mean_face.amin(0), mean_face.amax(0)
    return _DARKEST + (1 - _DARKEST) * (mean_face - low) / (high - low).clamp_min(1e-6)


def draw_pncc(
    points: Tensor, mean_face: Tensor, size: tuple[int, int], stride: int, top: int
) -> Tensor:
    """The mesh of each face, drawn; differentiable in the points, but for where its edges lie.

    Of triangles that cover each other the nearest is seen. How near a vertex is follows from the
    affine camera that best places the mean face on the points.

    Args:
        points: Speaking points, crop px. Shape (T, S, 2).
        mean_face: Canonical units. Shape (S, 3).
        size: Height and width of the drawing, cells.
        stride: Crop px a cell.
        top: First row of the drawn part, crop px.

    Returns:
        Normalised coordinates on the mean face, 0 where there is no mesh. Shape (T, 3, h, w).
    """
    height, width = size
    points, mean_face = points.float(), mean_face.float()
    origin = points.new_tensor([0.0, float(top)])
    cells = (points - origin + 0.5) / stride - 0.5
    corners = torch.tensor(TRIANGLES, device=points.device)
    triangle, y, x = _candidates(cells.detach()[:, corners], height, width)
    frame, face = triangle // len(corners), triangle % len(corners)
    at = corners[face]
    share, is_inside = _barycentric(cells[frame[:, None], at], x, y)
    frame, at, share = frame[is_inside], at[is_inside], share[is_inside]
    place = (frame * height + y[is_inside]) * width + x[is_inside]
    colour = (share[..., None] * vertex_colours(mean_face)[at]).sum(1)
    near = (share.detach() * nearness(points.detach(), mean_face)[frame[:, None], at]).sum(1)
    out = points.new_zeros(len(points) * height * width, NUM_CHANNELS)
    seen = _nearest(place, near, len(out))
    out[place[seen]] = colour[seen]
    return out.unflatten(0, (len(points), height, width)).permute(0, 3, 1, 2).contiguous()


def nearness(points: Tensor, mean_face: Tensor) -> Tensor:
    """How near the camera each vertex is, larger is nearer. Shape (T, S).

    Args:
        points: Shape (T, S, 2).
        mean_face: Shape (S, 3).
    """
    centred = (mean_face - mean_face.mean(0)).double()
    placed = (points - points.mean(1, keepdim=True)).double()
    camera = torch.linalg.pinv(centred) @ placed
    towards = torch.linalg.cross(camera[..., 0], camera[..., 1])
    near = torch.einsum("tc,sc->ts", towards, centred)
    # Lips lie nearer than the ends of the jaw.
    ends = near[:, [JAW.start, JAW.stop - 1]].mean(1)
    sign = torch.where(near[:, OUTER].mean(1) >= ends, 1.0, -1.0)
    return (near * sign[:, None]).float()


def _candidates(triangles: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Cells in the bounding boxes of triangles (T, F, 3, 2): triangle, row and column of each."""
    flat = triangles.flatten(0, 1)
    most = flat.new_tensor([width - 1, height - 1])
    low = flat.amin(1).ceil().clamp_min(0).minimum(most + 1).long()
    high = flat.amax(1).floor().clamp_min(-1).minimum(most).long()
    extent = (high - low + 1).clamp_min(0)
    number = extent[:, 0] * extent[:, 1]
    triangle = torch.repeat_interleave(torch.arange(len(flat), device=flat.device), number)
    first = number.cumsum(0) - number
    rank = torch.arange(len(triangle), device=flat.device) - first[triangle]
    wide = extent[triangle, 0]
    return triangle, low[triangle, 1] + rank // wide, low[triangle, 0] + rank % wide


def _barycentric(corners: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Shares (M, 3) of the corners (M, 3, 2) at cells, and which cells lie inside (M,)."""
    a, b, c = corners.unbind(1)
    at = torch.stack([x, y], -1).to(corners)
    whole = _cross(b - a, c - a)
    safe = torch.where(whole.abs() < 1e-9, torch.full_like(whole, 1e-9), whole)
    second, third = _cross(at - a, c - a) / safe, _cross(b - a, at - a) / safe
    share = torch.stack([1 - second - third, second, third], 1)
    return share, (share >= -_SLACK).all(1) & (whole.abs() > 1e-9)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _nearest(place: Tensor, near: Tensor, num: int) -> Tensor:
    """One of the entries at each place, the nearest; of equal ones the last. Shape (<= num,)."""
    best = near.new_full((num,), -torch.inf).scatter_reduce(0, place, near, "amax")
    entry = torch.arange(len(place), device=place.device)
    candidates = torch.where(near >= best[place], entry, torch.full_like(entry, -1))
    chosen = entry.new_full((num,), -1).scatter_reduce(0, place, candidates, "amax")
    return chosen[chosen >= 0]
