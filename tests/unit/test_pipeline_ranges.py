"""Frames that were left alone, told as ranges of time."""

from __future__ import annotations

from fractions import Fraction

import pytest

from dubcli.pipeline.passed_ranges import PassedRange, passed_ranges

TICK = Fraction(1, 25)


def test_neighbours_with_one_reason_are_one_range() -> None:
    reasons = ["", "covered", "covered", "covered", "", ""]
    (only,) = passed_ranges(reasons, list(range(6)), 6, TICK)
    assert only == PassedRange(
        start_s=Fraction(1, 25), end_s=Fraction(4, 25), frames=3, reason="covered"
    )
    assert only.as_json() == {"start_s": 0.04, "end_s": 0.16, "frames": 3, "reason": "covered"}


def test_another_reason_begins_another_range() -> None:
    reasons = ["no_face", "covered", "covered", "blurred"]
    found = passed_ranges(reasons, list(range(4)), 4, TICK)
    assert [(entry.reason, entry.frames) for entry in found] == [
        ("no_face", 1),
        ("covered", 2),
        ("blurred", 1),
    ]
    ends = [entry.end_s for entry in found]
    assert [entry.start_s for entry in found] == [0, *ends[:-1]]


def test_a_range_at_the_end_lasts_as_long_as_its_last_frame() -> None:
    (only,) = passed_ranges(["", "covered"], [0, 10], 47, Fraction(1, 100))
    assert (only.start_s, only.end_s) == (Fraction(1, 10), Fraction(47, 100))


def test_variable_rates_and_late_starts_keep_their_own_times() -> None:
    (only,) = passed_ranges(["", "fade", "fade", ""], [900, 1000, 1500, 1501], 1600, TICK)
    assert (only.start_s, only.end_s, only.frames) == (1000 * TICK, 1501 * TICK, 2)


@pytest.mark.parametrize("reasons", [[], ["", "", ""]])
def test_nothing_left_alone_is_no_range(reasons: list[str]) -> None:
    assert passed_ranges(reasons, list(range(len(reasons))), len(reasons), TICK) == []


def test_every_frame_needs_a_time() -> None:
    with pytest.raises(ValueError, match="2 reasons for 1 frames"):
        passed_ranges(["", ""], [0], 1, TICK)
