"""What users may choose per dub with G4G."""

from __future__ import annotations

from dataclasses import dataclass

from dubcli.models.model_options import model_option


@dataclass(frozen=True, kw_only=True)
class G4GOptions:
    """Options of one dub.

    Attributes:
        articulation: Factor on the mouth coefficients. A predictor that is unsure moves too little.
    """

    articulation: float = model_option(
        1.25, "How far the mouth moves, as a factor on what the sound predicts.", least=0.5, most=2
    )
