"""Keep SVT-AV1 from what it does to the process that uses it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_THREADS = Path("/proc/self/task")


@contextmanager
def quiet_svt() -> Iterator[None]:
    """Open an encoder inside: no settings on standard error, no real-time threads afterwards.

    Run by root, the library gives the thread that opens it and all its own real-time priority, the
    highest there is, and never takes it back: everything else on the machine would wait.
    """
    before = os.environ.get("SVT_LOG")
    os.environ["SVT_LOG"] = "1"  # errors only
    try:
        yield
    finally:
        if before is None:
            del os.environ["SVT_LOG"]
        else:
            os.environ["SVT_LOG"] = before
        _leave_real_time()


def _leave_real_time() -> None:
    """Give every thread of this process the usual scheduling, where the system has another."""
    with suppress(OSError, AttributeError):  # no such folder, or no such call
        for thread in map(int, os.listdir(_THREADS)):
            if os.sched_getscheduler(thread) in (os.SCHED_FIFO, os.SCHED_RR):
                os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))
