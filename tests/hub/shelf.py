"""A manifest of the tests' own, and what looks at caches from outside."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from dubcli.weights import resolve as weights
from dubcli.weights.entry import WeightEntry


class Shelf:
    """Entries in place of the installed ones."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "weights_manifest.json"
        self._entries: dict[str, dict[str, Any]] = {}

    def add(
        self, name: str, content: bytes, *sources: dict[str, str] | str, **changes: Any
    ) -> WeightEntry:
        """List a file; a source is an address, or a repository with revision and file."""
        self._entries[name] = {
            "architecture": name.split(".")[0],
            "role": "part",
            "package": None,
            "sources": [{"url": s} if isinstance(s, str) else s for s in sources],
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
            "config": {},
            "license": "MIT",
            "commercial": True,
            "needed_by": ["evaluate"],
            "source": "a test",
            **changes,
        }
        self.write()
        return weights.resolve(name, role=None)

    def write(self) -> Path:
        """The manifest's file."""
        default = {name.split(".")[0]: name.split(".", 1)[1] for name in self._entries}
        content = {"format": 2, "default": default, "weights": self._entries}
        self.path.write_text(json.dumps(content), encoding="utf-8")
        return self.path


def of_hub(repo: str, file: str, revision: str = "main") -> dict[str, str]:
    """A source in a repository."""
    return {"repo": repo, "revision": revision, "file": file}


def content_of(size: int = 50_000, seed: int = 1) -> bytes:
    """Bytes that do not repeat."""
    parts = (hashlib.sha256(f"{seed} {n}".encode()).digest() for n in range(size // 32 + 1))
    return b"".join(parts)[:size]


def files_below(folder: Path) -> list[str]:
    """Names of all files in a folder that hold content, without locks."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sorted(path.name for path in files if not path.name.endswith(".lock"))
