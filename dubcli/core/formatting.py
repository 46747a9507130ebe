"""Figures and codes as people read them. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Mapping

# Why frames stay as they are, by the word that reports use.
REASONS = {
    "no_face": "face not seen",
    "too_small": "face too small",
    "turned_away": "turned away",
    "cut_off": "cut off by the picture's edge",
    "covered": "mouth covered",
    "blurred": "blurred",
    "brief": "seen too briefly",
    "cross_fade": "a cross-fade",
    "flash": "a flash",
    "too_dark": "too dark",
    "overexposed": "overexposed",
    "fade": "beside such a frame",
    "silence": "nobody speaks",
    "outside": "outside the part",
}


# What helps where no frame can be dubbed, by the reason that most of them have.
REMEDIES = {
    "too_small": "Use footage in which the face is at least 40 px high, or scale the video up.",
    "turned_away": "Use footage in which the face looks towards the camera: at most 50 degrees "
    "aside, 45 up or down.",
    "cut_off": "Use footage that shows the whole mouth and chin, such as the video before it was "
    "cropped.",
    "covered": "Use footage without a mask, a hand or writing in front of the mouth.",
    "blurred": "Use sharper footage, or a part in which the head moves less.",
    "too_dark": "Use footage with more light, or brighten it first.",
    "overexposed": "Use footage with less light, or darken it first.",
    "brief": "Use footage in which the face is seen for longer.",
}
_ANY_REMEDY = (
    "Use footage in which a face is at least 40 px high and turned to the camera; dub plan shows "
    "what is seen."
)


def reason_in_words(reason: str) -> str:
    """What a report's word for a reason means."""
    return REASONS.get(reason, reason.replace("_", " "))


def reasons_in_words(counts: Mapping[str, int]) -> str:
    """Such as `turned away: 12, mouth covered: 3`, the commonest reason first; '' for none."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{reason_in_words(reason)}: {num}" for reason, num in ordered)


def remedy(counts: Mapping[str, int]) -> str:
    """What to do where frames cannot be dubbed, by the commonest reason."""
    commonest = max(counts, key=lambda reason: counts[reason], default="")
    return REMEDIES.get(commonest, _ANY_REMEDY)


def in_bytes(number: float) -> str:
    """A size such as `3.4 GB`, in powers of ten."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        # What would be rounded to 1000 of a unit is one of the next.
        if number >= 0.9995 * size:
            value = number / size
            return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"
    return f"{number / 1e3:.0f} kB"


def in_time(seconds: float) -> str:
    """A duration such as `1 h 5 min`, `1 min 20 s` or `0.4 s`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def clock_time(seconds: float) -> str:
    """A place in a video such as `0:02.3` or `1:02:03.4`."""
    tenths = round(seconds * 10)
    sign, tenths = ("-" if tenths < 0 else ""), abs(tenths)
    minutes, rest = divmod(tenths, 600)
    clock = f"{rest // 10:02d}.{rest % 10}"
    if minutes < 60:
        return f"{sign}{minutes}:{clock}"
    return f"{sign}{minutes // 60}:{minutes % 60:02d}:{clock}"


# What steers a terminal or turns the order of letters around: all control characters but tab and
# line feed, and Unicode's overrides of direction.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def plain_text(text: str) -> str:
    r"""Text that a terminal shows and does not obey; what steers it stands as `\x1b` does."""
    return _STEERING.sub(lambda found: ascii(found[0])[1:-1], text)


def escaped_json(text: str) -> str:
    """The same JSON, with what steers a terminal as JSON's escapes."""
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
