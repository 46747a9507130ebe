"""`dub study`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dubcli.config.option_parsing import check
from dubcli.config.settings_common import Panel, about


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Everything that `dub study` can be told."""

    folders: tuple[Path, ...] = field(
        metadata=about(
            "Two or more folders, one for each system, whose videos have the same names; with "
            "--votes the files of votes that viewers sent.",
            panel=Panel.INPUT,
        )
    )
    output: Path = field(
        default=Path("study.html"),
        metadata=about(
            "The page, .html; its videos go into a folder beside it, the key into NAME.key.json.",
            panel=Panel.FIRST,
            command_line_only=True,
        ),
    )
    overwrite: bool = field(
        default=False,
        metadata=about("Replace page, videos and key if they exist.", panel=Panel.FIRST),
    )
    votes: bool = field(
        default=False,
        metadata=about(
            "Print the means of votes, with 95 % intervals; needs --key.",
            panel=Panel.FIRST,
            command_line_only=True,
        ),
    )
    key: Path | None = field(
        default=None,
        metadata=about(
            "With --votes: the study's key, NAME.key.json. Otherwise where it is written.",
            panel=Panel.FIRST,
            command_line_only=True,
        ),
    )
    reference: Path | None = field(
        default=None,
        metadata=about(
            "Folder with real videos of the people, by the same names: shown above each pair to "
            "judge the likeness by.",
            panel=Panel.INPUT,
            command_line_only=True,
        ),
    )
    title: str = field(
        default="Which video is better?",
        metadata=about("What stands above the page.", panel=Panel.OUTPUT),
    )
    limit: int = field(
        default=0, metadata=about("At most so many pairs; 0 for all.", panel=Panel.INPUT)
    )

    def __post_init__(self) -> None:
        check(self.limit >= 0, f"A limit of {self.limit} pairs.", "Use 0 for all pairs.")
        if self.votes:
            check(bool(self.folders), "No votes.", "Use dub study --votes votes.json --key KEY.")
            check(
                self.key is not None,
                "Votes mean nothing without the key of their study.",
                "Add --key NAME.key.json, which lies beside the page's folder.",
            )
            return
        check(
            len(self.folders) >= 2,
            f"{len(self.folders)} folder of videos; a pair has two.",
            "Use dub study A/ B/.",
        )
        check(
            self.output.suffix.lower() in (".html", ".htm"),
            f"A page cannot be written to '{self.output}'.",
            "Use a name that ends in .html.",
        )

    @property
    def key_path(self) -> Path:
        """Where the key lies."""
        return self.key or self.output.with_suffix(".key.json")
