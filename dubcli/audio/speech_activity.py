"""Where somebody speaks in a recording: what a network hears, and how loud it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from dubcli.audio.speech_detector import FRAME_SAMPLES, SpeechDetector
from dubcli.core.flag_runs import true_runs
from dubcli.core.types import F32, F64, Bool, Waveform

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
# Speech begins where the network is this sure, and goes on as long as it is at least that sure.
_BEGINS_AT, _GOES_ON_AT = 0.5, 0.35
# The network hears speech late and lets go of it late, and misses faint consonants: loud sound so
# long before and after what it hears belongs to speech.
_BEFORE_S, _AFTER_S = Fraction(4, 25), Fraction(2, 25)
# It is shown speech at this level, dB over full scale, and nothing is raised by more than this.
_HEARD_DB, _MOST_GAIN_DB = -25.0, 50.0
# Sound is faded out and in over so long where a pause is muted.
_MUTE_RAMP_S = Fraction(1, 50)


Range = tuple[Fraction, Fraction]


@dataclass(frozen=True, kw_only=True)
class SpeechActivity:
    """When somebody speaks in a recording.

    Attributes:
        ranges: Begin and end of each stretch, seconds on the waveform's clock, in order; pauses of
            at least `LEAST_PAUSE_S` lie between them.
        is_heard: The network heard speech; otherwise the ranges are where it is loud.
        other_sound: Where it is as loud as speech for at least `LEAST_PAUSE_S` and nobody speaks.
    """

    ranges: tuple[Range, ...]
    is_heard: bool
    other_sound: tuple[Range, ...] = ()


def speech_activity(waveform: Waveform, detector: SpeechDetector) -> SpeechActivity:
    """Find where somebody speaks, over music and noise too.

    What the network takes for speech is speech. Loud sound 0.16 s before and 0.08 s after that
    belongs to it, by the levels of `loud_ranges`; the rest is a pause. Where the network hears no
    speech at all (a song, a test tone) loudness alone decides.

    Args:
        waveform: Mono audio at 16 kHz.
        detector: The network.
    """
    hop = max(1, int(_HOP_S * waveform.sample_rate))
    level = _levels(waveform, hop)
    if not len(level) or level.max() < _SILENCE_DB:
        return SpeechActivity(ranges=(), is_heard=False)
    gain_db = min(_MOST_GAIN_DB, _HEARD_DB - _speech_level(level))
    samples = np.clip(waveform.samples * np.float32(10 ** (gain_db / 20)), -1, 1)
    sure = detector.probabilities(samples)
    sure = sure[np.minimum(np.arange(len(level)) * hop // FRAME_SAMPLES, len(sure) - 1)]
    is_speech = _connected(sure >= _GOES_ON_AT, sure >= _BEGINS_AT)
    if not is_speech.any():
        loud = _as_ranges(level > _threshold(level, level), waveform, hop)
        return SpeechActivity(ranges=tuple(loud), is_heard=False)
    near = _widened(is_speech, int(_BEFORE_S / _HOP_S), int(_AFTER_S / _HOP_S))
    is_loud = level > _threshold(level, level[is_speech])
    is_speech |= near & is_loud
    ranges = _as_ranges(is_speech, waveform, hop)
    parts = [_without(one, ranges) for one in _as_ranges(is_loud, waveform, hop)]
    other = [one for of_range in parts for one in of_range if one[1] - one[0] >= LEAST_PAUSE_S]
    return SpeechActivity(ranges=tuple(ranges), is_heard=True, other_sound=tuple(other))


def mute_pauses(waveform: Waveform, activity: SpeechActivity) -> Waveform:
    """The recording with silence in its pauses, so that lips rest there.

    Nothing is muted where no speech was heard: what is loud may be a song.
    """
    if not activity.is_heard:
        return waveform
    rate, start_s = waveform.sample_rate, waveform.start_s
    ramp = np.linspace(0, 1, int(_MUTE_RAMP_S * rate), dtype=np.float32)
    weight: F32 = np.zeros(len(waveform.samples), np.float32)
    for begin_s, end_s in activity.ranges:
        begin, end = int((begin_s - start_s) * rate), int((end_s - start_s) * rate)
        weight[begin:end] = 1
        before = weight[max(0, begin - len(ramp)) : begin]
        before[:] = np.maximum(before, ramp[len(ramp) - len(before) :])
        after = weight[end : end + len(ramp)]
        after[:] = np.maximum(after, ramp[::-1][: len(after)])
    return replace(waveform, samples=waveform.samples * weight)


def loud_ranges(waveform: Waveform) -> list[Range]:
    """Stretches that are as loud as speech; between them lie pauses of at least `LEAST_PAUSE_S`.

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
    return _as_ranges(level > _threshold(level, level), waveform, hop)


def _threshold(level: F64, speech: F64) -> float:
    """Level below which there is a pause, from all levels and those of speech, dB."""
    loud = _speech_level(speech)
    noise = float(np.percentile(level, _NOISE_PERCENTILE))
    return float(np.clip(noise + _OVER_NOISE_DB, loud - _CLEAN_DB, loud - _NOISY_DB))


def _as_ranges(is_speech: Bool, waveform: Waveform, hop: int) -> list[Range]:
    """Stretches of hops without clicks and without pauses that are too short."""
    step_s = Fraction(hop, waveform.sample_rate)
    is_speech = _without_runs(is_speech, True, int(_LEAST_SOUND_S / step_s))
    is_speech = _without_runs(is_speech, False, -int(-LEAST_PAUSE_S // step_s), keep_ends=True)
    return [
        (
            waveform.start_s + begin * step_s,
            min(waveform.start_s + end * step_s, waveform.start_s + waveform.duration_s),
        )
        for begin, end in true_runs(is_speech)
    ]


def _without(whole: Range, taken: list[Range]) -> list[Range]:
    """What of a range lies in none of the others, in order."""
    left: list[Range] = []
    begin_s, end_s = whole
    for first_s, last_s in taken:
        if first_s < end_s and last_s > begin_s:
            if first_s > begin_s:
                left.append((begin_s, first_s))
            begin_s = last_s
    return [*left, (begin_s, end_s)] if begin_s < end_s else left


def _widened(flags: Bool, before: int, after: int) -> Bool:
    """True within so many places before and after a True one. Shape (n,)."""
    around = np.convolve(flags, np.ones(before + after + 1))
    return np.asarray(around[before : before + len(flags)] > 0)


def _connected(weak: Bool, strong: Bool) -> Bool:
    """Runs of the weak flag that hold a strong one. Shape (n,)."""
    result = np.zeros_like(weak)
    for start, end in true_runs(weak):
        result[start:end] = strong[start:end].any()
    return result


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
        if not louder > speech + 1e-6:  # also where it is no number
            return speech
        speech = louder


def _without_runs(flags: Bool, value: bool, least: int, keep_ends: bool = False) -> Bool:
    """Runs of a value shorter than `least` turned over, but for those at the ends if asked."""
    result = flags.copy()
    for start, end in true_runs(flags == value):
        is_end = start == 0 or end == len(flags)
        if end - start < least and not (keep_ends and is_end):
            result[start:end] = not value
    return result
