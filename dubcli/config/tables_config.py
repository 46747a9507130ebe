"""`dub tables`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dubcli.config.option_parsing import check
from dubcli.config.settings_common import (
    Panel,
    about,
    about_catalogue,
    about_score_weights,
    as_json,
    check_device,
    check_limit,
    device_option,
    limit_option,
    results_option,
    seed_option,
    threads_option,
)


@dataclass(frozen=True, kw_only=True)
class TablesConfig:
    """Everything that `dub tables` can be told."""

    model: str = field(metadata=about("Model whose paper's tables are made.", panel=Panel.INPUT))
    clips: Path | None = field(
        default=None,
        metadata=about(
            "Folder of videos that are dubbed and scored, or a CSV with the column 'clip'.",
            panel=Panel.INPUT,
        ),
    )
    output: Path | None = field(
        default=None,
        metadata=about(
            "Folder of the results; rows that lie there are used again.", panel=Panel.FIRST
        ),
    )
    list: bool = field(
        default=False,
        metadata=about(
            "Show the tables with the paper's figures and what each row needs; make nothing.",
            panel=Panel.FIRST,
            command_line_only=True,
        ),
    )
    only: tuple[str, ...] = field(
        default=(),
        metadata=about(
            "Make this table or this row only, as --list calls them; once for each.",
            metavar="TABLE[/ROW]",
            panel=Panel.FIRST,
            command_line_only=True,
        ),
    )
    train: Path | None = field(
        default=None,
        metadata=about(
            "Folder that `dub prepare` made, for rows that are trained.", panel=Panel.FIRST
        ),
    )
    dev: Path | None = field(
        default=None,
        metadata=about(
            "The same of other people, on which they and the weights are scored.",
            panel=Panel.FIRST,
        ),
    )
    minutes: float = field(
        default=20.0,
        metadata=about(
            "Training of each row: processor time of one thread; of a GPU, time by the clock.",
            panel=Panel.LEARNING,
        ),
    )
    results: tuple[str, ...] = results_option(
        "Videos that another tool made of the clips, for its row; once for each tool.", Panel.INPUT
    )
    catalogue: Path | None = field(default=None, metadata=about_catalogue())
    weights: Path | None = field(default=None, metadata=about_score_weights())
    limit: int = limit_option("Use")
    device: str = device_option("the models run")
    threads: int = threads_option()
    seed: int = seed_option()
    overwrite: bool = field(
        default=False,
        metadata=about("Make rows again that an earlier run has made.", panel=Panel.OUTPUT),
    )

    def __post_init__(self) -> None:
        check(
            self.list or self.output is not None,
            "No folder for the results.",
            "Use -o FOLDER, or --list to see the tables.",
        )
        check(self.minutes > 0, f"{self.minutes} minutes of training.", "Use 20.")
        check(
            self.train is None or self.dev is not None,
            "Rows that are trained are scored on other people.",
            "Add --dev SET, prepared from clips of other people.",
        )
        check_limit(self.limit)
        check(self.threads >= 0, f"{self.threads} threads.", "Use 0 for all cores.")
        check_device(self.device)

    def as_json(self) -> dict[str, Any]:
        """The configuration as JSON-ready values."""
        return as_json(self)
