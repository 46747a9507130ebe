"""Decoded sound with every sample at its own time: gaps filled, damage concealed, jumps closed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container.input import InputContainer
from av.error import EOFError as AvEndOfFile
from av.error import FFmpegError
from av.packet import Packet

# Timestamps are rounded, in some containers to several ms; a lost packet is longer than that.
_LEAST_GAP_S = Fraction(15, 1000)
_PACKET_SHARE = Fraction(7, 10)
# AVFMT_TS_DISCONT: clocks of these formats may start anew. As in ffmpeg, a longer step is a jump.
_DISCONTINUOUS = 0x200
_LONGEST_GAP_S = 10
# In other formats silence may have been left out; more than this is a clock that was set.
_LONGEST_SILENCE_S = 600
# What overlaps by more is not a rounded time but a clock that was set back.
_LONGEST_OVERLAP_S = Fraction(1, 2)
# Formats whose clock counts from the file's beginning, and how exactly they say when sound begins.
_STARTS = {"mov": Fraction(1, 100), "matroska": Fraction(1, 100), "ogg": Fraction(1, 10)}
_LONGEST_WAIT_S = 60
# Formats without times: libav counts their packets, and takes damage of any length for one.
_COUNTED = {"mp3", "aac", "ac3", "eac3", "dts", "mp2"}
# Their parser skips bytes that it does not understand, unsaid.
_SKIPPED = {"aac"}
_SEARCHED_BYTES = 1 << 20
_MOST_READ_ERRORS = 100


@dataclass(frozen=True, kw_only=True)
class Repair:
    """A place at which a sound was not as it stands in the file.

    Attributes:
        kind: `late` (it begins later than the file), `gap`, `damage`, `overlap` or `jump`.
        start_s: Where, seconds from the beginning of the placed sound.
        length_s: How much silence was put there; cut away for `overlap`; of a `jump` how far the
            clock went.
    """

    kind: str
    start_s: Fraction
    length_s: Fraction


@dataclass(frozen=True)
class Silence:
    """Samples that the file does not have.

    Attributes:
        samples: How many, per channel.
        sample_rate: Hz.
    """

    samples: int
    sample_rate: int


class PlacedSound:
    """Decodes one stream and gives its samples in the order of time, without gaps.

    Args:
        container: The open file.
        stream: The stream.
        origin_s: Time on the file's clock at which the sound begins; None for its first sample.

    Attributes:
        repairs: What was mended so far, in order of time.
        first_s: Time of the first sample in the file, seconds; None before it is decoded.
        num_failed: Packets that could not be decoded.
        num_decoded: Packets that could.
    """

    def __init__(
        self, container: InputContainer, stream: AudioStream, origin_s: Fraction | None = None
    ) -> None:
        self.repairs: list[Repair] = []
        self.first_s: Fraction | None = None
        self.num_failed = 0
        self.num_decoded = 0
        self._container, self._stream, self._origin_s = container, stream, origin_s
        names = set(container.format.name.split(","))
        self._is_counted = bool(names & _COUNTED)
        may_jump = container.format.flags & _DISCONTINUOUS and "ogg" not in names
        self._longest_gap_s = _LONGEST_GAP_S if may_jump else _LONGEST_SILENCE_S
        self._placed_s = Fraction(0)  # how much was given
        self._expected_s: Fraction | None = None  # when the next sample is due, on the file's clock
        self._damaged_s: Fraction | None = None  # of packets that failed since the last good one
        self._bytes, self._packet_s = 0, Fraction(0)
        self._skips = bool(names & _SKIPPED)
        self._failed_at: int | None = None  # place in the file of the first packet that failed
        self._skipped = 0  # bytes by which packets lie behind where the parser takes them to be

    def blocks(self) -> Iterator[AudioFrame | Silence]:
        """Decoded frames, and silence where there are none.

        Frames that overlap what was given are cut, in a planar or packed format as decoded.
        """
        for frame in self._frames():
            if self._expected_s is None:
                yield from self._begun(frame)
            else:
                yield from self._mended(frame)
        if self._damaged_s and self._expected_s is not None and self._rate:
            yield from self._filled("damage", self._damaged_s, self._rate)

    def _begun(self, frame: AudioFrame) -> Iterator[AudioFrame | Silence]:
        self.first_s = time_of(frame) or Fraction(0)
        self._expected_s = self.first_s
        if self._origin_s is not None and self.first_s > self._origin_s:
            yield from self._filled("late", self.first_s - self._origin_s, frame.sample_rate)
            self._expected_s = self.first_s
        elif self._damaged_s and not self.first_s:
            yield from self._filled("damage", self._damaged_s, frame.sample_rate)
            self._expected_s = self.first_s
        self._damaged_s = None
        yield self._given(frame)

    def _mended(self, frame: AudioFrame) -> Iterator[AudioFrame | Silence]:
        assert self._expected_s is not None
        time_s, rate = time_of(frame), frame.sample_rate
        damaged_s, self._damaged_s = self._damaged_s, None
        ahead_s = Fraction(0) if time_s is None else time_s - self._expected_s
        kind = "gap" if damaged_s is None else "damage"
        if damaged_s is not None and self._is_counted:
            # The clock went on by one packet, however much was lost.
            self._expected_s = self._expected_s if time_s is None else time_s
            ahead_s = damaged_s
        elif damaged_s is not None and time_s is None:
            ahead_s = damaged_s
        packet_s = Fraction(frame.samples, rate)
        least_s = max(_LEAST_GAP_S, _PACKET_SHARE * packet_s)
        if ahead_s > self._longest_gap_s or -ahead_s > _LONGEST_OVERLAP_S:
            self._note("jump", ahead_s)
            self._expected_s = time_s
        elif ahead_s >= least_s:
            due_s = time_s if time_s is not None else self._expected_s + ahead_s
            yield from self._filled(kind, ahead_s, rate)
            self._expected_s = due_s
        elif -ahead_s >= least_s:
            excess = round(-ahead_s * rate)
            if excess >= frame.samples:
                self._note("overlap", packet_s)
                return
            self._note("overlap", Fraction(excess, rate))
            frame = without_first(frame, excess)
        yield self._given(frame)

    def _given(self, frame: AudioFrame) -> AudioFrame:
        length_s = Fraction(frame.samples, frame.sample_rate)
        assert self._expected_s is not None
        self._expected_s += length_s
        self._placed_s += length_s
        self._rate = frame.sample_rate
        return frame

    def _filled(self, kind: str, length_s: Fraction, rate: int) -> Iterator[Silence]:
        samples = round(length_s * rate)
        if samples > 0:
            self._note(kind, Fraction(samples, rate))
            self._placed_s += Fraction(samples, rate)
            yield Silence(samples, rate)

    def _note(self, kind: str, length_s: Fraction) -> None:
        last = self.repairs[-1] if self.repairs else None
        if last is not None and last.kind == kind == "overlap" and last.start_s == self._placed_s:
            length_s += last.length_s
            self.repairs.pop()
        self.repairs.append(Repair(kind=kind, start_s=self._placed_s, length_s=length_s))

    def _frames(self) -> Iterator[AudioFrame]:
        self._rate = self._stream.codec_context.sample_rate or 0
        for packet in read_packets(self._container, self._stream):
            yield from self._decoded(packet)
        yield from self._decoded(None)

    def _decoded(self, packet: Packet | None) -> list[AudioFrame]:
        try:
            frames = self._stream.codec_context.decode(packet)
        except AvEndOfFile:
            return []
        except FFmpegError:
            self.num_failed += 1
            self._damaged_s = (self._damaged_s or Fraction(0)) + self._length_of(packet)
            if self._skips and self._failed_at is None and packet is not None and packet.pos:
                self._failed_at = packet.pos + self._skipped
            return []
        frames = [frame for frame in frames if frame.samples and frame.sample_rate]
        if packet is not None and frames:
            if self._failed_at is not None:
                self._measure_skipped(packet, self._failed_at)
            self.num_decoded += 1
            self._bytes += packet.size
            length_s = Fraction(sum(frame.samples for frame in frames), frames[0].sample_rate)
            self._packet_s += length_s
        return frames

    def _measure_skipped(self, packet: Packet, failed_at: int) -> None:
        """How much sound lies between the packet that failed and this one, by the file's bytes."""
        self._failed_at = None
        place = -1
        with suppress(OSError), open(self._container.name, "rb") as file:
            file.seek(failed_at)
            place = file.read(_SEARCHED_BYTES).find(bytes(packet))
        if place > 0 and self.num_decoded and packet.pos is not None:
            self._skipped = failed_at + place - packet.pos
            lost = max(1, round(place * self.num_decoded / self._bytes))
            self._damaged_s = lost * self._packet_s / self.num_decoded

    def _length_of(self, packet: Packet | None) -> Fraction:
        """How much sound a packet that failed would have held, seconds."""
        if packet is None or not self.num_decoded:
            return Fraction(0)
        usual_s = self._packet_s / self.num_decoded
        if packet.duration and packet.time_base:
            usual_s = packet.duration * Fraction(packet.time_base)
        if not self._is_counted:
            return usual_s
        # Packets that could not be told apart come as one: by their bytes they are so many.
        return max(1, round(packet.size * self.num_decoded / self._bytes)) * usual_s


