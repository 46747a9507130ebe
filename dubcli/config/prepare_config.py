"""`dub prepare`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from dubcli.config.option_parsing import check, listed_names
from dubcli.config.settings_common import Panel, about, check_detector, detector_option
from dubcli.core.choices import FEATURE_SIZES

_LEAST_SIDE, _MOST_SIDE = 32, 2048


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """Everything that `dub prepare` can be told."""

    clips: Path = field(metadata=about("Folder of video clips.", panel=Panel.INPUT))
    output: Path = field(metadata=about("Folder of the training set.", panel=Panel.FIRST))
    overwrite: bool = field(
        default=False, metadata=about("Replace the training set if it exists.", panel=Panel.FIRST)
    )
    size: str = field(
        default="208x160",
        metadata=about("Height and width of the crops, px, such as 416x320.", panel=Panel.OUTPUT),
    )
    features: str = field(
        default="mel,speech",
        metadata=about(
            "Kinds of sound features, separated by commas: mel, speech, whisper, hubert.",
            panel=Panel.SOUND,
        ),
    )
    min_quality: float = field(
        default=0.19,
        metadata=about(
            "Fine detail of a face below which pictures are dropped, 0.1 to 0.4; 0 keeps all.",
            panel=Panel.FACES,
        ),
    )
    detector: str = detector_option()
    jobs: int = field(
        default=1, metadata=about("Clips prepared at the same time.", panel=Panel.RUN)
    )
    catalogue: Path | None = field(
        default=None,
        metadata=about(
            "CSV that names clips, people and whether the audio is theirs.", panel=Panel.INPUT
        ),
    )

    def __post_init__(self) -> None:
        check_detector(self.detector)
        check(
            0 <= self.min_quality < 1,
            f"A quality of {self.min_quality}.",
            "Use 0.1 to 0.4, or 0 to keep all pictures.",
        )
        check(self.jobs >= 1, f"{self.jobs} jobs.", "Use 1 or more.")
        check(
            _LEAST_SIDE <= min(self.crop_size) <= max(self.crop_size) <= _MOST_SIDE,
            f"Crops of '{self.size}'.",
            f"Use sides of {_LEAST_SIDE} to {_MOST_SIDE} px, such as 208x160 or 416x320.",
        )
        unknown = [kind for kind in self.kinds if kind not in FEATURE_SIZES]
        check(
            bool(self.kinds) and not unknown,
            f"Unknown sound features '{self.features}'.",
            f"Use one or more of {', '.join(FEATURE_SIZES)}, separated by commas.",
        )

    @property
    def crop_size(self) -> tuple[int, int]:
        """Height and width of the crops, px; zeros where `size` names none."""
        found = re.fullmatch(r"(\d+)[x×](\d+)", self.size.strip())
        return (int(found[1]), int(found[2])) if found else (0, 0)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The different kinds of features, in order."""
        return listed_names(self.features)
