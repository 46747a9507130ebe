"""What the rest of the program knows of an architecture before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The parts of a model's package, each as `module:name`, imported on first use.

    Attributes:
        name: As users write it and as manifest entries begin.
        network: Class that fulfils `models.api.LipSyncModel`; takes its configuration.
        config: Frozen dataclass of sizes and variants, stored with the weights.
        options: Frozen dataclass of what users may choose per dub; None where there is nothing.
        recipe: `training.stage.Recipe`: stages, losses, assembly and fine-tuning; None where
            nothing is trained.
        tables: Tables of the model's paper, a tuple of `models.paper_table.PaperTable`, for
            `dub tables`; None where there is no paper.
        stages: Stages of the recipe, each with the names that its `--losses` takes, for help that
            loads no network. A test compares them with the recipe's own.
    """

    name: str
    network: str
    config: str
    options: str | None = None
    recipe: str | None = None
    tables: str | None = None
    stages: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])


def load_part(place: str) -> Any:
    """The object that `module:name` stands for."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
