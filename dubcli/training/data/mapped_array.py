"""Arrays that stay in their file: read where they are indexed, never as a whole."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dubcli.core.errors import TrainingError

# Of a member's header in a zip file: its fixed part, and where it says how long its name and its
# extra field are.
_FIXED_BYTES, _LENGTHS_AT = 30, 26


class ClipArray(Protocol):
    """What an array in memory and one in a file have in common."""

    @property
    def shape(self) -> tuple[int, ...]:
        """As of numpy."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, key: Any, /) -> Any: ...


@dataclass(frozen=True)
class MappedArray:
    """An array inside a file, mapped anew at each use.

    Nothing stays open and nothing in memory, so that a data set may be larger than that, and
    worker processes are given a path and not its content.

    Attributes:
        path: The file.
        offset: Where the values begin in it, bytes.
        dtype: As numpy writes it, such as `<f4`.
        shape: In C order.
        stamp: Size and time of the last change of the file, by which a replaced one is known.
    """

    path: Path
    offset: int
    dtype: str
    shape: tuple[int, ...]
    stamp: tuple[int, int]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any, /) -> Any:
        """What is indexed, in memory."""
        return np.array(self.opened()[key])

    def opened(self) -> np.ndarray:
        """The array, of which only what is used is read.

        Raises:
            TrainingError: The file is gone, or is no longer the one that was looked at.
        """
        try:
            is_same = _stamp(self.path) == self.stamp
        except OSError:
            is_same = False
        if not is_same:
            raise TrainingError(
                f"'{self.path}' was changed while it was in use.", "Run again to go on."
            )
        return np.memmap(self.path, self.dtype, "r", self.offset, self.shape)


def _stamp(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns


def opened(array: ClipArray) -> np.ndarray:
    """An array as numpy's; one in a file is read where it is indexed."""
    return array.opened() if isinstance(array, MappedArray) else np.asarray(array)


def mapped_members(path: Path, names: set[str]) -> dict[str, ClipArray]:
    """Arrays of an uncompressed `.npz`, the named ones left in the file.

    All bytes are read once and compared with their checksums.

    Args:
        path: What `np.savez` wrote.
        names: Arrays that stay in the file, where they hold anything.

    Raises:
        OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile: It is damaged.
    """
    found: dict[str, ClipArray] = {}
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"the checksum of {damaged} differs")
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            with archive.open(member) as stream:
                if name in names and member.compress_type == zipfile.ZIP_STORED:
                    found[name] = _mapped(path, file, member, stream)
                else:
                    found[name] = np.lib.format.read_array(stream, allow_pickle=False)
    return found


def _mapped(path: Path, file: Any, member: zipfile.ZipInfo, stream: Any) -> ClipArray:
    version = np.lib.format.read_magic(stream)
    read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    shape, is_fortran, dtype = read[version[0]](stream)
    header_bytes = stream.tell()
    if is_fortran or dtype.hasobject:
        raise ValueError(f"{member.filename} is of another format")
    if 0 in shape:
        return np.zeros(shape, dtype)
    file.seek(member.header_offset + _LENGTHS_AT)
    lengths = np.frombuffer(file.read(4), "<u2")
    begin = member.header_offset + _FIXED_BYTES + int(lengths.sum()) + header_bytes
    return MappedArray(path, begin, dtype.str, tuple(shape), _stamp(path))
