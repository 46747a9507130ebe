"""Figures and codes as people read them. Standard library only."""

from __future__ import annotations

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


def reason_in_words(reason: str) -> str:
    """What a report's word for a reason means."""
    return REASONS.get(reason, reason.replace("_", " "))


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
