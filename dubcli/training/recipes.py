"""The recipe of an architecture, which its package names."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dubcli.core.errors import ConfigError
from dubcli.models.architecture import load_part
from dubcli.models.registry import find_architecture, model_names
from dubcli.training.stage import Adapter, Assembled, Recipe, Trained, the_only_one


def find_recipe(name: str) -> Recipe:
    """How a model is trained.

    Raises:
        ConfigError: There is no such model, or it is not trained.
    """
    if name not in trainable_names():
        raise ConfigError(f"'{name}' cannot be trained.", f"Known: {', '.join(trainable_names())}.")
    place = find_architecture(name).recipe
    assert place is not None
    return load_part(place)


def trainable_names() -> list[str]:
    """Architectures with a recipe."""
    return [name for name in model_names() if find_architecture(name).recipe is not None]


def learning_names() -> list[str]:
    """Architectures that can learn a person."""
    return [name for name in trainable_names() if find_recipe(name).adapter is not None]


def find_adapter(architecture: str) -> Adapter | None:
    """How a model learns a person; None where it cannot."""
    return find_recipe(architecture).adapter if architecture in trainable_names() else None


def assembly_of(architecture: str) -> Callable[[Sequence[Trained]], Assembled]:
    """How the weights that ship are made of checkpoints; networks without a recipe ship as one."""
    if architecture in trainable_names():
        return find_recipe(architecture).assemble
    return the_only_one
