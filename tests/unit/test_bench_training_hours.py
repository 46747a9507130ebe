"""How long a larger training would take, from a run's own log."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))

from training_hours import TrainingRate, hours, rate_of


def test_the_rate_of_a_run_is_that_of_its_second_half(tmp_path: Path) -> None:
    checkpoint = tmp_path / "step-000004"
    checkpoint.mkdir()
    run = {"batch_clips": "3", "frames_per_clip": "4", "accumulate": "2", "processes": "2"}
    (checkpoint / "config.json").write_text(json.dumps({"model": {}, "run": run}))
    (checkpoint / "state.json").write_text("{}")
    rows = ["step,seconds,loss", "1,9.0,1", "2,8.0,1", "3,2.0,1", "4,4.0,1"]
    (tmp_path / "log.csv").write_text("\n".join(rows) + "\n")
    rate = rate_of(tmp_path)
    assert (rate.frames, rate.seconds, rate.processes) == (48, 3.0, 2)
    assert rate.per_process == 8


def test_hours_grow_with_frames_and_fall_with_processes() -> None:
    rate = TrainingRate(frames=16, seconds=2.0, processes=1)
    assert hours(rate, 28_800, 2, 1, 0.5) == 2
    assert hours(rate, 28_800, 2, 4, 0.5) == 1


def test_a_folder_that_is_no_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="holds no checkpoint"):
        rate_of(tmp_path)
