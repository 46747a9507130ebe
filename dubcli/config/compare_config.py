"""`dub compare`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dubcli.config.option_parsing import check
from dubcli.config.settings_common import Panel, about, threads_option

LAYOUTS = ("side", "wipe")
LETTERS = "ABCDEFGHI"
COMPARISON_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm")
_NO_SOUND = "none"


def check_comparison(path: Path) -> None:
    """Refuse a name that no comparison can have.

    Raises:
        ConfigError: Its ending names no container that comparisons are written to.
    """
    known = ", ".join(COMPARISON_SUFFIXES)
    check(
        path.suffix.lower() in COMPARISON_SUFFIXES,
        f"A comparison cannot be written to '{path}'.",
        f"Use a name that ends in {known}.",
    )


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """Everything that `dub compare` can be told."""

    videos: tuple[Path, ...] = field(
        metadata=about("Two or more videos; they are A, B and so on.", panel=Panel.INPUT)
    )
    output: Path = field(
        default=Path("compare.mp4"),
        metadata=about(
            f"Where the comparison goes: {', '.join(COMPARISON_SUFFIXES)}.",
            panel=Panel.FIRST,
            command_line_only=True,
        ),
    )
    overwrite: bool = field(
        default=False, metadata=about("Replace the output if it exists.", panel=Panel.FIRST)
    )
    layout: str = field(
        default=LAYOUTS[0],
        metadata=about(
            "side: beside each other, in rows where there are more than three; wipe: two videos "
            "in one place, with a line that moves from side to side.",
            panel=Panel.FIRST,
            choices=LAYOUTS,
        ),
    )
    sound: str = field(
        default="B",
        metadata=about(
            "Which video is heard: its letter, its number from 1, or none.", panel=Panel.SOUND
        ),
    )
    label: tuple[str, ...] = field(
        default=(),
        metadata=about(
            "What stands at a video, once for each in their order. Default: the files' names.",
            metavar="TEXT",
            panel=Panel.OUTPUT,
            command_line_only=True,
        ),
    )
    sheet: Path | None = field(
        default=None,
        metadata=about(
            "Also write a contact sheet to this PNG: a row for each video, the same times below "
            "each other.",
            panel=Panel.OUTPUT,
            command_line_only=True,
        ),
    )
    height: int = field(
        default=540, metadata=about("Height of each picture, px.", panel=Panel.OUTPUT)
    )
    crf: int = field(
        default=18,
        metadata=about("Quality: 0 is the best, 51 the worst.", panel=Panel.OUTPUT),
    )
    threads: int = threads_option()

    def __post_init__(self) -> None:
        num = len(self.videos)
        check(
            2 <= num <= len(LETTERS),
            f"{num} video{'' if num == 1 else 's'}; a comparison has 2 to {len(LETTERS)}.",
            "Use dub compare A.mp4 B.mp4.",
        )
        known = ", ".join(LAYOUTS)
        check(self.layout in LAYOUTS, f"Unknown layout '{self.layout}'.", f"Use one of {known}.")
        check(
            self.layout != "wipe" or num == 2,
            f"A wipe shows two videos, not {num}.",
            "Leave out --layout wipe.",
        )
        check(
            not self.label or len(self.label) == num,
            f"{len(self.label)} labels for {num} videos.",
            "Use --label once for each video.",
        )
        check_comparison(self.output)
        check(
            self.sheet is None or self.sheet.suffix.lower() == ".png",
            f"A contact sheet cannot be written to '{self.sheet}'.",
            "Use a name that ends in .png.",
        )
        check(64 <= self.height <= 2160, f"A height of {self.height} px.", "Use 64 to 2160.")
        check(0 <= self.crf <= 51, f"CRF {self.crf} is out of range.", "Use 0 to 51.")
        check(self.threads >= 0, f"{self.threads} threads.", "Use 0 for all cores.")
        _ = self.heard

    @property
    def heard(self) -> int | None:
        """Place of the video whose sound is heard, from 0; None for silence.

        Raises:
            ConfigError: It names none of the videos.
        """
        word = self.sound.strip()
        if word.lower() == _NO_SOUND:
            return None
        letters = LETTERS[: len(self.videos)]
        place = letters.find(word.upper()) if len(word) == 1 and not word.isdigit() else -1
        if word.isdecimal():
            place = int(word) - 1
        check(
            0 <= place < len(letters),
            f"No video '{self.sound}' whose sound could be heard.",
            f"Use a letter from A to {letters[-1]}, a number from 1, or none.",
        )
        return place

    @property
    def labels(self) -> tuple[str, ...]:
        """What stands at each video."""
        return self.label or tuple(path.name for path in self.videos)
