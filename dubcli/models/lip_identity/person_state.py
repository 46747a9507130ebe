"""What Lip-and-Identity knows of a person, encoded once; also as tensors that can be stored."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dubcli.models.common.stored_state import fitting_tensors

_DIMENSIONS = {"half": 4, "quarter": 4, "points": 3, "lips": 4, "sets": 2}


@dataclass(frozen=True, kw_only=True)
class PersonState:
    """References, encoded once. In training with a leading dimension, those of each frame.

    Attributes:
        pictures: Reference images. Shape (N, 3, H, W).
        points: Their speaking points, crop px. Shape (N, S, 2).
        half: E_r's features at H/2 of the box. Shape (N, C/2, h/2, w/2).
        quarter: E_r's features at H/4 of the box. Shape (N, C, h/4, w/4).
        lips: Features of windows around the reference lips, H/4. Shape (N_lip, C, y, x).
        sets: Mouth coefficients of the reference landmarks, closed to open. Shape (N_l, P).
    """

    pictures: Tensor
    points: Tensor
    half: Tensor
    quarter: Tensor
    lips: Tensor
    sets: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """All but the pictures, contiguous and without gradients."""
        return {name: getattr(self, name).detach().contiguous() for name in _DIMENSIONS}

    @staticmethod
    def from_tensors(
        tensors: dict[str, Tensor], pictures: Tensor, sizes: dict[str, int]
    ) -> PersonState:
        """The state of `tensors()` and its pictures.

        Args:
            tensors: From `tensors`, on any device.
            pictures: Shape (N, 3, H, W); the others are put beside them.
            sizes: The network's size of dimension 1 of some tensors, by name.

        Raises:
            IdentityError: Names or shapes do not fit.
        """
        placed = fitting_tensors(
            tensors,
            pictures,
            axes=_DIMENSIONS,
            sizes=sizes,
            of_pictures=("half", "quarter", "points"),
        )
        return PersonState(pictures=pictures, **placed)
