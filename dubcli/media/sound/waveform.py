"""Decode sound: a mono waveform for the models, exact lengths for the timeline."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from av import time_base as TIME_BASE
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container.input import InputContainer
from av.error import FFmpegError

from dubcli.core.errors import DecodeError, ProbeError
from dubcli.core.types import Waveform
from dubcli.media.container.probe import find_audio_stream, find_video_stream, open_media
from dubcli.media.sound.mono_mix import MonoMix
from dubcli.media.sound.placed_sound import PlacedSound, Silence, time_of
from dubcli.media.sound.sound_file import BrokenSoundFile, is_sound_file, sound_blocks

_SILENCE_WINDOW_S = 0.05
# Lossy codecs need some packets before what they decode next is right.
_SEEK_AHEAD_S = 1


def read_waveform(
    path: Path,
    sample_rate: int = 16_000,
    part_s: tuple[Fraction, Fraction] | None = None,
) -> Waveform:
    """The first audio stream as mono.

    Args:
        path: Audio or video file.
        sample_rate: Wanted rate, Hz.
        part_s: Begin and end of the wanted part on the container's clock, seconds; all by
            default. Whole packets are read, so up to a tenth of a second more is returned.

    Returns:
        Samples in [-1, 1], each at its time: gaps are silent, NaN and infinity became 0. Where
        the channels cancel each other the louder one stands for all. `start_s` is the stream's
        own start for a file with video, in seconds of the container's clock (so comparable to
        frame times), and 0 for pure audio.

    Raises:
        ProbeError: The file is unreadable or has no audio.
        DecodeError: Not a single sample can be decoded.
    """
    mix = MonoMix(sample_rate)
    with open_media(path) as container:
        if part_s is None and is_sound_file(path):
            with contextlib.suppress(BrokenSoundFile):
                for block in sound_blocks(path):
                    mix.add(block)
                return _finished(path, mix, Fraction(0))
            mix = MonoMix(sample_rate)
        stream = _required_stream(path, container)
        is_dated = find_video_stream(container) is not None or part_s is not None
        start_s: Fraction | None = None
        for block, begins_s in _blocks(container, stream, part_s):
            start_s = begins_s if start_s is None else start_s
            mix.add(block)
    return _finished(path, mix, (start_s or Fraction(0)) if is_dated else Fraction(0))


def _finished(path: Path, mix: MonoMix, start_s: Fraction) -> Waveform:
    samples, _ = mix.finish()
    if not len(samples):
        raise _no_samples(path)
    return Waveform(samples=samples, sample_rate=mix.sample_rate, start_s=start_s)


def audio_duration(path: Path) -> Fraction:
    """Exact length of the first audio stream, seconds: decoded samples over their rate.

    Raises:
        ProbeError: The file is unreadable or has no audio.
        DecodeError: Not a single sample can be decoded.
    """
    with open_media(path) as container:
        if is_sound_file(path):
            with contextlib.suppress(BrokenSoundFile):
                return _seconds(path, _counts(sound_blocks(path)))
        stream = _required_stream(path, container)
        return _seconds(path, _counts(PlacedSound(container, stream).blocks()))


def _counts(frames: Iterable[AudioFrame | Silence]) -> dict[int, int]:
    """Number of samples of each rate."""
    counts: dict[int, int] = {}
    for frame in frames:
        counts[frame.sample_rate] = counts.get(frame.sample_rate, 0) + frame.samples
    return counts


def _seconds(path: Path, counts: dict[int, int]) -> Fraction:
    """Length of samples counted by their rate."""
    duration = sum((Fraction(count, rate) for rate, count in counts.items()), Fraction(0))
    if not duration:
        raise _no_samples(path)
    return duration


def is_silent(waveform: Waveform, threshold_db: float = -60.0) -> bool:
    """Whether no 50 ms of the waveform are louder than a threshold.

    Args:
        waveform: Audio.
        threshold_db: Root mean square over full scale, dB.
    """
    window = max(1, round(_SILENCE_WINDOW_S * waveform.sample_rate))
    power = np.square(waveform.samples, dtype=np.float64)
    if not len(power):
        return True
    sums = np.add.reduceat(power, np.arange(0, len(power), window))
    counts = np.diff([*range(0, len(power), window), len(power)])
    return bool(np.sqrt((sums / counts).max()) < 10 ** (threshold_db / 20))


def _required_stream(path: Path, container: InputContainer) -> AudioStream:
    stream = find_audio_stream(container)
    if stream is None:
        raise ProbeError(
            f"'{path}' has no audio stream.",
            "Give a file with sound, e.g. --audio speech.wav.",
        )
    return stream


def _blocks(
    container: InputContainer, stream: AudioStream, part_s: tuple[Fraction, Fraction] | None
) -> Iterator[tuple[AudioFrame | Silence, Fraction]]:
    """What is heard, in order, and when each block begins on the file's clock, seconds.

    Of a part only what overlaps it; frames without times cannot be placed, so they do not.
    """
    if part_s is not None:
        with contextlib.suppress(FFmpegError):  # without a seek the same is found, later
            container.seek(int((part_s[0] - _SEEK_AHEAD_S) * TIME_BASE))
    placed = PlacedSound(container, stream)
    at_s: Fraction | None = None
    for block in placed.blocks():
        if at_s is None:
            is_dated = isinstance(block, AudioFrame) and time_of(block) is not None
            if part_s is not None and not is_dated:
                continue
            at_s = placed.first_s or Fraction(0)
        length_s = Fraction(block.samples, block.sample_rate)
        if part_s is None:
            yield block, at_s
        elif at_s >= part_s[1]:
            return
        elif at_s + length_s > part_s[0]:
            yield block, at_s
        at_s += length_s


def _no_samples(path: Path) -> DecodeError:
    return DecodeError(
        f"The audio of '{path}' holds no samples.",
        "Play it to check it; record or export it again.",
    )
