"""`dub train sync`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dubcli.config.option_parsing import check
from dubcli.config.settings_common import (
    Panel,
    about,
    check_device,
    device_option,
    seed_option,
    threads_option,
)


@dataclass(frozen=True, kw_only=True)
class SyncTrainConfig:
    """Everything that `dub train sync` can be told."""

    model: str = "sync"
    data: Path = field(metadata=about("Folder that `dub prepare` made.", panel=Panel.FIRST))
    output: Path = field(
        metadata=about("Folder of the run: offsets, checkpoints, log.", panel=Panel.FIRST)
    )
    preset: str = field(
        default="expert",
        metadata=about(
            "Which expert: expert (finds offsets, teaches) or judge (scores).",
            panel=Panel.FIRST,
            choices=("expert", "judge"),
        ),
    )
    steps: int = field(
        default=500,
        metadata=about(
            "Optimizer steps of the last expert; those before it take 1.6 times as many.",
            panel=Panel.FIRST,
        ),
    )
    minutes: float = field(
        default=0.0,
        metadata=about(
            "About how long it may take in all, in place of --steps; 0 to go by --steps.",
            panel=Panel.FIRST,
        ),
    )
    batch_clips: int = field(default=16, metadata=about("Clips in a batch.", panel=Panel.LEARNING))
    moments_per_clip: int = field(
        default=32,
        metadata=about("Moments of each clip in a batch, 25 a second.", panel=Panel.LEARNING),
    )
    learning_rate: float = field(
        default=1e-3, metadata=about("Step size of the optimizer.", panel=Panel.LEARNING)
    )
    seed: int = seed_option()
    device: str = device_option("it runs")
    threads: int = threads_option()
    checkpoint_every: int = field(
        default=200, metadata=about("Steps between checkpoints.", panel=Panel.OUTPUT)
    )

    def __post_init__(self) -> None:
        check(self.steps >= 1, f"{self.steps} steps.", "Use 1 or more.")
        check(self.minutes >= 0, f"{self.minutes} minutes.", "Use 0 to go by --steps.")
        check(self.batch_clips >= 2, f"{self.batch_clips} clips in a batch.", "Use 2 or more.")
        check(
            self.moments_per_clip >= 8,
            f"{self.moments_per_clip} moments of each clip.",
            "Use 8 or more.",
        )
        check(self.learning_rate > 0, f"Learning rate {self.learning_rate}.", "Use 1e-3.")
        check(self.threads >= 0, f"{self.threads} threads.", "Use 0 for all cores.")
        check(self.checkpoint_every >= 1, "A checkpoint every 0 steps.", "Use 1 or more.")
        check_device(self.device)
