"""What this user got and agreed to: recorded hashes and commits, accepted licences.

`weights-lock.json` in the user's data directory, beside the identities. Where nobody states a
file's sha256, that of the first download is recorded here, and later ones must equal it. Where a
source names a branch, its commit is recorded, and later downloads ask for that.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from filelock import FileLock

from dubcli.core.atomic_io import replace_bytes
from dubcli.core.errors import WeightsError
from dubcli.core.json_text import parse_json
from dubcli.core.paths import HOME_VARIABLE, data_home

_NAME, _FORMAT = "weights-lock.json", 1


@dataclass(frozen=True, kw_only=True)
class Record:
    """A file as it first came.

    Attributes:
        source: Where from.
        sha256: Hex digest.
        num_bytes: Size.
        commit: Of the repository; None where there is none.
        date: ISO 8601.
    """

    source: str
    sha256: str
    num_bytes: int
    commit: str | None
    date: str


@dataclass(frozen=True, kw_only=True)
class Lock:
    """Records by entry, and the accepted licences: entry to licence."""

    files: dict[str, Record] = field(default_factory=dict[str, Record])
    licences: dict[str, str] = field(default_factory=dict[str, str])


def lock_path() -> Path:
    """Where the lock lies."""
    return data_home() / _NAME


def read_lock() -> Lock:
    """The lock; empty where there is none yet.

    Raises:
        WeightsError: It is damaged.
    """
    path = lock_path()
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']}")
        files = {name: Record(**fields) for name, fields in content["files"].items()}
        return Lock(files=files, licences=dict(content["licences"]))
    except (FileNotFoundError, NotADirectoryError):
        return Lock()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"'{path}', which keeps hashes and accepted licences, cannot be read: {error}.",
            "Mend it; or delete it, and hashes are recorded anew.",
        ) from error


def record(name: str, *, source: str, sha256: str, num_bytes: int, commit: str | None) -> Record:
    """Keep what an entry's first download was; what is recorded already stays.

    Returns:
        What is recorded now.

    Raises:
        WeightsError: The lock is damaged or cannot be written.
    """
    made = Record(source=source, sha256=sha256, num_bytes=num_bytes, commit=commit, date=_now())
    with _changing() as (lock, write):
        if name not in lock.files:
            lock.files[name] = made
            write()
        return lock.files[name]


def accept(name: str, licence: str) -> None:
    """Keep that the user agreed to a licence.

    Raises:
        WeightsError: The lock is damaged or cannot be written.
    """
    with _changing() as (lock, write):
        if lock.licences.get(name) != licence:
            lock.licences[name] = licence
            write()


def forget(name: str) -> bool:
    """Drop an entry's recorded hash and its accepted licence; whether there was any.

    Raises:
        WeightsError: The lock is damaged or cannot be written.
    """
    with _changing() as (lock, write):
        known = [lock.files.pop(name, None), lock.licences.pop(name, None)]
        if any(known):
            write()
        return any(known)


@contextmanager
def _changing() -> Iterator[tuple[Lock, Callable[[], None]]]:
    """The lock for one process alone, and what writes it."""
    path = lock_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{_NAME}.lock")):
            lock = read_lock()
            yield lock, lambda: _write(lock, path)
    except OSError as error:
        raise WeightsError(
            f"'{path}', which keeps hashes and accepted licences, cannot be written: "
            f"{error.strerror or error}.",
            f"Make room, or name another folder with {HOME_VARIABLE}.",
        ) from error


def _write(lock: Lock, path: Path) -> None:
    content = {
        "format": _FORMAT,
        "files": {name: asdict(value) for name, value in sorted(lock.files.items())},
        "licences": dict(sorted(lock.licences.items())),
    }
    replace_bytes(path, (json.dumps(content, indent=1) + "\n").encode())


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
