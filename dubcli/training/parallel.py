"""One run in several processes that `torchrun` starts, each on its own part of every step."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import distributed, nn

T = TypeVar("T")


@contextmanager
def process_group(device: torch.device) -> Iterator[torch.device]:
    """Join the processes of `torchrun`, if it started this one; the device of this process.

    NCCL connects GPUs, gloo everything else. A single process joins nothing.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        distributed.destroy_process_group()


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
