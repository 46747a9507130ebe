"""Runs the command many times, each in a process of its own, and loads torch once for all.

Loading the libraries takes seconds, a run with a tiny clip a quarter of one. So this process loads
them, and forks for every request that it reads: `{"argv", "cwd", "environment", "stdout", "stderr",
"stacks", "limits"}`, one JSON object a line, and answers with the child's number. Asked to
`{"wait": NUMBER}` it answers with that child's status and peak memory in KiB, once it has ended.

With a request as its argument it is that run itself, for whoever wants to trace one from its start.

A child is the command as users run it: its own descriptors, environment, signals, and the
interpreter's own way out. SIGUSR1 makes it write the stacks of all threads to `stacks` and ends it.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import resource
import signal
import sys
import tempfile
from typing import Any

LOADED = (
    *("dubcli.cli.app", "dubcli.pipeline.run", "dubcli.models.passthrough.network"),
    # Not onnxruntime: loaded before the fork, runs in the children fail.
    *("imageio_ffmpeg", "safetensors.torch", "pydantic.type_adapter", "cryptography.x509"),
)
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND


def _serve() -> dict[str, Any] | None:
    """Answer requests; returns one in a forked child, and None when there are no more."""
    for name in LOADED:
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status, usage = os.wait4(request["wait"], 0)
            print(json.dumps({"status": status, "peak_kib": usage.ru_maxrss}), flush=True)
            continue
        child = os.fork()
        if child == 0:
            return request
        print(json.dumps({"pid": child}), flush=True)
    return None


def become(request: dict[str, Any]) -> int:
    """Make this process what the request describes; returns the descriptor that gets stacks."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    tempfile.tempdir = None  # TMPDIR may be another one
    _open_as(0, os.devnull, os.O_RDONLY)
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 as long as the process lives
    for number, name in ((1, "stdout"), (2, "stderr")):
        _open_as(number, request[name], _APPEND)
    stacks = os.open(request["stacks"], _APPEND, 0o600)
    faulthandler.unregister(signal.SIGUSR1)  # of an earlier run of this process
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    # Once they are written the signal does what it does by default: it ends the process.
    faulthandler.register(signal.SIGUSR1, file=stacks, all_threads=True, chain=True)
    faulthandler.enable(file=stacks)
    for name, value in request["limits"].items():
        number = getattr(resource, name)
        resource.setrlimit(number, (value, resource.getrlimit(number)[1]))
    sys.argv = ["dub", *request["argv"]]
    if "DUB_FAULTS" in os.environ:
        importlib.import_module("hooks").install()
    return stacks


def _open_as(number: int, path: str, flags: int) -> None:
    opened = os.open(path, flags, 0o600)
    os.dup2(opened, number)
    os.close(opened)


def main() -> None:
    """Serve; in a child, or with a request, be the command."""
    request = json.loads(sys.argv[1]) if len(sys.argv) > 1 else _serve()
    if request is None:
        return
    become(request)
    from dubcli.cli.app import app

    app()


if __name__ == "__main__":
    main()
