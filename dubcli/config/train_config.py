"""`dub train MODEL`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dubcli.config.option_parsing import check
from dubcli.config.settings_common import (
    PRECISIONS,
    Panel,
    about,
    check_device,
    check_precision,
    device_option,
    seed_option,
    threads_option,
)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that `dub train` can be told."""

    model: str = field(metadata=about("Architecture to train.", panel=Panel.INPUT))
    data: Path = field(metadata=about("Folder that `dub prepare` made.", panel=Panel.FIRST))
    output: Path = field(
        metadata=about("Folder of the run: checkpoints, log, sample pictures.", panel=Panel.FIRST)
    )
    stage: str | None = field(
        default=None,
        metadata=about(
            "What is trained, a stage of the model; iptalker: geometry, render or joint.",
            panel=Panel.FIRST,
        ),
    )
    preset: str | None = field(
        default=None, metadata=about("Named model configuration.", panel=Panel.LEARNING)
    )
    losses: str | None = field(
        default=None,
        metadata=about(
            "Named loss weights of a stage; iptalker: default, textured, no-gan, paper, "
            "lip-identity; others: default, sharp, paper.",
            panel=Panel.LEARNING,
        ),
    )
    perceptual: str = field(
        default="auto",
        metadata=about(
            "What perceptual losses compare: vgg19 (downloaded), substitute, or auto: "
            "vgg19 where it is downloaded already.",
            panel=Panel.LEARNING,
            choices=("auto", "vgg19", "substitute"),
        ),
    )
    init: Path | None = field(
        default=None,
        metadata=about(
            "What to start from: a run, a checkpoint, a .safetensors file or a model's name.",
            panel=Panel.FIRST,
        ),
    )
    steps: int = field(default=20_000, metadata=about("Optimizer steps in all.", panel=Panel.FIRST))
    minutes: float = field(
        default=0.0,
        metadata=about("Stop after this many minutes; 0 for no limit.", panel=Panel.FIRST),
    )
    batch_clips: int = field(default=2, metadata=about("Clips in a batch.", panel=Panel.LEARNING))
    frames_per_clip: int = field(
        default=4, metadata=about("Frames of each clip in a batch.", panel=Panel.LEARNING)
    )
    accumulate: int = field(
        default=1, metadata=about("Batches whose gradients make one step.", panel=Panel.LEARNING)
    )
    workers: int = field(
        default=0,
        metadata=about(
            "Processes that read batches ahead; 0 reads each when it is needed.", panel=Panel.RUN
        ),
    )
    half_size: bool = field(
        default=False,
        metadata=about(
            "Train at half the crop's height and width: faster, for a first stage.",
            panel=Panel.LEARNING,
        ),
    )
    learning_rate: float = field(
        default=2e-4, metadata=about("Step size of the optimizer.", panel=Panel.LEARNING)
    )
    seed: int = seed_option()
    device: str = device_option("it runs")
    precision: str = field(
        default="auto",
        metadata=about(
            "Number format while training: auto, float32 or bfloat16.",
            panel=Panel.RUN,
            choices=PRECISIONS,
        ),
    )
    threads: int = threads_option()
    checkpoint_every: int = field(
        default=500, metadata=about("Steps between checkpoints.", panel=Panel.OUTPUT)
    )
    sample_every: int = field(
        default=500, metadata=about("Steps between sample pictures.", panel=Panel.OUTPUT)
    )
    resume: bool = field(
        default=True,
        metadata=about("Go on from the last checkpoint in the output folder.", panel=Panel.OUTPUT),
    )

    def __post_init__(self) -> None:
        check(self.steps >= 1, f"{self.steps} steps.", "Use 1 or more.")
        check(self.minutes >= 0, f"{self.minutes} minutes.", "Use 0 for no limit.")
        check(self.batch_clips >= 1, f"{self.batch_clips} clips in a batch.", "Use 1 or more.")
        check(self.frames_per_clip >= 1, f"{self.frames_per_clip} frames.", "Use 1 or more.")
        check(self.accumulate >= 1, f"{self.accumulate} batches a step.", "Use 1 or more.")
        check(self.workers >= 0, f"{self.workers} workers.", "Use 0 for none.")
        check(self.learning_rate > 0, f"Learning rate {self.learning_rate}.", "Use 2e-4.")
        check(self.threads >= 0, f"{self.threads} threads.", "Use 0 for all cores.")
        check(
            self.checkpoint_every >= 1 and self.sample_every >= 1,
            "A checkpoint or sample picture every 0 steps.",
            "Use 1 or more.",
        )
        check_device(self.device)
        check(
            self.perceptual in ("auto", "vgg19", "substitute"),
            f"Unknown perceptual features '{self.perceptual}'.",
            "Use auto, vgg19 or substitute.",
        )
        check_precision(self.precision)
