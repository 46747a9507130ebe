"""Decode sound: a mono waveform for the models, exact lengths for the timeline."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from av import time_base as TIME_BASE
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container.input import InputContainer
from av.error import FFmpegError
from av.packet import Packet

from dubcli.core.errors import DecodeError, ProbeError
from dubcli.core.types import F32, Waveform
from dubcli.media.container.probe import find_audio_stream, find_video_stream, open_media
from dubcli.media.sound.sound_file import BrokenSoundFile, is_sound_file, sound_blocks

# How much of each speaker goes into mono: voices sit in the middle, effects at the back.
_CHANNEL_WEIGHTS = {"FC": 1.0, "FL": 0.7071, "FR": 0.7071, "LFE": 0.0, "LFE2": 0.0}
_OTHER_CHANNEL_WEIGHT = 0.5
_SILENCE_WINDOW_S = 0.05
_PLANES_IN_FRAME = 8
# Lossy codecs need some packets before what they decode next is right.
_SEEK_AHEAD_S = 1


def read_waveform(
    path: Path,
    sample_rate: int = 16_000,
    part_s: tuple[Fraction, Fraction] | None = None,
    *,
    strict: bool = False,
) -> Waveform:
    """The first audio stream as mono.

    Args:
        path: Audio or video file.
        sample_rate: Wanted rate, Hz.
        part_s: Begin and end of the wanted part on the container's clock, seconds; all by
            default. Whole packets are read, so up to a tenth of a second more is returned.
        strict: Refuse samples that are no numbers, which no encoder takes.

    Returns:
        Samples in [-1, 1]; NaN and infinity became 0. `start_s` is the stream's own start for a
        file with video, in seconds of the container's clock (so comparable to frame times), and
        0 for pure audio.

    Raises:
        ProbeError: The file is unreadable or has no audio.
        DecodeError: Not a single sample can be decoded, or some are no numbers (`strict`).
    """
    return _decode(path, sample_rate, part_s, strict)[0]


def read_recording(path: Path, sample_rate: int = 16_000) -> tuple[Waveform, Fraction]:
    """A driving recording, decoded once: as `read_waveform(strict=True)`, and its exact length.

    Args:
        path: Audio or video file.
        sample_rate: Wanted rate, Hz.

    Returns:
        The waveform, and what `audio_duration` would tell, seconds.

    Raises:
        ProbeError: The file is unreadable or has no audio.
        DecodeError: Not a single sample can be decoded, or some are no numbers.
    """
    waveform, counts = _decode(path, sample_rate, None, strict=True)
    return waveform, _seconds(path, counts)


def _decode(
    path: Path,
    sample_rate: int,
    part_s: tuple[Fraction, Fraction] | None,
    strict: bool,
) -> tuple[Waveform, dict[int, int]]:
    """The waveform, and how many samples of each rate it was made of."""
    with open_media(path) as container:
        if part_s is None and is_sound_file(path):
            with contextlib.suppress(BrokenSoundFile):
                return _waveform_of(path, sound_blocks(path), sample_rate, strict, is_dated=False)
        is_dated = find_video_stream(container) is not None or part_s is not None
        frames = _part(path, container, part_s)
        return _waveform_of(path, frames, sample_rate, strict, is_dated)


def _waveform_of(
    path: Path, frames: Iterable[AudioFrame], sample_rate: int, strict: bool, is_dated: bool
) -> tuple[Waveform, dict[int, int]]:
    chunks: list[F32] = []
    counts: dict[int, int] = {}
    resampler: AudioResampler | None = None
    source_rate = 0
    start_s: Fraction | None = None
    for frame in frames:
        counts[frame.sample_rate] = counts.get(frame.sample_rate, 0) + frame.samples
        if start_s is None:
            start_s = _start_s(frame) if is_dated else Fraction(0)
        if resampler is None or frame.sample_rate != source_rate:
            chunks += _resampled(resampler, None)
            source_rate = frame.sample_rate
            resampler = AudioResampler(format="fltp", layout="mono", rate=sample_rate)
        chunks += _resampled(resampler, _mono(path, frame, strict))
    chunks += _resampled(resampler, None)
    samples = np.concatenate(chunks) if chunks else np.zeros(0, dtype=np.float32)
    if not len(samples):
        raise _no_samples(path)
    np.clip(samples, -1, 1, out=samples)
    waveform = Waveform(samples=samples, sample_rate=sample_rate, start_s=start_s or Fraction(0))
    return waveform, counts


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
        return _seconds(path, _counts(_audio_frames(path, container)))


def _counts(frames: Iterable[AudioFrame]) -> dict[int, int]:
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


def _part(
    path: Path, container: InputContainer, part_s: tuple[Fraction, Fraction] | None
) -> Iterator[AudioFrame]:
    """Decoded frames that overlap a part; undated ones cannot be placed, so they do not."""
    if part_s is None:
        yield from _audio_frames(path, container)
        return
    begin_s, end_s = part_s
    with contextlib.suppress(FFmpegError):  # without a seek the same is found, later
        container.seek(int((begin_s - _SEEK_AHEAD_S) * TIME_BASE))
    for frame in _audio_frames(path, container):
        if frame.pts is None:
            continue
        if _start_s(frame) >= end_s:
            return
        if _start_s(frame) + Fraction(frame.samples, frame.sample_rate) > begin_s:
            yield frame


def _audio_frames(path: Path, container: InputContainer) -> Iterator[AudioFrame]:
    """Decoded frames of the first audio stream; damaged packets are skipped."""
    stream = find_audio_stream(container)
    if stream is None:
        raise ProbeError(
            f"'{path}' has no audio stream.",
            "Give a file with sound, e.g. --audio speech.wav.",
        )
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, FFmpegError):
            break
        if packet.size:
            yield from _decoded(stream, packet)
    yield from _decoded(stream, None)


def _decoded(stream: AudioStream, packet: Packet | None) -> list[AudioFrame]:
    try:
        frames = stream.codec_context.decode(packet)
    except FFmpegError:
        return []
    return [frame for frame in frames if frame.samples and frame.sample_rate]


def _start_s(frame: AudioFrame) -> Fraction:
    if frame.pts is None or frame.time_base is None:
        return Fraction(0)
    # PyAV 19 has rationals of its own.
    return frame.pts * Fraction(frame.time_base)


def _mono(path: Path, frame: AudioFrame, strict: bool) -> AudioFrame:
    """One channel of float32. libav's own mixing would be up to 3 dB louder for stereo."""
    frame = _readable(frame)
    try:
        samples = frame.to_ndarray()
    except (ValueError, KeyError) as error:
        raise DecodeError(
            f"The sample format {frame.format.name} of '{path}' is not supported.",
            "Convert it first, e.g. ffmpeg -i IN OUT.wav.",
        ) from error
    channels = frame.layout.nb_channels
    if frame.format.is_packed:
        samples = samples.reshape(-1, channels).T
    if strict and not np.isfinite(samples).all():
        raise DecodeError(
            f"Samples of '{path}' are no numbers (NaN or infinite).",
            "Convert it first, e.g. ffmpeg -i IN -c:a pcm_s16le OUT.wav.",
        )
    mixed = _mixing_weights(frame) @ _unit_floats(samples)
    mono = AudioFrame.from_ndarray(mixed[None], format="fltp", layout="mono")
    mono.sample_rate = frame.sample_rate
    return mono


