"""Workers on this machine: processes, each with an engine of its own that lasts."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import cache
from typing import Any, Protocol

from dubcli.batches.row_task import OnShare, Outcome, RowTask, do_task, no_share
from dubcli.core.worker_process import begin_worker
from dubcli.pipeline.engine import Engine

# How often it is looked how far rows are that run in other processes.
_LOOK_S = 1.0


class Workers(Protocol):
    """Who does the tasks of a batch."""

    @property
    def size(self) -> int:
        """How many tasks are done at the same time."""
        ...

    @property
    def num_running(self) -> int:
        """How many tasks were begun and not given back."""
        ...

    def begin(self, task: RowTask) -> None:
        """Begin a task; fewer than `size` are running."""
        ...

    def next_done(self) -> tuple[RowTask, Outcome | None]:
        """Wait for a task; None where its worker was lost."""
        ...

    def release_idle(self) -> None:
        """No further task will come for workers that have none."""
        ...

    def close(self) -> None:
        """Stop at once; what runs is interrupted."""
        ...


class InProcessWorker:
    """One worker in this process: nothing is started, and nothing survives its death.

    Args:
        engine: Does the tasks.
        on_share: Called with the part of the running row that is done, from 0 to 1.
    """

    size = 1

    def __init__(self, engine: Engine, on_share: OnShare = no_share) -> None:
        self._engine, self._on_share = engine, on_share
        self._waiting: deque[RowTask] = deque()

    @property
    def num_running(self) -> int:
        """Tasks that wait to be done by `next_done`."""
        return len(self._waiting)

    def begin(self, task: RowTask) -> None:
        """Keep the task for `next_done`."""
        self._waiting.append(task)

    def next_done(self) -> tuple[RowTask, Outcome | None]:
        """Do the task."""
        task = self._waiting.popleft()
        return task, do_task(task, self._engine, self._on_share)

    def release_idle(self) -> None:
        """Nothing to let go of."""

    def close(self) -> None:
        """Nothing runs beside this process."""


class LocalWorkers:
    """Processes of this machine; one that is killed is replaced, and the others go on.

    Args:
        devices: Device of each worker.
        threads: CPU threads of each, for rows that leave theirs at 0; 0 for all cores.
        on_share: Called now and then with the parts of the running rows that are done, in sum.
    """

    def __init__(
        self, devices: Sequence[str], threads: int = 0, on_share: OnShare = no_share
    ) -> None:
        self._on_share = on_share
        # A pool of one process each: where a process is killed, a pool is lost as a whole.
        self._pools = [_Pool(device, threads) for device in devices]
        self._running: dict[Future[Outcome], tuple[_Pool, RowTask]] = {}

    @property
    def size(self) -> int:
        """How many processes there are."""
        return len(self._pools)

    @property
    def num_running(self) -> int:
        """How many of them work."""
        return len(self._running)

    def begin(self, task: RowTask) -> None:
        """Give the task to a process that has none."""
        busy = [pool for pool, _ in self._running.values()]
        pool = next(pool for pool in self._pools if pool not in busy)
        self._running[pool.submit(task)] = (pool, task)

    def next_done(self) -> tuple[RowTask, Outcome | None]:
        """Wait for the first process that is ready."""
        done, _ = wait(self._running, _LOOK_S, FIRST_COMPLETED)
        while not done:
            self._on_share(sum(pool.share for pool, _ in self._running.values()))
            done, _ = wait(self._running, _LOOK_S, FIRST_COMPLETED)
        future = next(iter(done))
        pool, task = self._running.pop(future)
        try:
            return task, future.result()
        except BrokenProcessPool:
            pool.replace()
            return task, None

    def release_idle(self) -> None:
        """Processes without a task cost nothing but memory."""

    def close(self) -> None:
        """Interrupt what runs, and wait until it has put its files in order."""
        for pool, _ in self._running.values():
            pool.interrupt()
        self._running.clear()
        for pool in self._pools:
            pool.close()


class _Pool:
    """One process that is started when the first task comes."""

    def __init__(self, device: str, threads: int) -> None:
        self._device, self._threads = device, threads
        self._context = multiprocessing.get_context("spawn")
        self._share = self._context.RawValue("d", 0.0)
        self._executor: ProcessPoolExecutor | None = None
        self._pid: Future[int] | None = None

    @property
    def share(self) -> float:
        """The part of its row that is done, from 0 to 1."""
        return self._share.value

    def submit(self, task: RowTask) -> Future[Outcome]:
        self._share.value = 0.0
        while True:
            if self._executor is None:
                self._executor = ProcessPoolExecutor(
                    1, self._context, initializer=_begin_worker, initargs=(self._share,)
                )
                self._pid = self._executor.submit(os.getpid)
            try:
                return self._executor.submit(_do_in_worker, task, self._device, self._threads)
            except BrokenProcessPool:  # it was killed while it had nothing to do
                self.replace()

    def replace(self) -> None:
        """The next task starts another process."""
        self.close()

    def interrupt(self) -> None:
        """Stop the running task as Ctrl-C would."""
        if self._pid is not None and self._pid.done() and self._pid.exception() is None:
            with suppress(OSError):
                os.kill(self._pid.result(), signal.SIGTERM)

    def close(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)
        self._executor = self._pid = None


class _ToldShare:
    """Where a process tells how much of its row is done."""

    def __init__(self) -> None:
        self.value: Any = None

    def tell(self, share: float) -> None:
        if self.value is not None:
            self.value.value = share


@cache
def _told_share() -> _ToldShare:
    """The one of this process: memory is shared with it when it begins, and not with a task."""
    return _ToldShare()


def _begin_worker(share: Any) -> None:
    """Finished segments of a row are kept where the process ends with its parent."""
    _told_share().value = share
    begin_worker()


@cache
def _worker_engine(device: str, threads: int) -> Engine:
    """What the tasks of one process share."""
    return Engine(device, threads)


def _do_in_worker(task: RowTask, device: str, threads: int) -> Outcome:
    return do_task(task, _worker_engine(device, threads), _told_share().tell)
