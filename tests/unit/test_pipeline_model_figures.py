"""Figures that a model states: kept over interruptions, told in ranges."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from dubcli.media.video.timeline import Timeline
from dubcli.models.api import FigureSpec, Patches
from dubcli.pipeline.model_figures import FigureLog, figure_ranges


def _timeline(num: int) -> Timeline:
    """25 frames a second from second 2 on."""
    return Timeline(
        source_index=np.arange(num),
        pts=50 + np.arange(num),
        end_pts=50 + num,
        time_base=Fraction(1, 25),
        audio_s=Fraction(num, 25),
        pad_s=Fraction(0),
        description="lengths match",
    )


def _log(values: dict[int, float]) -> FigureLog:
    log = FigureLog()
    figures = {"score": torch.tensor(list(values.values()))}
    log.add(np.array(list(values)), Patches(rgb=torch.zeros(1), figures=figures))
    return log


def test_ranges_end_at_cuts_gaps_and_the_longest_length() -> None:
    values = {place: float(place >= 50) for place in range(150) if not 90 <= place < 100}
    spec = FigureSpec(help="how well it fits", range_s=1.0, low_below=0.5)
    told = figure_ranges(_log(values), {"score": spec}, _timeline(150), np.array([50]))
    spans = [(row["start_s"], row["end_s"]) for row in told]
    assert spans[0][0] == 0
    assert (1.0, 2.0) in spans
    assert [row["is_low"] for row in told if row["start_s"] < 2.0] == [True, True]  # type: ignore[operator]
    assert not any(row["is_low"] for row in told if row["start_s"] >= 2.0)  # type: ignore[operator]
    assert all(end - start <= 1.04 for start, end in spans)  # type: ignore[operator]
    assert not [span for span in spans if 3.6 <= span[0] < 4.0]  # type: ignore[operator]
    assert spans[-1][1] == 6.0


def test_what_is_not_low_by_anything_is_not_marked() -> None:
    told = figure_ranges(_log({0: 1.0}), {"score": FigureSpec(help="")}, _timeline(3), np.array([]))
    assert told == [{"figure": "score", "start_s": 0.0, "end_s": 0.04, "mean": 1.0}]


def test_a_finished_part_is_kept_and_found_again(tmp_path: Path) -> None:
    log = _log({0: 0.25, 1: 0.5, 2: 0.75})
    log.take(0, 2).save(tmp_path / "0.json")
    assert log.values == {"score": {2: 0.75}}
    log.load(tmp_path / "0.json")
    log.load(tmp_path / "no.json")
    assert log.values == {"score": {0: 0.25, 1: 0.5, 2: 0.75}}
    assert [path.name for path in tmp_path.iterdir()] == ["0.json"]
