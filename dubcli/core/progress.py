"""How long jobs tell where they stand."""

from __future__ import annotations

from collections.abc import Callable

# Called as (stage, done, total); a total of 0 where nobody knows it.
Progress = Callable[[str, int, int], None]


def no_progress(stage: str, done: int, total: int) -> None:
    """For callers that do not show where a job stands."""
