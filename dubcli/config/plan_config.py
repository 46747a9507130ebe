"""`dub plan`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dubcli.config.dub_config import DubConfig, Voice
from dubcli.config.settings_common import Panel, about


@dataclass(frozen=True, kw_only=True)
class PlanConfig(DubConfig):
    """Everything that `dub plan` can be told: a dub, and where its faces are drawn.

    Without `audio` only the faces are looked at.
    """

    overwrite: bool = field(
        default=False,
        metadata=about("Replace the picture of the faces if it exists.", panel=Panel.FIRST),
    )
    audio: Path | tuple[Voice, ...] = field(
        default=(),
        metadata=about(
            "The new speech, as for the dub: a file, or FACE=FILE for each of several "
            "people. Without it the faces alone are looked at.",
            metavar="FILE",
            panel=Panel.FIRST,
        ),
    )
    faces: Path | None = field(
        default=None,
        metadata=about(
            "PNG that shows every face with its number. Default: VIDEO.faces.png.",
            panel=Panel.OUTPUT,
        ),
    )
    picture: bool = field(default=True, metadata=about("Draw that picture.", panel=Panel.OUTPUT))

    def _check_voices(self) -> None:
        if self.audio:
            super()._check_voices()
