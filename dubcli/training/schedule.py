"""The course of a learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CosineSchedule:
    """Linear warm-up, then a cosine down to a share of the peak.

    Attributes:
        peak: Highest learning rate.
        warm_up_steps: Updates over which it rises.
        least: Share of the peak that is left at the end.
    """

    peak: float
    warm_up_steps: int = 100
    least: float = 0.1

    def rate(self, step: int, share: float) -> float:
        """Learning rate of update number `step`, when `share` in [0, 1] of the run is over."""
        warm = min(1.0, (step + 1) / self.warm_up_steps)
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
        return self.peak * warm * (self.least + (1 - self.least) * cosine)
