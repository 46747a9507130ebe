"""The models that are scored: names as users write them, or all that are installed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dubcli.config import BASELINES, DubConfig, EvaluateConfig
from dubcli.core.errors import ConfigError
from dubcli.models.registry import model_names
from dubcli.weights.entry import WeightEntry
from dubcli.weights.manifest import Manifest
from dubcli.weights.resolve import local_path, resolve


@dataclass(frozen=True, kw_only=True)
class ModelSystems:
    """The models of an evaluation.

    Attributes:
        entries: Their weights, each once.
        absent: Why an architecture is not among them, where all were asked for.
        default: Name of the entry that dubs when nobody names a model.
    """

    entries: tuple[WeightEntry, ...]
    absent: tuple[str, ...]
    default: str

    @property
    def names(self) -> list[str]:
        """Their names in tables."""
        return [entry.name for entry in self.entries]


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
    entries = [resolve(name, manifest) for name in names]
    return ModelSystems(
        entries=tuple({entry.name: entry for entry in entries}.values()),
        absent=tuple(absent),
        default=resolve(DubConfig.model, manifest).name,
    )


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
