"""Kinds of audio features, behind one function."""

from __future__ import annotations

from dubcli.audio.log_mel import log_mel
from dubcli.audio.speech_encoder import SpeechEncoder, speech_features
from dubcli.core.errors import ConfigError
from dubcli.core.types import FEATURE_SIZES, AudioFeatures, Waveform


def extract_features(
    waveform: Waveform, kind: str, encoder: SpeechEncoder | None = None
) -> AudioFeatures:
    """Features of the named kind of `core.types.FEATURE_SIZES`.

    Args:
        waveform: Mono audio at 16 kHz.
        kind: `mel` or `speech`.
        encoder: The speech encoder; only `speech` needs it.

    Raises:
        ConfigError: Unknown kind, or no encoder where one is needed.
    """
    if kind == "mel":
        return log_mel(waveform)
    if kind != "speech":
        raise ConfigError(
            f"Unknown audio features '{kind}'.", f"Known: {', '.join(FEATURE_SIZES)}."
        )
    if encoder is None:
        raise ConfigError("Speech features need the speech encoder.", "Install dubcli again.")
    return speech_features(waveform, encoder)
