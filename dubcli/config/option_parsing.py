"""How options that are words are read: faces, levels, times."""

from __future__ import annotations

import math
import re
from fractions import Fraction

from dubcli.core.errors import ConfigError

FACE_PLACES = ("left", "right", "centre", "center", "top", "bottom")


def check(condition: bool, cause: str, next_step: str) -> None:
    """Refuse a configuration.

    Raises:
        ConfigError: The condition does not hold.
    """
    if not condition:
        raise ConfigError(cause, next_step)


def face_number(face: str | int) -> int | None:
    """The number in a choice of a face such as `DubConfig.face`; None where it is no number."""
    try:
        return int(face)
    except ValueError:
        return None


def check_face(face: str | int) -> None:
    """Refuse what cannot choose a face.

    Raises:
        ConfigError: It is no number from 1, no place, no file name and not `auto`.
    """
    number = face_number(face)
    check(number is None or number >= 1, f"Face {face} does not exist.", "Faces count from 1.")
    check(
        number is not None
        or face in ("auto", *FACE_PLACES)
        # What may be a path; a picture's name has at least an ending.
        or any(mark in str(face) for mark in "./\\"),
        f"Unknown face '{face}'.",
        "Use auto, a number from 1, left, right, centre, top, bottom, or a picture's file.",
    )


def decibels(text: str) -> float:
    """A level such as `-20dB` or `-20`.

    Raises:
        ConfigError: It is none, or not from -60 to 0.
    """
    try:
        level = float(re.sub(r"\s*dB$", "", text.strip(), flags=re.IGNORECASE))
    except ValueError:
        level = math.nan
    check(-60 <= level <= 0, f"A level of '{text}'.", "Use -60dB to 0dB, such as -20dB.")
    return level


def moment(text: str) -> Fraction:
    """A time such as `75.5`, `1:15.5` or `0:01:15.5`, in seconds.

    Raises:
        ConfigError: It is none.
    """
    # Nine digits are thirty years.
    found = re.fullmatch(r"(?:(?:(\d{1,6}):)?(\d{1,6}):)?(\d{1,9}(?:\.\d{1,9})?)", text.strip())
    hours, minutes, seconds = (Fraction(part or 0) for part in (found.groups() if found else "000"))
    is_clock = ":" not in text or (seconds < 60 and (text.count(":") == 1 or minutes < 60))
    check(
        found is not None and text.isascii() and is_clock,
        f"A time of '{text}'.",
        "Use seconds such as 75.5, or [H:]M:S such as 1:15.5.",
    )
    return 3600 * hours + 60 * minutes + seconds


def listed_names(listed: str) -> tuple[str, ...]:
    """The different names of a comma-separated list, in order."""
    return tuple(dict.fromkeys(name.strip() for name in listed.split(",") if name.strip()))
