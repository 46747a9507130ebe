"""A small formant synthesiser: a table of sounds in, speech and mouth movement out.

A glottal pulse train runs through five time-varying resonators in a row, as in the cascade branch
of Klatt 1980 (doi:10.1121/1.383940); fricatives and bursts are noise through one resonator beside
it. It is meant to be understood with good will, not to be mistaken for a person.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

SAMPLE_RATE_HZ = 24_000
CONTROL_HZ = 500
OVERSAMPLING = 4
FORMANT_SCALE = 1.13  # a woman's vocal tract is that much shorter than the table's
SEED = 20


@dataclass(frozen=True, kw_only=True)
class Sound:
    """A stretch of speech with constant targets.

    `formants_hz` are F1 to F3; `voice`, `breath` and `noise` are amplitudes of the glottal pulses,
    of aspiration and of friction; `jaw`, `closing` and `rounding` in [0, 1] say where the mouth
    is. `stress` in [0, 1] raises the pitch.
    """

    formants_hz: tuple[float, float, float]
    duration_s: float
    voice: float = 1.0
    breath: float = 0.0
    noise: float = 0.0
    noise_hz: float = 4000.0
    noise_width_hz: float = 2000.0
    jaw: float = 0.2
    closing: float = 0.0
    rounding: float = 0.0
    damping: float = 1.0
    stress: float = 0.0


def _vowel(f1: float, f2: float, f3: float, ms: float, jaw: float, rounding: float = 0.0) -> Sound:
    return Sound(
        formants_hz=(f1, f2, f3),
        duration_s=ms / 1000,
        jaw=jaw,
        closing=0.4 * rounding,  # rounded lips cover the teeth
        rounding=rounding,
    )


def _friction(
    formants_hz: tuple[float, float, float],
    ms: float,
    noise: float,
    noise_hz: float,
    width_hz: float,
    *,
    voice: float = 0.0,
    jaw: float = 0.08,
    closing: float = 0.25,
    rounding: float = 0.0,
) -> Sound:
    return Sound(
        formants_hz=formants_hz,
        duration_s=ms / 1000,
        voice=voice,
        noise=noise,
        noise_hz=noise_hz,
        noise_width_hz=width_hz,
        jaw=jaw,
        closing=closing,
        rounding=rounding,
    )


def _stop(
    formants_hz: tuple[float, float, float],
    noise_hz: float,
    *,
    voiced: bool,
    closing: float = 0.2,
    jaw: float = 0.1,
) -> tuple[Sound, ...]:
    """Closure, burst and, without voice, the breath after it."""
    closure = Sound(
        formants_hz=(220.0, formants_hz[1], formants_hz[2]),
        duration_s=0.055 if voiced else 0.065,
        voice=0.12 if voiced else 0.0,
        jaw=jaw,
        closing=closing,
        damping=2.0,
    )
    burst = _friction(
        formants_hz, 14, 0.35, noise_hz, 1400, jaw=jaw, closing=closing / 2, voice=0.2 * voiced
    )
    if voiced:
        return closure, burst
    breath = replace(burst, duration_s=0.032, noise=0.06, breath=0.45, closing=0.0, jaw=jaw + 0.05)
    return closure, burst, breath


def _nasal(f2: float, f3: float, *, closing: float, jaw: float) -> Sound:
    return Sound(
        formants_hz=(260.0, f2, f3),
        duration_s=0.075,
        voice=0.5,
        jaw=jaw,
        closing=closing,
        damping=2.5,
    )


ALVEOLAR = (320.0, 1750.0, 2650.0)
SOUNDS: dict[str, tuple[Sound, ...]] = {
    "IY": (_vowel(290, 2250, 3000, 130, 0.15),),
    "IH": (_vowel(400, 1950, 2550, 95, 0.28),),
    "EH": (_vowel(540, 1800, 2500, 110, 0.55),),
    "AE": (_vowel(670, 1700, 2450, 130, 0.8),),
    "AA": (_vowel(720, 1150, 2500, 140, 0.95),),
    "AO": (_vowel(570, 880, 2450, 140, 0.65, 0.6),),
    "AH": (_vowel(600, 1230, 2450, 85, 0.5),),
    "UW": (_vowel(320, 1000, 2300, 130, 0.12, 1.0),),
    "ER": (_vowel(470, 1300, 1680, 130, 0.3, 0.45),),
    "OW": (_vowel(540, 1000, 2400, 100, 0.55, 0.6), _vowel(400, 800, 2350, 90, 0.25, 1.0)),
    "AW": (_vowel(700, 1250, 2450, 110, 0.95), _vowel(450, 900, 2350, 90, 0.35, 0.9)),
    "EY": (_vowel(500, 1850, 2500, 90, 0.5), _vowel(330, 2150, 2700, 80, 0.22)),
    "L": (replace(_vowel(360, 1050, 2750, 65, 0.3), voice=0.65),),
    "R": (replace(_vowel(350, 1100, 1450, 65, 0.18, 0.6), voice=0.7),),
    "W": (replace(_vowel(300, 650, 2200, 70, 0.05, 1.0), voice=0.6),),
    "Y": (replace(_vowel(270, 2200, 3000, 55, 0.12), voice=0.6),),
    "M": (_nasal(1100, 2150, closing=1.0, jaw=0.02),),
    "N": (_nasal(1650, 2600, closing=0.2, jaw=0.15),),
    "NG": (_nasal(2050, 2750, closing=0.15, jaw=0.22),),
    "HH": (Sound(formants_hz=(540, 1700, 2500), duration_s=0.07, voice=0.0, breath=0.6, jaw=0.35),),
    "S": (_friction(ALVEOLAR, 105, 0.5, 7000, 2600),),
    "Z": (_friction(ALVEOLAR, 80, 0.28, 6800, 2600, voice=0.3),),
    "SH": (_friction((320, 1800, 2500), 110, 0.55, 3500, 1500, rounding=0.8),),
    "TH": (_friction((350, 1350, 2500), 90, 0.09, 6000, 4500, jaw=0.2),),
    "DH": (_friction((330, 1350, 2500), 50, 0.03, 6000, 4500, voice=0.45, jaw=0.18),),
    "P": _stop((350, 1000, 2200), 900, voiced=False, closing=1.0, jaw=0.03),
    "B": _stop((250, 1000, 2200), 900, voiced=True, closing=1.0, jaw=0.03),
    "T": _stop((350, 1800, 2700), 4600, voiced=False),
    "D": _stop((250, 1750, 2700), 4200, voiced=True),
    "K": _stop((350, 2000, 2550), 2200, voiced=False, jaw=0.25),
    ",": (Sound(formants_hz=(500, 1500, 2500), duration_s=0.22, voice=0.0, jaw=0.0, closing=0.7),),
    ".": (Sound(formants_hz=(500, 1500, 2500), duration_s=0.32, voice=0.0, jaw=0.0, closing=0.9),),
}


def transcribe(text: str, duration_s: float) -> list[Sound]:
    """Sounds of a line of ARPAbet symbols, stretched to `duration_s`.

    A `1` behind a symbol marks stress: longer and higher. Pauses keep their length.
    """
    sounds: list[Sound] = []
    for symbol in text.split():
        stressed = symbol.endswith("1")
        for sound in SOUNDS[symbol.rstrip("1")]:
            length = sound.duration_s * (1.3 if stressed else 1.0)
            sounds.append(replace(sound, duration_s=length, stress=float(stressed)))
    pauses = sum(s.duration_s for s in sounds if _is_pause(s))
    spoken = sum(s.duration_s for s in sounds) - pauses
    stretch = (duration_s - pauses) / spoken
    return [s if _is_pause(s) else replace(s, duration_s=s.duration_s * stretch) for s in sounds]


def synthesise(sounds: list[Sound]) -> F64:
    """Speech of `sounds`. Shape (n,), in [-1, 1], at `SAMPLE_RATE_HZ`."""
    rng = np.random.default_rng(SEED)
    pulses = _glottal_pulses(_pitch_hz(sounds), rng)
    num = len(pulses)
    hiss = rng.standard_normal(num)
    breath = np.diff(hiss, prepend=0.0) * 0.12
    source = pulses * _control(sounds, "voice", 0.008, num)
    source = source + breath * _control(sounds, "breath", 0.008, num)
    speech = _vocal_tract(source, sounds)
    noise = _friction_noise(hiss, sounds)
    mixed = speech / np.max(np.abs(speech)) + 0.32 * noise / np.max(np.abs(noise))
    mixed *= _fade(num)
    # Soft limiting evens out loud vowels, so that the rest is heard at a normal level.
    limited = np.tanh(1.8 * mixed / np.max(np.abs(mixed)))
    return 0.7 * limited / np.max(np.abs(limited))


def mouth_movement(sounds: list[Sound], times_s: F64, start_s: float) -> F64:
    """Jaw, lip closing and rounding at each time, when speech begins at `start_s`.

    The mouth moves a little ahead of the sound, as people's do. Shape (T, 3), each in [0, 1].
    """
    lead_s = 0.03
    columns = []
    for name, width_s in (("jaw", 0.042), ("closing", 0.026), ("rounding", 0.05)):
        curve = _smooth(_steps(sounds, name), width_s)
        grid = (np.arange(len(curve)) + 0.5) / CONTROL_HZ + start_s - lead_s
        columns.append(np.interp(times_s, grid, curve, left=curve[0], right=curve[-1]))
    return np.stack(columns, axis=1)


def _is_pause(sound: Sound) -> bool:
    return sound.voice + sound.breath + sound.noise == 0 and sound.duration_s > 0.15


def _steps(sounds: list[Sound], name: str) -> F64:
    """A field of the sounds as a step function at `CONTROL_HZ`."""
    return _hold(sounds, np.array([getattr(s, name) for s in sounds], dtype=np.float64))


def _hold(sounds: list[Sound], values: F64) -> F64:
    """Holds one value per sound for as long as it lasts, at `CONTROL_HZ`."""
    ends = np.cumsum([s.duration_s for s in sounds])
    times = (np.arange(round(ends[-1] * CONTROL_HZ)) + 0.5) / CONTROL_HZ
    index = np.minimum(np.searchsorted(ends, times), len(sounds) - 1)
    return values[index]


def _smooth(values: F64, width_s: float) -> F64:
    """Gaussian smoothing along time, ends held. `width_s` is the standard deviation."""
    sigma = width_s * CONTROL_HZ
    reach = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    padded = np.pad(values, reach, mode="edge")
    return np.asarray(np.convolve(padded, kernel / kernel.sum(), mode="valid"), np.float64)


def _control(sounds: list[Sound], name: str, width_s: float, num: int) -> F64:
    """A smoothed field at the sample rate. Shape (num,)."""
    return _to_samples(_smooth(_steps(sounds, name), width_s), num)


def _to_samples(curve: F64, num: int) -> F64:
    at = np.arange(num) / SAMPLE_RATE_HZ * CONTROL_HZ - 0.5
    return np.interp(at, np.arange(float(len(curve))), curve)


def _pitch_hz(sounds: list[Sound]) -> F64:
    """Pitch at `CONTROL_HZ`: falls through each phrase, rises on stress, drops at the end."""
    stress = _smooth(_steps(sounds, "stress"), 0.06)
    pause = np.array([_is_pause(s) for s in sounds])
    pitch = np.empty(0)
    first = 0
    for last in [*np.flatnonzero(pause), len(sounds)]:
        phrase = sum(s.duration_s for s in sounds[first : last + 1])
        fall = np.linspace(0.0, 1.0, max(1, round(phrase * CONTROL_HZ)))
        pitch = np.append(pitch, 212 - 30 * fall - 25 * np.clip((fall - 0.75) / 0.25, 0, 1))
        first = last + 1
    pitch = np.interp(np.linspace(0, 1, len(stress)), np.linspace(0, 1, len(pitch)), pitch)
    drift = 2.0 * np.sin(2 * np.pi * 2.3 * np.arange(len(stress)) / CONTROL_HZ)
    return _smooth(pitch, 0.03) + 26 * stress + drift


def _glottal_pulses(pitch_hz: F64, rng: np.random.Generator) -> F64:
    """Flow derivative of the glottis (KLGLOTT88 pulse), anti-aliased. Shape (n,)."""
    num = round(len(pitch_hz) / CONTROL_HZ * SAMPLE_RATE_HZ)
    rate = SAMPLE_RATE_HZ * OVERSAMPLING
    at = np.arange(num * OVERSAMPLING) / rate * CONTROL_HZ
    jitter = _smooth(rng.standard_normal(len(pitch_hz)), 0.004) * 1.5
    phase = np.cumsum(np.interp(at, np.arange(len(pitch_hz)), pitch_hz + jitter)) / rate
    open_quotient = 0.62
    tau = np.minimum((phase % 1.0) / open_quotient, 1.0)
    pulse = 2 * tau - 3 * tau**2
    pulse[tau >= 1.0] = 0.0
    taps = np.arange(-48, 49)
    sinc = np.sinc(taps / OVERSAMPLING * 0.9) * np.hanning(len(taps))
    low = np.convolve(pulse, sinc / sinc.sum(), mode="same")[::OVERSAMPLING]
    # Lifts the upper formants, which tell the vowels apart, over the fundamental.
    return np.convolve(low, [1.0, -0.7], mode="same")


def _vocal_tract(source: F64, sounds: list[Sound]) -> F64:
    """Sends the source through five resonators in a row."""
    num = len(source)
    damping = _control(sounds, "damping", 0.01, num)
    table = np.array([s.formants_hz for s in sounds]) * FORMANT_SCALE
    signal = source
    for formant, width_hz in enumerate((80.0, 110.0, 160.0)):
        centre = _to_samples(_smooth(_hold(sounds, table[:, formant]), 0.02), num)
        signal = _resonate(signal, centre, width_hz * damping)
    for centre_hz, width_hz in ((4150.0, 260.0), (5300.0, 350.0)):
        signal = _resonate(signal, np.full(num, centre_hz), np.full(num, width_hz))
    return signal


def _friction_noise(hiss: F64, sounds: list[Sound]) -> F64:
    num = len(hiss)
    centre = _control(sounds, "noise_hz", 0.006, num)
    width = _control(sounds, "noise_width_hz", 0.006, num)
    shaped = np.diff(_resonate(hiss, centre, width), prepend=0.0)
    return shaped * _control(sounds, "noise", 0.006, num)


def _resonate(signal: F64, centre_hz: F64, width_hz: F64) -> F64:
    """Two-pole resonator with gain 1 at 0 Hz whose centre and width change over time."""
    radius = np.exp(-np.pi * width_hz / SAMPLE_RATE_HZ)
    back_two = -(radius**2)
    back_one = 2 * radius * np.cos(2 * np.pi * centre_hz / SAMPLE_RATE_HZ)
    gain = 1 - back_one - back_two
    out: list[float] = []
    one = two = 0.0
    steps = zip((gain * signal).tolist(), back_one.tolist(), back_two.tolist(), strict=True)
    for drive, weight_one, weight_two in steps:
        one, two = drive + weight_one * one + weight_two * two, one
        out.append(one)
    return np.array(out)


def _fade(num: int) -> F64:
    ramp = np.clip(np.arange(num) / (0.01 * SAMPLE_RATE_HZ), 0, 1)
    return ramp * ramp[::-1]
