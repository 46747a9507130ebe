"""`dub evaluate`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from dubcli.config.option_parsing import check, listed_names
from dubcli.config.settings_common import (
    Panel,
    about,
    about_catalogue,
    about_score_weights,
    as_json,
    check_detector,
    check_device,
    check_limit,
    detector_option,
    device_option,
    limit_option,
    results_option,
    seed_option,
    threads_option,
)

EVALUATION_SETTINGS = ("reconstruction", "cross", "silence")
BASELINES = ("passthrough", "best-reference", "audio-reference", "ground-truth")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Everything that `dub evaluate` can be told. Lists are comma-separated names."""

    ALL_MODELS: ClassVar[str] = "all"

    clips: Path = field(
        metadata=about("Folder of videos, or a CSV with the column 'clip'.", panel=Panel.INPUT)
    )
    output: Path = field(
        metadata=about("Folder of the scores: tables, plots, contact sheets.", panel=Panel.FIRST)
    )
    settings: str = field(
        default="reconstruction,cross,silence",
        metadata=about("What is dubbed: reconstruction, cross, silence.", panel=Panel.FIRST),
    )
    models: str = field(
        default="iptalker",
        metadata=about(
            "Models that are scored, as --model of the main job takes them; A+B: the mouths of "
            "A, painted by B; all: every model whose weights are here, with --memory; '' for "
            "none.",
            panel=Panel.FIRST,
        ),
    )
    identities: str = field(
        default="",
        metadata=about(
            "Identities that are scored beside them: names, paths, or a folder with one "
            "for each clip.",
            panel=Panel.FIRST,
        ),
    )
    results: tuple[str, ...] = results_option(
        "Videos that another tool made of the clips, scored as a system of this name; once for "
        "each tool. A video is called like its clip.",
        Panel.FIRST,
    )
    baselines: str = field(
        default="passthrough,best-reference,audio-reference,ground-truth",
        metadata=about(
            "What they are compared with: passthrough, best-reference, audio-reference, "
            "ground-truth; '' for none.",
            panel=Panel.FIRST,
        ),
    )
    half: bool = field(
        default=False,
        metadata=about(
            "Lend references from the first half of each clip and score the second.",
            panel=Panel.INPUT,
        ),
    )
    catalogue: Path | None = field(default=None, metadata=about_catalogue())
    speech: Path | None = field(
        default=None,
        metadata=about("Folder of foreign recordings for the setting cross.", panel=Panel.INPUT),
    )
    weights: Path | None = field(default=None, metadata=about_score_weights())
    limit: int = limit_option("Score")
    memory: bool = field(
        default=False,
        metadata=about(
            "Measure each model's peak memory too, by one more dub in a process of its own.",
            panel=Panel.INPUT,
        ),
    )
    detector: str = detector_option()
    device: str = device_option("the models run")
    threads: int = threads_option()
    seed: int = seed_option()
    keep: bool = field(
        default=False,
        metadata=about(
            "Keep the dubbed videos and the sounds that drive them.", panel=Panel.OUTPUT
        ),
    )
    overwrite: bool = field(
        default=False,
        metadata=about("Score again what an earlier run has scored.", panel=Panel.OUTPUT),
    )

    def __post_init__(self) -> None:
        for kind, chosen, known in (
            ("setting", self.setting_names, EVALUATION_SETTINGS),
            ("baseline", self.baseline_names, BASELINES),
        ):
            unknown = [name for name in chosen if name not in known]
            check(
                not unknown,
                f"Unknown {kind} '{''.join(unknown[:1])}'.",
                f"Use one or more of {', '.join(known)}, separated by commas.",
            )
        check(bool(self.setting_names), "No setting.", "Use reconstruction, cross or silence.")
        check(
            bool(self.model_names or self.identity_names or self.results or self.baseline_names),
            "Neither a model nor an identity nor results nor a baseline.",
            "Name one with --models, --identities, --results or --baselines.",
        )
        self._check_results()
        check_detector(self.detector)
        check_device(self.device)
        check(self.threads >= 0, f"{self.threads} threads.", "Use 0 for all cores.")
        check_limit(self.limit)

    def _check_results(self) -> None:
        for listed in self.results:
            name, _, folder = listed.partition("=")
            check(
                bool(name.strip() and folder.strip()),
                f"--results '{listed}' names no folder.",
                "Use --results NAME=FOLDER.",
            )
        names = [name for name, _ in self.result_folders]
        twice = [name for name in names if names.count(name) > 1]
        check(
            not twice,
            f"Two --results are called '{''.join(twice[:1])}'.",
            "Give each folder a name of its own.",
        )

    @property
    def setting_names(self) -> tuple[str, ...]:
        """The chosen settings."""
        return listed_names(self.settings)

    @property
    def model_names(self) -> tuple[str, ...]:
        """The models that are scored."""
        return listed_names(self.models)

    @property
    def measures_memory(self) -> bool:
        """Whether peak memory is measured."""
        return self.memory or self.ALL_MODELS in self.model_names

    @property
    def identity_names(self) -> tuple[str, ...]:
        """The identities that are scored beside the models: names, paths, folders of several."""
        return listed_names(self.identities)

    @property
    def result_folders(self) -> tuple[tuple[str, Path], ...]:
        """Names and folders of other tools' results."""
        parts = (listed.partition("=") for listed in self.results)
        return tuple((name.strip(), Path(folder.strip()).expanduser()) for name, _, folder in parts)

    @property
    def baseline_names(self) -> tuple[str, ...]:
        """The chosen baselines."""
        return listed_names(self.baselines)

    def as_json(self) -> dict[str, Any]:
        """The configuration as JSON-ready values."""
        return as_json(self)
