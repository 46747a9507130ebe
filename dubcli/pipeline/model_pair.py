"""The model that predicts the mouth and the model that paints it: usually one, sometimes two."""

from __future__ import annotations

from dataclasses import dataclass

from dubcli.core.errors import ConfigError
from dubcli.models.api import LipSyncModel, ModelSpec, Part


@dataclass(frozen=True, kw_only=True)
class ModelPair:
    """What dubs.

    Attributes:
        motion: Predicts the mouth from sound.
        render: Paints it.
    """

    motion: LipSyncModel
    render: LipSyncModel

    @property
    def is_one(self) -> bool:
        """One model does both."""
        return self.motion is self.render

    @property
    def specs(self) -> dict[Part, ModelSpec]:
        """What each model needs; one that plays both parts stands as `render` alone."""
        own: dict[Part, ModelSpec] = {"render": self.render.spec}
        return own if self.is_one else {"motion": self.motion.spec, **own}

    @property
    def audio_kinds(self) -> tuple[str, ...]:
        """Features that either of them hears, each once."""
        return tuple(dict.fromkeys((self.motion.spec.audio.kind, self.render.spec.audio.kind)))


def one_model(model: LipSyncModel) -> ModelPair:
    """A model with itself."""
    return ModelPair(motion=model, render=model)


def require_pairable(motion: ModelSpec, render: ModelSpec) -> None:
    """Refuse two models of which the second cannot paint the mouths of the first.

    Raises:
        ConfigError: They cannot be paired.
    """
    if not motion.gives_motion:
        raise ConfigError(
            f"'{motion.name}' predicts no mouth that another model could paint.",
            "Choose another --motion, or leave it out.",
        )
    if not render.takes_motion:
        raise ConfigError(
            f"'{render.name}' cannot paint the mouth of another model.",
            "Choose another --render, or leave it out.",
        )
    if motion.crop != render.crop:
        raise ConfigError(
            f"'{motion.name}' and '{render.name}' see crops of different sizes.",
            "Choose two models with the same crop.",
        )
