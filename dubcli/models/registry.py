"""Every architecture by name; its file is imported on first use."""

from __future__ import annotations

import difflib
import importlib
from typing import Any

from torch import nn

from dubcli.core.errors import ConfigError

# name -> module, model class, config class
ARCHITECTURES: dict[str, tuple[str, str, str]] = {
    "passthrough": ("dubcli.models.passthrough.network", "Passthrough", "PassthroughConfig"),
    "iptalker": ("dubcli.models.iptalker.network", "IPTalker", "IPTalkerConfig"),
}
# What helps models and scores: users cannot dub with these.
EXPERTS: dict[str, tuple[str, str, str]] = {
    "sync-train": ("dubcli.sync.network", "SyncExpert", "SyncConfig"),
    "sync-judge": ("dubcli.sync.network", "SyncExpert", "SyncConfig"),
}


def model_names() -> list[str]:
    """Names that `create_model` knows."""
    return list(ARCHITECTURES)


def create_model(name: str, config: dict[str, Any] | None = None) -> nn.Module:
    """An untrained model or expert.

    Args:
        name: Architecture.
        config: Fields of its config dataclass; the rest keep their defaults.

    Raises:
        ConfigError: Unknown architecture or field.
    """
    known = ARCHITECTURES | EXPERTS
    if name not in known:
        near = difflib.get_close_matches(name, ARCHITECTURES, 1)
        hint = f"Did you mean '{near[0]}'?" if near else f"Known: {', '.join(ARCHITECTURES)}."
        raise ConfigError(f"Unknown model '{name}'.", hint)
    module_name, model_class, config_class = known[name]
    module = importlib.import_module(module_name)
    try:
        settings = getattr(module, config_class)(**(config or {}))
    except TypeError as error:
        raise ConfigError(
            f"Config of '{name}' does not fit: {error}.", "Use its fields."
        ) from error
    return getattr(module, model_class)(settings)
