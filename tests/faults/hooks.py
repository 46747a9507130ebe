"""Faults that are put into a run before it starts. `server.py` calls `install` in the process.

`DUB_FAULTS` is a JSON list: the name of a function of this module, then its arguments.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from other_tests import module_of

SEGMENT_FRAMES = 4


def install() -> None:
    """Put in every fault that the environment names."""
    for name, *arguments in json.loads(os.environ["DUB_FAULTS"]):
        FAULTS[name](*arguments)


def _at(stage: str, done: int, act: Callable[[], None]) -> None:
    """Act when the pipeline tells that so many frames of a stage are done; segments are short."""
    import dubcli.pipeline.run

    dub = dubcli.pipeline.run.dub

    @functools.wraps(dub)
    def faulty(config: Any, progress: Any = None, **more: Any) -> Any:
        def tell(now: str, count: int, total: int) -> None:
            progress(now, count, total)
            if (now, count) == (stage, done):
                act()

        if stage == "begin":
            act()
        return dub(config, tell, **{**more, "segment_frames": SEGMENT_FRAMES})

    dubcli.pipeline.run.dub = faulty


def _short_segments() -> None:
    _at("never", 0, lambda: None)


def _signal(number: int, stage: str, done: int) -> None:
    _at(stage, done, lambda: os.kill(os.getpid(), number))


def _remove(path: str, stage: str, done: int) -> None:
    target = Path(path)
    _at(stage, done, lambda: shutil.rmtree(target) if target.is_dir() else target.unlink())


def _leave_open(path: str, stage: str, done: int) -> None:
    kept: list[int] = []
    _at(stage, done, lambda: kept.append(os.open(path, os.O_RDONLY)))


def _halve(path: str, stage: str, done: int) -> None:
    _at(stage, done, lambda: os.truncate(path, os.path.getsize(path) // 2))


def _fill(path: str, stage: str, done: int) -> None:
    """Write until the disk is full."""

    def act() -> None:
        block = bytes(1 << 16)
        with open(path, "ab", buffering=0) as stream:
            try:
                while stream.write(block) == len(block):
                    pass
                while stream.write(b"\x00"):
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    _at(stage, done, act)


def _wait(path: str, stage: str, done: int) -> None:
    """Say that it waits, then wait until somebody opens a named pipe."""

    def act() -> None:
        print("waiting", file=sys.stderr, flush=True)
        with open(path, "rb") as stream:
            stream.read()

    _at(stage, done, act)


def _memory(kind: str, least_frames: int) -> None:
    """The model runs out of memory with so many frames or more at once."""
    import torch

    from dubcli.models.passthrough.network import Passthrough

    render = Passthrough.render
    error = {"torch": torch.OutOfMemoryError("CUDA out of memory."), "python": MemoryError()}[kind]

    def faulty(self: Any, window: Any, motion: Any, state: Any) -> Any:
        if len(window) >= least_frames:
            raise error
        return render(self, window, motion, state)

    Passthrough.render = faulty


def _no_memory(stage: str, done: int) -> None:
    def act() -> None:
        raise MemoryError

    _at(stage, done, act)


def _disk_error(number: int, stage: str, done: int) -> None:
    def act() -> None:
        raise OSError(number, os.strerror(number), "/somewhere/file")

    _at(stage, done, act)


def _no_bundled_ffmpeg() -> None:
    import imageio_ffmpeg

    def missing() -> str:
        raise RuntimeError("No ffmpeg exe could be found.")

    imageio_ffmpeg.get_ffmpeg_exe = missing


def _clock_back() -> None:
    """Every look at the wall clock shows an hour less than the one before."""
    now = [time.time()]

    def earlier() -> float:
        now[0] -= 3600
        return now[0]

    time.time = earlier


def _clock_jump(seconds: int, stage: str, done: int) -> None:
    """From a stage on the wall clock shows another time."""
    clock = time.time

    def act() -> None:
        time.time = lambda: clock() + seconds

    _at(stage, done, act)


def _no_network() -> None:
    def refuse(self: socket.socket, address: Any) -> None:
        print("reached for the network", file=sys.stderr, flush=True)
        raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))

    socket.socket.connect = refuse


def _in_process() -> None:
    """A batch works in this process, which costs less than to start others."""
    import dubcli.batches.run as batches

    batches.batch = functools.partial(batches.batch, in_process=True, segment_frames=SEGMENT_FRAMES)


def _small_person() -> None:
    """`dub finetune` learns four steps of a small network from drawn footage."""
    module_of("small_person", "train", "e2e", "contract").install()


def _no_overrides() -> None:
    """Permissions of files hold, also where tests run as root."""
    if os.geteuid() == 0:
        module_of("privileges", "tools").drop_overrides()


FAULTS: dict[str, Callable[..., None]] = {
    "short segments": _short_segments,
    "signal": _signal,
    "remove": _remove,
    "halve": _halve,
    "leave open": _leave_open,
    "fill": _fill,
    "wait": _wait,
    "memory": _memory,
    "no memory": _no_memory,
    "disk error": _disk_error,
    "no bundled ffmpeg": _no_bundled_ffmpeg,
    "clock back": _clock_back,
    "clock jump": _clock_jump,
    "no network": _no_network,
    "in process": _in_process,
    "small person": _small_person,
    "no overrides": _no_overrides,
}
