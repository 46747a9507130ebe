"""The recipe of an architecture, from its package `models/NAME/stages.py`."""

from __future__ import annotations

import importlib
import importlib.util

from dubcli.core.errors import ConfigError
from dubcli.models.registry import model_names
from dubcli.training.stage import Recipe


def find_recipe(name: str) -> Recipe:
    """How a model is trained.

    Raises:
        ConfigError: There is no such model, or it is not trained.
    """
    if name not in trainable_names():
        raise ConfigError(f"'{name}' cannot be trained.", f"Known: {', '.join(trainable_names())}.")
    return importlib.import_module(f"dubcli.models.{name}.stages").RECIPE


def trainable_names() -> list[str]:
    """Architectures with a recipe."""
    return [
        name
        for name in model_names()
        if importlib.util.find_spec(f"dubcli.models.{name}.stages") is not None
    ]
