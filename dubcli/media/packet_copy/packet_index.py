"""The packets of a source's stream: which of them begin groups that stand by themselves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from av.error import FFmpegError
from av.packet import Packet

from dubcli.core.types import Int
from dubcli.media.container.concat import PacketRun
from dubcli.media.container.probe import open_media
from dubcli.media.packet_copy.avc_configuration import AvcConfiguration
from dubcli.media.packet_copy.avc_packets import AvcPackets
from dubcli.media.packet_copy.hevc_configuration import HevcConfiguration
from dubcli.media.packet_copy.hevc_packets import HevcPackets

_KINDS = {"h264": AvcPackets, "hevc": HevcPackets}
_OTHER_SETS = "new_extradata"  # beside a packet from which on a file has another sample entry
StreamConfiguration = AvcConfiguration | HevcConfiguration


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
    configuration: StreamConfiguration

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
        stream: Index of its stream of H.264 or H.265.

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
            kind = _KINDS[source.codec_context.codec.canonical_name](source.codec_context.extradata)
            for packet in container.demux(source):
                if not packet.size:
                    continue
                if not times:
                    kind.require_plain(bytes(packet))
                if kind.begins_group(memoryview(packet)):
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
        configuration=kind.configuration,
    )


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


def _standing_alone(idrs: Int, ranks: Int) -> Int:
    """Those IDR pictures before which exactly that is decoded which is shown before them."""
    before = np.concatenate([[-1], np.maximum.accumulate(ranks)])
    return idrs[before[idrs] == idrs - 1]
