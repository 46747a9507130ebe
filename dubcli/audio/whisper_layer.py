"""What is said, as the first layers of a multilingual recogniser hear it.

The encoder of Whisper base (Radford et al. 2022, arXiv:2212.04356; MIT licence), cut after its
second transformer layer: there sounds are told apart and not yet words.
"""

from __future__ import annotations

from functools import cache, cached_property
from pathlib import Path

import numpy as np

from dubcli.audio.log_mel import SAMPLE_RATE
from dubcli.core.onnx_session import open_session
from dubcli.core.types import F32

# Whisper's own spectrogram: window and hop in samples, bands.
N_FFT, HOP, NUM_BANDS = 400, 160, 80
NUM_VALUES = 512
# The second convolution halves the time steps.
_TOKEN_HOP = 2 * HOP
# The second layer still tells where in its input a token stands. Most of that is subtracted in the
# file; short parts of one length, each token heard in two of them, keep the rest the same in every
# recording, short or long.
PART_TOKENS = 200
_HALF = PART_TOKENS // 2
_CHUNK_STEPS = 4096
_FLOOR, _DECADES = 1e-10, 8


class WhisperLayer:
    """The first two layers of the encoder, loaded once.

    Args:
        path: The ONNX file, as `tests/tools/make_whisper.py` writes it.

    Raises:
        WeightsError: The file is no such model.
    """

    hop = _TOKEN_HOP

    def __init__(self, path: Path) -> None:
        self._session = open_session(path, "the first layers of Whisper")

    @cached_property
    def silence(self) -> F32:
        """What it hears in silence. Shape (512,)."""
        return self.tokens(np.zeros(2 * SAMPLE_RATE, np.float32)).mean(0)

    def tokens(self, samples: F32) -> F32:
        """Encode 16 kHz samples (S,); token k belongs to sample 320 k.

        Shape (K, 512); the last ones may lie after the recording's end.
        """
        num_parts = -(-len(samples) // (_HALF * _TOKEN_HOP)) + 1
        num = (num_parts + 1) * _HALF
        before = _HALF * _TOKEN_HOP
        padded = np.zeros(num * _TOKEN_HOP, np.float32)
        padded[before : before + len(samples)] = samples
        spectrum = log_spectrum(padded)
        total = np.zeros((num, NUM_VALUES), np.float32)
        rise = (np.arange(_HALF, dtype=np.float32)[:, None] + 0.5) / _HALF
        weight = np.concatenate([rise, rise[::-1]])
        for first in range(0, num_parts * _HALF, _HALF):
            last = first + PART_TOKENS
            part = spectrum[:, 2 * first : 2 * last]
            total[first:last] += weight * self._session.run(None, {"log_mel": part})[0]
        return total[_HALF:-_HALF]


def log_spectrum(samples: F32) -> F32:
    """Whisper's log-mel of 16 kHz samples (S,), 100 steps a second. Shape (80, S // 160)."""
    num = len(samples) // HOP
    # Step k is centred on sample k * HOP.
    padded = np.pad(samples, (N_FFT // 2, N_FFT), mode="reflect")
    window = np.hanning(N_FFT + 1)[:-1].astype(np.float32)
    levels = np.empty((NUM_BANDS, num), np.float32)
    for start in range(0, num, _CHUNK_STEPS):
        stop = min(start + _CHUNK_STEPS, num)
        view = np.lib.stride_tricks.sliding_window_view(
            padded[start * HOP : (stop - 1) * HOP + N_FFT], N_FFT
        )[::HOP]
        power = np.abs(np.fft.rfft(view * window, axis=-1)).astype(np.float32) ** 2
        levels[:, start:stop] = np.log10(np.maximum(whisper_filters() @ power.T, _FLOOR))
    least = float(levels.max(initial=np.log10(_FLOOR))) - _DECADES
    return (np.maximum(levels, np.float32(least)) + np.float32(4)) / np.float32(4)


@cache
def whisper_filters() -> F32:
    """Triangles of equal area on Slaney's mel scale, 0 to 8 kHz. Shape (80, 201)."""
    mels = np.linspace(0, 15 + 27 * np.log(SAMPLE_RATE / 2000) / np.log(6.4), NUM_BANDS + 2)
    # Linear below 1 kHz, logarithmic above.
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * np.log(6.4) / 27))
    places = np.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1)
    rising = (places - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - places) / (edges[2:] - edges[1:-1])[:, None]
    area = 2 / (edges[2:] - edges[:-2])
    return (np.clip(np.minimum(rising, falling), 0, None) * area[:, None]).astype(np.float32)
