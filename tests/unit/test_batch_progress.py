"""Where a batch stands while a row runs, and the time that is left."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from batch_jobs import TINY, batch_here, tiny_jobs, tiny_media

from dubcli.batches.row_progress import share_done
from dubcli.batches.run import batch
from dubcli.cli import progress_view
from dubcli.cli.view import say
from dubcli.config import BatchConfig


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_media(tmp_path_factory.mktemp("media"))


def _batch_steps(told: list[tuple[str, float, int]]) -> list[float]:
    assert all(total == 2 for stage, _, total in told if stage == "batch")
    return [done for stage, done, _ in told if stage == "batch"]


def test_a_row_that_runs_counts_in_part(media: Path, tmp_path: Path) -> None:
    jobs = tiny_jobs(tmp_path / "jobs.jsonl", media, ["1.mp4", "2.mp4"])
    told: list[tuple[str, float, int]] = []
    batch(
        BatchConfig(jobs=jobs, set=TINY),
        lambda stage, done, total: told.append((stage, done, total)),
        in_process=True,
    )
    steps = _batch_steps(told)
    assert steps[0] == 0
    assert any(0 < done < 1 for done in steps)
    assert any(1 < done < 2 for done in steps)
    assert steps == sorted(steps)
    assert steps[-1] == 2


def test_rows_of_other_processes_count_in_part(media: Path, tmp_path: Path) -> None:
    """The pace of a look is not what is tested: a worker tells its share before it ends."""
    from dubcli.batches.local_workers import _Pool

    pool = _Pool("cpu", 1)
    try:
        from test_batch import checked_rows

        from dubcli.batches.row_task import RowTask

        jobs = tiny_jobs(tmp_path / "jobs.jsonl", media, ["1.mp4"])
        assert pool.share == 0
        outcome = pool.submit(RowTask(row=checked_rows(jobs)[0])).result()
        assert outcome.error is None
        assert 0.9 < pool.share < 1
    finally:
        pool.close()
    assert multiprocessing.active_children() == []


def test_stages_of_a_command_follow_each_other() -> None:
    told = [("analyse", 5, 10), ("analyse", 10, 10), ("dub", 1, 10), ("dub", 10, 10)]
    shares = [share_done("dub", *one) for one in told]
    assert shares == sorted(share for share in shares if share is not None)
    assert shares[-1] is not None
    assert 0.9 < shares[-1] < 1  # the result is not in place
    assert share_done("dub", "join", 0, 1) is None
    assert share_done("dub", "analyse", 3, 0) is None  # nobody knows how many follow
    assert share_done("evaluate", "evaluate", 1, 4) == 0.25


def test_skipped_rows_do_not_make_the_others_look_faster(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = tiny_jobs(tmp_path / "jobs.jsonl", media, ["1.mp4", "2.mp4"])
    batch_here(jobs)
    (tmp_path / "2.mp4").unlink()
    (tmp_path / "2.json").unlink()
    told: list[Any] = []
    batch(BatchConfig(jobs=jobs, set=TINY), lambda *one: told.append(one), in_process=True)
    assert _batch_steps(told)[0] == 1
    now = iter([0.0, 10.0, 20.0])
    monkeypatch.setattr(progress_view.time, "monotonic", lambda: next(now))
    with progress_view.lines("rows", say) as progress:
        progress("batch", 6, 10)
        progress("batch", 6.5, 10)
        progress("batch", 7, 10)
    assert capsys.readouterr().err.splitlines() == [
        "dub: batch 6.5/10 rows, 0.05 rows/s, 70 s left",
        "dub: batch 7/10 rows, 0.05 rows/s, 60 s left",
    ]


def test_jsonl_has_parts_of_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = iter([0.0, 10.0])
    monkeypatch.setattr(progress_view.time, "monotonic", lambda: next(now))
    with progress_view.json_lines("rows", say) as progress:
        progress("batch", 0, 2)
        progress("batch", 1 / 3, 2)
    rows = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(row["done"], row["eta"]) for row in rows] == [(0, None), (0.333, 50.0)]
