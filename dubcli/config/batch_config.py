"""`dub batch`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dubcli.config.option_parsing import check, listed_names
from dubcli.config.settings_common import Panel, about, as_json, check_device

STANDARD_INPUT = Path("-")


@dataclass(frozen=True, kw_only=True)
class BatchConfig:
    """Everything that `dub batch` can be told."""

    jobs: Path = field(
        metadata=about(
            "Job list: a CSV or JSON lines file whose columns are options, - for standard input, "
            "or a folder of videos.",
            panel=Panel.INPUT,
        )
    )
    audio: Path | None = field(
        default=None,
        metadata=about(
            "With a folder of videos: the folder of recordings; files of one name belong together.",
            metavar="FOLDER",
            panel=Panel.FIRST,
        ),
    )
    output: Path | None = field(
        default=None,
        metadata=about(
            "Folder of the results, for rows without an output of their own.",
            metavar="FOLDER",
            panel=Panel.FIRST,
        ),
    )
    set: tuple[str, ...] = field(
        default=(),
        metadata=about(
            "An option of every row that has it and does not set it itself, such as crf=18.",
            metavar="NAME=VALUE",
            panel=Panel.FIRST,
        ),
    )
    workers: int = field(
        default=0,
        metadata=about(
            "Processes that work at the same time, each with models of its own; 0 is one a device, "
            "with --ray one a GPU or a group of cores.",
            panel=Panel.FIRST,
        ),
    )
    devices: str = field(
        default="auto",
        metadata=about(
            "Devices that the workers take in turn, separated by commas, such as cuda:0,cuda:1.",
            panel=Panel.RUN,
        ),
    )
    shard: str | None = field(
        default=None,
        metadata=about(
            "Do part I of N of the rows alone, I from 1: for arrays of jobs on a cluster.",
            metavar="I/N",
            panel=Panel.RUN,
        ),
    )
    retries: int = field(
        default=1,
        metadata=about(
            "How often a row is tried again whose worker was killed or ran out of memory or disk.",
            panel=Panel.RUN,
        ),
    )
    fail_fast: bool = field(
        default=False,
        metadata=about(
            "Begin no further row after one that failed; nothing at all where a row has a mistake.",
            panel=Panel.RUN,
        ),
    )
    results: Path | None = field(
        default=None,
        metadata=about(
            "File that gets one JSON line a result. Default: JOBS.results.jsonl beside the list.",
            panel=Panel.OUTPUT,
        ),
    )
    ray: str | None = field(
        default=None,
        metadata=about(
            "Work on a Ray cluster: HOST:PORT, auto for the one of this machine, or local to start "
            "one; needs the extra ray.",
            metavar="ADDRESS",
            panel=Panel.RUN,
        ),
    )

    def __post_init__(self) -> None:
        check(self.workers >= 0, f"{self.workers} workers.", "Use 0 for one a device.")
        check(self.retries >= 0, f"{self.retries} retries.", "Use 0 for none.")
        check(bool(self.device_names), "No device.", "Use auto, cpu, cuda, cuda:N or mps.")
        for device in self.device_names:
            check_device(device)
        number, count = self.shard_of
        check(
            1 <= number <= count,
            f"Shard '{self.shard}'.",
            "Use I/N with I from 1 to N, such as 1/8 for the first of eight.",
        )
        for word in self.set:
            check("=" in word, f"--set '{word}'.", "Use NAME=VALUE, such as crf=18.")

    @property
    def device_names(self) -> tuple[str, ...]:
        """The devices that workers take in turn."""
        return listed_names(self.devices)

    @property
    def shard_of(self) -> tuple[int, int]:
        """Which part of the rows, from 1, and of how many; zeros where `shard` names none."""
        if self.shard is None:
            return 1, 1
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", self.shard.strip())
        return (int(found[1]), int(found[2])) if found else (0, 0)

    @property
    def num_workers(self) -> int:
        """Processes on this machine."""
        return self.workers or len(self.device_names)

    def as_json(self) -> dict[str, Any]:
        """The configuration as JSON-ready values."""
        return as_json(self)
