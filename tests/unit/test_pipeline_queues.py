from __future__ import annotations

import threading
from collections.abc import Generator, Iterator

import pytest

from dubcli.pipeline.queues import DEPTH, Sink, prefetch


def dub_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("dub-")]


def test_items_come_in_order_and_the_thread_ends() -> None:
    with prefetch(iter(range(50))) as items:
        assert list(items) == list(range(50))
    assert dub_threads() == []


def test_no_more_than_the_depth_is_read_ahead() -> None:
    asked: list[int] = []
    enough = threading.Event()

    def source() -> Iterator[int]:
        for number in range(100):
            asked.append(number)
            if len(asked) == DEPTH + 2:
                enough.set()
            yield number

    with prefetch(source()) as items:
        assert next(items) == 0
        assert enough.wait(300)
    # One was taken, `DEPTH` wait in the queue, one waits to get in.
    assert len(asked) == DEPTH + 2


def test_leaving_early_stops_an_endless_source() -> None:
    def endless() -> Iterator[int]:
        while True:
            yield 1

    with prefetch(endless()) as items:
        assert next(items) == 1
    assert dub_threads() == []


def test_the_sources_error_comes_after_its_items() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    with prefetch(source()) as items:
        assert next(items) == 1
        with pytest.raises(ValueError, match="broken"):
            next(items)
    assert dub_threads() == []


def test_an_error_of_the_reader_ends_the_thread() -> None:
    def leave() -> None:
        with prefetch(iter(range(1000))) as items:
            next(items)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert dub_threads() == []


def test_a_reader_that_is_collected_in_its_own_worker_ends_quietly() -> None:
    abandoned, ended = threading.Event(), threading.Event()
    errors, readers = list[BaseException](), list[Generator[int, None, None]]()

    def source() -> Iterator[int]:
        yield 1
        abandoned.wait(300)
        try:
            # What the collector does with a generator that nobody closed, in whichever thread.
            readers[0].close()
        except BaseException as error:
            errors.append(error)
        ended.set()

    def read() -> Generator[int, None, None]:
        with prefetch(source(), depth=1) as items:
            yield from items

    readers.append(read())
    assert next(readers[0]) == 1
    abandoned.set()
    assert ended.wait(300)
    assert errors == []


def test_a_sink_takes_everything_in_order() -> None:
    taken: list[int] = []
    sink = Sink(taken.append)
    for number in range(50):
        sink.put(number)
    sink.finish()
    sink.stop()
    assert taken == list(range(50))
    assert dub_threads() == []


def test_a_sinks_error_reaches_the_one_who_puts() -> None:
    def full(number: int) -> None:
        raise OSError(f"disk full at {number}")

    sink = Sink(full)

    def fill() -> None:
        for number in range(2 * DEPTH + 2):
            sink.put(number)
        sink.finish()

    with pytest.raises(OSError, match="disk full at 0"):
        fill()
    sink.stop()
    assert dub_threads() == []


def test_a_stopped_sink_drops_what_waits() -> None:
    begun, may_end = threading.Event(), threading.Event()
    taken: list[int] = []

    def slow(number: int) -> None:
        begun.set()
        may_end.wait(300)
        taken.append(number)

    sink = Sink(slow)
    for number in range(DEPTH):
        sink.put(number)
    assert begun.wait(300)
    stopper = threading.Thread(target=sink.stop)
    stopper.start()
    while not sink._stopped.is_set():
        pass
    may_end.set()
    stopper.join()
    assert taken == [0]
