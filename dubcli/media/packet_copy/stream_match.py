"""What an encoder must keep to, so that its packets may stand beside a source's."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, kw_only=True)
class StreamMatch:
    """What x264 is held to.

    Attributes:
        number: Of its parameter sets; the source's have others.
        profile: x264's word for the source's.
        num_reorder: By how many frames the source's output is delayed.
        sar: Width over height of one sample as the source's sets have it; 0 where they do not.
    """

    number: int
    profile: str
    num_reorder: int
    sar: Fraction

    def x264_parameters(self) -> dict[str, str]:
        """Words of x264 itself."""
        words = {"sps-id": str(self.number)}
        if self.num_reorder == 0:
            words["bframes"] = "0"
        elif self.num_reorder == 1:
            words["b-pyramid"] = "none"
        return words
