"""H.265 parameter sets: what a decoder sets itself up by (ITU-T H.265, 7.3.2, E.2)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from dubcli.media.packet_copy.sequence_parameters import (
    BitReader,
    SequenceParameters,
    read_aspect,
    read_colours,
)

VIDEO_SET, SEQUENCE_SET, PICTURE_SET = 32, 33, 34
SETS = (VIDEO_SET, SEQUENCE_SET, PICTURE_SET)
# Of `profile_tier_level`: before the level, and of a sublayer its profile and its level.
_PROFILE_BITS, _LEVEL_BITS = 88, 8
_MOST_LAYERS, _MOST_SETS, _MOST_REFERENCES = 8, 65, 16


@dataclass(frozen=True, kw_only=True)
class Delays:
    """What tells a decoder of its buffer, for all temporal layers together.

    Attributes:
        place: Bits of the set from and to which it stands, counted after the unit's header.
        num_buffered: How many frames are kept, the one that is decoded included.
        num_reorder: By how many frames output is at most delayed.
        latency: sps_max_latency_increase_plus1.
    """

    place: tuple[int, int]
    num_buffered: int
    num_reorder: int
    latency: int


@dataclass(frozen=True, kw_only=True)
class HevcSequenceSet:
    """A sequence parameter set.

    Attributes:
        parameters: What a decoder sets itself up by.
        tier: 0 main, 1 high.
        level: general_level_idc.
        num_layers: Temporal ones.
        level_at: First bit of the level, counted after the unit's header.
        number_at: Bits of the set's number, from and to.
        delays: Of its buffer.
    """

    parameters: SequenceParameters
    tier: int
    level: int
    num_layers: int
    level_at: int
    number_at: tuple[int, int]
    delays: Delays


@dataclass(frozen=True, kw_only=True)
class _HevcUsability:
    """What the optional part of a set tells."""

    sar: Fraction = Fraction(0)
    color: tuple[bool, int, int, int] = (False, 2, 2, 2)
    chroma_location: int = 0
    has_fields: bool = False
    display_window: tuple[int, ...] = (0, 0, 0, 0)


def kind_of(unit: bytes | memoryview) -> int:
    """nal_unit_type."""
    return unit[0] >> 1 & 63


def layer_of(unit: bytes | memoryview) -> int:
    """nuh_layer_id; 0 for what every decoder decodes."""
    return (unit[0] & 1) << 5 | unit[1] >> 3


def set_reader(unit: bytes) -> BitReader:
    """Bits of a unit after its header of two bytes."""
    return BitReader(unit[1:])


def read_sequence_set(unit: bytes) -> HevcSequenceSet:
    """Read a sequence parameter set.

    Args:
        unit: Its NAL unit, without a start code.

    Raises:
        ValueError: It ends too early, or says what no such set says.
    """
    reader = set_reader(unit)
    reader.bits(4)
    num_layers = reader.bits(3) + 1
    reader.flag()
    profile, tier, level_at, level = _read_profile(reader, num_layers)
    number_from = reader.position
    number = reader.golomb()
    number_at = (number_from, reader.position)
    chroma_format = reader.golomb()
    if chroma_format == 3:
        reader.flag()
    size = (reader.golomb(), reader.golomb())
    left, right, top, bottom = _read_window(reader)
    depths = (8 + reader.golomb(), 8 + reader.golomb())
    poc_bits = reader.golomb() + 4
    delays = read_delays(reader, num_layers)
    _skip_coding_tools(reader)
    _skip_references(reader, poc_bits)
    told = _read_usability(reader) if reader.flag() else _HevcUsability()
    if any(told.display_window):
        raise ValueError("its parameter sets have a second crop")
    return HevcSequenceSet(
        parameters=SequenceParameters(
            number=number,
            profile=profile,
            chroma_format=chroma_format,
            bit_depths=depths,
            size=size,
            crop=(left, right, top, bottom),
            is_progressive=not told.has_fields,
            sar=told.sar,
            color=told.color,
            chroma_location=told.chroma_location,
            num_reorder=delays.num_reorder,
            num_buffered=delays.num_buffered,
        ),
        tier=tier,
        level=level,
        num_layers=num_layers,
        level_at=level_at,
        number_at=number_at,
        delays=delays,
    )


def read_video_set(unit: bytes) -> tuple[int, int, Delays]:
    """First bit of the level, the level, and the delays of a video parameter set.

    Raises:
        ValueError: It ends too early.
    """
    reader = set_reader(unit)
    reader.bits(12)
    num_layers = reader.bits(3) + 1
    reader.bits(17)
    _, _, level_at, level = _read_profile(reader, num_layers)
    return level_at, level, read_delays(reader, num_layers)


def number_in_set(unit: bytes) -> int:
    """The number of a parameter set of any kind.

    Raises:
        ValueError: It ends too early.
    """
    kind = kind_of(unit)
    if kind == SEQUENCE_SET:
        return read_sequence_set(unit).parameters.number
    reader = set_reader(unit)
    return reader.bits(4) if kind == VIDEO_SET else reader.golomb()


def read_delays(reader: BitReader, num_layers: int) -> Delays:
    """What tells of the buffer, of the highest temporal layer.

    Raises:
        ValueError: It ends too early.
    """
    start = reader.position
    count = num_layers if reader.flag() else 1
    buffered = reorder = latency = 0
    for _ in range(count):
        buffered, reorder, latency = reader.golomb() + 1, reader.golomb(), reader.golomb()
    return Delays(
        place=(start, reader.position),
        num_buffered=buffered,
        num_reorder=reorder,
        latency=latency,
    )


def _read_profile(reader: BitReader, num_layers: int) -> tuple[int, int, int, int]:
    """Profile, tier, first bit of the level, and the level."""
    reader.bits(2)
    tier, profile = reader.bits(1), reader.bits(5)
    reader.bits(_PROFILE_BITS - 8)
    level_at, level = reader.position, reader.bits(_LEVEL_BITS)
    present = [(reader.flag(), reader.flag()) for _ in range(num_layers - 1)]
    if num_layers > 1:
        reader.bits(2 * (_MOST_LAYERS - num_layers + 1))
    for has_profile, has_level in present:
        reader.bits(_PROFILE_BITS * has_profile + _LEVEL_BITS * has_level)
    return profile, tier, level_at, level


def _read_window(reader: BitReader) -> tuple[int, int, int, int]:
    """What is cut off at the left, right, top and bottom, in units of the set."""
    if not reader.flag():
        return 0, 0, 0, 0
    return reader.golomb(), reader.golomb(), reader.golomb(), reader.golomb()


def _skip_coding_tools(reader: BitReader) -> None:
    for _ in range(6):
        reader.golomb()
    if reader.flag() and reader.flag():
        _skip_scaling(reader)
    reader.bits(2)
    if reader.flag():
        reader.bits(8)
        reader.golomb()
        reader.golomb()
        reader.flag()


def _skip_scaling(reader: BitReader) -> None:
    for size in range(4):
        for _ in range(0, 6, 3 if size == 3 else 1):
            if not reader.flag():
                reader.golomb()
                continue
            if size > 1:
                reader.signed_golomb()
            for _ in range(min(64, 1 << (4 + 2 * size))):
                reader.signed_golomb()


def _skip_references(reader: BitReader, poc_bits: int) -> None:
    count = reader.golomb()
    if count >= _MOST_SETS:
        raise ValueError("its parameter sets are damaged")
    shifts: list[int] = []
    for place in range(count):
        shifts = _read_reference_set(reader, place, shifts)
    if reader.flag():
        for _ in range(reader.golomb()):
            reader.bits(poc_bits + 1)
    reader.bits(2)


def _read_reference_set(reader: BitReader, place: int, before: list[int]) -> list[int]:
    """How far from a picture its short-term references are shown: earlier ones, then later ones.

    Args:
        reader: At the set.
        place: Its number.
        before: What the set before it gave, from which it may be predicted.
    """
    if place and reader.flag():
        is_back, by = reader.flag(), reader.golomb() + 1
        by = -by if is_back else by
        # A picture that is not used now may still be kept for later.
        kept = [shift + by for shift in (*before, 0) if reader.flag() or reader.flag()]
        earlier = sorted((shift for shift in kept if shift < 0), reverse=True)
        return earlier + sorted(shift for shift in kept if shift > 0)
    counts = reader.golomb(), reader.golomb()
    if sum(counts) > _MOST_REFERENCES:
        raise ValueError("its parameter sets are damaged")
    found: list[int] = []
    for count, sign in zip(counts, (-1, 1), strict=True):
        shift = 0
        for _ in range(count):
            shift += sign * (reader.golomb() + 1)
            reader.flag()
            found.append(shift)
    return found


def _read_usability(reader: BitReader) -> _HevcUsability:
    sar, color = read_aspect(reader), read_colours(reader)
    location = 0
    if reader.flag():
        location = reader.golomb()
        reader.golomb()
    reader.flag()
    has_fields = reader.flag()
    reader.flag()
    return _HevcUsability(
        sar=sar,
        color=color,
        chroma_location=location,
        has_fields=has_fields,
        display_window=_read_window(reader),
    )
