"""Packets of H.264: which begin groups, and which could not stand beside an encoder's."""

from __future__ import annotations

import re

from dubcli.media.packet_copy.avc_configuration import (
    PICTURE_SET,
    SEQUENCE_SET,
    AvcConfiguration,
    picture_parameter_number,
    read_configuration,
    sequence_parameter_number,
    units,
)

_IDR, _FULL_CHROMA = 5, 3
_PARTITIONS = range(2, 5)
_LAYERS = (15, 20, 21)  # sets and slices of further views and layers
# Packets of older ones decode as they are meant only in a decoder that knows the build, which the
# first packet of the stream names.
_FIRST_BUILD = 34
_BUILD = re.compile(rb"x264 - core (\d+)")


class AvcPackets:
    """What is known of a stream before its packets are read.

    Args:
        record: Its avcC.

    Attributes:
        configuration: Its parameter sets.

    Raises:
        ValueError: Its packets cannot be copied.
    """

    def __init__(self, record: bytes | None) -> None:
        self.configuration: AvcConfiguration = read_configuration(record)

    def require_plain(self, first: bytes) -> None:
        """Refuse packets that decode otherwise where the stream's first one is another.

        Args:
            first: The first packet.

        Raises:
            ValueError: They do.
        """
        build = _BUILD.search(first)
        if build is not None and int(build[1]) < _FIRST_BUILD:
            raise ValueError("its encoder is an early x264, whose packets decode by their build")
        if any(one.chroma_format == _FULL_CHROMA for one in self.configuration.parameters):
            raise ValueError("packets of 4:4:4 may decode by the build of their encoder")

    def begins_group(self, packet: memoryview) -> bool:
        """Whether a packet holds an IDR picture, and no other parameter sets than are known.

        Args:
            packet: Its bytes.

        Raises:
            ValueError: It could not be copied.
        """
        is_idr = False
        for unit in units(packet):
            kind = unit[0] & 31
            is_idr = is_idr or kind == _IDR
            if kind in _PARTITIONS:
                raise ValueError("its slices are in data partitions")
            if kind in _LAYERS:
                raise ValueError("it has a second view or layer")
            if kind in (SEQUENCE_SET, PICTURE_SET):
                if not self._is_known(bytes(unit)):
                    raise ValueError("its parameter sets change midway")
                # OpenH264 then forgets the encoder's, and shows nothing of what was encoded.
                raise ValueError("its packets carry parameter sets of their own")
        return is_idr

    def _is_known(self, unit: bytes) -> bool:
        sets = self.configuration
        if unit[0] & 31 == SEQUENCE_SET:
            known = sets.sequence_sets.get(sequence_parameter_number(unit))
        else:
            known = sets.picture_sets.get(picture_parameter_number(unit))
        # A trailing zero byte says nothing.
        return known is not None and known.rstrip(b"\0") == unit.rstrip(b"\0")
