"""Files that are there whole, or not at all."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def move_file(made: Path, wanted: Path) -> None:
    """Give a file its name, also on another disk.

    Raises:
        OSError: The disk is full, or the folder cannot be written.
    """
    try:
        made.replace(wanted)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with replacing(wanted) as partial:
            shutil.copyfile(made, partial)
        made.unlink()


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
