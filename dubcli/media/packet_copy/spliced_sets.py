"""Parameter sets of a stream that holds a source's packets and an encoder's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from dubcli.media.container.ffmpeg import file_url
from dubcli.media.packet_copy.avc_configuration import AvcConfiguration, read_configuration
from dubcli.media.packet_copy.copy_plan import joined_configuration
from dubcli.media.packet_copy.hevc_configuration import read_hevc_configuration
from dubcli.media.packet_copy.hevc_renumbering import renumbered
from dubcli.media.packet_copy.packet_index import CopyRefusedError, StreamConfiguration


@dataclass(frozen=True, kw_only=True)
class SplicedSets:
    """How a decoder finds the sets of every packet.

    Attributes:
        extradata: All of them, as the record that a file holds before its packets.
        rewrite: What becomes of the encoder's packets; None where they stay as they are.
    """

    extradata: bytes
    rewrite: Callable[[bytes], bytes] | None = None


def spliced_sets(source: StreamConfiguration, template: Path, sar: Fraction) -> SplicedSets:
    """Put an encoder's parameter sets beside a source's.

    Args:
        source: Sets of the packets that are copied.
        template: A file of the encoder, held to what `match_for` gives.
        sar: Width over height of one sample, as players show it.

    Raises:
        CopyRefusedError: They cannot stand in one stream.
    """
    with av.open(file_url(template)) as made:
        stream = made.streams.video[0]
        record = stream.codec_context.extradata
        first = bytes(next(packet for packet in made.demux(stream) if packet.size))
    try:
        if isinstance(source, AvcConfiguration):
            joined = joined_configuration(source, read_configuration(record), sar)
            return SplicedSets(extradata=joined.as_bytes())
        anew = renumbered(source, read_hevc_configuration(record), first)
    except ValueError as error:
        raise CopyRefusedError(str(error)) from error
    joined = joined_configuration(source, anew.configuration, sar)
    return SplicedSets(extradata=joined.as_bytes(), rewrite=anew.packet)
