"""Batches by number: read ahead by worker processes, put on the device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, Sampler

from dubcli.core.errors import DubError
from dubcli.training.parallel import rank, world_size
from dubcli.training.stage import Batch


@dataclass(frozen=True, kw_only=True)
class BatchSize:
    """How batches are drawn: the seed, clips in a batch, and frames of each."""

    seed: int
    clips: int
    frames: int


@dataclass(frozen=True)
class BatchNumbers(Sampler[int]):
    """Numbers of the batches of this process, in order.

    Every update takes `accumulate` batches of every process, so that any number of processes
    sees each batch once, and a run that goes on sees what it would have seen.

    Attributes:
        start: First update.
        stop: Update before which it ends.
        accumulate: Batches of an update in one process.
    """

    start: int
    stop: int
    accumulate: int = 1

    def __iter__(self) -> Iterator[int]:
        own, processes = rank(), world_size()
        for number in range(self.start * self.accumulate, self.stop * self.accumulate):
            yield number * processes + own

    def __len__(self) -> int:
        return (self.stop - self.start) * self.accumulate


def batches_of(
    dataset: Dataset[Batch], numbers: BatchNumbers, *, workers: int, device: torch.device
) -> Iterator[Batch]:
    """The batches of these numbers, on the device.

    Args:
        dataset: Its item i is batch number i.
        numbers: Which.
        workers: Processes that make them; 0 makes each when it is wanted.
        device: Where they are put.

    Raises:
        DubError: One cannot be made, in whichever process.
    """
    assert isinstance(numbers, Sized)
    loader = DataLoader(
        _Made(dataset),
        batch_size=None,
        sampler=numbers,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        worker_init_fn=_one_thread,
        # One of its own: the loader must not draw from the numbers of the training.
        generator=torch.Generator(),
        # Threads of the parent do not survive a fork.
        multiprocessing_context="spawn" if workers else None,
    )
    for batch in loader:
        if isinstance(batch, DubError):
            raise batch
        yield placed(batch, device)


class _Made(Dataset[Batch | DubError]):
    """Batches, or why one cannot be made.

    A worker process hands an error over as the text of its traceback, which is no line for a user.
    """

    def __init__(self, batches: Dataset[Batch]) -> None:
        self._batches = batches

    def __getitem__(self, index: int) -> Batch | DubError:
        try:
            return self._batches[index]
        except DubError as error:
            return error


def _one_thread(worker: int) -> None:
    cv2.setNumThreads(1)


def placed(batch: Any, device: torch.device) -> Any:
    """Tensors of nested mappings on a device."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {name: placed(value, device) for name, value in batch.items()}
    return batch


def as_batch(arrays: Any, device: torch.device) -> Any:
    """Arrays of nested mappings as tensors on a device."""
    if isinstance(arrays, Mapping):
        return {name: as_batch(value, device) for name, value in arrays.items()}
    return torch.as_tensor(arrays).to(device)


def stacked(samples: list[Any]) -> dict[str, np.ndarray]:
    """Samples, dataclasses of arrays of one shape, as one array a field. Shapes (B, ...)."""
    return {
        item.name: np.stack([np.asarray(getattr(sample, item.name)) for sample in samples])
        for item in fields(samples[0])
    }


def as_pictures(crops: Tensor) -> Tensor:
    """RGB uint8 (..., H, W, 3) to float32 [0, 1] (..., 3, H, W)."""
    return crops.movedim(-1, -3).float().div_(255.0)


def resize_pictures(pictures: Tensor, factor: float) -> Tensor:
    """Pictures (B, C, H, W) in [0, 1] `factor` times as large, channels last.

    Smaller ones by the mean of the area, larger ones bicubic (antialiased).
    """
    if factor == 1:
        return pictures.contiguous(memory_format=torch.channels_last)
    size = (round(pictures.shape[2] * factor), round(pictures.shape[3] * factor))
    if factor < 1:
        resized = functional.interpolate(pictures, size, mode="area")
    else:
        resized = functional.interpolate(pictures, size, mode="bicubic", antialias=True)
        resized = resized.clamp(0, 1)
    return resized.contiguous(memory_format=torch.channels_last)
