"""Every architecture by name; its package is imported on first use."""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dubcli.core.errors import ConfigError
from dubcli.models.architecture import Architecture, load_part

if TYPE_CHECKING:
    from torch import nn

# Name -> package, which holds an `ARCHITECTURE`.
ARCHITECTURES: dict[str, str] = {
    "passthrough": "dubcli.models.passthrough",
    "iptalker": "dubcli.models.iptalker",
    "lip-identity": "dubcli.models.lip_identity",
    "personatalk": "dubcli.models.personatalk",
}
# Networks that help models and scores: users cannot dub with these.
PARTS: dict[str, Architecture] = {
    name: Architecture(
        name=name,
        network="dubcli.sync.network:SyncExpert",
        config="dubcli.sync.network:SyncConfig",
    )
    for name in ("sync-train", "sync-judge")
}


def model_names() -> list[str]:
    """Names of the models that users can dub with."""
    return list(ARCHITECTURES)


def find_architecture(name: str) -> Architecture:
    """What is known of a model or a part.

    Raises:
        ConfigError: Unknown architecture.
    """
    if name in PARTS:
        return PARTS[name]
    if name not in ARCHITECTURES:
        near = difflib.get_close_matches(name, ARCHITECTURES, 1)
        hint = f"Did you mean '{near[0]}'?" if near else f"Known: {', '.join(ARCHITECTURES)}."
        raise ConfigError(f"Unknown model '{name}'.", hint)
    return import_module(ARCHITECTURES[name]).ARCHITECTURE


def create_model(name: str, config: dict[str, Any] | None = None) -> nn.Module:
    """An untrained model or part.

    Args:
        name: Architecture.
        config: Fields of its configuration; the rest keep their defaults.

    Raises:
        ConfigError: Unknown architecture or field.
    """
    found = find_architecture(name)
    try:
        settings = load_part(found.config)(**(config or {}))
    except TypeError as error:
        raise ConfigError(
            f"Config of '{name}' does not fit: {error}.", "Use its fields."
        ) from error
    return load_part(found.network)(settings)
