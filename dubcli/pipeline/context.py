"""What the stages of one run share."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dubcli.core.progress import Progress
from dubcli.media.video.frame_reader import FrameReader
from dubcli.pipeline.resume import JobFolder

if TYPE_CHECKING:
    from dubcli.pipeline.engine import Engine

# After about so many frames a segment of the picture is finished.
SEGMENT_FRAMES = 512


@dataclass
class Clock:
    """Seconds spent per stage."""

    seconds: dict[str, float] = field(default_factory=dict[str, float])

    def add(self, stage: str, since: float) -> float:
        """Count the time since `since` for a stage; returns the time now."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - since
        return now


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """What every stage of one run is given beside its input.

    Attributes:
        engine: Loaded models and detectors, which outlive the run.
        reader: Of the source.
        clock: Collects seconds per stage.
        progress: Called as (stage, done, total).
        folder: What the run writes before its results are in place.
        segment_frames: Least length of a segment of the picture, frames.
    """

    engine: Engine
    reader: FrameReader
    clock: Clock
    progress: Progress
    folder: JobFolder
    segment_frames: int = SEGMENT_FRAMES
