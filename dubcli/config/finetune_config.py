"""`dub finetune`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dubcli.config.option_parsing import check
from dubcli.config.settings_common import (
    PRECISIONS,
    Panel,
    about,
    as_json,
    check_detector,
    check_device,
    check_precision,
    detector_option,
    device_option,
    seed_option,
    threads_option,
)


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """Everything that `dub finetune` can be told."""

    videos: tuple[Path, ...] = field(
        metadata=about(
            "Videos of the person; 4 seconds are enough, more is better.", panel=Panel.INPUT
        )
    )
    name: str = field(
        metadata=about(
            "What the identity is called, or the folder where it is to lie.", panel=Panel.FIRST
        )
    )
    model: str = field(
        default="iptalker",
        metadata=about("Model that learns, as in `dub models list`.", panel=Panel.LEARNING),
    )
    consent: bool = field(
        default=False,
        metadata=about(
            "The person agreed to be learned; no question is asked.",
            panel=Panel.FIRST,
            command_line_only=True,
        ),
    )
    steps: int = field(default=200, metadata=about("Steps in all.", panel=Panel.LEARNING))
    minutes: float = field(
        default=0.0,
        metadata=about("Stop after this many minutes in all; 0 for no limit.", panel=Panel.FIRST),
    )
    half: bool = field(
        default=False,
        metadata=about(
            "Learn from the first half of each video, and leave the second for scoring.",
            panel=Panel.INPUT,
        ),
    )
    face: int = field(
        default=0,
        metadata=about(
            "Which face of the first video, counted from 1 by size; 0 takes who is seen most.",
            panel=Panel.FACES,
        ),
    )
    detector: str = detector_option()
    learn_sound: bool = field(
        default=False,
        metadata=about(
            "Also learn how the lips follow the sound, guarded by the sync expert. By "
            "default only the mouth's shape and range are taken.",
            panel=Panel.LEARNING,
        ),
    )
    overwrite: bool = field(
        default=False,
        metadata=about(
            "Replace the identity if it exists, and drop an unfinished run.", panel=Panel.FIRST
        ),
    )
    seed: int = seed_option()
    device: str = device_option("it runs")
    precision: str = field(
        default="auto",
        metadata=about(
            "Number format while learning: auto, float32 or bfloat16.",
            panel=Panel.RUN,
            choices=PRECISIONS,
        ),
    )
    threads: int = threads_option()

    def __post_init__(self) -> None:
        check(bool(self.videos), "No video to learn from.", "Name one or more videos.")
        check(bool(self.name.strip()), "The identity has no name.", "Use --name, such as anna.")
        check(self.steps >= 1, f"{self.steps} steps.", "Use 1 or more; 200 is usual.")
        check(self.minutes >= 0, f"{self.minutes} minutes.", "Use 0 for no limit.")
        check(self.face >= 0, f"Face {self.face} does not exist.", "Faces count from 1.")
        check(self.threads >= 0, f"{self.threads} threads.", "Use 0 for all cores.")
        check_detector(self.detector)
        check_device(self.device)
        check_precision(self.precision)

    def as_json(self) -> dict[str, Any]:
        """The configuration as JSON-ready values."""
        return as_json(self)
