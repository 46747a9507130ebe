"""A folder as a disk holds it while a program writes: what is in memory, and what would survive.

Names are changed at once, contents are written to memory and reach the disk when they are synced.
`Disk.tree` gives the folder as it would be found after the program or the machine stopped.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

# What is found after: a killed process; a power cut on a disk that keeps names in their order, as
# file systems with a journal do; a power cut where names are lost unless their folder was synced.
KILLED, POWER, STRICT = "killed", "power", "strict"
VARIANTS = (KILLED, POWER, STRICT)


@dataclass(eq=False)
class DiskFile:
    """A file: its bytes now, and those that were synced."""

    now: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    _digests: tuple[str | None, str | None] = (None, None)

    def write(self, data: bytes, place: int) -> None:
        """Put bytes at a place; a gap before it is zeros."""
        if place > len(self.now):
            self.now.extend(bytes(place - len(self.now)))
        self.now[place : place + len(data)] = data
        self._digests = (None, self._digests[1])

    def resize(self, length: int) -> None:
        """Cut off or add zeros."""
        del self.now[length:]
        self.now.extend(bytes(length - len(self.now)))
        self._digests = (None, self._digests[1])

    def sync(self) -> None:
        """Bring the bytes to the disk."""
        self.synced = bytes(self.now)
        self._digests = (None, None)

    def digest(self, variant: str) -> str:
        """Sha256 of what would be found."""
        own, kept = self._digests
        if variant == KILLED:
            own = own or hashlib.sha256(self.now).hexdigest()
        else:
            kept = kept or hashlib.sha256(self.synced).hexdigest()
        self._digests = (own, kept)
        found = own if variant == KILLED else kept
        assert found is not None
        return found

    def content(self, variant: str) -> bytes:
        """What would be found."""
        return bytes(self.now) if variant == KILLED else self.synced


@dataclass(eq=False)
class DiskFolder:
    """A folder: its entries now, and those that were synced."""

    now: dict[str, DiskFile | DiskFolder] = field(
        default_factory=dict[str, "DiskFile | DiskFolder"]
    )
    synced: dict[str, DiskFile | DiskFolder] = field(
        default_factory=dict[str, "DiskFile | DiskFolder"]
    )

    def sync(self) -> None:
        """Bring the names to the disk."""
        self.synced = dict(self.now)


Node = DiskFile | DiskFolder
# Path in the folder, and the sha256 of a file or "" of a folder.
Tree = tuple[tuple[str, str], ...]


class Disk:
    """One folder and everything in it, at first all synced.

    Args:
        root: The folder's path.
        content: A copy of the folder as it was at first.
    """

    def __init__(self, root: Path, content: Path) -> None:
        self.root = root
        self.blobs: dict[str, bytes] = {}
        self._top = _load(content)

    def find(self, path: str, at: DiskFolder | None = None) -> Node | None:
        """What has a path now; None where nothing has, or where it lies elsewhere."""
        parent, name = self.place(path, at)
        if parent is None:
            return None
        return parent.now.get(name) if name else parent

    def place(self, path: str, at: DiskFolder | None = None) -> tuple[DiskFolder | None, str]:
        """Folder and name of a path; None where it lies elsewhere, no name for a folder itself."""
        if os.path.isabs(path):
            path, at = os.path.relpath(path, self.root), self._top
            if path.split(os.sep)[0] == os.pardir:
                return None, ""
        parts = [part for part in path.split(os.sep) if part not in ("", os.curdir)]
        node: Node | None = at
        for part in parts[:-1]:
            node = node.now.get(part) if isinstance(node, DiskFolder) else None
        if not isinstance(node, DiskFolder):
            return None, ""
        return node, parts[-1] if parts else ""

    def tree(self, variant: str) -> Tree:
        """What would be found; contents are kept in `blobs`."""
        return tuple(sorted(self._walk(self._top, variant, "")))

    def _walk(self, folder: DiskFolder, variant: str, prefix: str) -> Iterator[tuple[str, str]]:
        entries = folder.synced if variant == STRICT else folder.now
        for name, node in entries.items():
            if isinstance(node, DiskFolder):
                yield prefix + name, ""
                yield from self._walk(node, variant, f"{prefix}{name}/")
            else:
                digest = node.digest(variant)
                if digest not in self.blobs:
                    self.blobs[digest] = node.content(variant)
                yield prefix + name, digest


def _load(folder: Path) -> DiskFolder:
    made = DiskFolder()
    for path in folder.iterdir():
        if path.is_symlink():
            raise NotImplementedError(f"a link is not modelled: {path}")
        if path.is_dir():
            made.now[path.name] = _load(path)
        elif path.is_file():
            content = path.read_bytes()
            made.now[path.name] = DiskFile(bytearray(content), content)
    made.sync()
    return made
