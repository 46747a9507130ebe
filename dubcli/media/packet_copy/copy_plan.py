"""Which frames of a result are copied as packets, and which are encoded. Reads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np

from dubcli.core.types import Bool, Int
from dubcli.media.packet_copy.avc_configuration import AvcConfiguration
from dubcli.media.packet_copy.hevc_configuration import HevcConfiguration
from dubcli.media.packet_copy.packet_index import (
    CopyRefusedError,
    PacketIndex,
    StreamConfiguration,
)
from dubcli.media.packet_copy.sequence_parameters import SequenceParameters
from dubcli.media.packet_copy.stream_match import StreamMatch

# Where neither so large a share nor so many seconds can be copied, hardly anything is gained.
_LEAST_SHARE, _LEAST_S = Fraction(1, 20), 5


@dataclass(frozen=True, kw_only=True)
class FrameRange:
    """Neighbouring frames of a result, `start` to `stop - 1`, copied or encoded."""

    start: int
    stop: int
    is_copied: bool

    def __len__(self) -> int:
        return self.stop - self.start


def plan_ranges(touched: Bool, index: PacketIndex, least: int) -> tuple[FrameRange, ...]:
    """Divide a result whose frames are the source's first ones, in order.

    Args:
        touched: Which frames differ from the source's. Shape (n,), no more than there are packets.
        index: The source's packets.
        least: Runs of fewer frames are not worth copying.

    Returns:
        Ranges that follow each other, copied and encoded ones in turn; they tile the result.
    """
    num = len(touched)
    bounds = [*index.starts.tolist(), len(index)]
    is_copied: Bool = np.zeros(num, np.bool_)
    for start, stop in pairwise(bounds):
        if stop <= num and not touched[start:stop].any():
            is_copied[start:stop] = True
    changes = [0, *(np.flatnonzero(np.diff(is_copied)) + 1).tolist(), num]
    for start, stop in pairwise(changes):
        if stop - start < least:
            is_copied[start:stop] = False
    changes = [0, *(np.flatnonzero(np.diff(is_copied)) + 1).tolist(), num]
    return tuple(
        FrameRange(start=start, stop=stop, is_copied=bool(is_copied[start]))
        for start, stop in pairwise(changes)
    )


def is_worthwhile(ranges: Sequence[FrameRange], frame_rate: Fraction) -> bool:
    """Whether so much is copied that it is worth two kinds of packets in one stream.

    Args:
        ranges: They tile the result.
        frame_rate: Frames per second.
    """
    num, copied = sum(map(len, ranges)), sum(len(one) for one in ranges if one.is_copied)
    return copied >= min(_LEAST_SHARE * num, _LEAST_S * frame_rate) and copied > 0


def require_same_times(index: PacketIndex, pts: Sequence[int] | Int) -> None:
    """Refuse a source whose frames are not its packets, one by one.

    Args:
        index: Its packets.
        pts: When each of its frames is shown, in the same units.

    Raises:
        CopyRefusedError: They differ.
    """
    if not np.array_equal(np.sort(index.pts), np.asarray(pts, np.int64)):
        raise CopyRefusedError("its packets and its frames do not match one to one")


def match_for(index: PacketIndex) -> StreamMatch:
    """What the encoder is held to beside these packets.

    Raises:
        CopyRefusedError: There is nothing that it could keep to.
    """
    sets = _read_parameters(index.configuration)
    number, profile = index.configuration.free_number(), index.configuration.profile_name
    if not all(one.is_progressive for one in sets):
        raise CopyRefusedError("its frames may hold fields")
    if profile is None:
        raise CopyRefusedError(f"no encoder here has its profile {index.configuration.profile}")
    if number is None:
        raise CopyRefusedError("its parameter sets leave no number free")
    delays = [one.num_reorder for one in sets]
    told = [delay for delay in delays if delay is not None]
    if len(told) < len(delays) and index.reordering:
        raise CopyRefusedError("its parameter sets do not tell how deeply frames are reordered")
    return StreamMatch(
        number=number,
        profile=profile,
        num_reorder=max(told) if len(told) == len(delays) else 0,
        num_buffered=sets[0].num_buffered,
        sar=sets[0].sar,
    )


def joined_configuration(
    source: StreamConfiguration, encoded: StreamConfiguration, sar: Fraction
) -> StreamConfiguration:
    """The parameter sets of packets of both kinds.

    Args:
        source: Of the packets that are copied.
        encoded: Of those that the encoder makes, of the same codec.
        sar: Width over height of one sample, as players show it.

    Raises:
        CopyRefusedError: They differ in what a decoder sets itself up by.
    """
    if not source.holds(encoded.profile):
        raise CopyRefusedError("the encoder needs another profile than the source's")
    own, made = _read_parameters(source), _read_parameters(encoded)
    if any(one.num_reorder is None for one in made):
        raise CopyRefusedError("the encoder does not tell how deeply it reorders")
    for name, value in _compared(made[0]).items():
        if any(_compared(one)[name] != value for one in own):
            raise CopyRefusedError(f"the encoder's {name} is not what its parameter sets have")
    if sar == 1 and made[0].sar not in (0, 1):
        raise CopyRefusedError("its parameter sets and its file tell different pixel aspects")
    try:
        if isinstance(source, AvcConfiguration) and isinstance(encoded, AvcConfiguration):
            return source.joined(encoded)
        if isinstance(source, HevcConfiguration) and isinstance(encoded, HevcConfiguration):
            return source.joined(encoded)
    except ValueError as error:
        raise CopyRefusedError(str(error)) from error
    raise CopyRefusedError("the encoder is of another codec")


def _compared(one: SequenceParameters) -> dict[str, object]:
    """What must be equal, in words."""
    return {
        "size": one.size,
        "cropping": one.crop,
        "chroma format": one.chroma_format,
        "bit depth": one.bit_depths,
        "pixel aspect": one.sar,
        "colour tags": one.color,
        "place of chroma samples": one.chroma_location,
        "scan": one.is_progressive,
        "count of buffered frames": one.num_buffered,
    }


def _read_parameters(configuration: StreamConfiguration) -> tuple[SequenceParameters, ...]:
    try:
        sets = configuration.parameters
    except ValueError as error:
        raise CopyRefusedError(str(error)) from error
    if not sets:
        raise CopyRefusedError("its file holds no parameter sets")
    return sets
