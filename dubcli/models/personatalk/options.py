"""What users may choose per dub with PersonaTalk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dubcli.core.errors import ConfigError
from dubcli.models.model_options import model_option

_STYLES = ("own", "none")


@dataclass(frozen=True, kw_only=True)
class PersonaTalkOptions:
    """Options of one dub.

    Attributes:
        articulation: Factor on the mouth coefficients. A predictor that is unsure moves too little.
        style: `own`: how the person moves the mouth in the video's own speech. `none`: the mean
            of all people.
        style_from: Another video of the person, in whose speech the style is found instead.

    Raises:
        ConfigError: An unknown style, or a video whose style would not be used.
    """

    articulation: float = model_option(
        1.25, "How far the mouth moves, as a factor on what the sound predicts.", least=0.5, most=2
    )
    style: str = model_option(
        "own", "Manner of speaking: 'own', of the video's own speech, or 'none', of all people."
    )
    style_from: Path | None = model_option(
        None, "Another video of the person, whose manner of speaking is taken.", is_subject=True
    )

    def __post_init__(self) -> None:
        if self.style not in _STYLES:
            raise ConfigError(f"--style is '{self.style}'.", "Use 'own' or 'none'.")
        if self.style == "none" and self.style_from is not None:
            raise ConfigError(
                "--style none takes no style, --style-from names a video of one.",
                "Leave one of them out.",
            )
