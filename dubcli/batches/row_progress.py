"""How much of a row is done, from what its command tells while it runs."""

from __future__ import annotations

# The part of a row's time that each stage takes, roughly: begin and end, from 0 to 1. Stages that
# are short, or that nobody can foretell, are left out.
_STAGES = {
    "dub": {"analyse": (0.0, 0.2), "dub": (0.2, 1.0)},
    "plan": {"analyse": (0.0, 1.0)},
    "finetune": {"crops": (0.0, 0.2), "learn": (0.2, 1.0)},
    "evaluate": {"evaluate": (0.0, 1.0)},
}
# A row is done when its result is in place.
_MOST = 0.99


def share_done(command: str, stage: str, done: int, total: int) -> float | None:
    """Which part of a row is done, from 0 to 1; None where the stage does not tell.

    Args:
        command: Of the row.
        stage: What its command is doing, as progress has it.
        done: How much of the stage is done.
        total: How much there is; 0 where nobody knows.
    """
    span = _STAGES.get(command, {}).get(stage)
    if span is None or total <= 0:
        return None
    begin, end = span
    return min(_MOST, begin + (end - begin) * min(1.0, done / total))
