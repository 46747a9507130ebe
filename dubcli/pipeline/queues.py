"""Bounded queues between the stages: decoding and encoding run beside the model."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")
DEPTH = 4
_POLL_S = 0.2


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class _End:
    pass


@contextmanager
def prefetch(items: Iterator[T], depth: int = DEPTH) -> Iterator[Iterator[T]]:
    """Run an iterator in a thread of its own, at most `depth` items ahead.

    Its error is raised where the next item is asked for; leaving the context stops it. A generator
    that holds this context should be closed by the one who reads it.
    """
    line: queue.Queue[T | _Failure | _End] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: T | _Failure | _End) -> bool:
        while not stopped.is_set():
            try:
                line.put(item, timeout=_POLL_S)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(_End())
        except BaseException as error:
            put(_Failure(error))

    def drain() -> Iterator[T]:
        while True:
            try:
                item = line.get(timeout=_POLL_S)
            except queue.Empty:
                # Who asks in a thread of their own must not wait for a producer that was stopped.
                if stopped.is_set():
                    return
                continue
            if isinstance(item, _End):
                return
            if isinstance(item, _Failure):
                raise item.error
            yield item

    worker = threading.Thread(target=work, name="dub-prefetch", daemon=True)
    try:
        worker.start()
        yield drain()
    finally:
        stopped.set()
        # What nobody closed is collected in any thread, its own worker among them.
        if worker.ident is not None and worker is not threading.current_thread():
            worker.join()


class Sink(Generic[T]):
    """Hands items to a function in a thread of its own, at most `depth` items behind.

    An error of the function is raised by the next `put` or by `finish`.
    """

    def __init__(self, consume: Callable[[T], None], depth: int = DEPTH) -> None:
        self._consume = consume
        self._line: queue.Queue[T | _End] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._stopped = threading.Event()
        self._worker = threading.Thread(target=self._work, name="dub-sink", daemon=True)
        self._worker.start()

    def put(self, item: T) -> None:
        """Queue an item; waits while the queue is full."""
        self._send(item)

    def finish(self) -> None:
        """Wait until everything is consumed."""
        self._send(_End())
        self._worker.join()
        self._raise()

    def stop(self) -> None:
        """Drop what is queued and end the thread."""
        self._stopped.set()
        self._worker.join()

    def _send(self, item: T | _End) -> None:
        while True:
            self._raise()
            try:
                self._line.put(item, timeout=_POLL_S)
                return
            except queue.Full:
                continue

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while not self._stopped.is_set():
            try:
                item = self._line.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            if isinstance(item, _End):
                return
            try:
                self._consume(item)
            except BaseException as error:
                self._error = error
                return
