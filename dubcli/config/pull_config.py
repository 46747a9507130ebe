"""`dub models pull`."""

from __future__ import annotations

from dataclasses import dataclass, field

from dubcli.config.settings_common import Panel, about


@dataclass(frozen=True, kw_only=True)
class PullConfig:
    """Everything that `dub models pull` can be told."""

    names: tuple[str, ...] = field(
        default=(),
        metadata=about(
            "As dub models list has it, or hf:ORG/REPO\\[@REV].", panel=Panel.INPUT, metavar="NAME"
        ),
    )
    everything: bool = field(
        default=False,
        metadata=about(
            "Everything that the manifest lists.",
            panel=Panel.FIRST,
            flag="--all",
            command_line_only=True,
        ),
    )
    purpose: str | None = field(
        default=None,
        metadata=about(
            "What a command needs: evaluate, train, personatalk.",
            panel=Panel.FIRST,
            flag="--for",
            metavar="COMMAND",
            command_line_only=True,
        ),
    )
    accept_licence: bool = field(
        default=False,
        metadata=about(
            "Agree to licences that do not allow every use.",
            panel=Panel.FIRST,
            command_line_only=True,
        ),
    )