def _readable(frame: AudioFrame) -> AudioFrame:
    """The frame with its channels interleaved where PyAV cannot read them one by one.

    It looks for the end of a list of planes that holds eight and has no end mark: from 7.1 on it
    reads past it.
    """
    if frame.format.is_packed or frame.layout.nb_channels < _PLANES_IN_FRAME:
        return frame
    (packed,) = AudioResampler(format=frame.format.packed.name).resample(frame)
    return packed


def _unit_floats(samples: np.ndarray) -> F32:
    """Any PCM samples as float32 in [-1, 1], NaN and infinity as 0. Shape kept."""
    if samples.dtype == np.uint8:
        return np.asarray((samples.astype(np.float32) - 128) / 128, np.float32)
    if samples.dtype.kind == "i":
        return samples.astype(np.float32) / np.float32(-float(np.iinfo(samples.dtype).min))
    return np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32)


def _mixing_weights(frame: AudioFrame) -> F32:
    """Weight of each channel in mono, summing to 1. Shape (channels,), float32."""
    names = [channel.name for channel in frame.layout.channels]
    if len(names) != frame.layout.nb_channels or len(names) == 1:
        names = [""] * frame.layout.nb_channels
    weights = np.array([_CHANNEL_WEIGHTS.get(name, _OTHER_CHANNEL_WEIGHT) for name in names])
    if not weights.sum():
        weights[:] = 1
    return (weights / weights.sum()).astype(np.float32)


def _resampled(resampler: AudioResampler | None, frame: AudioFrame | None) -> list[F32]:
    if resampler is None:
        return []
    try:
        return [part.to_ndarray()[0] for part in resampler.resample(frame)]
    except FFmpegError as error:
        raise DecodeError(
            f"Sound of {frame.sample_rate if frame else 0} samples a second cannot be converted: "
            f"{error.strerror}.",
            "Its header may be damaged; convert it first, e.g. ffmpeg -i IN -ar 48000 OUT.wav.",
        ) from error


def _no_samples(path: Path) -> DecodeError:
    return DecodeError(
        f"The audio of '{path}' holds no samples.",
        "Play it to check it; record or export it again.",
    )
