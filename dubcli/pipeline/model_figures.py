"""What a model states of its own frames, kept with the segments and told in ranges."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dubcli.core.atomic_io import replace_bytes
from dubcli.core.json_text import parse_json
from dubcli.core.types import Int
from dubcli.media.video.timeline import Timeline
from dubcli.models.api import FigureSpec, Patches


@dataclass
class FigureLog:
    """Figures by name and position of the timeline; frames that were not dubbed have none."""

    values: dict[str, dict[int, float]] = field(default_factory=dict[str, dict[int, float]])

    def add(self, positions: Int, patches: Patches) -> None:
        """Take up the figures of some frames; positions of shape (E,)."""
        for name, figures in patches.figures.items():
            column = figures.detach().float().cpu().tolist()
            self.values.setdefault(name, {}).update(zip(positions.tolist(), column, strict=True))

    def take(self, start: int, stop: int) -> FigureLog:
        """Take out what belongs to a range of positions."""
        taken = {
            name: {place: column.pop(place) for place in list(column) if start <= place < stop}
            for name, column in list(self.values.items())
        }
        return FigureLog({name: column for name, column in taken.items() if column})

    def save(self, path: Path) -> None:
        """Write as JSON, as a whole or not at all."""
        replace_bytes(path, json.dumps(self.values).encode())

    def load(self, path: Path) -> None:
        """Add what `save` has written; nothing where there is no such file."""
        if not path.exists():
            return
        for name, column in parse_json(path.read_text(encoding="utf-8")).items():
            places = {int(place): float(value) for place, value in column.items()}
            self.values.setdefault(name, {}).update(places)


def figure_ranges(
    log: FigureLog, specs: Mapping[str, FigureSpec], timeline: Timeline, cuts: Int
) -> list[dict[str, object]]:
    """Means of figures over ranges that no cut divides, for the report.

    Args:
        log: Of all frames.
        specs: Of the figures that are reported.
        timeline: Of the result.
        cuts: Positions at which the picture jumps, ascending. Shape (C,).

    Returns:
        `figure`, `start_s`, `end_s`, `mean`, and `is_low` where the model says what is low.
    """
    pts, base = timeline.pts, float(timeline.time_base)
    ends = np.append(pts[1:], timeline.end_pts)
    told: list[dict[str, object]] = []
    for name, spec in specs.items():
        places = np.array(sorted(log.values.get(name, {})), np.int64)
        for part in _ranges(places, pts * base, cuts, spec.range_s):
            mean = float(np.mean([log.values[name][place] for place in part.tolist()]))
            row: dict[str, object] = {
                "figure": name,
                "start_s": round(float(pts[part[0]] - pts[0]) * base, 3),
                "end_s": round(float(ends[part[-1]] - pts[0]) * base, 3),
                "mean": round(mean, 4),
            }
            if spec.low_below is not None:
                row["is_low"] = mean < spec.low_below
            told.append(row)
    return told


def _ranges(places: Int, seconds: np.ndarray, cuts: Int, longest_s: float) -> list[Int]:
    """Runs of neighbouring positions of one shot, cut into equal parts of at most so long."""
    if len(places) == 0:
        return []
    shot = np.searchsorted(cuts, places, side="right")
    breaks = np.flatnonzero((np.diff(places) > 1) | (np.diff(shot) != 0)) + 1
    parts: list[Int] = []
    for run in np.split(places, breaks):
        length_s = float(seconds[run[-1]] - seconds[run[0]])
        parts += np.array_split(run, min(len(run), max(1, int(np.ceil(length_s / longest_s)))))
    return parts
