"""The packets of a source's H.264 stream: which of them begin groups that stand by themselves."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from av.error import FFmpegError
from av.packet import Packet

from dubcli.core.types import Int
from dubcli.media.container.concat import PacketRun
from dubcli.media.container.probe import open_media
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
_OTHER_SETS = "new_extradata"  # beside a packet from which on a file has another sample entry
_BUILD = re.compile(rb"x264 - core (\d+)")


class CopyRefusedError(Exception):
    """Packets cannot be copied exactly; its text says why."""


@dataclass(frozen=True, kw_only=True)
class PacketIndex:
    """Packets in decode order.

    Attributes:
        path: The file.
        stream: Index of the stream in it.
        pts: When each is shown, units of the stream's time base. Shape (n,), int64.
        ranks: The place of each in order of presentation. Shape (n,), int64.
        starts: Packets with an IDR picture before which all that is shown earlier is decoded.
            Shape (g,), ascending, int64.
        sizes: Bytes of each. Shape (n,), int64.
        configuration: The parameter sets that they decode by.
    """

    path: Path
    stream: int
    pts: Int
    ranks: Int
    starts: Int
    sizes: Int
    configuration: AvcConfiguration

    def __len__(self) -> int:
        return len(self.pts)

    def run(self, start: int, stop: int) -> PacketRun:
        """Packets of frames `start` to `stop - 1`, which begin and end whole groups."""
        ranks = self.ranks[start:stop] - start
        return PacketRun(path=self.path, first=start, ranks=ranks, stream=self.stream)

    @property
    def reordering(self) -> int:
        """By how many packets one is at most decoded later than presentation order has it."""
        return int(np.max(np.arange(len(self)) - self.ranks, initial=0))


def read_index(path: Path, stream: int) -> PacketIndex:
    """Read all packets of a stream once, without decoding any.

    Args:
        path: The file.
        stream: Index of its H.264 stream.

    Raises:
        CopyRefusedError: One of them could not be copied, or not be found again.
        ProbeError: The file is no longer there.
    """
    times: list[int] = []
    sizes: list[int] = []
    idrs: list[int] = []
    try:
        with open_media(path) as container:
            source = container.streams[stream]
            configuration = read_configuration(source.codec_context.extradata)
            for packet in container.demux(source):
                if not packet.size:
                    continue
                if not times:
                    _require_plain(bytes(packet), configuration)
                if _begins_group(packet, configuration):
                    idrs.append(len(times))
                times.append(_shown_at(packet))
                sizes.append(packet.size)
    except ValueError as error:
        raise CopyRefusedError(str(error)) from error
    except FFmpegError as error:
        raise CopyRefusedError("its packets cannot all be read") from error
    pts = np.array(times, np.int64)
    ranks = np.argsort(np.argsort(pts, kind="stable"), kind="stable")
    return PacketIndex(
        path=path,
        stream=stream,
        pts=pts,
        ranks=ranks,
        starts=_standing_alone(np.array(idrs, np.int64), ranks),
        sizes=np.array(sizes, np.int64),
        configuration=configuration,
    )


def _require_plain(first: bytes, configuration: AvcConfiguration) -> None:
    """Refuse packets that decode otherwise where the stream's first one is another."""
    build = _BUILD.search(first)
    if build is not None and int(build[1]) < _FIRST_BUILD:
        raise ValueError("its encoder is an early x264, whose packets decode by their build")
    if any(one.chroma_format == _FULL_CHROMA for one in configuration.parameters):
        raise ValueError("packets of 4:4:4 may decode by the build of their encoder")


def _shown_at(packet: Packet) -> int:
    if packet.pts is None:
        raise ValueError("a packet has no time")
    if packet.is_corrupt or packet.is_discard:
        raise ValueError("it has packets that are damaged or not shown")
    if not hasattr(packet, "has_sidedata"):
        raise ValueError("this version of PyAV does not tell where its parameter sets change")
    if packet.has_sidedata(_OTHER_SETS):
        raise ValueError("its parameter sets change midway")
    return packet.pts


def _begins_group(packet: Packet, configuration: AvcConfiguration) -> bool:
    """Whether a packet holds an IDR picture, and no other parameter sets than are known."""
    is_idr = False
    for unit in units(memoryview(packet)):
        kind = unit[0] & 31
        is_idr = is_idr or kind == _IDR
        if kind in _PARTITIONS:
            raise ValueError("its slices are in data partitions")
        if kind in _LAYERS:
            raise ValueError("it has a second view or layer")
        if kind in (SEQUENCE_SET, PICTURE_SET):
            if not _is_known(bytes(unit), configuration):
                raise ValueError("its parameter sets change midway")
            # OpenH264 then forgets the encoder's, and shows nothing of what was encoded.
            raise ValueError("its packets carry parameter sets of their own")
    return is_idr


def _is_known(unit: bytes, configuration: AvcConfiguration) -> bool:
    if unit[0] & 31 == SEQUENCE_SET:
        known = configuration.sequence_sets.get(sequence_parameter_number(unit))
    else:
        known = configuration.picture_sets.get(picture_parameter_number(unit))
    # A trailing zero byte says nothing.
    return known is not None and known.rstrip(b"\0") == unit.rstrip(b"\0")


def _standing_alone(idrs: Int, ranks: Int) -> Int:
    """Those IDR pictures before which exactly that is decoded which is shown before them."""
    before = np.concatenate([[-1], np.maximum.accumulate(ranks)])
    return idrs[before[idrs] == idrs - 1]
