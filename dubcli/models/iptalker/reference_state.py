"""IPTalker's references, encoded once; also as tensors that can be stored."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dubcli.models.common.stored_state import fitting_tensors
from dubcli.models.iptalker.speaker_style import SpeakerStyle

_DIMENSIONS = {"features": 4, "points": 3, "tokens": 2}


@dataclass(frozen=True, kw_only=True)
class ReferenceState:
    """References, encoded once.

    Attributes:
        pictures: Shape (N, 3, H, W).
        features: F_R of eq. 4, box at H/4. Shape (N, C, h, w).
        points: Speaking points, crop px. Shape (N, S, 2).
        tokens: E_v embeddings of eq. 1. Shape (N, D).
        style: The person's manner, of their own speech in this video; None where it is not known.
            It belongs to the video, so it is not stored.
    """

    pictures: Tensor
    features: Tensor
    points: Tensor
    tokens: Tensor
    style: SpeakerStyle | None = None

    def tensors(self) -> dict[str, Tensor]:
        """All but the pictures, contiguous and without gradients."""
        return {name: getattr(self, name).detach().contiguous() for name in _DIMENSIONS}

    @staticmethod
    def from_tensors(
        tensors: dict[str, Tensor], pictures: Tensor, sizes: dict[str, int]
    ) -> ReferenceState:
        """The state of `tensors()` and its pictures.

        Args:
            tensors: From `tensors`, on any device.
            pictures: Shape (N, 3, H, W); the others are put beside them.
            sizes: The network's size of dimension 1 of some tensors, by name.

        Raises:
            IdentityError: Names or shapes do not fit.
        """
        placed = fitting_tensors(
            tensors, pictures, axes=_DIMENSIONS, sizes=sizes, of_pictures=_DIMENSIONS
        )
        return ReferenceState(
            pictures=pictures,
            features=placed["features"],
            points=placed["points"],
            tokens=placed["tokens"],
        )
