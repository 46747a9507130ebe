"""The running average of weights: kept while training, taken up again, and what ships."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from dubcli.training.checkpoint import load_weights


def begin_average(model: nn.Module) -> dict[str, Tensor]:
    """The model's weights as they are."""
    return {key: value.clone() for key, value in model.state_dict().items()}


def update_average(
    average: dict[str, Tensor], model: nn.Module, step: int, most_decay: float
) -> None:
    """Move the average to the weights after step number `step`; slower as steps go on."""
    decay = min(most_decay, (1 + step) / (10 + step))
    for key, value in model.state_dict().items():
        if value.dtype.is_floating_point:
            average[key].lerp_(value, 1 - decay)
        else:
            average[key].copy_(value)


def restore_average(average: dict[str, Tensor], checkpoint: Path) -> None:
    """Take up the average of a checkpoint.

    Raises:
        TrainingError: It cannot be read.
    """
    for key, value in load_weights(checkpoint, averaged=True).items():
        average[key].copy_(value)
