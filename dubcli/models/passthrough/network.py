"""Returns its input: runs the whole pipeline without weights.

Paper: none. Weights: none.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from dubcli.models.api import ModelSpec, ModelWindow, Patches


@dataclass(frozen=True, kw_only=True)
class PassthroughConfig:
    """Nothing to configure but the crop."""

    height: int = 208
    width: int = 160


class Passthrough(nn.Module):
    """The identity as a model."""

    def __init__(self, config: PassthroughConfig | None = None) -> None:
        super().__init__()
        self.config = config or PassthroughConfig()

    @property
    def spec(self) -> ModelSpec:
        """Crops only."""
        return ModelSpec(
            name="passthrough",
            crop_size=(self.config.height, self.config.width),
            keeps_source_mouth=True,
        )

    def encode_references(self, references: Tensor, landmarks: Tensor) -> None:
        """Needs no references."""

    def state_tensors(self, state: None) -> dict[str, Tensor]:
        """Nothing to store."""
        return {}

    def state_from_tensors(self, tensors: dict[str, Tensor], references: Tensor) -> None:
        """Needs no state."""

    def generate(self, window: ModelWindow, state: None) -> Patches:
        """The source crops themselves."""
        return Patches(rgb=window.crops)
