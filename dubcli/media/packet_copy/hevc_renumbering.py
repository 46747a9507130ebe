"""Numbers of their own for the parameter sets of x265, which calls all of them 0.

The pictures that it encodes stay as they are, to the bit: only the number by which each slice names
its picture parameter set becomes another, in front of all that is coded by arithmetic.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

from dubcli.media.packet_copy.avc_configuration import units
from dubcli.media.packet_copy.hevc_configuration import HevcConfiguration
from dubcli.media.packet_copy.hevc_parameters import (
    Delays,
    kind_of,
    read_sequence_set,
    read_video_set,
    set_reader,
)
from dubcli.media.packet_copy.packet_index import CopyRefusedError

_SLICES, _FIRST_OF_ALL = range(32), range(16, 24)
_MESSAGES = (39, 40)
_NAMING_SETS = (0, 129)  # messages that name parameter sets: buffering period, active sets
_MOST_VIDEO_SETS = _MOST_SEQUENCE_SETS = 16
_HEADER, _GROWTH, _CODE_BITS = 2, 1, 9
_Edit = tuple[int, int, str]


@dataclass(frozen=True, kw_only=True)
class HevcRenumbering:
    """The sets of an encoder that are numbered anew, and how its packets become theirs.

    Attributes:
        configuration: The sets.
        picture_number: Of their only picture parameter set, 15 to 30.
    """

    configuration: HevcConfiguration
    picture_number: int

    def packet(self, packet: bytes) -> bytes:
        """A packet of the encoder that names the picture parameter set by its new number.

        Args:
            packet: NAL units with their lengths before them, 4 bytes each.

        Raises:
            ValueError: It is damaged.
        """
        made: list[bytes] = []
        for unit in units(memoryview(packet)):
            new = self._slice(bytes(unit)) if kind_of(unit) in _SLICES else bytes(unit)
            made.append(len(new).to_bytes(4, "big") + new)
        return b"".join(made)

    def _slice(self, unit: bytes) -> bytes:
        """Eight bits more in front, so all bits after them keep their place in their bytes.

        Neither the byte that is split nor the two that it becomes are 0, so no byte that keeps
        start codes out is to be put in or taken away.
        """
        flags = 2 if kind_of(unit) in _FIRST_OF_ALL else 1
        old = f"{unit[_HEADER]:08b}"
        if old[flags] != "1":
            raise ValueError("a slice names another parameter set than the encoder's first")
        code = f"{self.picture_number + 1:0{_CODE_BITS}b}"
        new = int(old[:flags] + code + old[flags + 1 :], 2)
        return unit[:_HEADER] + new.to_bytes(1 + _GROWTH, "big") + unit[_HEADER + 1 :]


def renumbered(
    source: HevcConfiguration, encoded: HevcConfiguration, first: bytes
) -> HevcRenumbering:
    """Give x265's sets numbers that a source does not use, and the source's count of frames.

    Args:
        source: Sets of the packets that are copied.
        encoded: Those of the encoder.
        first: The encoder's first packet.

    Raises:
        CopyRefusedError: There are none left, or the encoder does otherwise than is known of it.
    """
    video = _free(_MOST_VIDEO_SETS, source.video_sets)
    sequence = _free(_MOST_SEQUENCE_SETS, source.sequence_sets)
    picture = source.free_number()
    if video is None or sequence is None or picture is None:
        raise CopyRefusedError("its parameter sets leave no number free")
    sets = (encoded.video_sets, encoded.sequence_sets, encoded.picture_sets)
    if any(list(of) != [0] for of in sets):
        raise CopyRefusedError("the encoder has more than one parameter set of a kind")
    if _names_sets(first):
        raise CopyRefusedError("the encoder's messages name its parameter sets")
    own = source.details
    wanted = own[0].delays
    buffered, level = wanted.num_buffered, max(one.level for one in own)
    made = encoded.details[0]
    if made.tier > min(one.tier for one in own):
        raise CopyRefusedError("the encoder needs a higher tier than the source's")
    if made.delays.num_buffered > buffered or made.delays.num_reorder > wanted.num_reorder:
        raise CopyRefusedError("the encoder's count of buffered frames is more than the source's")
    configuration = replace(
        encoded,
        video_sets={video: _video_set(encoded.video_sets[0], video, level, wanted)},
        sequence_sets={
            sequence: _sequence_set(encoded.sequence_sets[0], (video, sequence), level, wanted)
        },
        picture_sets={picture: _picture_set(encoded.picture_sets[0], picture, sequence)},
    )
    return HevcRenumbering(configuration=configuration, picture_number=picture)


def _free(most: int, taken: Container[int]) -> int | None:
    return next((n for n in range(1, most) if n not in taken), None)


def _names_sets(packet: bytes) -> bool:
    messages = [bytes(unit) for unit in units(memoryview(packet)) if kind_of(unit) in _MESSAGES]
    return any(unit[_HEADER] in _NAMING_SETS for unit in messages)


def _video_set(unit: bytes, number: int, level: int, wanted: Delays) -> bytes:
    level_at, own, delays = read_video_set(unit)
    return _edited(
        unit, [(0, 4, f"{number:04b}"), _level(level_at, max(own, level)), _delays(delays, wanted)]
    )


def _sequence_set(unit: bytes, numbers: tuple[int, int], level: int, wanted: Delays) -> bytes:
    read = read_sequence_set(unit)
    return _edited(
        unit,
        [
            (0, 4, f"{numbers[0]:04b}"),
            _level(read.level_at, max(read.level, level)),
            (*read.number_at, _golomb(numbers[1])),
            _delays(read.delays, wanted),
        ],
    )


def _picture_set(unit: bytes, number: int, sequence: int) -> bytes:
    reader = set_reader(unit)
    reader.golomb()
    reader.golomb()
    return _edited(unit, [(0, reader.position, _golomb(number) + _golomb(sequence))])


def _level(at: int, level: int) -> _Edit:
    return at, at + 8, f"{level:08b}"


def _delays(own: Delays, wanted: Delays) -> _Edit:
    values = (wanted.num_buffered - 1, wanted.num_reorder, own.latency)
    return *own.place, "1" + "".join(map(_golomb, values))


def _golomb(value: int) -> str:
    """An unsigned Exp-Golomb number, ue(v)."""
    digits = f"{value + 1:b}"
    return "0" * (len(digits) - 1) + digits


def _edited(unit: bytes, edits: Sequence[_Edit]) -> bytes:
    """A unit in which some bits are others; they count after its header, and rise."""
    payload = unit[_HEADER:].replace(b"\0\0\3", b"\0\0")
    bits = "".join(f"{byte:08b}" for byte in payload)
    parts, at = list[str](), 0
    for start, stop, new in edits:
        parts += [bits[at:start], new]
        at = stop
    # After the last bit of a set comes a 1, and what fills the byte.
    text = "".join(parts) + bits[at : bits.rindex("1") + 1]
    text = text.ljust(-(-len(text) // 8) * 8, "0")
    plain = int(text, 2).to_bytes(len(text) // 8, "big")
    return unit[:_HEADER] + re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", plain)
