"""Where somebody speaks in a recording, by how loud it is against its own speech."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from dubcli.core.types import F64, Bool, Waveform

# Pauses shorter than this belong to speech, seconds.
LEAST_PAUSE_S = Fraction(2, 5)
_HOP_S, _SMOOTHED_HOPS = Fraction(1, 100), 5
# Shorter sounds are clicks, not speech, seconds.
_LEAST_SOUND_S = Fraction(2, 25)
# Speech is what lies within this of its own mean level: the margin of ITU-T P.56, dB.
_MARGIN_DB = 15.9
# The speech level less this much is where a pause begins: in a clean recording the first, where
# noise or music goes on under the pauses at most the second, and `_OVER_NOISE_DB` above that noise.
_CLEAN_DB, _NOISY_DB, _OVER_NOISE_DB, _NOISE_PERCENTILE = 30.0, 16.0, 8.0, 5
_SILENCE_DB = -60.0


def speaking_ranges(waveform: Waveform) -> list[tuple[Fraction, Fraction]]:
    """Stretches in which somebody speaks; between them lie pauses of at least `LEAST_PAUSE_S`.

    The level of speech is the mean power of all that is within 15.9 dB of it (ITU-T P.56, by
    iteration and without its hangover). What is 30 dB below is a pause; where noise goes on in the
    pauses, what is less than 8 dB above it, as long as that is 16 dB below speech.

    Args:
        waveform: Mono audio.

    Returns:
        Begin and end of each, seconds on the waveform's clock, in order. Empty where no 50 ms
        reach -60 dB over full scale.
    """
    hop = max(1, int(_HOP_S * waveform.sample_rate))
    level = _levels(waveform, hop)
    if not len(level) or level.max() < _SILENCE_DB:
        return []
    speech = _speech_level(level)
    noise = float(np.percentile(level, _NOISE_PERCENTILE))
    threshold = np.clip(noise + _OVER_NOISE_DB, speech - _CLEAN_DB, speech - _NOISY_DB)
    is_loud = np.asarray(level > threshold)
    step_s = Fraction(hop, waveform.sample_rate)
    is_loud = _without_runs(is_loud, True, int(_LEAST_SOUND_S / step_s))
    is_loud = _without_runs(is_loud, False, -int(-LEAST_PAUSE_S // step_s), keep_ends=True)
    return [
        (
            waveform.start_s + begin * step_s,
            min(waveform.start_s + end * step_s, waveform.start_s + waveform.duration_s),
        )
        for begin, end in _runs(is_loud, True)
    ]


def _levels(waveform: Waveform, hop: int) -> F64:
    """Level of each hop, smoothed, dB over full scale. Shape (n,)."""
    samples = waveform.samples
    if not len(samples):
        return np.zeros(0)
    starts = np.arange(0, len(samples), hop)
    centred = samples - samples.mean(dtype=np.float64).astype(np.float32)
    power = np.add.reduceat(np.square(centred, dtype=np.float64), starts)
    power /= np.diff([*starts.tolist(), len(samples)])
    weights = np.ones(_SMOOTHED_HOPS)
    total = np.convolve(power, weights)[_SMOOTHED_HOPS // 2 :][: len(power)]
    share = np.convolve(np.ones(len(power)), weights)[_SMOOTHED_HOPS // 2 :][: len(power)]
    return 10 * np.log10(np.maximum(total / share, 1e-12))


def _speech_level(level: F64) -> float:
    """Mean power of all that lies within the margin of it, dB."""
    power = 10 ** (level / 10)
    speech = float(10 * np.log10(power.mean()))
    while True:
        # It only rises, and there are finitely many sets of hops above it.
        louder = float(10 * np.log10(power[level > speech - _MARGIN_DB].mean()))
        if louder <= speech + 1e-6:
            return speech
        speech = louder


def _runs(flags: Bool, wanted: bool) -> list[tuple[int, int]]:
    """Half-open ranges in which a flag has a value, in order."""
    edges = np.diff(np.concatenate([[False], flags == wanted, [False]]).astype(np.int8))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def _without_runs(flags: Bool, value: bool, least: int, keep_ends: bool = False) -> Bool:
    """Runs of a value shorter than `least` turned over, but for those at the ends if asked."""
    result = flags.copy()
    for start, end in _runs(flags, value):
        is_end = start == 0 or end == len(flags)
        if end - start < least and not (keep_ends and is_end):
            result[start:end] = not value
    return result
