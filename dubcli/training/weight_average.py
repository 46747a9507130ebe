"""The running average of weights: kept while training, taken up again, and what ships."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from dubcli.training.checkpoint import load_weights, misfit

Tensors = list[Tensor] | tuple[Tensor, ...]


def running_average(model: nn.Module, most_decay: float, step: int = 0) -> AveragedModel:
    """An average that begins at the model's weights and moves slower as steps go on.

    Args:
        model: Its buffers are averaged too.
        most_decay: Largest share of the average that is kept in an update.
        step: Updates that the model has had.
    """

    def move(averages: Tensors, weights: Tensors, updates: Tensor | int) -> None:
        number = int(updates)
        decay = min(most_decay, number / (9 + number))
        for average, value in zip(averages, weights, strict=True):
            if value.dtype.is_floating_point:
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(value)

    with torch.no_grad():
        average = AveragedModel(model, multi_avg_fn=move, use_buffers=True)
        # The weights as they are count as the first of the average.
        average.n_averaged.fill_(step + 1)
    return average


def restore_average(average: AveragedModel, checkpoint: Path, step: int) -> None:
    """Take up the average of a checkpoint that was written after `step` updates.

    Raises:
        TrainingError: It cannot be read, or is of another model.
    """
    try:
        average.module.load_state_dict(load_weights(checkpoint, averaged=True))
    except RuntimeError as error:
        raise misfit(checkpoint) from error
    average.n_averaged.fill_(step + 1)


@contextmanager
def averaged_weights(model: nn.Module, average: AveragedModel) -> Iterator[None]:
    """The model with its averaged weights, for a while."""
    now = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(average.module.state_dict())
    try:
        yield
    finally:
        model.load_state_dict(now)
