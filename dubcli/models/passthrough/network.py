"""Returns its input: runs the whole pipeline without weights.

Paper: none. Weights: none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from dubcli.models.api import (
    CropSpec,
    ModelSpec,
    ModelWindow,
    Motion,
    Patches,
    ReferencePolicy,
    Subject,
)


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
        """Crops, and references that are chosen and reported but not used."""
        return ModelSpec(
            name="passthrough",
            crop=CropSpec(size=(self.config.height, self.config.width)),
            references={"references": ReferencePolicy(count=4, has_detail=True)},
        )

    def configure(self, options: None) -> None:
        """Has no options."""

    def prepare(self, subject: Subject) -> None:
        """Needs no state."""

    def state_tensors(self, state: None) -> dict[str, Tensor]:
        """Nothing to store."""
        return {}

    def state_from_tensors(self, tensors: dict[str, Tensor], subject: Subject) -> None:
        """Needs no state."""

    def predict_motion(self, window: ModelWindow, state: None) -> None:
        """Predicts no mouth: the source's own stays."""

    def render(self, window: ModelWindow, motion: Motion | None, state: None) -> Patches:
        """The source crops themselves."""
        return Patches(rgb=window.shown()[window.emit])

    def facts(self, state: None) -> Mapping[str, object]:
        """Nothing to report."""
        return {}
