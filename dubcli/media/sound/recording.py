"""A driving recording: decoded once before anything slow, and made regular where it is not."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, groupby
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container.input import InputContainer
from av.error import FFmpegError

from dubcli.core.errors import DecodeError, ProbeError
from dubcli.core.formatting import clock_time
from dubcli.core.types import F32, Waveform
from dubcli.media.container.ffmpeg import can_decode, file_url
from dubcli.media.container.probe import codec_name, find_video_stream, open_media
from dubcli.media.sound.audio_track import DrivingAudio, known_layout
from dubcli.media.sound.mono_mix import MonoMix, channels_of
from dubcli.media.sound.placed_sound import PlacedSound, Repair, Silence, sound_origin
from dubcli.media.sound.sound_file import BrokenSoundFile, is_sound_file, sound_blocks

# Ranges of time that a sentence names.
_MOST_NAMED = 3
# A header's length that is off by less says nothing.
_LEAST_MISSING_S = Fraction(1, 2)
# With more of its packets undecodable a recording is encrypted, or no recording any more.
_MOST_FAILED = 0.5
# Formats that say how long their sound is, instead of guessing it by bit rate or last clock.
_EXACT_LENGTHS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "ogg", "flac", "wav", "aiff")
_ENCRYPTED_TAGS = ("enca", "drms", "aavd")


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What a person is to say, decoded.

    Attributes:
        path: The file; after `made_regular`, one whose samples follow each other.
        waveform: One channel at the wanted rate; second 0 is where the recording begins.
        audio: Facts of its sound.
        peak: Largest absolute sample of any channel; full scale is 1.
        repairs: Where it is not as it stands in the file.
        notes: Sentences for the user.
    """

    path: Path
    waveform: Waveform
    audio: DrivingAudio
    peak: float
    repairs: tuple[Repair, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def duration_s(self) -> Fraction:
        """Exact length, seconds."""
        return self.audio.duration_s


def read_recording(path: Path, sample_rate: int = 16_000, number: int | None = None) -> Recording:
    """Decode a driving recording once: what it holds, when, and whether all of it can be used.

    Args:
        path: Audio or video file.
        sample_rate: Rate of the waveform, Hz.
        number: Which of its audio streams, from 1; by default the first that can be decoded.

    Raises:
        ProbeError: The file is unreadable, has no audio, or not that many streams of it.
        DecodeError: Nothing or too little of it can be decoded, or samples are no numbers.
    """
    with open_media(path) as container:
        streams = container.streams.audio
        if number is not None and number > len(streams):
            has = f"{len(streams)} audio stream{'' if len(streams) == 1 else 's'}"
            raise ProbeError(f"'{path}' has {has}.", f"Use --audio-stream 1 to {len(streams)}.")
        if not streams:
            raise ProbeError(
                f"'{path}' has no audio stream.",
                "Give a file with sound, e.g. --audio speech.wav.",
            )
        if len(streams) == 1 and is_sound_file(path):
            with contextlib.suppress(BrokenSoundFile):
                return _of_sound_file(path, streams[0], sample_rate)
        count = len(streams)
    places = range(count) if number is None else [number - 1]
    failures: list[DecodeError] = []
    for place in places:
        try:
            found = _of_stream(path, place, sample_rate)
        except DecodeError as error:
            failures.append(error)
            continue
        if place and number is None:
            note = (
                f"Audio stream {place + 1} of '{path}' is used: the first one that can be "
                "decoded; --audio-stream names another."
            )
            found = replace(found, notes=(note, *found.notes))
        return found
    raise failures[0]


def made_regular(recording: Recording, target: Path) -> Recording:
    """The recording, written anew where its samples do not follow each other in its file.

    So is one that only this process decodes, not the ffmpeg program.

    Args:
        recording: What was read.
        target: A `.mka` to write.

    Raises:
        MediaError: The disk is full, or the file has changed.
    """
    audio = recording.audio
    if not recording.repairs and can_decode(recording.path, audio.index):
        return recording
    with open_media(recording.path) as container:
        stream = container.streams[audio.index]
        assert isinstance(stream, AudioStream)
        placed = _placed(container, stream)
        count = _write(target, placed, audio)
    facts = replace(audio, index=0, num_samples=count, first_s=Fraction(0), is_repaired=True)
    return replace(recording, path=target, audio=facts)


def repairs_in_words(path: Path, repairs: tuple[Repair, ...]) -> list[str]:
    """A sentence for each kind of repair, with when it was made."""
    texts = {
        "late": "The sound of '{path}' begins {length} s after its file: silence was put there.",
        "gap": "'{path}' has no sound for {length} s at {when}: silence was put there.",
        "damage": "'{path}' is damaged at {when}: {length} s of silence were put there.",
        "overlap": "Sound of '{path}' overlaps at {when}: {length} s were cut.",
        "jump": "The clock of '{path}' jumps by {length} s at {when}: it was taken to go on.",
    }
    lines: list[str] = []
    for kind, text in texts.items():
        of_kind = [one for one in repairs if one.kind == kind]
        if not of_kind:
            continue
        named = [clock_time(float(one.start_s)) for one in of_kind[:_MOST_NAMED]]
        more = len(of_kind) - len(named)
        when = ", ".join(named) + (f" and {more} more places" if more else "")
        length = float(sum((one.length_s for one in of_kind), Fraction(0)))
        lines.append(text.format(path=path, length=f"{length:.2f}", when=when))
    return lines


def _of_sound_file(path: Path, stream: AudioStream, sample_rate: int) -> Recording:
    """By libsndfile: its samples have no times and cannot be damaged one by one."""
    mix, count = MonoMix(sample_rate), 0
    for block in sound_blocks(path):
        mix.add(block)
        count += block.samples
    context = stream.codec_context
    audio = DrivingAudio(
        codec=codec_name(stream),
        sample_rate=context.sample_rate,
        channels=context.channels,
        num_samples=count,
        first_s=Fraction(0),
        layout=context.layout.name,
        index=stream.index,
    )
    return _finished(path, mix, audio, sample_rate, (), [])


def _of_stream(path: Path, place: int, sample_rate: int) -> Recording:
    with open_media(path) as container:
        stream = container.streams.audio[place]
        _require_decoder(path, stream)
        mix, counts = MonoMix(sample_rate), dict[int, int]()
        placed = _placed(container, stream)
        first: AudioFrame | None = None
        for block in placed.blocks():
            if first is None and isinstance(block, AudioFrame):
                first = block
            mix.add(block)
            counts[block.sample_rate] = counts.get(block.sample_rate, 0) + block.samples
        if first is None:
            raise _unusable(path, "holds no samples" if not placed.num_failed else "is damaged")
        if placed.num_failed > _MOST_FAILED * (placed.num_failed + placed.num_decoded):
            raise _unusable(path, "cannot be decoded for the most part")
        duration_s = sum((Fraction(n, rate) for rate, n in counts.items()), Fraction(0))
        rate = first.sample_rate
        audio = DrivingAudio(
            codec=codec_name(stream),
            sample_rate=rate,
            channels=first.layout.nb_channels,
            num_samples=round(duration_s * rate),
            first_s=placed.first_s or Fraction(0),
            layout=first.layout.name,
            index=stream.index,
        )
        repairs = tuple(placed.repairs)
        has_jump = any(one.kind == "jump" for one in repairs)
        notes = [] if has_jump else _end_notes(path, container, stream, duration_s)
    if len(counts) > 1:
        repairs = (*repairs, Repair(kind="rate", start_s=Fraction(0), length_s=Fraction(0)))
        rates = ", ".join(str(one) for one in counts)
        notes.append(f"'{path}' changes its rate ({rates} Hz): all of it was brought to {rate} Hz.")
    return _finished(path, mix, audio, sample_rate, repairs, notes)


def _finished(
    path: Path,
    mix: MonoMix,
    audio: DrivingAudio,
    sample_rate: int,
    repairs: tuple[Repair, ...],
    notes: list[str],
) -> Recording:
    samples, cancelled = mix.finish()
    if not len(samples) or not audio.num_samples:
        raise _unusable(path, "holds no samples")
    if not mix.is_finite:
        raise DecodeError(
            f"Samples of '{path}' are no numbers (NaN, infinite or beyond all measure).",
            "Convert it first, e.g. ffmpeg -i IN -c:a pcm_s16le OUT.wav.",
        )
    if cancelled:
        notes = [*notes, _cancelled_in_words(path, cancelled, len(samples) / sample_rate)]
    return Recording(
        path=path,
        waveform=Waveform(samples=samples, sample_rate=sample_rate),
        audio=audio,
        peak=mix.peak,
        repairs=repairs,
        notes=(*repairs_in_words(path, repairs), *notes),
    )


def _placed(container: InputContainer, stream: AudioStream) -> PlacedSound:
    is_dated = find_video_stream(container) is not None
    return PlacedSound(container, stream, sound_origin(container, stream, is_dated))


def _require_decoder(path: Path, stream: AudioStream) -> None:
    if getattr(stream, "codec_context", None) is None:
        raise _unusable(path, "is of a kind that nothing here decodes")
    if str(stream.codec_context.codec_tag).lower() in _ENCRYPTED_TAGS:
        raise _unusable(path, "is encrypted")


def _unusable(path: Path, why: str) -> DecodeError:
    return DecodeError(
        f"The audio of '{path}' {why}.",
        "Play it to check it; record or export it again.",
    )


def _end_notes(
    path: Path, container: InputContainer, stream: AudioStream, duration_s: Fraction
) -> list[str]:
    """What is to be told of a sound that ends long before its header says."""
    told_s = None
    if stream.duration is not None and stream.time_base is not None:
        told_s = stream.duration * Fraction(stream.time_base)
    elif container.duration is not None and len(container.streams) == 1:
        told_s = Fraction(container.duration, av.time_base)
    if told_s is None or container.format.name not in _EXACT_LENGTHS:
        return []
    missing_s = told_s - duration_s
    if missing_s < _LEAST_MISSING_S:
        return []
    return [f"'{path}' breaks off: its last {float(missing_s):.2f} s cannot be read."]


def _cancelled_in_words(path: Path, ranges: list[tuple[float, float]], length_s: float) -> str:
    when = ""
    if ranges[0][1] - ranges[0][0] < 0.99 * length_s:
        named = [f"{clock_time(a)} to {clock_time(b)}" for a, b in ranges[:_MOST_NAMED]]
        when = f" at {', '.join(named)}" + (" and later" if len(ranges) > _MOST_NAMED else "")
    return (
        f"The channels of '{path}' cancel each other{when}: the louder one alone moves the lips; "
        "what is heard keeps both."
    )


def _write(target: Path, placed: PlacedSound, audio: DrivingAudio) -> int:
    """Write placed sound as floats of one rate and layout; returns the samples per channel."""
    layout = known_layout(audio.layout, audio.channels)
    count = 0
    try:
        with av.open(file_url(target), "w", format="matroska") as output:
            stream = output.add_stream("pcm_f32le", rate=audio.sample_rate)
            stream.layout = layout
            frames = _parts(placed, layout, audio.channels)
            for part in _resampled(frames, layout, audio.sample_rate):
                part.pts, part.time_base = count, Fraction(1, audio.sample_rate)
                count += part.samples
                output.mux(stream.encode(part))
            output.mux(stream.encode(None))
    except FFmpegError as error:
        raise DecodeError(
            f"'{target}' cannot be written: {error.strerror}.",
            "Free some space, or choose another folder with --output.",
        ) from error
    return count


def _resampled(frames: Iterator[AudioFrame], layout: str, rate: int) -> Iterator[AudioFrame]:
    """Interleaved floats of one layout and rate, whatever each frame has."""
    for _, alike in groupby(frames, lambda frame: (frame.sample_rate, frame.layout.nb_channels)):
        # A resampler takes frames of one form alone.
        resampler = av.AudioResampler(format="flt", layout=layout, rate=rate)
        for frame in chain(alike, (None,)):
            yield from resampler.resample(frame)


def _parts(placed: PlacedSound, layout: str, channels: int) -> Iterator[AudioFrame]:
    for block in placed.blocks():
        if isinstance(block, Silence):
            values: F32 = np.zeros((channels, block.samples), np.float32)
        else:
            values = channels_of(block)
            block.pts = None
        is_other = len(values) != channels
        frame = AudioFrame.from_ndarray(
            np.ascontiguousarray(values),
            format="fltp",
            layout=known_layout("", len(values)) if is_other else layout,
        )
        frame.sample_rate = block.sample_rate
        yield frame
