"""The same words in other voices, rooms and noise, and with pauses, before the recogniser hears.

Augmenting the waveform keeps the features what they are in use; the recogniser is slow enough that
`dub prepare` does it once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dubcli.audio.features import Recognisers, extract_features
from dubcli.audio.log_mel import HOP, SAMPLE_RATE
from dubcli.audio.speech_encoder import rows_at
from dubcli.core.types import F32, FEATURE_SIZES, AudioFeatures, Waveform
from dubcli.training.data.prepared_clip import F16, ClipSound

# Kinds of features that are heard where nothing else is asked for.
DEFAULT_KINDS = ("mel", "speech")

NUM_VERSIONS = 6
_EQ_POINTS, _EQ_DB = 8, 6.0
_QUIET_RMS = 10 ** (-75 / 20)
# A mouth needs this long to come to rest and to start again, seconds.
_REST_S = 0.2


@dataclass(frozen=True, kw_only=True)
class HeardVersions:
    """One clip's sound as heard in several versions, on the clip's own clock.

    Attributes:
        sounds: Features by kind; the first version is the recording itself.
        heard: 1 where the clip's words are heard, 0 where a pause was put in. Shape (V, A).
    """

    sounds: Mapping[str, ClipSound]
    heard: F16

    def part(self, begin: int, end: int) -> HeardVersions:
        """Some steps of it, as arrays of their own."""
        sounds = {
            kind: replace(sound, versions=sound.versions[:, begin:end].copy())
            for kind, sound in self.sounds.items()
        }
        return HeardVersions(sounds=sounds, heard=self.heard[:, begin:end].copy())


def no_sound(kinds: Iterable[str] = DEFAULT_KINDS) -> HeardVersions:
    """What stands for a clip without sound of its own."""
    sounds = {
        kind: ClipSound(
            versions=np.zeros((0, 0, FEATURE_SIZES[kind]), np.float16),
            fill=np.zeros(FEATURE_SIZES[kind], np.float32),
        )
        for kind in kinds
    }
    return HeardVersions(sounds=sounds, heard=np.zeros((0, 0), np.float16))


def hear_clean(
    waveform: Waveform, recognisers: Recognisers, kinds: Iterable[str] = DEFAULT_KINDS
) -> dict[str, AudioFeatures]:
    """Features of a recording by kind, with the recognisers that these kinds need."""
    return {kind: extract_features(waveform, kind, recognisers) for kind in kinds}


def hear_versions(
    waveform: Waveform,
    clean: Mapping[str, AudioFeatures],
    recognisers: Recognisers,
    seed: int,
) -> HeardVersions:
    """Features of a recording and of changed copies; half of the copies have pauses.

    Args:
        waveform: Mono audio at 16 kHz.
        clean: Its features by kind, at 80 steps a second.
        recognisers: Hear the copies.
        seed: Of all changes.
    """
    num = len(next(iter(clean.values())).values)
    versions = {kind: [np.asarray(own.values, np.float16)] for kind, own in clean.items()}
    heard = [np.ones(num, np.float16)]
    for version in range(1, NUM_VERSIONS):
        rng = np.random.default_rng((seed, version))
        samples, present = waveform.samples.astype(np.float32), np.ones(num, np.float32)
        if version % 2 == 0:
            samples, present = with_pauses(samples, num, rng)
        speed = float(np.exp(rng.uniform(-0.2, 0.2)))
        changed = Waveform(
            samples=other_room(other_voice(samples, speed, rng), rng),
            sample_rate=SAMPLE_RATE,
            start_s=waveform.start_s,
        )
        rows = np.arange(num) / speed
        for kind, features in hear_clean(changed, recognisers, clean).items():
            values = rows_at(np.asarray(features.values, np.float32), rows)
            versions[kind].append(values.astype(np.float16))
        heard.append(present.astype(np.float16))
    sounds = {
        kind: ClipSound(versions=np.stack(found), fill=clean[kind].fill)
        for kind, found in versions.items()
    }
    return HeardVersions(sounds=sounds, heard=np.stack(heard))


def other_voice(samples: F32, speed: float, rng: np.random.Generator) -> F32:
    """Faster is also higher: another throat; then another microphone's frequency response."""
    places = np.arange(0, max(1, len(samples) - 1), speed)
    changed = np.interp(places, np.arange(len(samples)), samples)
    spectrum = np.fft.rfft(changed)
    knots = np.linspace(0, 1, _EQ_POINTS) ** 2
    gain_db = np.interp(
        np.linspace(0, 1, len(spectrum)), knots, rng.uniform(-_EQ_DB, _EQ_DB, _EQ_POINTS)
    )
    return np.fft.irfft(spectrum * 10 ** (gain_db / 20), len(changed)).astype(np.float32)


def other_room(samples: F32, rng: np.random.Generator) -> F32:
    """Echo in every second draw, noise at 5 to 30 dB in most, and another loudness."""
    num = len(samples)
    if rng.random() < 0.5:
        length = int(SAMPLE_RATE * rng.uniform(0.05, 0.35))
        echo = rng.standard_normal(length) * np.exp(-np.arange(length) / (length / 5))
        echo[0] = np.sqrt((echo**2).sum()) * rng.uniform(0.7, 2)
        size = 1 << (num + length).bit_length()
        product = np.fft.rfft(samples, size) * np.fft.rfft(echo / np.abs(echo).max(), size)
        samples = np.fft.irfft(product, size)[:num].astype(np.float32)
    if rng.random() < 0.6:
        spectrum = np.fft.rfft(rng.standard_normal(num))
        spectrum /= np.maximum(1, np.arange(len(spectrum))) ** rng.uniform(0, 0.6)
        noise = np.fft.irfft(spectrum, num)
        noise *= _rms(samples) / _rms(noise) * 10 ** (-rng.uniform(5, 30) / 20)
        samples = samples + noise.astype(np.float32)
    return samples * np.float32(10 ** (rng.uniform(-32, -15) / 20) / _rms(samples))


def with_pauses(samples: F32, num_steps: int, rng: np.random.Generator) -> tuple[F32, F32]:
    """Replace about 40 % of the sound by near silence.

    Returns:
        The samples, and for each feature step how much of the words is heard, which eases in and
        out as a mouth does. Shape (num_steps,).
    """
    samples, present = samples.copy(), np.ones(num_steps, np.float32)
    muted = 0.0
    while muted < 0.4 * num_steps:
        length = int(min(num_steps, rng.integers(40, 160)))
        start = int(rng.integers(0, max(1, num_steps - length + 1)))
        quiet = rng.standard_normal(length * HOP).astype(np.float32) * np.float32(_QUIET_RMS)
        part = slice(start * HOP, min(len(samples), (start + length) * HOP))
        samples[part] = quiet[: part.stop - part.start]
        present[start : start + length] = 0
        muted = float((present == 0).sum())
    ease = max(1, round(_REST_S * SAMPLE_RATE / HOP))
    padded = np.pad(present, (ease // 2, ease - 1 - ease // 2), mode="edge")
    return samples, np.convolve(padded, np.full(ease, 1 / ease), "valid").astype(np.float32)


def _rms(samples: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(samples)))) + 1e-6
