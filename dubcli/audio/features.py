"""Kinds of audio features, behind one function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from dubcli.audio.log_mel import log_mel
from dubcli.audio.speech_encoder import Recogniser, SpeechEncoder, recogniser_features
from dubcli.audio.whisper_layer import WhisperLayer
from dubcli.core.choices import FEATURE_SIZES, RECOGNISER_PARTS, feature_parts
from dubcli.core.errors import ConfigError
from dubcli.core.types import AudioFeatures, Waveform

# Recognisers by the kind of features that they are heard for.
Recognisers = Mapping[str, Recogniser]
# Part of the weights, and what runs it, of each kind whose recogniser ONNX Runtime runs.
RECOGNISERS: Mapping[str, tuple[str, Callable[[Path], Recogniser]]] = {
    "speech": (RECOGNISER_PARTS["speech"], SpeechEncoder),
    "whisper": (RECOGNISER_PARTS["whisper"], WhisperLayer),
}


def extract_features(
    waveform: Waveform, kind: str, recognisers: Recognisers | None = None
) -> AudioFeatures:
    """Features of the named kind of `core.types.FEATURE_SIZES`.

    Args:
        waveform: Mono audio at 16 kHz.
        kind: `mel`, `speech` (tokens of Moonshine tiny and log-mel), `whisper` (the second layer
            of Whisper base and log-mel), `hubert` (tokens of HuBERT base and log-mel) or
            `speech+whisper`, both side by side.
        recognisers: What the kinds of `RECOGNISER_PARTS` need.

    Raises:
        ConfigError: Unknown kind, or no recogniser where one is needed.
    """
    if kind == "mel":
        return log_mel(waveform)
    if kind in FEATURE_SIZES and len(feature_parts(kind)) > 1:
        return _side_by_side(waveform, kind, recognisers)
    if kind not in RECOGNISER_PARTS:
        raise ConfigError(
            f"Unknown audio features '{kind}'.", f"Known: {', '.join(FEATURE_SIZES)}."
        )
    if kind not in (recognisers or {}):
        part = RECOGNISER_PARTS[kind]
        raise ConfigError(f"Features '{kind}' need the part '{part}'.", "Install dubcli again.")
    assert recognisers is not None
    return recogniser_features(waveform, kind, recognisers[kind])


def _side_by_side(waveform: Waveform, kind: str, recognisers: Recognisers | None) -> AudioFeatures:
    """Features of several kinds, one kind in memory beside the whole: an hour's are large."""
    parts = (extract_features(waveform, part, recognisers) for part in feature_parts(kind))
    part = next(parts)
    size, num = FEATURE_SIZES[kind], len(part.fill)
    whole = replace(
        part,
        kind=kind,
        values=np.empty((len(part.values), size), part.values.dtype),
        fill=np.empty(size, np.float32),
    )
    whole.values[:, :num], whole.fill[:num] = part.values, part.fill
    for part in parts:
        start, num = num, num + len(part.fill)
        whole.values[:, start:num], whole.fill[start:num] = part.values, part.fill
    return whole
