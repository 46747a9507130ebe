"""`dub prepare`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dubcli.config.option_parsing import check
from dubcli.config.settings_common import about


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """Everything that `dub prepare` can be told."""

    clips: Path = field(metadata=about("Folder of video clips."))
    output: Path = field(metadata=about("Folder of the training set."))
    overwrite: bool = field(default=False, metadata=about("Replace the training set if it exists."))
    jobs: int = field(default=1, metadata=about("Clips prepared at the same time."))
    catalogue: Path | None = field(
        default=None,
        metadata=about("CSV that names clips, people and whether the audio is theirs."),
    )

    def __post_init__(self) -> None:
        check(self.jobs >= 1, f"{self.jobs} jobs.", "Use 1 or more.")
