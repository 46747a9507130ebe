"""Which parts of a result are shown: all of a short one, what is worth a look of a long one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from dubcli.core.reports import DubReport

_CLOCK = re.compile(r"(?<![\d:])(?:(\d{1,4}):)?(\d{1,4}):(\d\d(?:\.\d{1,6})?)(?![\d:])")
_AROUND_S = 3.0
_LEAST_S = 0.2
# What a range left alone needs to be worth a look, seconds.
_SHORTEST_RANGE_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """A part of a result: seconds from its first frame."""

    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class Remark:
    """A warning, and the times that it names, seconds."""

    text: str
    times: tuple[float, ...]


def remarks_of(report: DubReport) -> list[Remark]:
    """The warnings of a dub, and the ranges whose figures are low."""
    remarks = [Remark(text=str(one), times=times_in(str(one))) for one in report.warnings]
    for one in report.model_ranges:
        if one.get("is_low"):
            text = f"{one.get('figure', 'a figure')} is low: {one.get('mean')}"
            remarks.append(Remark(text=text, times=(float(one["start_s"]),)))
    return remarks


def times_in(text: str) -> tuple[float, ...]:
    """Times that a sentence names as `0:02.3` or `1:02:03`, seconds."""
    return tuple(
        int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds)
        for hours, minutes, seconds in _CLOCK.findall(text)
    )


def worth_a_look(report: DubReport) -> list[float]:
    """Times in the order in which they are worth a look: warnings, then ranges left alone."""
    times = [at_s for remark in remarks_of(report) for at_s in remark.times]
    ranges = sorted(report.passed_through, key=lambda one: one["start_s"] - one["end_s"])
    for one in ranges:
        if one["end_s"] - one["start_s"] >= _SHORTEST_RANGE_S and one.get("reason") != "outside":
            times += [float(one["start_s"]), float(one["end_s"])]
    return times


def choose_excerpts(duration_s: float, times: Sequence[float], most_s: float) -> list[Excerpt]:
    """Parts of a result, in the order of time, that take at most so long together.

    Args:
        duration_s: Length of the result.
        times: What is worth a look, what matters most first; beginning, middle and end follow.
        most_s: Seconds.

    Returns:
        The whole result where it is not longer than `most_s`.
    """
    if duration_s <= most_s:
        return [Excerpt(start_s=0.0, end_s=max(duration_s, 0.0))]
    chosen: list[Excerpt] = []
    for at_s in (*times, 0.0, duration_s / 2, duration_s):
        middle = min(max(at_s, _AROUND_S), duration_s - _AROUND_S)
        one = Excerpt(start_s=max(0.0, middle - _AROUND_S), end_s=middle + _AROUND_S)
        merged = _merged([*chosen, one])
        if sum(part.end_s - part.start_s for part in merged) <= most_s:
            chosen = merged
    return chosen


def _merged(parts: Sequence[Excerpt]) -> list[Excerpt]:
    merged: list[Excerpt] = []
    for part in sorted(parts, key=lambda one: one.start_s):
        if merged and part.start_s <= merged[-1].end_s + _LEAST_S:
            end_s = max(merged[-1].end_s, part.end_s)
            merged[-1] = Excerpt(start_s=merged[-1].start_s, end_s=end_s)
        else:
            merged.append(part)
    return merged
