"""What PersonaTalk knows of a person, worked out once; also as tensors that can be stored."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dubcli.models.common.stored_state import fitting_tensors
from dubcli.models.personatalk.dual_attention import Encoded

_DIMENSIONS = {"points": 3, "keys": 4, "features": 4, "coordinates": 4, "style": 1, "seconds": 1}


@dataclass(frozen=True, kw_only=True)
class PersonaState:
    """Style, and lip references, encoded once.

    Attributes:
        points: Speaking points of the references, crop px. Shape (N, S, 2).
        lips: Shapes (1, N, ..., y, x).
        style: Shape (`style_size`,).
        seconds: Length of the speech that the style was found in; 0: the mean style. Shape (1,).
        frames: Numbers of the references' frames. Shape (N,), int64.
    """

    points: Tensor
    lips: Encoded
    style: Tensor
    seconds: Tensor
    frames: Tensor

    def tensors(self, channels: int) -> dict[str, Tensor]:
        """All but the references' pixels, contiguous and without gradients."""
        found = {
            "points": self.points,
            "keys": self.lips.keys[0].float(),
            "features": self.lips.values[0, :, :channels],
            "coordinates": self.lips.coordinates[0],
            "style": self.style,
            "seconds": self.seconds,
        }
        return {name: value.detach().contiguous() for name, value in found.items()}


def fitting_persona(
    tensors: dict[str, Tensor], pictures: Tensor, sizes: dict[str, int], style_size: int
) -> dict[str, Tensor]:
    """Tensors of `PersonaState.tensors` beside the references' pictures (N, 3, H, W).

    Args:
        tensors: On any device.
        pictures: Of the references.
        sizes: The network's size of dimension 1 of some tensors, by name.
        style_size: Of a style.

    Raises:
        IdentityError: Names or shapes do not fit.
    """
    style = tensors.get("style")
    if style is not None and style.shape != (style_size,):
        tensors = {**tensors, "style": style[None]}
    return fitting_tensors(
        tensors,
        pictures,
        axes=_DIMENSIONS,
        sizes=sizes,
        of_pictures=("points", "keys", "features", "coordinates"),
    )