def read_packets(container: InputContainer, stream: AudioStream) -> Iterator[Packet]:
    """A stream's packets that hold something; goes on behind places that cannot be read."""
    for _ in range(_MOST_READ_ERRORS):
        try:
            for packet in container.demux(stream):
                if packet.size:
                    yield packet
        except AvEndOfFile:
            return
        except FFmpegError:
            continue
        return


def sound_origin(container: InputContainer, stream: AudioStream, is_dated: bool) -> Fraction | None:
    """When a recording's sound is meant to begin, on its file's clock; None for its first sample.

    With pictures in the file it is the earliest start of any stream. Without, it is 0 in formats
    whose clock counts from the file's beginning.

    Args:
        container: The open file.
        stream: Its sound.
        is_dated: The file has moving pictures.
    """
    start_s = _start_s(stream)
    if is_dated:
        starts = [_start_s(one) for one in (*container.streams.video, *container.streams.audio)]
        begin_s = min((one for one in starts if one is not None), default=None)
        least_s = Fraction(1, 100)
    else:
        least_s = next(
            (_STARTS[name] for name in container.format.name.split(",") if name in _STARTS), None
        )
        begin_s = Fraction(0)
    if start_s is None or begin_s is None or least_s is None:
        return None
    return begin_s if least_s <= start_s - begin_s <= _LONGEST_WAIT_S else None


def time_of(frame: AudioFrame) -> Fraction | None:
    """When a frame begins, seconds on the file's clock; None where that is not known."""
    if frame.pts is None or frame.time_base is None:
        return None
    return frame.pts * Fraction(frame.time_base)  # PyAV 19 has rationals of its own


def without_first(frame: AudioFrame, count: int) -> AudioFrame:
    """A frame without its first samples, undated."""
    channels = frame.layout.nb_channels
    values: Any = frame.to_ndarray()
    step = channels if frame.format.is_packed else 1
    rest = AudioFrame.from_ndarray(
        np.ascontiguousarray(values[:, count * step :]),
        format=frame.format.name,
        layout=frame.layout.name,
    )
    rest.sample_rate = frame.sample_rate
    return rest


def _start_s(stream: object) -> Fraction | None:
    start, base = getattr(stream, "start_time", None), getattr(stream, "time_base", None)
    return None if start is None or base is None else start * Fraction(base)
