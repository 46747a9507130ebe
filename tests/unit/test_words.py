"""Figures as people read them."""

from __future__ import annotations

import pytest

from dubcli.core.formatting import REASONS, clock_time, in_bytes, in_time
from dubcli.face.usability import Reason


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 kB"),
        (1_499, "1 kB"),
        (999_499, "999 kB"),
        (999_900, "1.0 MB"),
        (9_960_000, "10 MB"),
        (999_600_000, "1.0 GB"),
        (3_400_000_000, "3.4 GB"),
    ],
)
def test_sizes(number: int, text: str) -> None:
    assert in_bytes(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (80, "1 min 20 s"),
        (3599.6, "1 h"),
        (3900, "1 h 5 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert in_time(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00.0"), (2.34, "0:02.3"), (59.96, "1:00.0"), (3723.4, "1:02:03.4"), (-1.5, "-0:01.5")],
)
def test_places_in_a_video(seconds: float, text: str) -> None:
    assert clock_time(seconds) == text


def test_every_reason_has_words() -> None:
    assert {str(reason) for reason in Reason} <= set(REASONS)
