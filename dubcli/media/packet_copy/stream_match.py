"""What an encoder must keep to, so that its packets may stand beside a source's."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

_PYRAMID_BUFFER = 4  # frames that x264 asks for where B frames refer to each other


@dataclass(frozen=True, kw_only=True)
class StreamMatch:
    """What x264 or x265 is held to.

    Attributes:
        number: Of x264's parameter sets; the source's have others. x265's get theirs afterwards.
        profile: The encoder's word for the source's.
        num_reorder: By how many frames the source's output is delayed.
        num_buffered: How many frames a decoder of the source keeps.
        sar: Width over height of one sample as the source's sets have it; 0 where they do not.
    """

    number: int
    profile: str
    num_reorder: int
    num_buffered: int
    sar: Fraction

    def x265_parameters(self) -> dict[str, str]:
        """Words of x265 itself."""
        if self.num_reorder == 0:
            return {"bframes": "0"}
        return {"b-pyramid": "0"} if self.num_reorder == 1 else {}

    def x264_parameters(self) -> dict[str, str]:
        """Words of x264 itself."""
        # A decoder may drop frames that wait to be shown where the size of its buffer changes.
        words = {"sps-id": str(self.number), "dpb-size": str(self.num_buffered)}
        if self.num_buffered == 0:
            words["keyint"] = "1"
        if self.num_reorder == 0:
            words["bframes"] = "0"
        elif self.num_reorder == 1 or self.num_buffered < _PYRAMID_BUFFER:
            words["b-pyramid"] = "none"
        return words
