"""What users may choose per dub with IPTalker."""

from __future__ import annotations

from dataclasses import dataclass

from dubcli.models.model_options import model_option


@dataclass(frozen=True, kw_only=True)
class IPTalkerOptions:
    """Options of one dub.

    Attributes:
        articulation: Factor on the mouth coefficients. A predictor that is unsure moves too little
            (half as much as people do, on strangers): some of that is given back.
        speaker_style: The mouth rests and opens as in the person's own speech in the video, where
            that is in step with its sound.
    """

    articulation: float = model_option(
        1.25, "How far the mouth moves, as a factor on what the sound predicts.", least=0.5, most=2
    )
    speaker_style: bool = model_option(
        True, "Let the mouth open as far as in the video's own speech, where that is in step."
    )
