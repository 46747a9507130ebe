"""Contents and names that no power cut takes any more, and two names that change places at once."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path

# Of Linux's renameat2 and macOS's renamex_np.
_AT_FDCWD, _RENAME_EXCHANGE, _RENAME_SWAP = -100, 2, 2


def sync_file(path: Path) -> None:
    """Bring a file's content to the disk; it returns when it is there.

    Raises:
        OSError: The disk is full or broken.
    """
    # Windows syncs only what may be written.
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Bring the names in a folder to the disk, where the system knows how to."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sync_tree(path: Path) -> None:
    """Bring everything in a folder to the disk, contents and names.

    Raises:
        OSError: The disk is full or broken.
    """
    for folder, _, names in os.walk(path, topdown=False):
        for name in names:
            sync_file(Path(folder, name))
        sync_folder(Path(folder))


def exchange(one: Path, other: Path) -> bool:
    """Swap the names of two files or folders at once; whether the system could.

    Args:
        one: Is there.
        other: Is there, on the same disk.
    """
    names = os.fsencode(one), os.fsencode(other)
    library = ctypes.CDLL(None) if os.name == "posix" else None
    if sys.platform == "darwin":
        swap = getattr(library, "renamex_np", None)
        return swap is not None and swap(*names, ctypes.c_uint(_RENAME_SWAP)) == 0
    swap = getattr(library, "renameat2", None)
    if swap is None:
        return False
    flags = ctypes.c_uint(_RENAME_EXCHANGE)
    return swap(_AT_FDCWD, names[0], _AT_FDCWD, names[1], flags) == 0
