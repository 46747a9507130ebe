"""Downloaded weight files: found, proven, moved aside where they are wrong, removed.

A file is proven by the manifest's sha256. Where that has none, by what was recorded at the first
download, which is recorded with a warning. A wrong file is never handed out.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dubcli.core.errors import ChecksumError, ConfigError, WeightsError
from dubcli.core.progress import Progress
from dubcli.weights.download import asset_folder, cached, commit_of, download, hub_cache
from dubcli.weights.download_errors import AbsentError, is_offline
from dubcli.weights.entry import HubSource, Source, WeightEntry
from dubcli.weights.lock import Lock, lock_path, read_lock, record

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Proof:
    """A file that is what it should be.

    Attributes:
        path: Where it lies.
        sha256: Its digest.
        num_bytes: Its size.
        is_recorded: Whether nobody states its sha256, and what was recorded proves it.
    """

    path: Path
    sha256: str
    num_bytes: int
    is_recorded: bool = False


def find(entry: WeightEntry) -> Path | None:
    """A downloaded file if it is on this machine, unproven; nothing is downloaded."""
    found = _find(entry, read_lock())
    return None if found is None else found[1]


def _find(entry: WeightEntry, lock: Lock) -> tuple[Source, Path] | None:
    for source in entry.sources:
        path = cached(source, _commit(entry, source, lock))
        if path is not None:
            return source, path
    return None


def _commit(entry: WeightEntry, source: Source, lock: Lock) -> str | None:
    """The recorded commit of a source that names a branch."""
    known = lock.files.get(entry.name)
    if known is None or known.source != str(source):
        return None
    return known.commit


def is_accepted(entry: WeightEntry) -> bool:
    """Whether its licence allows every use, or the user agreed to it."""
    if not entry.must_be_accepted:
        return True
    return read_lock().licences.get(entry.agreement) == entry.license


def require_accepted(entry: WeightEntry) -> None:
    """Refuse what is under a licence that the user has to agree to and did not.

    Raises:
        ConfigError: The licence was not accepted.
    """
    if is_accepted(entry):
        return
    licence = entry.license or "none stated"
    raise ConfigError(
        f"{entry.agreement} is not known to be free for every use. Its licence: {licence}.",
        f"If your use is allowed, run: dub models pull {entry.agreement} --accept-licence",
    )


def obtain(
    entry: WeightEntry, progress: Progress | None = None, *, anew: bool = False
) -> tuple[Proof, bool]:
    """The proven file of an entry, downloaded where it is not on this machine.

    Args:
        entry: What is wanted; its first source that has the right file gives it.
        progress: Called as (name, megabytes done, all megabytes or 0).
        anew: Replace a wrong file on this machine by a new download, rather than stop.

    Returns:
        The proof, and whether it was downloaded now.

    Raises:
        ConfigError: Its licence was not accepted.
        ChecksumError: Every source has another file; what came was moved aside.
        WeightsError: It cannot be got.
    """
    require_accepted(entry)
    lock = read_lock()
    found = _find(entry, lock)
    if found is not None:
        try:
            return prove(entry, found[1], found[0]), False
        except ChecksumError as error:
            if not anew:
                raise
            _LOG.warning("%s", error.cause)
    errors: list[WeightsError] = []
    # Without a network no source is better than another.
    sources = entry.sources[:1] if is_offline() else entry.sources
    for source in sources:
        try:
            path = download(
                source,
                entry.name,
                commit=_commit(entry, source, lock),
                num_bytes=entry.num_bytes,
                progress=progress,
            )
            return prove(entry, path, source), True
        except WeightsError as error:
            errors.append(_of_a_lost_commit(error, entry, _commit(entry, source, lock)))
            if source != sources[-1]:
                _LOG.warning("%s The next source is asked.", error.cause)
    wrong = [error for error in errors if isinstance(error, ChecksumError)]
    raise (wrong or errors)[0]


def is_as_stated(entry: WeightEntry) -> bool:
    """Whether the downloaded file that is on this machine is the right one; nothing is changed."""
    lock = read_lock()
    found = _find(entry, lock)
    if found is None:
        return False
    sha256, num_bytes = digest(found[1])
    return not _complaint(entry, sha256, num_bytes, lock)


def _of_a_lost_commit(error: WeightsError, entry: WeightEntry, commit: str | None) -> WeightsError:
    """The error, with the way out where a recorded commit is no longer there."""
    if commit is None or not isinstance(error, AbsentError):
        return error
    step = f"To take the newest instead: dub models remove {entry.name} --forget, then pull it."
    return AbsentError(f"{error.cause[:-1]} at the recorded commit {commit[:12]}.", step)


def check(entry: WeightEntry) -> Proof:
    """Prove the downloaded file that is on this machine.

    Raises:
        ChecksumError: It is another file; it was moved aside.
        WeightsError: There is none.
    """
    found = _find(entry, read_lock())
    if found is None:
        raise WeightsError(
            f"{entry.name} is not on this machine.", f"Run: dub models pull {entry.agreement}"
        )
    return prove(entry, found[1], found[0])


def prove(entry: WeightEntry, path: Path, source: Source | None = None) -> Proof:
    """Check a file against what is known of it; a wrong download is moved aside.

    Args:
        entry: What it should be.
        path: The file.
        source: Where it was downloaded from; None for a file that is not moved.

    Raises:
        ChecksumError: It is another file.
        WeightsError: It cannot be read.
    """
    sha256, num_bytes = digest(path)
    lock = read_lock() if source is not None else Lock()
    reason = _complaint(entry, sha256, num_bytes, lock)
    if reason:
        raise _wrong(entry, path, source, reason, sha256)
    if source is not None and entry.name not in lock.files:
        _record(entry, path, source, sha256, num_bytes)
    is_recorded = entry.sha256 is None
    return Proof(path=path, sha256=sha256, num_bytes=num_bytes, is_recorded=is_recorded)


def _complaint(entry: WeightEntry, sha256: str, num_bytes: int, lock: Lock) -> str:
    """What is wrong with a file; '' where nothing is."""
    known = lock.files.get(entry.name)
    expected = entry.sha256 or (known.sha256 if known else entry.sha256_start)
    if not sha256.startswith(expected):
        is_recorded = entry.sha256 is None and known is not None
        told = f" as recorded in '{lock_path()}'" if is_recorded else ""
        return f"sha256 {sha256[:12]}, expected {expected[:12]}{told}"
    if entry.num_bytes and num_bytes != entry.num_bytes:
        return f"{num_bytes} bytes, expected {entry.num_bytes}"
    return ""


def digest(path: Path) -> tuple[str, int]:
    """The sha256 of a file and its size.

    Raises:
        WeightsError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size
    except OSError as error:
        raise WeightsError(
            f"'{path}' cannot be read: {error.strerror}.", "Check that it is there and readable."
        ) from error


