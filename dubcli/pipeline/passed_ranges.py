"""Frames that are left as they are, told as ranges of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any


@dataclass(frozen=True, kw_only=True)
class PassedRange:
    """Neighbouring frames that show the source's own picture for one reason.

    Attributes:
        start_s: When the first of them is shown, seconds.
        end_s: When the frame after the last is shown, or the video ends, seconds.
        frames: How many.
        reason: A `face.usability.Reason`, or another word of the report: fade, silence.
    """

    start_s: Fraction
    end_s: Fraction
    frames: int
    reason: str

    def as_json(self) -> dict[str, Any]:
        """The range as JSON-ready values, to the millisecond."""
        return {
            "start_s": round(float(self.start_s), 3),
            "end_s": round(float(self.end_s), 3),
            "frames": self.frames,
            "reason": self.reason,
        }


def passed_ranges(
    reasons: Sequence[str], pts: Sequence[int], end_pts: int, time_base: Fraction
) -> list[PassedRange]:
    """Put neighbours with the same reason together.

    Args:
        reasons: Why each frame is left as it is, '' where it is not. Length N.
        pts: When each is shown, increasing. Length N.
        end_pts: When the last frame ends.
        time_base: Seconds of one unit.

    Returns:
        In the order of time; a change of the reason begins another range.

    Raises:
        ValueError: The lengths differ.
    """
    if len(reasons) != len(pts):
        raise ValueError(f"{len(reasons)} reasons for {len(pts)} frames")
    times = [value * time_base for value in (*pts, end_pts)]
    ranges: list[PassedRange] = []
    first = 0
    for place in range(1, len(reasons) + 1):
        if place < len(reasons) and reasons[place] == reasons[first]:
            continue
        if reasons[first]:
            ranges.append(
                PassedRange(
                    start_s=times[first],
                    end_s=times[place],
                    frames=place - first,
                    reason=reasons[first],
                )
            )
        first = place
    return ranges
