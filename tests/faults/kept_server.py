"""Runs the command many times in this one process, one run after the other, with one engine.

Takes and answers what `server.py` does, but for the child: the number is this process's own, and a
run's answer also names the Python threads and open files that it left behind. What costs most of a
run with a tiny clip is done once: to load libraries and networks, to fork, to build the
commands, to take the process down.
Networks of checkpoints are dropped after each run, so that no run sees another one's file.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import typer.main
from server import LOADED, become

# Opened once by libraries and kept.
_KEPT_FILES = ("/dev/null ", "/dev/urandom ")


def _serve(requests: TextIO, answers: TextIO) -> None:
    """Answer requests until there are no more."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # as the command does before it loads this
    for name in (*LOADED, "onnxruntime"):
        importlib.import_module(name)
    command = typer.main.get_command(importlib.import_module("dubcli.cli.app").app)
    engine = _keep_engine()
    faults: set[str] = set()
    for line in requests:
        request = json.loads(line)
        _tell(answers, {"pid": os.getpid()})
        with _own_streams():
            status, peak_kib, left = _run(command, request, faults)
        _forget_checkpoints(engine)
        json.loads(next(requests))  # it is waited for
        _tell(answers, {"status": status << 8, "peak_kib": peak_kib, "left": left})


def _tell(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _keep_engine() -> Any:
    """One engine for all runs in place of one for each."""
    import dubcli.batches.run
    import dubcli.pipeline.run
    from dubcli.pipeline.engine import Engine

    engine = Engine("cpu", 1)

    @contextlib.contextmanager
    def kept(*_: Any) -> Iterator[Engine]:
        yield engine

    dubcli.pipeline.run.engine_for = kept
    dubcli.batches.run.Engine = kept  # pyright: ignore[reportAttributeAccessIssue]
    return engine


def _forget_checkpoints(engine: Any) -> None:
    for key in [key for key in engine._loaded if key[0] == "model"]:
        del engine._loaded[key]


@contextlib.contextmanager
def _own_streams() -> Iterator[None]:
    """Descriptors 0 to 2 and the working folder are this process's own again afterwards."""
    kept, folder = [os.dup(number) for number in range(3)], os.getcwd()
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, copy in enumerate(kept):
            os.dup2(copy, number)
            os.close(copy)
        os.chdir(folder)


def _run(
    command: Callable[[], object], request: dict[str, Any], faults: set[str]
) -> tuple[int, int, list[str]]:
    """Exit code, peak memory in KiB and what was left behind of one run."""
    wanted = request["environment"].pop("DUB_FAULTS", "[]")
    assert not request["limits"], "limits of a process hold for all its runs"
    stacks = become(request)
    _put_in_once(wanted, faults)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _open_files()
    code = _call(command)
    os.close(stacks)
    gc.collect()
    gc.freeze()  # what lives now outlives the next runs too: it is not looked through again
    left = [thread.name for thread in threading.enumerate()[1:]]
    left += [name for name in _open_files() - before if not name.startswith(_KEPT_FILES)]
    return code, _peak_kib(), left


def _call(command: Callable[[], object]) -> int:
    """The command itself; what no command should raise is told as the interpreter does."""
    try:
        command()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _put_in_once(wanted: str, faults: set[str]) -> None:
    if wanted not in faults:
        faults.add(wanted)
        os.environ["DUB_FAULTS"] = wanted
        importlib.import_module("hooks").install()
        del os.environ["DUB_FAULTS"]


def _open_files() -> set[str]:
    """What the descriptors of this process lead to."""
    found = set[str]()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # that of the listing itself
            found.add(f"{os.readlink(f'/proc/self/fd/{number}')} ({number})")
    return found


def _peak_kib() -> int:
    status = Path("/proc/self/status").read_text("ascii", "replace")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1])


def main() -> None:
    """Serve; standard streams belong to the runs, so what is asked and answered goes elsewhere."""
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    _serve(requests, answers)


if __name__ == "__main__":
    main()
