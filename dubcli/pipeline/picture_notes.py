"""What is to be told of the picture's light and grain, as they bear on the lips."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dubcli.core.formatting import clock_time
from dubcli.pipeline.decision import Decision
from dubcli.pipeline.passed_ranges import passed_ranges
from dubcli.pipeline.speakers import PreparedSpeaker

_MOST_RANGES = 3


def picture_notes(decision: Decision, speakers: Sequence[PreparedSpeaker]) -> list[str]:
    """Where the lips are lit anew, and whether they get grain, each in a sentence.

    Args:
        decision: Who is dubbed when.
        speakers: The people.
    """
    timeline, source = decision.schedule.timeline, decision.schedule.timeline.source_index
    relit, grainy = np.zeros(len(timeline), bool), np.zeros(len(timeline), bool)
    for one in speakers:
        shown = one.speaker.strength > 0
        relit |= shown & one.face.light.is_other[source]
        grainy |= shown & (one.face.grain_shares[source] > 0)
    notes: list[str] = []
    if relit.any():
        notes.append(f"The light differs at {_when(relit, decision)}; the lips are lit likewise.")
    if grainy.any():
        where = "" if grainy[decision.strength > 0].all() else f" at {_when(grainy, decision)}"
        notes.append(f"The picture has grain{where}; the lips get the same.")
    return notes


def _when(where: np.ndarray, decision: Decision) -> str:
    """The longest ranges of some positions of the timeline, in words."""
    timeline = decision.schedule.timeline
    words = ["x" if one else "" for one in where.tolist()]
    found = passed_ranges(words, timeline.pts.tolist(), timeline.end_pts, timeline.time_base)
    longest = sorted(found, key=lambda one: -one.frames)[:_MOST_RANGES]
    named = [
        f"{clock_time(float(one.start_s))} to {clock_time(float(one.end_s))}"
        for one in sorted(longest, key=lambda one: one.start_s)
    ]
    more = len(found) - len(longest)
    return ", ".join(named) + (f" and {more} more ranges" if more else "")
