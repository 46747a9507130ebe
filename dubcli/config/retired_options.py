"""Options that there were once, and what stands in their place."""

from __future__ import annotations

_NEXT_STEPS = {
    "copy_untouched": (
        "Leave it out: untouched packets are copied by default; --reencode encodes everything."
    ),
}


def next_step_after(name: str) -> str | None:
    """What to do in place of an option that is gone.

    Args:
        name: As it was written: of a field, a flag, a key of a file or a column.

    Returns:
        A sentence; None where there never was such an option.
    """
    return _NEXT_STEPS.get(name.lstrip("-").replace("-", "_").lower())
