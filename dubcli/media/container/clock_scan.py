"""Where the clock of a file jumps, by its packets' times, and a copy in which it does not."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container.input import InputContainer
from av.error import FFmpegError
from av.packet import Packet

from dubcli.media.container.ffmpeg import file_url
from dubcli.media.container.probe import open_media
from dubcli.media.video.frame_writer import encode_error

# AVFMT_TS_DISCONT: clocks of these formats may start anew. As in ffmpeg, a longer step is a jump.
_DISCONTINUOUS = 0x200
_LONGEST_STEP_S = 10
# Of a picture alone, in a format whose clock should not jump: it may be held for minutes.
_LONGEST_HOLD_S = 600
_LONGEST_BACK_S = Fraction(1, 4)
# Within so much the streams of a file begin and end together.
_TOGETHER_S = 5
_MUXERS = {"mov": "mov", "matroska": "matroska"}


@dataclass(frozen=True, kw_only=True)
class ClockJump:
    """A place at which the clock of a file does not go on.

    Attributes:
        at_s: Where, seconds from the file's beginning with all jumps closed.
        by_s: How far it goes, seconds; below 0 for back.
        offset_s: Added to the times behind it, so that they go on.
    """

    at_s: Fraction
    by_s: Fraction
    offset_s: Fraction


@dataclass
class _StreamClock:
    """What is known of one stream of sound or pictures."""

    last_s: Fraction | None = None
    length_s: Fraction = Fraction(0)
    segment: int = 0
    packets: int = 0
    begins: dict[int, int] = field(default_factory=dict[int, int])  # packet number: segment


@dataclass
class _Break:
    """The same step in the clocks of some streams: when each was due, and when it came."""

    from_s: Fraction
    to_s: Fraction
    steps: dict[int, tuple[Fraction, Fraction]] = field(
        default_factory=dict[int, tuple[Fraction, Fraction]]
    )


class ClockScan:
    """Follows the clocks of a file's sound and pictures, packet by packet in the file's order.

    Args:
        container: The open file; it is not read here.
    """

    def __init__(self, container: InputContainer) -> None:
        self._is_discontinuous = bool(container.format.flags & _DISCONTINUOUS)
        kinds = (*container.streams.video, *container.streams.audio)
        self._clocks = {
            stream.index: _StreamClock()
            for stream in kinds
            if getattr(stream, "codec_context", None) is not None
        }
        self._has_sound = any(one.index in self._clocks for one in container.streams.audio)
        self._pictures = {one.index for one in container.streams.video}
        self._breaks: list[_Break] = []
        self._first_s: Fraction | None = None

    def add(self, packet: Packet) -> None:
        """Look at the next packet of any stream."""
        clock = self._clocks.get(packet.stream_index)
        if clock is None:
            return
        number, clock.packets = clock.packets, clock.packets + 1
        if packet.dts is None or packet.time_base is None:
            return
        base = Fraction(packet.time_base)
        time_s, length_s = packet.dts * base, (packet.duration or 0) * base
        if self._first_s is None:
            self._first_s = time_s
        if clock.last_s is not None and self._is_break(time_s - clock.last_s):
            due_s = clock.last_s + (length_s or clock.length_s)
            self._add_break(packet.stream_index, clock, due_s, time_s)
            clock.begins[number] = clock.segment
        clock.last_s, clock.length_s = time_s, length_s

    def _is_break(self, step_s: Fraction) -> bool:
        return step_s > _LONGEST_STEP_S or step_s < -_LONGEST_BACK_S

    def _add_break(
        self, index: int, clock: _StreamClock, due_s: Fraction, time_s: Fraction
    ) -> None:
        for number in range(clock.segment, len(self._breaks)):
            known = self._breaks[number]
            if abs(known.to_s - time_s) < _TOGETHER_S and abs(known.from_s - due_s) < _TOGETHER_S:
                clock.segment = number + 1
                known.steps[index] = (due_s, time_s)
                return
        self._breaks.append(_Break(due_s, time_s, {index: (due_s, time_s)}))
        clock.segment = len(self._breaks)

    def jumps(self) -> list[ClockJump]:
        """One for each break, in order; a step that is no jump of the clock has `by_s` 0."""
        found: list[ClockJump] = []
        offset_s = Fraction(0)
        for one in self._breaks:
            by_s = one.to_s - one.from_s
            if self._is_jump(one):
                # The pictures go on evenly; sound has a gap or loses a packet of some ms.
                first = min(one.steps, key=lambda index: (index not in self._pictures, index))
                due_s, time_s = one.steps[first]
                offset_s = due_s + offset_s - time_s
                at_s = one.to_s + offset_s - (self._first_s or Fraction(0))
                found.append(ClockJump(at_s=at_s, by_s=by_s, offset_s=offset_s))
            else:
                found.append(
                    ClockJump(at_s=one.to_s + offset_s, by_s=Fraction(0), offset_s=offset_s)
                )
        return found

    def begins(self) -> dict[int, dict[int, int]]:
        """For each stream, by the number of a packet, behind how many breaks it begins to be."""
        return {index: dict(clock.begins) for index, clock in self._clocks.items()}

    def _is_jump(self, one: _Break) -> bool:
        by_s = one.to_s - one.from_s
        if by_s < 0:
            return True
        others = [clock for index, clock in self._clocks.items() if index not in one.steps]
        for clock in others:
            # Something goes on where the others pause: the clock itself did not jump.
            if clock.last_s is not None and clock.last_s > one.from_s + 1:
                return False
        if self._is_discontinuous or (self._has_sound and len(one.steps) > 1):
            return by_s > _LONGEST_STEP_S
        return by_s > _LONGEST_HOLD_S


def write_without_jumps(source: Path, scan: ClockScan, target_stem: Path) -> tuple[Path, list[str]]:
    """Copy a file, packet by packet, with the jumps of its clock closed.

    Args:
        source: The file.
        scan: What was seen of all its packets.
        target_stem: File to write, without an ending.

    Returns:
        The copy, and a note on each stream that it cannot hold.

    Raises:
        EncodeError: It cannot be written, as on a full disk.
    """
    jumps, begins = scan.jumps(), scan.begins()
    with open_media(source) as container:
        names = container.format.name.split(",")
        muxer = next((_MUXERS[name] for name in names if name in _MUXERS), "nut")
        target = target_stem.with_suffix(f".{muxer}")
        try:
            with av.open(file_url(target), "w", format=muxer) as output:
                kept, notes = _streams(container, output)
                output.metadata.update(container.metadata)
                _copy(container, output, kept, begins, jumps)
        except (FFmpegError, OSError, ValueError) as error:
            target.unlink(missing_ok=True)
            raise encode_error(target, error) from error
    return target, notes


def _streams(container: InputContainer, output: Any) -> tuple[dict[int, Any], list[str]]:
    kept: dict[int, Any] = {}
    notes: list[str] = []
    for stream in container.streams:
        try:
            if getattr(stream, "codec_context", None) is None:
                raise ValueError("no decoder knows it")
            made = output.add_stream_from_template(stream, opaque=True)
            made.time_base = stream.time_base
            made.metadata.update(stream.metadata)
            made.disposition = stream.disposition
            kept[stream.index] = made
        except (FFmpegError, ValueError, TypeError, AttributeError):
            notes.append(
                f"The {stream.type} stream {stream.index} was dropped: it cannot be copied into a "
                "file without jumps."
            )
    return kept, notes


def _copy(
    container: InputContainer,
    output: Any,
    kept: dict[int, Any],
    begins: dict[int, dict[int, int]],
    jumps: list[ClockJump],
) -> None:
    numbers = dict.fromkeys(kept, 0)
    segments = dict.fromkeys(kept, 0)
    written: dict[int, int] = {}
    lags: dict[int, int] = {}  # from decoding a packet to showing it
    latest: dict[int, Fraction] = {}  # by segment: the last time of sound or pictures in it
    for packet in container.demux():
        index = packet.stream_index
        if not packet.size or index not in kept:
            continue
        base = Fraction(packet.time_base or 1)
        time = packet.dts if packet.dts is not None else packet.pts
        if index in begins:
            segments[index] = begins[index].get(numbers[index], segments[index])
            numbers[index] += 1
            if time is not None:
                latest[segments[index]] = time * base
        elif time is not None and latest:
            at_s = time * base
            segments[index] = min(latest, key=lambda number: abs(latest[number] - at_s))
        segment = segments[index]
        later = round(jumps[segment - 1].offset_s / base) if segment else 0
        if packet.pts is not None:
            if packet.dts is not None and abs(packet.pts - packet.dts) * base > _TOGETHER_S:
                packet.pts = packet.dts + lags.get(index, 0)  # it was taken from behind the jump
            packet.pts += later
        if packet.dts is not None:
            packet.dts += later
            lags[index] = (packet.dts if packet.pts is None else packet.pts) - packet.dts
            if index in begins:
                if packet.dts <= written.get(index, packet.dts - 1):
                    continue  # it overlaps what was there before the jump
                written[index] = packet.dts
        packet.stream = kept[index]
        output.mux(packet)
