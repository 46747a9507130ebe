"""What rows of one run share: the model, the sets, the networks that score, and their keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from dubcli import __version__
from dubcli.config import EvaluateConfig, TablesConfig
from dubcli.core.errors import ConfigError, DeviceError, TrainingError, WeightsError
from dubcli.core.progress import Progress, no_progress
from dubcli.evaluation.clips import EvalClip, list_clips
from dubcli.evaluation.published_networks import WEIGHTS
from dubcli.evaluation.results import stamp
from dubcli.evaluation.style_similarity import load_style_judge, style_vector
from dubcli.metrics.foreign_weights import read_state
from dubcli.metrics.lpips import Lpips
from dubcli.models.paper_table import RowJudges
from dubcli.pipeline.engine import Engine
from dubcli.training.data.prepared_clip import INDEX_NAME
from dubcli.training.data.train_clips import TrainClip, load_clips
from dubcli.training.picture_scores import CropScorer
from dubcli.weights.entry import WeightEntry

# Failures that meet every other row too.
FATAL = (ConfigError, WeightsError, DeviceError)


@dataclass(frozen=True, kw_only=True)
class RowWork:
    """One run of `dub tables`.

    Attributes:
        config: What to do.
        output: Folder of the results.
        entry: The weights that rows are made of.
        engine: Holds what is loaded.
        tell: Takes a line on what was made.
        progress: Called as (stage, done, total).
    """

    config: TablesConfig
    output: Path
    entry: WeightEntry
    engine: Engine
    tell: Callable[[str], None] = lambda text: None
    progress: Progress = field(default=no_progress)

    @cached_property
    def device(self) -> torch.device:
        """Where networks are trained and scored.

        Raises:
            DeviceError: It is not there.
        """
        return self.engine.device(self.config.device)

    @cached_property
    def clips(self) -> list[EvalClip]:
        """The clips that are dubbed.

        Raises:
            ConfigError: There are none.
        """
        return list_clips(self.evaluation())

    @cached_property
    def train_clips(self) -> list[TrainClip]:
        """What trained rows learn from. Raises TrainingError."""
        assert self.config.train is not None
        return load_clips(self.config.train)

    @cached_property
    def dev_clips(self) -> list[TrainClip]:
        """What they are scored on. Raises TrainingError."""
        assert self.config.dev is not None
        return load_clips(self.config.dev)

    @cached_property
    def networks(self) -> Mapping[str, str]:
        """sha256 of every network of other projects that is here, by file name.

        Raises:
            WeightsError: A file is damaged.
        """
        found = {
            file.name: file.find(self.config.weights, self.engine.manifest)
            for files in WEIGHTS.values()
            for file in files
        }
        return {name: proven[1] for name, proven in found.items() if proven is not None}

    @cached_property
    def judges(self) -> RowJudges:
        """What scores rows of prepared sets. Raises WeightsError."""
        files = [
            file.find(self.config.weights, self.engine.manifest) for file in WEIGHTS["lpips_vgg"]
        ]
        lpips = None
        if all(files):
            lpips = Lpips("vgg")
            lpips.load(*(read_state(found[0]) for found in files if found is not None))
            lpips.eval()
        judge = load_style_judge(torch.device("cpu"), self.engine.manifest)
        style = None if judge is None else lambda mouth: style_vector(judge, mouth)
        return RowJudges(crops=CropScorer(lpips), style=style)

    def evaluation(self, **changes: Any) -> EvaluateConfig:
        """The clips' evaluation: their own sound drives.

        Args:
            changes: Fields of the configuration that differ.
        """
        config = self.config
        assert config.clips is not None
        values: dict[str, Any] = {
            "clips": config.clips,
            "output": self.output / "scores",
            "settings": "reconstruction",
            "models": "",
            "baselines": "ground-truth",
            "catalogue": config.catalogue,
            "weights": config.weights,
            "limit": config.limit,
            "device": config.device,
            "threads": config.threads,
            "seed": config.seed,
        }
        return EvaluateConfig(**{**values, **changes})

    def clips_key(self) -> dict[str, Any]:
        """What scores of dubs depend on beside who dubs."""
        listed = [
            [clip.name, clip.identity, clip.audio_is_own, *stamp(clip.path)] for clip in self.clips
        ]
        digest = sha256(repr(listed).encode()).hexdigest()[:12]
        return {
            **self._common_key(),
            "clips": f"{len(listed)} clips of '{self.config.clips}' ({digest})",
            "seed": self.config.seed,
        }

    def dev_key(self) -> dict[str, Any]:
        """What scores on the prepared set depend on."""
        assert self.config.dev is not None
        return {**self._common_key(), "dev": set_mark(self.config.dev)}

    def _common_key(self) -> dict[str, Any]:
        # Files, not hashes: a person reads them in a message.
        return {"version": __version__, "networks": ", ".join(sorted(self.networks)) or "none"}

    def weights_key(self) -> dict[str, Any]:
        """The model as it is."""
        return {"weights": f"{self.entry.name} {(self.entry.sha256 or '')[:12]}".strip()}


def set_mark(folder: Path) -> str:
    """A prepared set, and what tells it from another.

    Raises:
        TrainingError: The folder holds none.
    """
    index = folder / INDEX_NAME
    try:
        digest = sha256(index.read_bytes()).hexdigest()[:12]
    except OSError as error:
        raise TrainingError(
            f"'{folder}' holds no prepared clips.", "Make them with 'dub prepare CLIPS -o DIR'."
        ) from error
    return f"'{folder}' ({digest})"
