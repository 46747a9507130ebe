"""The hvcC record of H.265 (ISO/IEC 14496-15, 8.3.3): all parameter sets of a stream's packets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from dubcli.media.packet_copy.hevc_parameters import (
    PICTURE_SET,
    SEQUENCE_SET,
    SETS,
    VIDEO_SET,
    HevcSequenceSet,
    layer_of,
    number_in_set,
    read_sequence_set,
)
from dubcli.media.packet_copy.sequence_parameters import SequenceParameters

_HEAD, _LENGTH_BYTES = 22, 4
_FLAGS, _COMPATIBILITY, _CONSTRAINTS, _LEVEL = 1, slice(2, 6), slice(6, 12), 12
_PROFILES = {1: "main", 2: "main10"}  # each before one whose decoders decode it too
_COMPLETE = 0x80  # all sets of the kind stand in the record


@dataclass(frozen=True, kw_only=True)
class HevcConfiguration:
    """Parameter sets of a stream, as NAL units by their number.

    Attributes:
        head: What stands before the sets. 22 bytes.
        video_sets: By vps_video_parameter_set_id.
        sequence_sets: By sps_seq_parameter_set_id.
        picture_sets: By pps_pic_parameter_set_id.
        others: Further units by their kind: messages of the encoder.
    """

    head: bytes
    video_sets: Mapping[int, bytes]
    sequence_sets: Mapping[int, bytes]
    picture_sets: Mapping[int, bytes]
    others: tuple[tuple[int, tuple[bytes, ...]], ...] = ()

    @cached_property
    def details(self) -> tuple[HevcSequenceSet, ...]:
        """All sequence parameter sets.

        Raises:
            ValueError: One is damaged.
        """
        return tuple(read_sequence_set(unit) for unit in self.sequence_sets.values())

    @property
    def parameters(self) -> tuple[SequenceParameters, ...]:
        """What decoders set themselves up by.

        Raises:
            ValueError: A set is damaged.
        """
        return tuple(one.parameters for one in self.details)

    @property
    def profile(self) -> int:
        """general_profile_idc."""
        return self.head[_FLAGS] & 31

    @property
    def profile_name(self) -> str | None:
        """What x265 calls the profile; None for one that is not encoded beside."""
        return _PROFILES.get(self.profile)

    def free_number(self) -> int | None:
        """A number of picture sets that `HevcRenumbering` can give; None where all are taken.

        It is coded in nine bits, eight more than x265's own, and the last bits are not all 0.
        """
        numbers = (number for number in range(30, 14, -1) if number % 4 < 3)
        return next((number for number in numbers if number not in self.picture_sets), None)

    def holds(self, profile: int) -> bool:
        """Whether decoders of this profile decode another."""
        return profile in _PROFILES and self.profile in _PROFILES and profile <= self.profile

    def joined(self, other: HevcConfiguration) -> HevcConfiguration:
        """The sets of both.

        Args:
            other: Of packets whose profile this one's holds.

        Raises:
            ValueError: A number stands in both.
        """
        kinds = ("video_sets", "sequence_sets", "picture_sets")
        for kind in kinds:
            if getattr(self, kind).keys() & getattr(other, kind).keys():
                raise ValueError("two of the parameter sets have one number")
        head = bytearray(self.head)
        for place in range(_COMPATIBILITY.start, _CONSTRAINTS.stop):
            head[place] &= other.head[place]
        head[_LEVEL] = max(self.head[_LEVEL], other.head[_LEVEL])
        return replace(
            self,
            head=bytes(head),
            **{kind: {**getattr(self, kind), **getattr(other, kind)} for kind in kinds},
        )

    def as_bytes(self) -> bytes:
        """The record."""
        sets = (self.video_sets, self.sequence_sets, self.picture_sets)
        arrays = [(kind, tuple(of.values())) for kind, of in zip(SETS, sets, strict=True)]
        arrays += self.others
        return b"".join((self.head, bytes([len(arrays)]), *(_array(*one) for one in arrays)))


def read_hevc_configuration(record: bytes | None) -> HevcConfiguration:
    """Read a hvcC record.

    Args:
        record: What libav calls the extradata of a stream.

    Raises:
        ValueError: It is none: packets in Annex B form have none. Or it is damaged, its packets'
            NAL units have lengths of fewer than 4 bytes, or there is a second layer.
    """
    if not record or len(record) <= _HEAD or record[0] != 1:
        raise ValueError("its packets are in Annex B form")
    if (record[_HEAD - 1] & 3) + 1 != _LENGTH_BYTES:
        raise ValueError("its packets count lengths in fewer than 4 bytes")
    found: dict[int, list[bytes]] = {}
    at = _HEAD + 1
    for _ in range(record[_HEAD]):
        if at + 3 > len(record):
            raise ValueError("its parameter sets are damaged")
        kind, count = record[at] & 63, int.from_bytes(record[at + 1 : at + 3], "big")
        read, at = _read_units(record, at + 3, count)
        found.setdefault(kind, []).extend(read)
    if any(layer_of(unit) for of in found.values() for unit in of):
        raise ValueError("it has a second view or layer")
    return HevcConfiguration(
        head=record[:_HEAD],
        video_sets=_by_number(found.get(VIDEO_SET, [])),
        sequence_sets=_by_number(found.get(SEQUENCE_SET, [])),
        picture_sets=_by_number(found.get(PICTURE_SET, [])),
        others=tuple((kind, tuple(of)) for kind, of in found.items() if kind not in SETS),
    )


def _by_number(found: list[bytes]) -> dict[int, bytes]:
    sets = {number_in_set(unit): unit for unit in found}
    if len(sets) < len(found):
        raise ValueError("two of its parameter sets have one number")
    return sets


def _read_units(record: bytes, at: int, count: int) -> tuple[list[bytes], int]:
    """Units that begin somewhere in a record, and where they end."""
    found: list[bytes] = []
    for _ in range(count):
        size = int.from_bytes(record[at : at + 2], "big")
        at += 2 + size
        if at > len(record) or size < 3:
            raise ValueError("its parameter sets are damaged")
        found.append(record[at - size : at])
    return found, at


def _array(kind: int, found: tuple[bytes, ...]) -> bytes:
    head = bytes([_COMPLETE | kind]) + len(found).to_bytes(2, "big")
    return head + b"".join(len(unit).to_bytes(2, "big") + unit for unit in found)
