"""`dub batch`: check all rows, do them by several workers, write each result down."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dubcli.batches.batch_row import Defaults, options_in
from dubcli.batches.batch_schedule import BatchSchedule, SchedulePolicy
from dubcli.batches.earlier_result import in_the_way, is_there, lacks_comparison
from dubcli.batches.job_list import read_jobs
from dubcli.batches.local_workers import InProcessWorker, LocalWorkers, Workers
from dubcli.batches.row_checks import CheckedRow, check_rows
from dubcli.batches.row_result import (
    CANCELLED,
    DONE,
    FAILED,
    SKIPPED,
    BatchReport,
    ResultsFile,
    RowResult,
    read_results,
)
from dubcli.batches.row_task import OnShare
from dubcli.config import BatchConfig, DubConfig, PlanConfig
from dubcli.config.batch_config import STANDARD_INPUT
from dubcli.core.atomic_io import make_folder
from dubcli.core.errors import DubError
from dubcli.core.progress import PartProgress, no_progress
from dubcli.pipeline.context import SEGMENT_FRAMES
from dubcli.pipeline.engine import Engine
from dubcli.pipeline.resume import drop_finished

# With --ray, dubs of at least so many segments are rendered by several actors.
SPLIT_SEGMENTS = 4


@dataclass(kw_only=True)
class _Sorted:
    """The rows of a run, by what is known before the first begins.

    Attributes:
        todo: Those that will begin.
        skipped: Results that a file of an earlier run holds.
        known: Results that are to be written: of rows that cannot begin, and of rows that are done
            and whose run was killed before it could write that down.
    """

    todo: list[CheckedRow] = field(default_factory=list[CheckedRow])
    skipped: list[RowResult] = field(default_factory=list[RowResult])
    known: list[RowResult] = field(default_factory=list[RowResult])

    def __len__(self) -> int:
        return len(self.todo) + len(self.skipped) + len(self.known)


@dataclass(kw_only=True)
class _Taken:
    """The results of a run as they come: written down, told and kept.

    Attributes:
        file: Gets those of this run.
        tell: Called as (stage, done, total), in rows.
        on_result: Called with each.
        num_rows: How many will come.
        results: Those that came.
    """

    file: ResultsFile
    tell: PartProgress
    on_result: Callable[[RowResult], None] | None
    num_rows: int
    results: list[RowResult] = field(default_factory=list[RowResult])

    def keep(self, result: RowResult) -> None:
        """Write a result down, where no earlier run has."""
        if result.status != SKIPPED:
            self.file.append(result)
        self.results.append(result)
        if self.on_result is not None:
            self.on_result(result)

    def take(self, result: RowResult) -> None:
        """Keep a result, and tell where the batch stands."""
        self.keep(result)
        self.tell_rows()

    def tell_rows(self, running: float = 0.0) -> None:
        """Tell where the batch stands; `running` are the parts of running rows that are done."""
        self.tell("batch", len(self.results) + running, self.num_rows)


def batch(
    config: BatchConfig,
    progress: PartProgress | None = None,
    *,
    on_result: Callable[[RowResult], None] | None = None,
    defaults: Defaults | None = None,
    in_process: bool = False,
    segment_frames: int = SEGMENT_FRAMES,
) -> BatchReport:
    """Do the rows of a job list.

    All rows are checked before the first begins. A row that has a mistake or fails does not stop
    the others. Rows that an earlier run has done are skipped.

    Args:
        config: What to do.
        progress: Called as (stage, done, total); the stages are `check` and `batch`, in rows. Rows
            that run count in part.
        on_result: Called with each result of this run as it comes.
        defaults: Values by option for each command, where neither a row nor `config.set` sets them.
        in_process: Work in this process in place of others, one row after the other.
        segment_frames: After about so many frames a segment of a dub is finished.

    Returns:
        The results of all rows of this run.

    Raises:
        ConfigError: The list cannot be read, or an option is wrong.
        DeviceError: No Ray cluster answers.
        MediaError: The results cannot be written.
    """
    began, tell = time.monotonic(), progress or no_progress
    written, given = read_jobs(config), options_in(config.set)
    if config.output is not None:
        make_folder(config.output)
    file = ResultsFile(results_path(config))
    with Engine(config.device_names[0]) as engine:
        rows, mistakes = check_rows(written, defaults or {}, given, config.output, engine, tell)
        found = _sort(config, rows, mistakes)
        file.begin(str(config.jobs))
        taken = _Taken(file=file, tell=tell, on_result=on_result, num_rows=len(found))
        for result in (*found.skipped, *found.known):
            taken.keep(result)
        taken.tell_rows()
        if config.fail_fast and any(one.status == FAILED for one in found.known):
            for row in found.todo:
                taken.take(_known(row, CANCELLED))
        elif found.todo:
            here = engine if in_process else None
            workers = _workers(config, len(found.todo), here, taken.tell_rows)
            _do(found.todo, workers, _policy(config, segment_frames), taken.take)
    results = tuple(sorted(taken.results, key=lambda result: result.row))
    seconds = round(time.monotonic() - began, 3)
    return BatchReport(results=results, path=str(file.path), seconds=seconds)


def _do(
    rows: Sequence[CheckedRow],
    workers: Workers,
    policy: SchedulePolicy,
    take: Callable[[RowResult], None],
) -> None:
    try:
        BatchSchedule(rows, policy, take).run(workers)
    finally:
        workers.close()


def _policy(config: BatchConfig, segment_frames: int) -> SchedulePolicy:
    return SchedulePolicy(
        retries=config.retries,
        fail_fast=config.fail_fast,
        splits_from=SPLIT_SEGMENTS * segment_frames if config.ray else 0,
        segment_frames=segment_frames,
    )


def results_path(config: BatchConfig) -> Path:
    """Where the results go: beside the list, a file for each shard."""
    if config.results is not None:
        return config.results
    jobs = config.jobs if config.jobs.name else config.jobs.absolute()
    number, count = config.shard_of
    name = jobs.name if jobs.is_dir() else jobs.stem
    if config.jobs == STANDARD_INPUT:
        name = "batch"
    shard = f".{number}-of-{count}" if count > 1 else ""
    return jobs.with_name(f"{name}.results{shard}.jsonl")


def _workers(
    config: BatchConfig, num_rows: int, engine: Engine | None, on_share: OnShare
) -> Workers:
    if config.ray is not None:
        from dubcli.batches.ray_workers import RayWorkers

        return RayWorkers(config.ray, config.workers, config.device_names[0], config.retries)
    if engine is not None:
        return InProcessWorker(engine, on_share)
    count = min(config.num_workers, num_rows)
    names = config.device_names
    threads = max(1, (os.cpu_count() or 1) // count) if count > 1 else 0
    devices = [names[place % len(names)] for place in range(count)]
    return LocalWorkers(devices, threads, on_share)


def _sort(
    config: BatchConfig, rows: Sequence[CheckedRow], mistakes: Sequence[RowResult]
) -> _Sorted:
    """Which rows of this shard are to be done, which were, which cannot be."""
    number, count = config.shard_of
    earlier = _done_earlier(config)
    found = _Sorted(known=[one for one in mistakes if (one.row - number) % count == 0])
    for row in rows:
        if (row.number - number) % count:
            continue
        if row.key in earlier and _still_there(row):
            found.skipped.append(_finished(row, SKIPPED))
        elif row.key not in earlier and is_there(row):
            if lacks_comparison(row):
                found.todo.append(row)
            else:
                found.known.append(_finished(row, DONE))
        elif (error := in_the_way(row)) is not None:
            found.known.append(_known(row, FAILED, error))
        else:
            found.todo.append(row)
    return found


def _done_earlier(config: BatchConfig) -> set[str]:
    """Keys of the rows that earlier runs have done, also those with other shards."""
    path = results_path(config)
    stem = path.name.split(".results")[0]
    paths = {path, *path.parent.glob(f"{_literally(stem)}.results*.jsonl")}
    found = [one for place in sorted(paths) if place.exists() for one in read_results(place)]
    return {one.key for one in found if one.status == DONE and one.key}


def _literally(name: str) -> str:
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)


def _still_there(row: CheckedRow) -> bool:
    """What an earlier run has made lies there, and a report tells of these options."""
    if isinstance(row.config, DubConfig):
        return is_there(row, is_known=True)
    return row.output.exists() and (row.report is None or row.report.exists())


def _finished(row: CheckedRow, status: str) -> RowResult:
    """The result of a row whose files are there, without what a killed run left beside them."""
    if isinstance(row.config, DubConfig) and not isinstance(row.config, PlanConfig):
        drop_finished(row.output)
    return _known(row, status)


def _known(row: CheckedRow, status: str, error: DubError | None = None) -> RowResult:
    return RowResult(
        row=row.number,
        command=row.command,
        status=status,
        exit_code=0 if error is None else error.exit_code,
        error=None if error is None else str(error),
        output=str(row.output),
        report=str(row.report) if row.report is not None and row.report.exists() else None,
        options=row.options,
        key=row.key,
    )
