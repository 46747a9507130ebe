"""In which order rows of a batch are done, and how often they were begun."""

from __future__ import annotations

from pathlib import Path

import pytest

from dubcli.batches.batch_schedule import BatchSchedule, SchedulePolicy
from dubcli.batches.row_checks import CheckedRow
from dubcli.batches.row_result import RowResult
from dubcli.batches.row_task import LOOK, Outcome, RowTask
from dubcli.config import DubConfig


class _Workers:
    """One worker, which does everything at once; a look counts so many segments."""

    size = 1

    def __init__(self, segments: int) -> None:
        self._segments, self.done = segments, list[RowTask]()
        self._running: RowTask | None = None

    @property
    def num_running(self) -> int:
        return int(self._running is not None)

    def begin(self, task: RowTask) -> None:
        self._running = task

    def next_done(self) -> tuple[RowTask, Outcome]:
        task, self._running = self._running, None
        assert task is not None
        self.done.append(task)
        return task, Outcome(segments=self._segments if task.kind == LOOK else 0)

    def release_idle(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.mark.parametrize("segments", [0, 1, 5])
def test_a_split_row_is_one_attempt_however_much_of_it_is_copied(segments: int) -> None:
    config = DubConfig(video=Path("a.mp4"), audio=Path("a.wav"))
    row = CheckedRow(
        number=1,
        command="dub",
        config=config,
        options={},
        output=Path("o.mp4"),
        report=None,
        key="",
        frames=900,
    )
    found: list[RowResult] = []
    workers = _Workers(segments)
    BatchSchedule([row], SchedulePolicy(splits_from=1), found.append).run(workers)
    assert [task.kind for task in workers.done] == ["look", "part", "row"]
    assert [(one.status, one.attempts) for one in found] == [("done", 1)]
