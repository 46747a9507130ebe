"""H.264 sequence parameter sets: what a decoder sets itself up by (ITU-T H.264, 7.3.2.1, E.1)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

# Profiles whose sets tell the chroma format and the depths.
_WITH_CHROMA = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)
_EXTENDED_SAR = 255
_SARS = (
    *((0, 1), (1, 1), (12, 11), (10, 11), (16, 11), (40, 33), (24, 11), (20, 11), (32, 11)),
    *((80, 33), (18, 11), (15, 11), (64, 33), (160, 99), (4, 3), (3, 2), (2, 1)),
)
_UNSPECIFIED = 2
# Profiles that hold no other frames than key frames where their third constraint is set.
_MAYBE_INTRA = (44, 86, 100, 110, 122, 244)
# MaxDpbMbs by level, macroblocks that a decoder keeps (Table A-1), and the most frames of them.
_BUFFERED_BLOCKS = {
    **dict.fromkeys((9, 10), 396),
    11: 900,
    **dict.fromkeys((12, 13, 20), 2376),
    21: 4752,
    **dict.fromkeys((22, 30), 8100),
    31: 18000,
    32: 20480,
    **dict.fromkeys((40, 41), 32768),
    42: 34816,
    50: 110400,
    **dict.fromkeys((51, 52), 184320),
    **dict.fromkeys((60, 61, 62), 696320),
}
_MOST_BUFFERED = 16


@dataclass(frozen=True, kw_only=True)
class SequenceParameters:
    """Facts of one set.

    Attributes:
        number: By which picture parameter sets name it.
        profile: profile_idc.
        chroma_format: 0 grey, 1 4:2:0, 2 4:2:2, 3 4:4:4.
        bit_depths: Of luma and chroma.
        size: Width and height before cropping, px.
        crop: What is cut off at the left, right, top and bottom, in units of the set.
        is_progressive: No picture holds fields.
        sar: Width over height of one sample; 0 where it is not told.
        color: Full range or not, then primaries, transfer and matrix as numbers of ITU-T H.273.
        chroma_location: Type of the top field; 0 where it is not told.
        num_reorder: By how many frames output is at most delayed; None where it is not told.
        num_buffered: How many frames a decoder keeps; what the level says where it is not told.
    """

    number: int
    profile: int
    chroma_format: int
    bit_depths: tuple[int, int]
    size: tuple[int, int]
    crop: tuple[int, int, int, int]
    is_progressive: bool
    sar: Fraction
    color: tuple[bool, int, int, int]
    chroma_location: int
    num_reorder: int | None
    num_buffered: int


@dataclass(frozen=True, kw_only=True)
class _Usability:
    """What the optional part of a set tells."""

    sar: Fraction = Fraction(0)
    color: tuple[bool, int, int, int] = (False, _UNSPECIFIED, _UNSPECIFIED, _UNSPECIFIED)
    chroma_location: int = 0
    num_reorder: int | None = None
    num_buffered: int | None = None


class BitReader:
    """Bits of a NAL unit, without the bytes that keep start codes out of it.

    Args:
        unit: The NAL unit, its header of one byte included.

    Raises:
        ValueError: It ends too early; from every read.
    """

    def __init__(self, unit: bytes) -> None:
        payload = bytes(unit[1:]).replace(b"\0\0\3", b"\0\0")
        self._bits, self._left = int.from_bytes(payload, "big"), 8 * len(payload)
        self._num = self._left

    @property
    def position(self) -> int:
        """How many bits were read, without those bytes."""
        return self._num - self._left

    def bits(self, count: int) -> int:
        """An unsigned number of so many bits."""
        self._left -= count
        if self._left < 0:
            raise ValueError("the parameter set ends too early")
        return self._bits >> self._left & (1 << count) - 1

    def flag(self) -> bool:
        """One bit."""
        return self.bits(1) == 1

    def golomb(self) -> int:
        """An unsigned Exp-Golomb number, ue(v)."""
        zeros = 0
        while not self.flag():
            zeros += 1
        return (1 << zeros) - 1 + self.bits(zeros)

    def signed_golomb(self) -> int:
        """A signed Exp-Golomb number, se(v)."""
        value = self.golomb()
        return (value + 1) // 2 if value % 2 else -(value // 2)


def read_sequence_parameters(unit: bytes) -> SequenceParameters:
    """Read a sequence parameter set.

    Args:
        unit: Its NAL unit, without a start code.

    Raises:
        ValueError: It ends too early.
    """
    reader = BitReader(unit)
    profile = reader.bits(8)
    constraints, level = reader.bits(8), reader.bits(8)
    number = reader.golomb()
    chroma_format, depths = 1, (8, 8)
    if profile in _WITH_CHROMA:
        chroma_format = reader.golomb()
        if chroma_format == 3:
            reader.flag()
        depths = (8 + reader.golomb(), 8 + reader.golomb())
        reader.flag()
        _skip_scaling(reader, 12 if chroma_format == 3 else 8)
    reader.golomb()
    is_in_order = _skip_order(reader)
    reader.golomb()
    reader.flag()
    width, map_height = 16 * (reader.golomb() + 1), 16 * (reader.golomb() + 1)
    is_progressive = reader.flag()
    if not is_progressive:
        reader.flag()
    reader.flag()
    left, right, top, bottom = [reader.golomb() for _ in range(4)] if reader.flag() else [0] * 4
    height = map_height if is_progressive else 2 * map_height
    told = _read_usability(reader) if reader.flag() else _Usability()
    third = constraints >> 4 & 1 == 1
    if told.num_buffered is None and third and profile in _MAYBE_INTRA:
        told = replace(told, num_buffered=0)
    is_1b = level == 11 and third and profile not in _MAYBE_INTRA
    blocks = _BUFFERED_BLOCKS.get(9 if is_1b else level, 0)
    by_level = min(_MOST_BUFFERED, blocks // (width // 16 * (height // 16)))
    # Baseline has no B slices, and its output need not wait.
    never_waits = is_in_order or profile == 66
    return SequenceParameters(
        number=number,
        profile=profile,
        chroma_format=chroma_format,
        bit_depths=depths,
        size=(width, height),
        crop=(left, right, top, bottom),
        is_progressive=is_progressive,
        sar=told.sar,
        color=told.color,
        chroma_location=told.chroma_location,
        num_reorder=0 if never_waits and told.num_reorder is None else told.num_reorder,
        num_buffered=by_level if told.num_buffered is None else told.num_buffered,
    )


def picture_parameter_number(unit: bytes) -> int:
    """The number of a picture parameter set, by which slices name it.

    Args:
        unit: Its NAL unit, without a start code.

    Raises:
        ValueError: It ends too early.
    """
    return BitReader(unit).golomb()


def _skip_order(reader: BitReader) -> bool:
    """Skip how output order is coded; returns whether it is that of decoding."""
    kind = reader.golomb()
    if kind == 0:
        reader.golomb()
    elif kind == 1:
        reader.flag()
        reader.signed_golomb()
        reader.signed_golomb()
        for _ in range(reader.golomb()):
            reader.signed_golomb()
    return kind == 2


def _skip_scaling(reader: BitReader, lists: int) -> None:
    if not reader.flag():
        return
    for number in range(lists):
        if not reader.flag():
            continue
        last = following = 8
        for _ in range(16 if number < 6 else 64):
            if following:
                following = (last + reader.signed_golomb()) % 256
            last = following or last


def read_aspect(reader: BitReader) -> Fraction:
    """Width over height of one sample, as H.264 and H.265 code it; 0 where it is not told.

    Raises:
        ValueError: The set ends too early.
    """
    if not reader.flag():
        return Fraction(0)
    kind = reader.bits(8)
    pair = (reader.bits(16), reader.bits(16)) if kind == _EXTENDED_SAR else (0, 1)
    pair = _SARS[kind] if kind < len(_SARS) else pair
    return Fraction(*pair) if pair[1] else Fraction(0)


def read_colours(reader: BitReader) -> tuple[bool, int, int, int]:
    """Overscan, which is skipped, then `SequenceParameters.color`, as both codecs code it.

    Raises:
        ValueError: The set ends too early.
    """
    is_full, primaries, transfer, matrix = False, _UNSPECIFIED, _UNSPECIFIED, _UNSPECIFIED
    if reader.flag():
        reader.flag()
    if reader.flag():
        reader.bits(3)
        is_full = reader.flag()
        if reader.flag():
            primaries, transfer, matrix = reader.bits(8), reader.bits(8), reader.bits(8)
    return is_full, primaries, transfer, matrix


def _read_usability(reader: BitReader) -> _Usability:
    sar, color = read_aspect(reader), read_colours(reader)
    location = 0
    if reader.flag():
        location = reader.golomb()
        reader.golomb()
    if reader.flag():
        reader.bits(65)
    has_rates = [_skip_rates(reader) for _ in range(2)]
    if any(has_rates):
        reader.flag()
    reader.flag()
    delays = _read_delays(reader) if reader.flag() else (None, None)
    return _Usability(
        sar=sar,
        color=color,
        chroma_location=location,
        num_reorder=delays[0],
        num_buffered=delays[1],
    )


def _skip_rates(reader: BitReader) -> bool:
    """Skip parameters of the hypothetical reference decoder; returns whether there were any."""
    if not reader.flag():
        return False
    count = reader.golomb() + 1
    reader.bits(8)
    for _ in range(count):
        reader.golomb()
        reader.golomb()
        reader.flag()
    reader.bits(20)
    return True


def _read_delays(reader: BitReader) -> tuple[int, int]:
    """By how many frames output is delayed, and how many are kept."""
    reader.flag()
    for _ in range(4):
        reader.golomb()
    return reader.golomb(), reader.golomb()
