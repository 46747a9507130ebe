"""Waveform to log-mel.

The setting that the implemented papers share: 80 log-mel bands of 16 kHz audio, window
800, hop 200 samples.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import numpy as np

from dubcli.core.errors import ConfigError
from dubcli.core.types import F32, AudioFeatures, Waveform

SAMPLE_RATE = 16_000
N_FFT = 1024
WINDOW = 800
HOP = 200
NUM_MELS = 80
MEL_LOW_HZ, MEL_HIGH_HZ = 55.0, 7600.0
# Powers below this are silence; log10 of it maps to -1.
_FLOOR = 1e-10
_CHUNK_STEPS = 4096
# Speech of every recording is brought to this level, by at most 18 dB.
_SPEECH_LEVEL, _SPEECH_PERCENTILE, _MAX_SHIFT = 0.38, 90, 0.3


def log_mel(waveform: Waveform) -> AudioFeatures:
    """Log-mel spectrogram, 80 steps a second, about [-1, 1], at a common loudness of speech.

    Args:
        waveform: Mono audio at 16 kHz.

    Raises:
        ConfigError: Another sample rate.
    """
    if waveform.sample_rate != SAMPLE_RATE:
        raise ConfigError(
            f"Log-mel features need {SAMPLE_RATE} Hz, not {waveform.sample_rate}.",
            "Resample the waveform first.",
        )
    num_steps = -(-len(waveform.samples) // HOP)
    # Step i is centred on sample i * HOP.
    padded = np.pad(waveform.samples, (N_FFT // 2, N_FFT // 2 + HOP))
    window = np.zeros(N_FFT, np.float32)
    edge = (N_FFT - WINDOW) // 2
    window[edge : edge + WINDOW] = np.hanning(WINDOW + 1)[:-1]
    parts = []
    for start in range(0, num_steps, _CHUNK_STEPS):
        stop = min(start + _CHUNK_STEPS, num_steps)
        view = np.lib.stride_tricks.sliding_window_view(
            padded[start * HOP : (stop - 1) * HOP + N_FFT], N_FFT
        )[::HOP]
        power = np.abs(np.fft.rfft(view * window, axis=-1)).astype(np.float32) ** 2
        parts.append(_compress(power @ mel_filters().T))
    values = np.concatenate(parts) if parts else np.empty((0, NUM_MELS), np.float32)
    return AudioFeatures(
        values=normalise_level(values),
        rate_hz=Fraction(SAMPLE_RATE, HOP),
        kind="mel",
        start_s=waveform.start_s,
        fill=np.full(NUM_MELS, _compress(np.zeros(1, np.float32))[0], np.float32),
    )


def normalise_level(values: F32) -> F32:
    """Shift log-mel (A, D) so that its loud steps are as loud as any other recording's."""
    if len(values) == 0:
        return values
    level = float(np.percentile(values.mean(1), _SPEECH_PERCENTILE))
    shift = np.clip(_SPEECH_LEVEL - level, -_MAX_SHIFT, _MAX_SHIFT)
    return np.clip(values + np.float32(shift), -1.0, 1.5).astype(np.float32)


def _compress(power: F32) -> F32:
    # 100 dB of range around the level of speech, on [-1, 1].
    decades = np.log10(np.maximum(power, _FLOOR))
    return np.clip((decades + 4.0) / 6.0, -1.0, 1.5).astype(np.float32)


@cache
def mel_filters() -> F32:
    """Triangular filters, equally spaced on the HTK mel scale. Shape (NUM_MELS, N_FFT // 2 + 1)."""
    low, high = (2595.0 * np.log10(1 + hz / 700.0) for hz in (MEL_LOW_HZ, MEL_HIGH_HZ))
    mels = np.linspace(low, high, NUM_MELS + 2)
    edges = 700.0 * (10 ** (mels / 2595.0) - 1)
    bins = np.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    triangles = np.maximum(0, np.minimum(rising, falling))
    return (triangles * 2 / (edges[2:] - edges[:-2])[:, None]).astype(np.float32)
