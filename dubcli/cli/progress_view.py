"""How progress is shown: bars for people, lines for logs, JSON for programs. All on stderr."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from dubcli.core.progress import PartProgress

LINE_INTERVAL_S = 5.0
JSON_INTERVAL_S = 0.5
Callback = PartProgress
# One of these may be done when a stage is told for the first time; of others, none.
_COUNTED_AFTER = ("frames",)
# Seconds over which the pace of a bar is measured: of units that take long, many.
_FRAMES_PACE_S, _LONG_PACE_S = 30.0, 600.0
Say = Callable[[str], None]


def shown_as(style: str, unit: str, say: Say) -> AbstractContextManager[Callback]:
    """A context whose value is the callback `(stage, done, total)`.

    Args:
        style: bar, plain, jsonl or none.
        unit: What is counted, such as frames.
        say: Writes one line on stderr.
    """
    if style == "none":
        return _silent()
    if style == "bar":
        return bars(unit)
    return json_lines(unit, say) if style == "jsonl" else lines(unit, say)


class _Rate(ProgressColumn):
    """Units per second of the running stage."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.label = _rate_label(unit)

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{_pace(speed)} {self.label}" if speed else "")


def _pace(speed: float) -> str:
    return f"{speed:.1f}" if speed >= 1 else f"{speed:.2g}"


def _counted(done: float) -> str:
    """How much is done; parts of a unit to one digit."""
    return str(int(done)) if done == int(done) else f"{done:.1f}"


def _rate_label(unit: str) -> str:
    return "fps" if unit == "frames" else f"{unit}/s"


class _StderrConsole(Console):
    """Keeps working, silently, when the reader of stderr went away."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


@contextmanager
def bars(unit: str) -> Iterator[Callback]:
    """A bar a stage, for terminals."""
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        _Rate(unit),
        TimeRemainingColumn(),
    )
    period_s = _FRAMES_PACE_S if unit == "frames" else _LONG_PACE_S
    console = _StderrConsole(stderr=True)
    with Progress(*columns, console=console, speed_estimate_period=period_s) as progress:
        tasks: dict[str, TaskID] = {}

        def update(stage: str, done: float, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=None)
            progress.update(tasks[stage], completed=done, total=total or None)

        yield update


@dataclass
class _Pace:
    """When each stage began and was shown last, and how fast it goes."""

    interval_s: float
    unit: str
    began: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    shown: dict[str, float] = field(default_factory=dict[str, float])

    def rate(self, stage: str, done: float, now: float) -> float | None:
        """Units per second, None at a stage's begin; what an earlier run did does not count."""
        first = max(0, done - 1) if self.unit in _COUNTED_AFTER else done
        start, before = self.began.setdefault(stage, (now, first))
        return (done - before) / (now - start) if now > start else None

    def is_due(self, stage: str, is_last: bool, now: float, *, is_first_shown: bool) -> bool:
        """Whether the stage is shown now: at its end, and now and then on the way."""
        if stage not in self.shown and not is_first_shown:
            self.shown[stage] = now
        waited = now - self.shown.get(stage, -self.interval_s + now)
        is_due = is_last or waited >= self.interval_s
        if is_due:
            self.shown[stage] = now
        return is_due


@contextmanager
def lines(unit: str, say: Say) -> Iterator[Callback]:
    """A line now and then, for logs: at each stage's end, and every few seconds on the way."""
    pace = _Pace(LINE_INTERVAL_S, unit)

    def update(stage: str, done: float, total: int) -> None:
        now = time.monotonic()
        speed = pace.rate(stage, done, now)
        if not pace.is_due(stage, done == total, now, is_first_shown=False):
            return
        eta = f", {(total - done) / speed:.0f} s left" if speed and total > done else ""
        pace_told = "" if not speed else f", {_pace(speed)} {_rate_label(unit)}"
        say(f"dub: {stage} {_counted(done)}/{total or '?'} {unit}{pace_told}{eta}")

    yield update


@contextmanager
def json_lines(unit: str, say: Say) -> Iterator[Callback]:
    """One JSON object a line, for programs: at each stage's begin and end, and twice a second.

    Keys: `stage`, `done`, `total`, `unit`, `fps` (units a second), `eta` (seconds). `total`, `fps`
    and `eta` are null where nobody knows them, the last two at a stage's begin.
    """
    pace = _Pace(JSON_INTERVAL_S, unit)

    def update(stage: str, done: float, total: int) -> None:
        now = time.monotonic()
        speed = pace.rate(stage, done, now)
        if not pace.is_due(stage, done == total, now, is_first_shown=True):
            return
        left = max(0, total - done) / speed if speed and total else None
        if total and done >= total:
            left = 0
        content: dict[str, Any] = {
            "stage": stage,
            "done": int(done) if done == int(done) else round(done, 3),
            "total": total or None,
            "unit": unit,
            "fps": None if speed is None else round(speed, 3),
            "eta": None if left is None else round(left, 1),
        }
        say(json.dumps(content, ensure_ascii=False))

    yield update


@contextmanager
def _silent() -> Iterator[Callback]:
    yield lambda stage, done, total: None
