"""Workers on a Ray cluster: one actor a GPU or a group of cores, each with an engine that lasts.

Ray schedules: it places actors, starts them again where a node was lost, and runs their task again.
Videos and results are named by paths, which every node must see.
"""

from __future__ import annotations

import logging
import os
import socket
from importlib.util import find_spec
from typing import Any

from dubcli.batches.row_task import Outcome, RowTask, do_task
from dubcli.core.errors import ConfigError, DeviceError
from dubcli.pipeline.engine import Engine

_LOCAL, _AUTO = "local", "auto"
_CONNECT_S = 10.0
CORES_A_WORKER = 4


class EngineActor:
    """What runs on a node: an engine, and the tasks that it is given.

    Args:
        device: Where models run, for rows that leave theirs at `auto`.
        threads: CPU threads, for rows that leave theirs at 0.
    """

    def __init__(self, device: str, threads: int) -> None:
        self._engine = Engine(device, threads)

    def do(self, task: RowTask) -> Outcome:
        """Do a task; a mistake of a file is an outcome, so that Ray does not try it again."""
        return do_task(task, self._engine)


class RayWorkers:
    """Actors of a cluster.

    Args:
        address: `HOST:PORT`, `ray://HOST:PORT`, `auto` or `local`.
        count: How many; 0 for one a GPU, or one a group of cores where there is none.
        device: Where models run, for rows that leave theirs at `auto`.
        retries: How often Ray runs a task again whose node was lost.

    Raises:
        ConfigError: Ray is not installed.
        DeviceError: No cluster answers, or it has no room.
    """

    def __init__(self, address: str, count: int, device: str, retries: int) -> None:
        self._ray = connect(address)
        resources = self._ray.cluster_resources()
        gpus = int(resources.get("GPU", 0)) if device.split(":")[0] in ("auto", "cuda") else 0
        cores = int(resources.get("CPU", 1))
        groups = gpus or max(1, cores // CORES_A_WORKER)
        self._size = count or groups
        each = max(1, min(CORES_A_WORKER, cores // self._size))
        wanted: dict[str, Any] = {"num_gpus": 1, "num_cpus": 1} if gpus else {"num_cpus": each}
        self._actor = self._ray.remote(EngineActor).options(
            **wanted, max_restarts=-1, max_task_retries=retries
        )
        self._arguments = device, 0 if gpus else each
        self._idle = [self._new_actor() for _ in range(self._size)]
        self._running: dict[Any, tuple[Any, RowTask]] = {}

    def _new_actor(self) -> Any:
        """An actor that Ray will place."""
        return self._actor.remote(*self._arguments)

    @property
    def size(self) -> int:
        """How many tasks are done at the same time."""
        return self._size

    @property
    def num_running(self) -> int:
        """How many actors have a task."""
        return len(self._running)

    def begin(self, task: RowTask) -> None:
        """Give the task to an actor that has none."""
        actor = self._idle.pop()
        self._running[actor.do.remote(task)] = (actor, task)

    def next_done(self) -> tuple[RowTask, Outcome | None]:
        """Wait for the first actor that is ready; None where Ray has given its task up."""
        (done,), _ = self._ray.wait(list(self._running), num_returns=1)
        actor, task = self._running.pop(done)
        try:
            outcome = self._ray.get(done)
        except self._ray.exceptions.RayError:
            # Ray may not know yet that its node is gone, and would go on asking there.
            self._ray.kill(actor)
            self._idle.append(self._new_actor())
            return task, None
        self._idle.append(actor)
        return task, outcome

    def release_idle(self) -> None:
        """Give their room back: an actor whose node was lost may wait for it."""
        if self._running:
            self._size = len(self._running)
            while self._idle:
                self._ray.kill(self._idle.pop())

    def close(self) -> None:
        """Stop all actors and leave the cluster; finished segments of a dub are kept."""
        for actor in [*self._idle, *(actor for actor, _ in self._running.values())]:
            self._ray.kill(actor)
        self._idle, self._running = [], {}
        self._ray.shutdown()


def connect(address: str) -> Any:
    """Join a cluster; the module of Ray.

    Args:
        address: As for `RayWorkers`.

    Raises:
        ConfigError: Ray is not installed.
        DeviceError: No cluster answers.
    """
    if find_spec("ray") is None:
        raise ConfigError("--ray needs the package ray.", "Run: pip install 'dubcli[ray]'")
    # Usage statistics would go to Ray's makers.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    _require_answer(address)
    import ray  # pyright: ignore[reportMissingImports]

    try:
        ray.init(
            address=None if address == _LOCAL else address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=True,
            include_dashboard=False if address == _LOCAL else None,
        )
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise _no_cluster(address) from error
    return ray


def _require_answer(address: str) -> None:
    """Knock at the door, because Ray itself waits for minutes at one that is closed."""
    if address in (_LOCAL, _AUTO):
        return
    host, mark, port = address.removeprefix("ray://").rpartition(":")
    if not mark or not port.isdecimal():
        raise ConfigError(
            f"--ray '{address}' is no address.", "Use HOST:PORT, ray://HOST:PORT, auto or local."
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address) from error


def _no_cluster(address: str) -> DeviceError:
    return DeviceError(
        f"No Ray cluster answers at '{address}'.",
        "Start one with 'ray start --head', or check the address with 'ray status'.",
    )
