"""What is said, as a speech recogniser hears it: features that hardly depend on voice or room.

The frozen encoder of Moonshine tiny (Jeffries et al. 2024, arXiv:2410.15608; MIT licence) has
heard far more people than any set of talking faces holds. The log-mel steps stand beside it: they
tell how loud it is, and exactly when.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dubcli.audio.log_mel import HOP, NUM_MELS, SAMPLE_RATE, log_mel
from dubcli.core.onnx_session import open_session
from dubcli.core.types import F32, AudioFeatures, Waveform

NUM_TOKENS = 288
NUM_SPEECH = NUM_TOKENS + NUM_MELS
# The encoder's convolutions: one token every 384 samples; its first sees samples 0 to 894.
_TOKEN_HOP, _TOKEN_CENTRE = 384, 447
# The encoder attends to all it is given, so long recordings go through in overlapping parts.
_PART_TOKENS, _OVERLAP_TOKENS = 1200, 160
_LOUDNESS, _LEAST_RMS = 0.07, 1e-4
_CHUNK_STEPS = 4096


class SpeechEncoder:
    """The recogniser's encoder, loaded once.

    Args:
        path: The ONNX Runtime file of the encoder.

    Raises:
        WeightsError: The file is no such model.
    """

    hop = _TOKEN_HOP

    def __init__(self, path: Path) -> None:
        self._session = open_session(path, "the speech encoder")

    @cached_property
    def silence(self) -> F32:
        """What it hears in silence. Shape (288,)."""
        return self.tokens(np.zeros(2 * SAMPLE_RATE, np.float32)).mean(0)

    def tokens(self, samples: F32) -> F32:
        """Encode 16 kHz samples (S,); token k belongs to sample 384 k. Shape (K, 288)."""
        padded = np.pad(samples, (_TOKEN_CENTRE, SAMPLE_RATE // 2))
        return tokens_of_parts(padded, _TOKEN_HOP, self._run)

    def _run(self, samples: F32) -> F32:
        inputs = {
            "input_values": samples[None].astype(np.float32),
            "attention_mask": np.ones((1, len(samples)), np.int64),
        }
        return np.asarray(self._session.run(None, inputs)[0], np.float32)[0]


def tokens_of_parts(samples: F32, hop: int, run: Callable[[F32], F32]) -> F32:
    """Tokens of a long recording, encoded in overlapping parts that are blended.

    Args:
        samples: Shape (S,).
        hop: Samples from one token to the next.
        run: Encodes a part of at most 1200 tokens, (L,) to (K, D).

    Returns:
        Shape (K, D).
    """
    part, step = _PART_TOKENS * hop, _PART_TOKENS - _OVERLAP_TOKENS
    whole = np.zeros((0, 0), np.float32)
    share = np.zeros((len(samples) // hop + 1, 1), np.float32)
    fade = (np.arange(_OVERLAP_TOKENS, dtype=np.float32) + 1) / (_OVERLAP_TOKENS + 1)
    for first in range(0, len(share), step):
        start = first * hop
        is_last = start + part >= len(samples)
        found = run(samples[start : start + part])[: None if is_last else _PART_TOKENS - 8]
        if not first:
            whole = np.zeros((len(share), found.shape[1]), np.float32)
        weight = np.ones((len(found), 1), np.float32)
        if first:
            weight[: len(fade), 0] = fade[: len(found)]
        if not is_last:
            weight[-len(fade) :, 0] *= fade[::-1]
        whole[first : first + len(found)] += weight * found
        share[first : first + len(found)] += weight
        if is_last:
            break
    known = share[:, 0] > 0
    return whole[known] / share[known]


class Recogniser(Protocol):
    """The frozen encoder of a speech recogniser."""

    @property
    def hop(self) -> int:
        """Samples at 16 kHz from one token to the next."""
        ...

    @cached_property
    def silence(self) -> F32:
        """What it hears in silence. Shape (D,)."""
        ...

    def tokens(self, samples: F32) -> F32:
        """Encode 16 kHz samples (S,); token k belongs to sample `hop` k. Shape (K, D)."""
        ...


def recogniser_features(waveform: Waveform, kind: str, encoder: Recogniser) -> AudioFeatures:
    """Recogniser's tokens and log-mel side by side, 80 steps a second.

    Args:
        waveform: Mono audio at 16 kHz.
        kind: What these features are called, a key of `core.types.FEATURE_SIZES`.
        encoder: Hears it.

    Returns:
        Values of shape (A, D + 80), float16: the first D are tokens, interpolated in time.

    Raises:
        ConfigError: Another sample rate.
    """
    mel = log_mel(waveform)
    samples = waveform.samples.astype(np.float32)
    rms = float(np.sqrt(np.mean(samples**2))) if len(samples) else 0.0
    tokens = encoder.tokens(samples * np.float32(_LOUDNESS / max(rms, _LEAST_RMS)))
    num = tokens.shape[1]
    values = np.empty((len(mel.values), num + NUM_MELS), np.float16)
    # In parts: interpolating an hour at once takes gigabytes.
    for start in range(0, len(values), _CHUNK_STEPS):
        places = np.arange(start, min(start + _CHUNK_STEPS, len(values)), dtype=np.float64)
        values[start : start + len(places), :num] = rows_at(tokens, places * (HOP / encoder.hop))
    values[:, num:] = mel.values
    return AudioFeatures(
        values=values,
        rate_hz=mel.rate_hz,
        kind=kind,
        start_s=mel.start_s,
        fill=np.concatenate([encoder.silence, mel.fill]).astype(np.float32),
    )


def rows_at(values: F32, places: NDArray[np.float64]) -> F32:
    """Rows of (K, D) at places between them, linearly; the ends go on. Shape (len(places), D)."""
    place = np.clip(places, 0, len(values) - 1)
    left = np.minimum(place.astype(np.int64), max(0, len(values) - 2))
    share = (place - left).astype(np.float32)[:, None]
    right = np.minimum(left + 1, len(values) - 1)
    return np.asarray(values[left] * (1 - share) + values[right] * share, np.float32)
