"""A ramp without corners."""

from __future__ import annotations

from typing import TypeVar

from dubcli.core.types import F32, F64

Shares = TypeVar("Shares", F32, F64)


def smooth_step(share: Shares) -> Shares:
    """Shares from 0 to 1, steady at both ends. Shape as given."""
    return share * share * (3 - 2 * share)
