"""One run in several processes that `torchrun` starts, each on its own part of every step."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TypeVar

import torch
from torch import distributed, nn

from dubcli.core.errors import ConfigError, DeviceError

T = TypeVar("T")


@contextmanager
def process_group(device: torch.device) -> Iterator[torch.device]:
    """Join the processes of `torchrun`, if it started this one; the device of this process.

    NCCL connects GPUs, gloo everything else. A single process joins nothing.

    Raises:
        DeviceError: There are fewer GPUs than processes here, the device cannot be shared, or the
            processes do not find each other.
    """
    if launched_processes() < 2:
        yield device
        return
    device = _own_device(device)
    try:
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    except (RuntimeError, ValueError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DeviceError(
            f"The {launched_processes()} processes do not find each other: {first}.",
            "Start them by torchrun, on one machine with --standalone.",
        ) from error
    try:
        yield device
        # Who leaves while others are still at work may end by a signal. Those that failed are gone.
        with suppress(RuntimeError):
            distributed.barrier()
    finally:
        distributed.destroy_process_group()


def _own_device(device: torch.device) -> torch.device:
    """The device of this process, of the kind that is asked for."""
    if not distributed.is_available() or device.type not in ("cpu", "cuda"):
        raise DeviceError(
            f"Several processes cannot train on {device.type} together here.",
            "Start one process, without torchrun, or use --device cpu.",
        )
    if device.type == "cpu":
        return device
    own, num = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if own >= num:
        raise DeviceError(
            f"Process {own + 1} of this machine has no GPU of its own: there are {num}.",
            f"Use --nproc-per-node {num}, or --device cpu.",
        )
    torch.cuda.set_device(own)
    return torch.device("cuda", own)


def launched_processes() -> int:
    """How many processes `torchrun` started; 1 without it."""
    stated = os.environ.get("WORLD_SIZE", "1")
    return int(stated) if stated.isdigit() else 1


def require_one_process(what: str) -> None:
    """Refuse `torchrun` where each process would do all of the work over the others' files.

    Args:
        what: The command that runs in one process.

    Raises:
        ConfigError: Several processes were started.
    """
    num = launched_processes()
    if num > 1:
        raise ConfigError(
            f"{what} runs in one process, and torchrun started {num}.",
            "Start it without torchrun.",
        )


def is_parallel() -> bool:
    """Whether several processes train together."""
    return distributed.is_available() and distributed.is_initialized()


def rank() -> int:
    """Number of this process, from 0."""
    return distributed.get_rank() if is_parallel() else 0


def world_size() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if is_parallel() else 1


def is_first() -> bool:
    """Whether this process is the one that writes and reports."""
    return rank() == 0


def gathered(value: T) -> list[T]:
    """The values of all processes, in their order."""
    if not is_parallel():
        return [value]
    values: list[T | None] = [None] * world_size()
    distributed.all_gather_object(values, value)
    return [item for item in values if item is not None]


def mean_values(values: Mapping[str, float]) -> dict[str, float]:
    """Means over all processes, by name; what a process lacks counts as 0."""
    every = gathered(dict(values))
    names = dict.fromkeys(name for one in every for name in one)
    return {name: sum(one.get(name, 0.0) for one in every) / len(every) for name in names}


def average_statistics(modules: Iterable[nn.Module]) -> None:
    """Running means and variances of batch normalisation become those of all processes together."""
    if not is_parallel():
        return
    for module in modules:
        for part in module.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                for value in (part.running_mean, part.running_var):
                    if value is not None:
                        distributed.all_reduce(value)
                        value /= world_size()


def as_the_first(value: T) -> T:
    """What the first process has, on every one: clocks differ."""
    if not is_parallel():
        return value
    values = [value]
    distributed.broadcast_object_list(values)
    return values[0]


def joined(module: nn.Module) -> nn.Module:
    """A module whose backward pass averages its gradients over the processes."""
    if not is_parallel():
        return module
    # A stage may leave parts of its network out of a step.
    return nn.parallel.DistributedDataParallel(module, find_unused_parameters=True)
