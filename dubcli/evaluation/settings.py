"""The settings in which lips are scored, and the sound that drives each of them.

A setting of the command line is one or more *runs*: `cross` is dubbed by a foreign recording
(`cross-speech`) and by the sound of another clip of the set (`cross-clip`), whose true mouth is
known.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from dubcli.config import EvaluateConfig
from dubcli.core.errors import MediaError
from dubcli.evaluation.clips import EvalClip
from dubcli.evaluation.source import Source
from dubcli.media.container.probe import probe
from dubcli.media.sound.sound_file import write_wave
from dubcli.media.sound.waveform import read_waveform

SAMPLE_RATE_HZ = 16_000
RECONSTRUCTION, CROSS_SPEECH, CROSS_CLIP, SILENCE = RUNS = (
    "reconstruction",
    "cross-speech",
    "cross-clip",
    "silence",
)


def runs_of(config: EvaluateConfig) -> list[str]:
    """The runs of the chosen settings, reconstruction first: silence is compared with it."""
    parts = {
        "reconstruction": [RECONSTRUCTION],
        "cross": [CROSS_SPEECH, CROSS_CLIP] if config.speech else [CROSS_CLIP],
        "silence": [SILENCE],
    }
    chosen = [run for name in config.setting_names for run in parts[name]]
    return [run for run in RUNS if run in chosen]


def other_clips(
    clip: EvalClip, clips: Sequence[EvalClip], audible: Sequence[EvalClip], seed: int
) -> list[EvalClip]:
    """Whose sound may drive a clip in `cross-clip`: other people's own, the next in order first.

    Args:
        clip: The clip that is dubbed.
        clips: The whole set, in order.
        audible: Those of them that have sound.
        seed: How many of the eligible ones to put at the end, cyclically.

    Returns:
        Nobody where the set holds nobody else's own sound.
    """
    at = list(clips).index(clip)
    later = [*clips[at + 1 :], *clips[:at]]
    eligible = [c for c in later if c in audible and c.audio_is_own and c.identity != clip.identity]
    first = seed % max(1, len(eligible))
    return [*eligible[first:], *eligible[:first]]


def foreign_recording(recordings: Sequence[Path], number: int, seed: int) -> Path:
    """The recording for a clip's number in the set: all differ until the folder is used up."""
    order = np.random.default_rng(seed).permutation(len(recordings))
    return recordings[int(order[number % len(recordings)])]


def write_own_audio(
    source: Source, path: Path, of: Source | None = None, late_s: float = 0.0
) -> Path:
    """The sound of a clip, from its first frame on, as long as the picture of `source`.

    Args:
        source: The clip that will be dubbed.
        path: WAV file to write.
        of: Whose sound; the clip's own by default.
        late_s: How much later than in the file it is to be heard, seconds.

    Raises:
        MediaError: It has no sound.
    """
    speaker = of or source
    waveform = read_waveform(speaker.clip.audio, SAMPLE_RATE_HZ)
    start_s = Fraction(late_s).limit_denominator(SAMPLE_RATE_HZ)
    if speaker.clip.audio == speaker.clip.path:
        start_s += waveform.start_s - speaker.times.pts[0] * speaker.times.time_base
    return _write_wav(_fitted(waveform.samples, start_s, source.duration_s), path)


def write_foreign_audio(source: Source, recording: Path, path: Path) -> Path:
    """A recording that starts with the first frame, cut or padded to the picture's length.

    Raises:
        MediaError: The recording cannot be read.
    """
    waveform = read_waveform(recording, SAMPLE_RATE_HZ)
    return _write_wav(_fitted(waveform.samples, Fraction(0), source.duration_s), path)


def write_silence(source: Source, path: Path) -> Path:
    """Digital silence as long as the picture."""
    return _write_wav(_fitted(np.zeros(0), Fraction(0), source.duration_s), path)


def has_sound(clip: EvalClip) -> bool:
    """Whether the clip can be read and it, or the recording named for it, holds sound."""
    try:
        return is_readable(clip) and probe(clip.audio).audio is not None
    except MediaError:
        return False


def is_readable(clip: EvalClip) -> bool:
    """Whether the clip is a video; one that is not is named when its turn comes."""
    try:
        return probe(clip.path).video is not None
    except MediaError:
        return False


def _fitted(samples: np.ndarray, late_s: Fraction, duration_s: Fraction) -> np.ndarray:
    """Samples moved later by `late_s`, cut or padded to a length."""
    num, shift = round(duration_s * SAMPLE_RATE_HZ), round(late_s * SAMPLE_RATE_HZ)
    moved = np.concatenate([np.zeros(max(shift, 0)), samples[max(-shift, 0) :]])[:num]
    return np.pad(moved, (0, num - len(moved)))


def _write_wav(samples: np.ndarray, path: Path) -> Path:
    write_wave(path, samples, SAMPLE_RATE_HZ)
    return path
