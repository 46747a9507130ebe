"""Where a model stands: its device, its random state, and evaluation mode for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def device_of(model: nn.Module) -> torch.device:
    """The device of a model that lies on one."""
    return next(model.parameters()).device


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Without dropout, so that looking at a model draws no random numbers of its training."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def device_rng_state(device: torch.device) -> Tensor | None:
    """State of a GPU's random numbers, uint8; None for the CPU, whose state torch keeps."""
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.mps.get_rng_state() if device.type == "mps" else None


def set_device_rng_state(state: Tensor | None, device: torch.device) -> None:
    """Go on with a GPU's random numbers; nothing to do for a state of another kind of device."""
    if state is None:
        return
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    elif device.type == "mps":
        torch.mps.set_rng_state(state)
