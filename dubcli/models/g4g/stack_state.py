"""What G4G knows of a person, encoded once; also as tensors that can be stored."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dubcli.models.common.stored_state import fitting_tensors

_DIMENSIONS = {"features": 4, "points": 3}


@dataclass(frozen=True, kw_only=True)
class StackState:
    """References, encoded together. In training everything is that of each frame.

    Attributes:
        features: F_ref of the stack from closed to open, with colours.
            Shape (1, C + 3 N, h/4, w/4); (T, ...) in training.
        points: Speaking points of each picture, in the pipeline's order, crop px. Shape (N, S, 2);
            (T, N, S, 2) in training.
        pictures: In the same order. Shape (N, 3, H, W); (T, N, 3, H, W) in training.
    """

    features: Tensor
    points: Tensor
    pictures: Tensor

    def repeated(self, frames: int) -> StackState:
        """Each of B stacks for so many frames in a row; shapes (B, ...) become (B T, ...)."""
        return StackState(
            features=self.features.repeat_interleave(frames, 0),
            points=self.points.repeat_interleave(frames, 0),
            pictures=self.pictures.repeat_interleave(frames, 0),
        )

    def tensors(self) -> dict[str, Tensor]:
        """All but the pictures, contiguous and without gradients."""
        return {name: getattr(self, name).detach().contiguous() for name in _DIMENSIONS}

    @staticmethod
    def from_tensors(tensors: dict[str, Tensor], pictures: Tensor, channels: int) -> StackState:
        """The state of `tensors()`.

        Args:
            tensors: From `tensors`, on any device.
            pictures: The references. Shape (N, 3, H, W); the tensors are put beside them.
            channels: Of the network's features.

        Raises:
            IdentityError: Names or shapes do not fit.
        """
        placed = fitting_tensors(
            tensors,
            pictures,
            axes=_DIMENSIONS,
            sizes={"features": channels},
            of_pictures=("points",),
        )
        return StackState(**placed, pictures=pictures)
