"""Names of files: what is no file at all, and how long a name may be. Standard library only."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

# What file systems hold where they do not say, and what a name that is made here leaves for the
# endings of files beside it, bytes.
_USUAL_LIMIT, _ROOM_FOR_ENDINGS = 255, 16
# Marks a shortened name; the digest keeps two long names apart that begin alike.
_DIGEST_LETTERS = 8
# Two letters at least: one is a drive. A path has lost one of the two slashes.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(?=.)")


def address_in(path: Path) -> str | None:
    """The address that was given in place of a file, such as `https://host/clip.mp4`; else None."""
    found = _ADDRESS.match(str(path))
    return None if found is None else f"{found[1]}://{str(path)[found.end() :]}"


def name_limit(folder: Path) -> int:
    """How many bytes a name in a folder may have."""
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):  # no such call, or no such folder
        return _USUAL_LIMIT


def fitting_name(stem: str, ending: str, folder: Path) -> str:
    """A file's name that a folder can hold, with room for a longer ending of files beside it.

    Args:
        stem: Any name.
        ending: What comes after it, whole.
        folder: Where the file will lie.

    Returns:
        Stem and ending; a stem that is too long is cut between two characters, and ends in `~` and
        letters that are the same for the same stem.
    """
    room = name_limit(folder) - _ROOM_FOR_ENDINGS - len(os.fsencode(ending))
    whole = os.fsencode(stem)
    if len(whole) <= room:
        return stem + ending
    digest = hashlib.sha256(whole).hexdigest()[:_DIGEST_LETTERS]
    kept = whole[: max(0, room - _DIGEST_LETTERS - 1)]
    while kept and not _is_whole(kept):
        kept = kept[:-1]
    return f"{os.fsdecode(kept)}~{digest}{ending}"


def _is_whole(name: bytes) -> bool:
    """Whether a name was not cut inside a character; what is no UTF-8 at all is whole."""
    try:
        name.decode()
    except UnicodeDecodeError as error:
        return error.reason != "unexpected end of data"
    return True
