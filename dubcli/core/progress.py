"""How long jobs tell where they stand."""

from __future__ import annotations

from collections.abc import Callable

# Called as (stage, done, total); a total of 0 where nobody knows it.
Progress = Callable[[str, int, int], None]
# The same where a unit takes so long that a part of it counts: `done` may be a fraction.
PartProgress = Callable[[str, float, int], None]


def no_progress(stage: str, done: float, total: int) -> None:
    """For callers that do not show where a job stands."""
