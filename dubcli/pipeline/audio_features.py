"""Sound as a network wants to hear it, with the speech encoder that ships."""

from __future__ import annotations

from dubcli.audio.features import extract_features
from dubcli.core.types import AudioFeatures, Waveform
from dubcli.weights.resolve import part_path


def hear(waveform: Waveform, kind: str) -> AudioFeatures:
    """Features of a kind of `core.types.FEATURE_SIZES`.

    Args:
        waveform: Mono audio at 16 kHz.
        kind: What the network listens to.

    Raises:
        ConfigError: Unknown kind.
        WeightsError: The speech encoder is missing or damaged.
    """
    encoder = part_path("speech-encoder") if kind == "speech" else None
    return extract_features(waveform, kind, encoder)
