"""Options of every command: what it prints, and how progress is shown."""

from __future__ import annotations

from dataclasses import dataclass, field

from dubcli.config.option_parsing import check
from dubcli.config.settings_common import Panel, about

PROGRESS_STYLES = ("auto", "bar", "plain", "jsonl", "none")


@dataclass(frozen=True, kw_only=True)
class ViewConfig:
    """How much a command says, and in which form."""

    progress: str = field(
        default="auto",
        metadata=about(
            f"How progress is shown on stderr: {', '.join(PROGRESS_STYLES)}. auto is bar on a "
            "terminal, else plain; jsonl is one JSON object a line.",
            choices=PROGRESS_STYLES,
        ),
    )
    quiet: bool = field(default=False, metadata=about("Say nothing but errors."))
    verbose: bool = field(default=False, metadata=about("Say more."))
    json: bool = field(
        default=False,
        metadata=about("The report on stdout, alone.", command_line_only=True),
    )
    dry_run: bool = field(
        default=False,
        metadata=about(
            "Show what would be done, as dub plan does; no more.",
            panel=Panel.FIRST,
            command_line_only=True,
        ),
    )

    def __post_init__(self) -> None:
        check(
            self.progress in PROGRESS_STYLES,
            f"Unknown progress style '{self.progress}'.",
            f"Use one of {', '.join(PROGRESS_STYLES)}.",
        )
