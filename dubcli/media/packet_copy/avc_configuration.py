"""The avcC record of H.264 (ISO/IEC 14496-15, 5.3.3): all parameter sets of a stream's packets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from dubcli.media.packet_copy.sequence_parameters import (
    BitReader,
    SequenceParameters,
    picture_parameter_number,
    read_sequence_parameters,
)

SEQUENCE_SET, PICTURE_SET = 7, 8
_HEAD, _LENGTH_BYTES = 6, 4
# Most of what a decoder must know, first; each profile before one whose decoders decode it too.
_PROFILES = {66: "baseline", 77: "main", 100: "high", 110: "high10", 122: "high422", 244: "high444"}
# x264 numbers both kinds of sets alike, and sequence sets end at 31.
_LAST_NUMBER = 31


@dataclass(frozen=True, kw_only=True)
class AvcConfiguration:
    """Parameter sets of a stream, as NAL units by their number.

    Attributes:
        profile: AVCProfileIndication.
        compatibility: profile_compatibility.
        level: AVCLevelIndication.
        sequence_sets: By seq_parameter_set_id.
        picture_sets: By pic_parameter_set_id.
        rest: What follows the sets: chroma format and depths of some profiles.
    """

    profile: int
    compatibility: int
    level: int
    sequence_sets: Mapping[int, bytes]
    picture_sets: Mapping[int, bytes]
    rest: bytes = b""

    @property
    def parameters(self) -> tuple[SequenceParameters, ...]:
        """All sequence parameter sets.

        Raises:
            ValueError: One is damaged.
        """
        return tuple(read_sequence_parameters(unit) for unit in self.sequence_sets.values())

    @property
    def profile_name(self) -> str | None:
        """What x264 calls the profile; None for one that it does not encode."""
        return _PROFILES.get(self.profile)

    def free_number(self) -> int | None:
        """The least number from 1 on that no set has; None where all are taken."""
        taken = self.sequence_sets.keys() | self.picture_sets.keys()
        return next((n for n in range(1, _LAST_NUMBER + 1) if n not in taken), None)

    def holds(self, profile: int) -> bool:
        """Whether decoders of this profile decode another."""
        order = list(_PROFILES)
        known = self.profile in order and profile in order
        return known and order.index(profile) <= order.index(self.profile)

    def joined(self, other: AvcConfiguration) -> AvcConfiguration:
        """The sets of both.

        Args:
            other: Of packets whose profile this one's holds.

        Raises:
            ValueError: A number stands in both.
        """
        if self.sequence_sets.keys() & other.sequence_sets.keys():
            raise ValueError("two sequence parameter sets have one number")
        if self.picture_sets.keys() & other.picture_sets.keys():
            raise ValueError("two picture parameter sets have one number")
        return replace(
            self,
            compatibility=self.compatibility & other.compatibility,
            level=max(self.level, other.level),
            sequence_sets={**self.sequence_sets, **other.sequence_sets},
            picture_sets={**self.picture_sets, **other.picture_sets},
            rest=self.rest or (other.rest if self.profile == other.profile else b""),
        )

    def as_bytes(self) -> bytes:
        """The record."""
        head = bytes((1, self.profile, self.compatibility, self.level, 0xFF))
        sequence, picture = self.sequence_sets.values(), self.picture_sets.values()
        counted = (bytes([0xE0 | len(sequence)]), *map(_sized, sequence))
        return b"".join((head, *counted, bytes([len(picture)]), *map(_sized, picture), self.rest))


def read_configuration(record: bytes | None) -> AvcConfiguration:
    """Read an avcC record.

    Args:
        record: What libav calls the extradata of a stream.

    Raises:
        ValueError: It is none: packets in Annex B form have none. Or it is damaged, or the
            packets' NAL units have lengths of fewer than 4 bytes.
    """
    if not record or len(record) < _HEAD or record[0] != 1:
        raise ValueError("its packets are in Annex B form")
    if (record[4] & 3) + 1 != _LENGTH_BYTES:
        raise ValueError("its packets count lengths in fewer than 4 bytes")
    sequence, at = _read_sets(record, _HEAD, record[5] & 31)
    if at >= len(record):
        raise ValueError("its parameter sets are damaged")
    picture, at = _read_sets(record, at + 1, record[at])
    sequence_sets = {sequence_parameter_number(unit): unit for unit in sequence}
    picture_sets = {picture_parameter_number(unit): unit for unit in picture}
    if len(sequence_sets) < len(sequence) or len(picture_sets) < len(picture):
        raise ValueError("two of its parameter sets have one number")
    return AvcConfiguration(
        profile=record[1],
        compatibility=record[2],
        level=record[3],
        sequence_sets=sequence_sets,
        picture_sets=picture_sets,
        rest=record[at:],
    )


def sequence_parameter_number(unit: bytes) -> int:
    """The number of a sequence parameter set.

    Args:
        unit: Its NAL unit, without a start code.

    Raises:
        ValueError: It ends too early.
    """
    reader = BitReader(unit)
    reader.bits(24)
    return reader.golomb()


def units(packet: memoryview) -> Iterator[memoryview]:
    """The NAL units of a packet.

    Args:
        packet: Units with their lengths before them, 4 bytes each.

    Raises:
        ValueError: A length does not fit.
    """
    at = 0
    while at < len(packet):
        size = int.from_bytes(packet[at : at + _LENGTH_BYTES], "big")
        at += _LENGTH_BYTES + size
        if not size or at > len(packet):
            raise ValueError("its packets are damaged")
        yield packet[at - size : at]


def _read_sets(record: bytes, at: int, count: int) -> tuple[list[bytes], int]:
    """Sets that begin somewhere in a record, and where they end."""
    found: list[bytes] = []
    for _ in range(count):
        size = int.from_bytes(record[at : at + 2], "big")
        at += 2 + size
        if at > len(record) or size < 2:
            raise ValueError("its parameter sets are damaged")
        found.append(record[at - size : at])
    return found, at


def _sized(unit: bytes) -> bytes:
    return len(unit).to_bytes(2, "big") + unit
