"""Files that are there whole, or not at all, also after a power cut.

A name is given to what is on the disk already, and is itself brought there.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dubcli.core.disk_sync import exchange, sync_file, sync_folder, sync_tree
from dubcli.core.errors import ConfigError, TrainingError


def make_folder(path: Path) -> None:
    """Make the folder that results go into; one that exists stays as it is.

    Raises:
        ConfigError: It cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"'{path}' cannot be made: {error.strerror}.", "Choose another folder."
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside a file, and rename it to the file's at the end.

    Whatever happens inside, the file is the old one or the new one, and nothing is left beside it.

    Raises:
        OSError: The disk is full, or the folder cannot be written.
    """
    partial = path.with_name(f".{path.name}.part")
    try:
        yield partial
        sync_file(partial)
        partial.replace(path)
        sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def move_file(made: Path, wanted: Path) -> None:
    """Give a file its name, also on another disk.

    Raises:
        OSError: The disk is full, or the folder cannot be written.
    """
    try:
        sync_file(made)
        made.replace(wanted)
        sync_folder(wanted.parent)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with replacing(wanted) as partial:
            shutil.copyfile(made, partial)
        made.unlink()


def place_folder(made: Path, wanted: Path, *, replace: bool = True) -> None:
    """Give a complete folder its name; a folder that had the name is removed.

    The name is at every moment that of the old folder or of the new one where the system can swap
    two names at once: Linux and macOS can, on their own disks. Elsewhere the old one lies for a
    moment beside its name, with `.old` in place of the last suffix of `made`.

    Args:
        made: The folder.
        wanted: Its name, on the same disk.
        replace: A folder of that name is replaced.

    Raises:
        FileExistsError: A folder has the name, and is not to be replaced.
        OSError: The disk is full, or the folder cannot be written. Then nothing has changed.
    """
    sync_tree(made)
    old = made
    try:
        if not wanted.is_dir():
            made.rename(wanted)
            sync_folder(wanted.parent)
            return
    except OSError:
        if not wanted.is_dir():
            raise
    if not replace:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(wanted))
    if not exchange(made, wanted):
        old = made.with_suffix(".old")
        wanted.rename(old)
        try:
            made.rename(wanted)
        except BaseException:
            old.rename(wanted)
            raise
    sync_folder(wanted.parent)
    shutil.rmtree(old, ignore_errors=True)


def replace_bytes(path: Path, content: bytes) -> None:
    """Write a file in the way of `replacing`.

    Raises:
        OSError: The disk is full, or the folder cannot be written.
    """
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that training leaves; its folder is made.

    Raises:
        TrainingError: The disk is full, or the place cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_bytes(path, content)
    except OSError as error:
        raise TrainingError(
            f"'{path}' cannot be written: {error.strerror}.",
            "Make room or name another place, and run again.",
        ) from error
