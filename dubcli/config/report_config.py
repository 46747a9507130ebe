"""`dub report`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dubcli.config.option_parsing import check
from dubcli.config.settings_common import Panel, about, check_detector, detector_option


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """Everything that `dub report` can be told."""

    result: Path = field(
        metadata=about(
            "A dubbed video or its report (RESULT.json), the results of a batch (.jsonl), or the "
            "scores of dub evaluate (scores.json, or their folder).",
            panel=Panel.INPUT,
        )
    )
    output: Path | None = field(
        default=None,
        metadata=about(
            "The page, .html; previews go into a folder beside it. Default: RESULT.review.html "
            "beside the input.",
            panel=Panel.FIRST,
            command_line_only=True,
        ),
    )
    overwrite: bool = field(
        default=False, metadata=about("Replace the page if it exists.", panel=Panel.FIRST)
    )
    embed: bool = field(
        default=False,
        metadata=about(
            "One file with the previews in it, at most 60 s of them, to send away.",
            panel=Panel.FIRST,
        ),
    )
    source: Path | None = field(
        default=None,
        metadata=about(
            "The video that was dubbed, where it does not lie where the report says.",
            panel=Panel.INPUT,
            command_line_only=True,
        ),
    )
    pages: int = field(
        default=12,
        metadata=about(
            "Of a batch: so many results get a page of their own with previews, those with "
            "warnings first; 0 for none.",
            panel=Panel.OUTPUT,
        ),
    )
    curve: bool = field(
        default=True,
        metadata=about(
            "Measure the mouth's opening in the previews and draw it against the sound.",
            panel=Panel.OUTPUT,
        ),
    )
    detector: str = detector_option()

    def __post_init__(self) -> None:
        check_detector(self.detector)
        check(self.pages >= 0, f"{self.pages} pages.", "Use 0 or more.")
        check(
            self.output is None or self.output.suffix.lower() in (".html", ".htm"),
            f"A page cannot be written to '{self.output}'.",
            "Use a name that ends in .html.",
        )
