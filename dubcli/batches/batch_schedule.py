"""The order of a batch: which task comes next, what is tried again, what is given up."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

from dubcli.batches.local_workers import Workers
from dubcli.batches.row_checks import CheckedRow
from dubcli.batches.row_result import CANCELLED, DONE, FAILED, RowResult
from dubcli.batches.row_task import LOOK, PART, ROW, Outcome, RowTask
from dubcli.pipeline.context import SEGMENT_FRAMES

_LOST = "Its worker was killed, perhaps for want of memory."
_LOST_NEXT = "Use fewer --workers, or look into the system's log, and run the batch again."


@dataclass(frozen=True, kw_only=True)
class SchedulePolicy:
    """How rows are done.

    Attributes:
        retries: How often a row is tried again whose worker was lost, or for whom memory or disk
            ran out.
        fail_fast: After a row that failed none is begun.
        splits_from: Dubs of at least so many frames are rendered by several workers; 0 for none.
        segment_frames: Least length of a segment, frames.
    """

    retries: int = 1
    fail_fast: bool = False
    splits_from: int = 0
    segment_frames: int = SEGMENT_FRAMES


class BatchSchedule:
    """Gives rows to workers until each has a result.

    Args:
        rows: What is to be done.
        policy: How.
        on_result: Called with each result, in the order in which they come.
    """

    def __init__(
        self,
        rows: Iterable[CheckedRow],
        policy: SchedulePolicy,
        on_result: Callable[[RowResult], None],
    ) -> None:
        self._policy, self._on_result = policy, on_result
        self._waiting = deque(self._first_task(row) for row in rows)
        self._attempts: Counter[int] = Counter()
        self._parts: Counter[int] = Counter()
        self._is_stopped = False
        self._looks = 0  # that run; parts for all workers may follow

    def run(self, workers: Workers) -> None:
        """Do all rows.

        Raises:
            MediaError: A result cannot be written.
        """
        while self._waiting or workers.num_running:
            while self._waiting and workers.num_running < workers.size and not self._is_stopped:
                task = self._waiting.popleft()
                if task.kind != PART and not (task.kind == ROW and task.span[1]):
                    self._attempts[task.row.number] += 1
                self._looks += task.kind == LOOK
                workers.begin(task)
            if not workers.num_running:
                break
            if not self._waiting and not self._looks:
                workers.release_idle()
            self._take(*workers.next_done(), num_workers=workers.size)
        self._cancel()

    def _first_task(self, row: CheckedRow) -> RowTask:
        """A long dub is looked at first, then rendered in parts."""
        least, frames = self._policy.splits_from, self._policy.segment_frames
        is_long = bool(least) and row.command == "dub" and row.frames >= least
        return RowTask(row=row, kind=LOOK if is_long else ROW, segment_frames=frames)

    def _take(self, task: RowTask, outcome: Outcome | None, *, num_workers: int) -> None:
        self._looks -= task.kind == LOOK
        if task.kind == PART:
            # Segments that are missing are rendered by whoever joins them.
            number = task.row.number
            self._parts[number] -= 1
            if not self._parts[number]:
                self._waiting.appendleft(self._joining(task))
        elif outcome is None or (outcome.error is not None and outcome.may_pass):
            self._again(task, outcome)
        elif task.kind == LOOK and outcome.error is None:
            self._split(task, outcome.segments, num_workers)
        else:
            self._finish(task, outcome)

    def _again(self, task: RowTask, outcome: Outcome | None) -> None:
        number = task.row.number
        if self._attempts[number] <= self._policy.retries and not self._is_stopped:
            again = RowTask(row=task.row, kind=task.kind, segment_frames=task.segment_frames)
            self._waiting.appendleft(again)
            return
        lost = Outcome(exit_code=1, error=f"{_LOST} {_LOST_NEXT}")
        self._finish(task, lost if outcome is None else outcome)

    def _split(self, task: RowTask, segments: int, num_workers: int) -> None:
        count = max(1, min(num_workers, segments))
        bounds = [segments * part // count for part in range(count + 1)]
        parts = [
            RowTask(row=task.row, kind=PART, span=span, segment_frames=task.segment_frames)
            for span in pairwise(bounds)
        ]
        self._parts[task.row.number] = len(parts)
        self._waiting.extendleft(reversed(parts))

    def _joining(self, part: RowTask) -> RowTask:
        """The rest of a row after its parts: a part of it even where all its frames are copied."""
        span = (0, max(1, part.span[1]))
        return RowTask(row=part.row, kind=ROW, span=span, segment_frames=part.segment_frames)

    def _finish(self, task: RowTask, outcome: Outcome) -> None:
        status = DONE if outcome.error is None else FAILED
        self._on_result(_result(task.row, status, outcome, self._attempts[task.row.number]))
        if status == FAILED and self._policy.fail_fast:
            self._is_stopped = True

    def _cancel(self) -> None:
        cancelled = {task.row.number: task.row for task in self._waiting}
        self._waiting.clear()
        for row in cancelled.values():
            self._on_result(_result(row, CANCELLED, Outcome(), self._attempts[row.number]))


def _result(row: CheckedRow, status: str, outcome: Outcome, attempts: int) -> RowResult:
    report = row.report
    return RowResult(
        row=row.number,
        command=row.command,
        status=status,
        exit_code=outcome.exit_code,
        error=outcome.error,
        output=str(row.output),
        report=None if report is None or not report.exists() else str(report),
        seconds=outcome.seconds,
        attempts=attempts,
        started=outcome.started,
        ended=outcome.ended,
        options=row.options,
        key=row.key,
        traceback=outcome.traceback,
    )
