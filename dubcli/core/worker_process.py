"""Processes that work for another one: what they do about interrupts and about its end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from typing import Any


def begin_worker() -> None:
    """In a new process: leave interrupts to the process that began it, and end with it.

    SIGTERM interrupts the running task as Ctrl-C would, so that it leaves nothing half-written.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def was_interrupted() -> bool:
    """In such a process: a task was interrupted by SIGTERM; the next ones need not begin."""
    return signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def interrupt_workers() -> None:
    """Interrupt the running tasks of all processes that this one began."""
    for process in multiprocessing.active_children():
        process.terminate()


def _interrupt(signum: int, frame: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    """Where the parent was killed, nobody would take the result."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