def _record(entry: WeightEntry, path: Path, source: Source, sha256: str, num_bytes: int) -> None:
    """Keep what nobody states: the digest, or the commit of a branch."""
    is_moving = isinstance(source, HubSource) and not source.is_pinned
    if entry.sha256 is not None and not is_moving:
        return
    kept = record(
        entry.name,
        source=str(source),
        sha256=sha256,
        num_bytes=num_bytes,
        commit=commit_of(source, path),
    )
    if kept.sha256 != sha256:  # another process came first, with another file
        reason = f"sha256 {sha256[:12]}, recorded a moment ago was {kept.sha256[:12]}"
        raise _wrong(entry, path, source, reason, sha256)
    if entry.sha256 is None:
        _LOG.warning(
            "Nobody states the sha256 of %s: %s of this first download was recorded in '%s', "
            "and later ones must equal it.",
            *(entry.name, sha256, lock_path()),
        )


def _wrong(
    entry: WeightEntry, path: Path, source: Source | None, reason: str, sha256: str
) -> ChecksumError:
    """Move a wrong file aside and say so."""
    cause = f"{path} is damaged or not {entry.name}: {reason}"
    if source is None:
        step = "Install dubcli again, or choose another model (dub models list)."
        return ChecksumError(f"{cause}.", step if entry.package else "Write or get it again.")
    step = f"Run: dub models pull {entry.name}"
    if entry.sha256 is None:
        step += f" (after dub models remove {entry.name} --forget, if its publisher replaced it)"
    try:
        kept = _set_aside(entry, path, source, reason, sha256)
    except OSError as error:
        return ChecksumError(
            f"{cause}; it cannot be moved aside: {error.strerror}.", f"Delete it. {step}"
        )
    return ChecksumError(f"{cause}; it was moved to '{kept}'.", step)


def _set_aside(entry: WeightEntry, path: Path, source: Source, reason: str, sha256: str) -> Path:
    """Move a file out of every place where it would be loaded from."""
    folder = asset_folder() / "quarantine"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{path.name}.{sha256[:12]}"
    links = _links(path)
    shutil.move(links[-1], target)
    for link in links[:-1]:
        link.unlink(missing_ok=True)
    what = {
        "entry": entry.name,
        "source": str(source),
        "reason": reason,
        "sha256": sha256,
        "was": str(path),
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    note = target.with_name(f"{target.name}.json")
    note.write_text(json.dumps(what, indent=1) + "\n", encoding="utf-8")
    return target


def _links(path: Path) -> list[Path]:
    """A path and what it links to, step by step: the file itself is the last."""
    chain = [path]
    while chain[-1].is_symlink():
        # Not by way of a folder that may be gone by then.
        chain.append(Path(os.path.normpath(chain[-1].parent / chain[-1].readlink())))
    return chain


def discard(entry: WeightEntry) -> int:
    """Delete an entry's downloaded files, of every source and revision that is its own.

    Other files of the same repository stay.

    Returns:
        Bytes that were freed.

    Raises:
        WeightsError: A file cannot be deleted.
    """
    freed = 0
    lock = read_lock()
    for source in entry.sources:
        path = cached(source, _commit(entry, source, lock))
        if path is None:
            continue
        try:
            freed += _delete(path)
        except OSError as error:
            raise WeightsError(
                f"'{path}' cannot be deleted: {error.strerror}.", "Delete it by hand."
            ) from error
    return freed


def _delete(path: Path) -> int:
    """Delete a file of a cache; its content too, where no other revision shows it."""
    links = _links(path)
    size = links[-1].stat().st_size
    content = links[1] if len(links) > 1 else None
    path.unlink()
    with suppress(OSError):  # only where it is empty now
        path.parent.rmdir()
    if content is None:
        return size
    snapshots = hub_cache() / path.relative_to(hub_cache()).parts[0] / "snapshots"
    real = content.resolve()
    if any(other.resolve() == real for other in snapshots.rglob("*") if other.is_symlink()):
        return 0
    content.unlink(missing_ok=True)
    return size
