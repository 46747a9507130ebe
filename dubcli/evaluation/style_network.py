"""Style encoder of StyleSim: whose manner of speaking do these lower faces show?

PersonaTalk (arXiv:2409.05379) reports the similarity of styles, by an encoder that it does not
describe. This one is small: principal components of lips and jaw without pose, their velocities,
convolutions over time, mean and deviation over time. It judges only; no loss of any model uses it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dubcli.models.common.mouth_map import INNER_BOTTOM, INNER_TOP
from dubcli.sync.network import NUM_USED

# Share of the shapes of a sequence whose mean is its rest: those with the least gap.
_CLOSED_SHARE = 0.2
# Samples at 25 Hz on either side that smoothing weighs with the middle one: what a landmark
# detector adds from frame to frame would tell the recording, not the person.
_SMOOTHING = (0.25, 0.5, 0.25)
_LEAST_DEVIATION = 1e-3
# What smoothing, velocities and convolutions reach over.
_LEAST_WINDOW = 17


@dataclass(frozen=True, kw_only=True)
class StyleJudgeConfig:
    """Sizes.

    Attributes:
        window: Samples at 25 Hz that one vector is made of, 17 or more.
        num_components: Principal components of the mouth's shape that are looked at.
        channels: Width of the convolutions.
        embedding: Size of the vectors.
        num_strangers: People whose vectors are stored beside the weights.
        dropout: While training.
    """

    window: int = 32
    num_components: int = 16
    channels: int = 64
    embedding: int = 32
    num_strangers: int = 0
    dropout: float = 0.3

    def __post_init__(self) -> None:
        if self.window < _LEAST_WINDOW:
            raise ValueError(f"window {self.window} is less than {_LEAST_WINDOW}")


class StyleJudge(nn.Module):
    """Windows of a mouth to unit vectors, near each other for one person."""

    components: Tensor
    strangers: Tensor

    def __init__(self, config: StyleJudgeConfig) -> None:
        super().__init__()
        self.config = config
        size = 2 * config.num_components
        # Fitted to training data: departures from rest times these have about unit variance.
        self.register_buffer("components", torch.zeros(config.num_components, NUM_USED, 3))
        # Vectors of people who were held out of training, one each.
        self.register_buffer("strangers", torch.zeros(config.num_strangers, config.embedding))
        self.convolutions = nn.Sequential(
            nn.Conv1d(size, config.channels, 5),
            nn.SiLU(),
            nn.Conv1d(config.channels, config.channels, 5, dilation=2),
            nn.SiLU(),
        )
        self.dropout = nn.Dropout(config.dropout)
        self.out = nn.Linear(2 * config.channels + 2 * size, config.embedding)
        # Logarithm of what cosines are multiplied by in training.
        self.scale = nn.Parameter(torch.tensor(10.0).log())

    def shapes(self, points: Tensor) -> Tensor:
        """Coefficients of windows of speaking points: smoothed, minus the window's own rest.

        Args:
            points: Without pose, canonical units, from any origin. Shape (N, L, S, 3).

        Returns:
            Shape (N, P, L - 2).
        """
        used = points[:, :, :NUM_USED].float()
        before, middle, after = _SMOOTHING
        used = before * used[:, :-2] + middle * used[:, 1:-1] + after * used[:, 2:]
        return torch.einsum("nlsc,psc->npl", used - _rest(used), self.components)

    def forward(self, points: Tensor) -> Tensor:
        """Unit vectors (N, E) of windows of speaking points (N, L, S, 3), see `shapes`."""
        shapes = self.shapes(points)
        seen = torch.cat([shapes[..., 1:-1], shapes[..., 2:] - shapes[..., :-2]], 1)
        told = torch.cat([_statistics(self.convolutions(seen)), _statistics(seen)], 1)
        return functional.normalize(self.out(self.dropout(told)), dim=-1)


def _rest(points: Tensor) -> Tensor:
    """Mean of the shapes in which the mouth is most closed. (N, L, S, 3) to (N, 1, S, 3)."""
    # Along the face, so that the order is the same from any origin.
    gap = points[:, :, INNER_BOTTOM, 1] - points[:, :, INNER_TOP, 1]
    num = max(1, round(_CLOSED_SHARE * points.shape[1]))
    closed = gap.topk(num, dim=1, largest=False).indices
    rows = torch.arange(len(points), device=points.device)[:, None]
    return points[rows, closed].mean(1, keepdim=True)


def _statistics(x: Tensor) -> Tensor:
    """Mean and logarithm of the deviation over time. (N, C, L) to (N, 2 C)."""
    deviation = (x.var(-1, correction=0) + _LEAST_DEVIATION**2).sqrt()
    return torch.cat([x.mean(-1), deviation.log()], 1)
