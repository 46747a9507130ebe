"""The models that are scored: names as users write them, or all that are installed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from dubcli.config import BASELINES, DubConfig, EvaluateConfig
from dubcli.core.errors import ConfigError
from dubcli.models.api import LipSyncModel
from dubcli.models.registry import create_model, model_names
from dubcli.pipeline.model_pair import require_pairable
from dubcli.weights.entry import WeightEntry
from dubcli.weights.manifest import Manifest
from dubcli.weights.resolve import local_path, resolve

# Between the names of two models that are scored as one; what users write has no spaces.
_AND = " + "


@dataclass(frozen=True, kw_only=True)
class ModelSystem:
    """A model that is scored, or two of which one paints the other's mouths.

    Attributes:
        motion: Weights of what predicts the mouth.
        render: Weights of what paints it; usually the same.
    """

    motion: WeightEntry
    render: WeightEntry

    @property
    def parts(self) -> tuple[WeightEntry, ...]:
        """Its weights, each once."""
        is_one = self.motion.name == self.render.name
        return (self.render,) if is_one else (self.motion, self.render)

    @property
    def name(self) -> str:
        """As tables show it."""
        return _AND.join(entry.name for entry in self.parts)

    @property
    def sha256(self) -> str | None:
        """Of its weights; None where one has none."""
        known = [entry.sha256 for entry in self.parts if entry.sha256 is not None]
        return "-".join(known) if len(known) == len(self.parts) else None

    @property
    def num_bytes(self) -> int | None:
        """Of its weights; None where it is not known of one."""
        known = [entry.num_bytes for entry in self.parts if entry.num_bytes is not None]
        return sum(known) if len(known) == len(self.parts) else None


def models_of(system: str) -> dict[str, Any]:
    """What tells `DubConfig` to dub by the model, or the two, of this name."""
    motion, both, render = system.partition(_AND)
    return {"motion": motion, "render": render} if both else {"model": system}


@dataclass(frozen=True, kw_only=True)
class ModelSystems:
    """The models of an evaluation.

    Attributes:
        systems: What is scored, each once.
        absent: Why an architecture is not among them, where all were asked for.
        default: Name of the entry that dubs when nobody names a model.
    """

    systems: tuple[ModelSystem, ...]
    absent: tuple[str, ...]
    default: str

    @property
    def names(self) -> list[str]:
        """Their names in tables."""
        return [system.name for system in self.systems]


def choose_models(config: EvaluateConfig, manifest: Manifest) -> ModelSystems:
    """The models of `--models`; `all` stands for every architecture with weights here.

    Args:
        config: Names of models.
        manifest: Of this installation.

    Raises:
        ConfigError: No weights have a name.
        WeightsError: A checkpoint of the user's own cannot be used.
    """
    names: list[str] = []
    absent: list[str] = []
    for name in config.model_names:
        names += _installed(manifest, absent) if name == config.ALL_MODELS else [name]
    systems = [_system(name, manifest) for name in names]
    return ModelSystems(
        systems=tuple({system.name: system for system in systems}.values()),
        absent=tuple(absent),
        default=resolve(DubConfig.model, manifest).name,
    )


def _system(name: str, manifest: Manifest) -> ModelSystem:
    """A model, or two with a plus sign between them.

    Raises:
        ConfigError: No weights have a name, or the second cannot paint the mouths of the first.
        WeightsError: A checkpoint of the user's own cannot be used.
    """
    motion, both, render = name.partition("+")
    if not both or Path(name).expanduser().exists():
        entry = resolve(name, manifest)
        return ModelSystem(motion=entry, render=entry)
    pair = ModelSystem(motion=resolve(motion, manifest), render=resolve(render, manifest))
    nets = [create_model(entry.architecture, entry.config) for entry in pair.parts]
    first, last = cast("LipSyncModel", nets[0]), cast("LipSyncModel", nets[-1])
    require_pairable(first.spec, last.spec)
    return pair


def _installed(manifest: Manifest, absent: list[str]) -> Sequence[str]:
    """Architectures whose default weights are on this machine; baselines are none."""
    there: list[str] = []
    for name in model_names():
        if name in BASELINES:
            continue
        try:
            entry = resolve(name, manifest)
        except ConfigError as error:
            absent.append(f"{name} is not scored: {error.cause}")
            continue
        if local_path(entry) is None:
            absent.append(f"{name} is not scored: run dub models pull {entry.name}.")
        else:
            there.append(name)
    return there
