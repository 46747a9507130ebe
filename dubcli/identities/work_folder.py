"""The folder that an identity is written in, and those that killed processes have left."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dubcli.identities.layout import DESCRIPTION

_PART, _OLD = ".part", ".old"
_ATTEMPTS = 10


@contextmanager
def work_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder beside an identity, readable by its owner alone, for this process.

    Whatever happens inside, it is removed at the end. Those that killed processes have left of the
    same identity are removed first.

    Args:
        path: Where the identity lies or will lie; its parent is there.

    Raises:
        OSError: The parent cannot be written.
    """
    remove_leftovers(path)
    made, held = _make(path)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        _release(held)


def remove_leftovers(path: Path) -> None:
    """Remove what killed processes have left of work on an identity: it holds pictures of a face.

    What a running process works in stays, and so does an old identity whose replacement was broken
    off between two renames, where the name is free: it is the only one.
    """
    ours = re.compile(re.escape(f".{path.name}.") + rf"[a-z0-9_]{{8}}({_PART}|{_OLD})")
    for place in _beside(path):
        if not ours.fullmatch(place.name) or place.is_symlink() or not place.is_dir():
            continue
        if _is_only_copy(place, path):
            continue
        held = _hold(place)
        if held is not None:
            shutil.rmtree(place, ignore_errors=True)
            _release(held)


def only_copy(path: Path) -> Path | None:
    """The old identity that a broken-off replacement has left beside its name, if any."""
    places = (p for p in _beside(path) if p.name.startswith(f".{path.name}."))
    return next((place for place in places if _is_only_copy(place, path)), None)


def _is_only_copy(place: Path, path: Path) -> bool:
    is_whole = place.suffix == _OLD and (place / DESCRIPTION).is_file()
    return is_whole and not os.path.lexists(path)


def _beside(path: Path) -> list[Path]:
    try:
        return sorted(path.parent.iterdir())
    except OSError:
        return []


def _make(path: Path) -> tuple[Path, int | None]:
    """A new folder and what holds it."""
    for _ in range(_ATTEMPTS):
        made = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=_PART, dir=path.parent))
        held = _hold(made)
        # Until it was held, another process may have taken it for a leftover.
        if sys.platform == "win32" or (held is not None and made.is_dir()):
            return made, held
        shutil.rmtree(made, ignore_errors=True)
        _release(held)
    # A disk that knows no locks: no process there removes what another one has left.
    made.mkdir(mode=0o700, exist_ok=True)
    return made, None


def _hold(folder: Path) -> int | None:
    """Hold a folder against other processes; None where one of them does, or nobody can."""
    if sys.platform == "win32":  # nothing is held there, and nothing is swept
        return None
    import fcntl

    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _release(held: int | None) -> None:
    if held is not None:
        os.close(held)
