"""What a generator pays for lips that are out of step with their sound, by a frozen expert."""

from __future__ import annotations

import torch
from torch import Tensor

from dubcli.sync.network import SYNC_RATE_HZ, SyncExpert


def sync_loss(expert: SyncExpert, made: Tensor, audio: Tensor) -> Tensor:
    """IPTalker eq. 12 (arXiv:2501.04586): mean of `(SyncNet(A, I) - 1)^2`, the cosine as SyncNet.

    Args:
        expert: In evaluation mode, without gradients of its own.
        made: Generated mouth offsets, V = `expert.config.window` samples at 25 Hz. Shape
            (N, V, S, 3), canonical units.
        audio: Audio steps around the middle sample. Shape (N, A, D), A = `config.audio_width`.
    """
    return ((expert(made, audio) - 1) ** 2).mean()


def relative_sync_loss(
    expert: SyncExpert, made: Tensor, real: Tensor, audio: Tensor, margin: float = 0.0
) -> Tensor:
    """Mean of `relu(distance(made) - distance(real) - margin)`: as good as real is good enough.

    A real mouth that the expert does not understand asks nothing of the generated one. The
    distance is 1 minus the cosine.

    Args:
        expert: In evaluation mode, without gradients of its own.
        made: As in `sync_loss`.
        real: The true mouth offsets at the same moments; no gradient reaches them.
        audio: As in `sync_loss`.
        margin: How much worse than real costs nothing.
    """
    heard = expert.listen(audio)[:, 0]
    with torch.no_grad():
        reached = (expert.see(real)[:, 0] * heard).sum(-1)
    cosine = (expert.see(made)[:, 0] * heard).sum(-1)
    return torch.relu(reached - cosine - margin).mean()


def mouth_windows(points: Tensor, times: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Windows at 25 Hz of generated frames of any rate, linearly between them.

    Args:
        points: Departures in frames that follow each other. Shape (N, T, S, 3).
        times: When they are shown, seconds, increasing. Shape (N, T).
        window: `expert.config.window`.

    Returns:
        As many windows as fit into the shortest run, one a sample: (N, W, V, S, 3), and the times
        of their middles, seconds: (N, W). W is 0 where the run is shorter than a window.
    """
    length_s = float((times[:, -1] - times[:, 0]).min())
    num = int(length_s * SYNC_RATE_HZ + 1e-3) + 1
    wanted = times[:, :1] + torch.arange(num, device=times.device) / SYNC_RATE_HZ
    right = torch.searchsorted(times.contiguous(), wanted).clamp(1, times.shape[1] - 1)
    before, after = times.gather(1, right - 1), times.gather(1, right)
    share = ((wanted - before) / (after - before)).clamp(0, 1)[..., None, None].to(points.dtype)
    rows = torch.arange(len(points), device=points.device)[:, None]
    sampled = points[rows, right - 1] * (1 - share) + points[rows, right] * share
    if num < window:
        return sampled.new_zeros(len(points), 0, window, *points.shape[2:]), wanted[:, :0]
    windows = sampled.unfold(1, window, 1).movedim(-1, 2)
    return windows, wanted[:, window // 2 : num - window // 2]
