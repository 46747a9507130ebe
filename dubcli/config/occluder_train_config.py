"""`dub train occluder`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dubcli.config.option_parsing import check
from dubcli.config.settings_common import (
    Panel,
    about,
    seed_option,
    threads_option,
)


@dataclass(frozen=True, kw_only=True)
class OccluderTrainConfig:
    """Everything that `dub train occluder` can be told."""

    model: str = "occluder"
    data: Path = field(metadata=about("Folder that `dub prepare` made.", panel=Panel.FIRST))
    output: Path = field(
        metadata=about("Folder of the weights and their scores.", panel=Panel.FIRST)
    )
    steps: int = field(default=3000, metadata=about("Optimizer steps.", panel=Panel.FIRST))
    minutes: float = field(
        default=0.0,
        metadata=about(
            "Stop after this many minutes if --steps take longer; 0 for no limit.",
            panel=Panel.FIRST,
        ),
    )
    batch: int = field(
        default=24,
        metadata=about("Pictures in a batch; half of them are covered.", panel=Panel.LEARNING),
    )
    faces: int = field(
        default=6000,
        metadata=about(
            "Pictures that are kept in memory, 39 kB each, spread over the people.",
            panel=Panel.LEARNING,
        ),
    )
    learning_rate: float = field(
        default=2e-3, metadata=about("Largest step size of the optimizer.", panel=Panel.LEARNING)
    )
    seed: int = seed_option()
    threads: int = threads_option()

    def __post_init__(self) -> None:
        least_of = {"steps": 1, "minutes": 0, "batch": 2, "faces": 2, "threads": 0}
        for name, least in least_of.items():
            value = getattr(self, name)
            check(value >= least, f"{value} {name}.", f"Use {least} or more.")
        check(self.learning_rate > 0, f"Learning rate {self.learning_rate}.", "Use 2e-3.")
