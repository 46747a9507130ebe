"""The log of a run, and how fast it learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dubcli.core.errors import TrainingError
from dubcli.training.run_folder import append_row, drop_rows_after, save_picture
from dubcli.training.schedule import CosineSchedule


def _log(folder: Path) -> list[str]:
    return (folder / "log.csv").read_text().splitlines()


def test_the_first_row_names_the_losses(tmp_path: Path) -> None:
    append_row(tmp_path / "run", 1, 0.25, {"loss": 1.5, "ssim": 0.5})
    append_row(tmp_path / "run", 2, 0.25, {"loss": 1.25, "ssim": 0.5})
    assert _log(tmp_path / "run") == [
        "step,seconds,loss,ssim",
        "1,0.250,1.50000,0.50000",
        "2,0.250,1.25000,0.50000",
    ]


def test_losses_stay_under_their_names_in_whatever_order_they_come(tmp_path: Path) -> None:
    append_row(tmp_path, 1, 0.25, {"loss": 1.5, "ssim": 0.5})
    append_row(tmp_path, 2, 0.25, {"ssim": 0.25, "loss": 1.25})
    append_row(tmp_path, 3, 0.25, {"critic": 0.125, "loss": 1.0})
    assert _log(tmp_path) == [
        "step,seconds,loss,ssim,critic",
        "1,0.250,1.50000,0.50000",
        "2,0.250,1.25000,0.25000",
        "3,0.250,1.00000,,0.12500",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


def test_steps_after_the_checkpoint_and_broken_lines_are_forgotten(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        append_row(tmp_path, step, 0.25, {"loss": 1.0})
    with (tmp_path / "log.csv").open("a") as file:
        file.write("1,0.2")
    drop_rows_after(tmp_path, 2)
    assert [line.split(",")[0] for line in _log(tmp_path)] == ["step", "1", "2"]
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]
    drop_rows_after(tmp_path, 0)
    assert list(tmp_path.iterdir()) == []
    drop_rows_after(tmp_path / "nowhere", 2)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match=r"log\.csv"):
        append_row(tmp_path / "file", 1, 0.0, {"loss": 1.0})
    with pytest.raises(TrainingError, match=r"sample\.jpg"):
        save_picture(np.zeros((8, 8, 3), np.uint8), tmp_path / "file" / "sample.jpg")


def test_learning_warms_up_and_then_slows_down_to_a_tenth() -> None:
    schedule = CosineSchedule(peak=2e-4)
    rates = [schedule.rate(step, step / 10_000) / schedule.peak for step in range(10_000)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == pytest.approx(1, abs=0.01)
    assert int(np.argmax(rates)) < 110
    assert np.all(np.diff(rates[150:]) < 0)
    assert rates[-1] == pytest.approx(0.1, abs=1e-3)
