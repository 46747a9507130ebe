"""Packets of H.265: which begin groups, and which could not stand beside an encoder's."""

from __future__ import annotations

from dubcli.media.packet_copy.avc_configuration import units
from dubcli.media.packet_copy.hevc_configuration import HevcConfiguration, read_hevc_configuration
from dubcli.media.packet_copy.hevc_parameters import SETS, kind_of, layer_of

# Others that may be decoded first have pictures that are shown before and refer across them.
_IDRS = (19, 20)
_HEADER = 2


class HevcPackets:
    """What is known of a stream before its packets are read.

    Args:
        record: Its hvcC.

    Attributes:
        configuration: Its parameter sets.

    Raises:
        ValueError: Its packets cannot be copied.
    """

    def __init__(self, record: bytes | None) -> None:
        self.configuration: HevcConfiguration = read_hevc_configuration(record)

    def require_plain(self, first: bytes) -> None:
        """As `AvcPackets.require_plain`: there is no such case."""

    def begins_group(self, packet: memoryview) -> bool:
        """Whether a packet holds an IDR picture, and neither parameter sets nor a second layer.

        Args:
            packet: Its bytes.

        Raises:
            ValueError: It could not be copied.
        """
        is_idr = False
        for unit in units(packet):
            if len(unit) < _HEADER:
                raise ValueError("its packets are damaged")
            kind = kind_of(unit)
            if layer_of(unit):
                raise ValueError("it has a second view or layer")
            if kind in SETS:
                raise ValueError("its packets carry parameter sets of their own")
            is_idr = is_idr or kind in _IDRS
        return is_idr
