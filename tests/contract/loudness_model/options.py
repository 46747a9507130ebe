"""What users may choose per dub with Loudness."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dubcli.models.model_options import model_option


@dataclass(frozen=True, kw_only=True)
class LoudnessOptions:
    """Options of one dub."""

    reach: float = model_option(1.0, "How far the mouth opens, as a factor.", least=0, most=3)
    manner_from: Path | None = model_option(
        None, "Video of the person whose liveliness is taken over.", is_subject=True
    )
