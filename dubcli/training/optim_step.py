"""One update of the weights, refused where it cannot be computed."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from dubcli.models.iptalker.geometry_task import Task
from dubcli.training.device_utils import device_of

_CLIP_NORM = 1.0


def take_step(
    task: Task,
    optimizer: torch.optim.Optimizer,
    step: int,
    *,
    rate: float,
    is_half: bool,
    fail: Callable[[str], Exception],
) -> dict[str, float]:
    """Minimise the losses of batch number `step` once.

    Args:
        task: What is trained.
        optimizer: Of the task's parameters.
        step: Number of the batch, and of the update.
        rate: Learning rate.
        is_half: Compute in bfloat16 where that is safe.
        fail: Makes the error to raise from what went wrong; the weights stay as they were.

    Returns:
        The losses by name.
    """
    for group in optimizer.param_groups:
        group["lr"] = rate
    with torch.autocast(device_of(task.model).type, torch.bfloat16, enabled=is_half):
        losses = task.losses(step)
    values = {name: float(value.detach()) for name, value in losses.items()}
    if not math.isfinite(values["loss"]):
        raise fail(f"The loss is {values['loss']}")
    optimizer.zero_grad(set_to_none=True)
    losses["loss"].backward()
    norm = float(nn.utils.clip_grad_norm_(task.parameters(), _CLIP_NORM))
    if not math.isfinite(norm):
        raise fail(f"The gradient is {norm}")
    optimizer.step()
    return values
