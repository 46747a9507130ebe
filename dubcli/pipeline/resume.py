"""What a running job keeps beside its output, so that a killed one can go on.

`NAME.dubjob` holds what pass 1 found and the finished segments of the picture. It is removed when
the job ends, and kept where an interrupt or an error would otherwise lose finished segments. One
run at a time uses it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dubcli.core.atomic_io import move_file, replace_bytes
from dubcli.core.disk_sync import sync_folder
from dubcli.core.errors import EncodeError
from dubcli.core.file_names import fitting_name
from dubcli.core.json_text import parse_json

_LOCK, _JOB, _FINISHING, _SPLIT = "lock", "job.json", "finishing", "split"
_SAMPLES, _SAMPLE_BYTES = 16, 1 << 20


@dataclass(frozen=True, kw_only=True)
class JobFolder:
    """The folder of one job, locked by this run.

    Attributes:
        path: Where it is.
        is_resumed: An earlier run of the same job has been here.
        is_kept: A later run may go on from what lies here.
    """

    path: Path
    is_resumed: bool
    is_kept: bool = True

    @property
    def analysis(self) -> Path | None:
        """What pass 1 found; None where nobody would take it up."""
        return self.path / "analysis.npz" if self.is_kept else None

    @property
    def was_finishing(self) -> bool:
        """That run had begun to put its results in place."""
        return (self.path / _FINISHING).exists()

    @property
    def is_split(self) -> bool:
        """Its segments are rendered by several processes, none of which was interrupted."""
        return (self.path / _SPLIT).exists()

    def split(self) -> None:
        """Note that its segments will be rendered by several processes."""
        (self.path / _SPLIT).touch()

    def segment(self, number: int, suffix: str = ".mov") -> Path:
        """A part of the encoded picture."""
        return self.path / f"segment-{number:05d}{suffix}"

    @property
    def has_segments(self) -> bool:
        """Whether a segment is finished."""
        return any(self.path.glob("segment-*.mov"))

    def place(self, results: Sequence[tuple[Path, Path]]) -> None:
        """Move finished files from here to their names, the last one last.

        Raises:
            EncodeError: One of them cannot be replaced.
        """
        (self.path / _FINISHING).touch()
        sync_folder(self.path)
        for made, wanted in results:
            try:
                move_file(made, wanted)
            except OSError as error:
                raise EncodeError(
                    f"'{wanted}' cannot be written: {error.strerror}.",
                    "Choose another name for it.",
                ) from error


@contextmanager
def job_folder(output: Path, fingerprint: str, *, is_left: bool = False) -> Iterator[JobFolder]:
    """Make or take up the folder of a job.

    Args:
        output: The job's output; the folder lies beside it.
        fingerprint: Of everything that the result depends on. A folder with another one is of
            another job, whose output this one replaces: it is emptied.
        is_left: What lies in it is left there for runs that go on.

    Raises:
        EncodeError: Another run uses it, or it cannot be written.
    """
    path = folder_path(output)
    with _locked(path, output):
        known = _read(path).get("fingerprint")
        folder = JobFolder(path=path, is_resumed=known == fingerprint)
        try:
            if not folder.is_resumed:
                _begin(path, output, fingerprint)
            yield folder
        except BaseException as error:
            if folder.has_segments:
                error.add_note(
                    f"finished parts are in '{path}': run the same command again to go on, or "
                    "delete it"
                )
            else:
                _empty(path)
            raise
        if not is_left:
            _empty(path)


def folder_path(output: Path) -> Path:
    """Where the folder of a job with this output lies."""
    return output.with_name(fitting_name(output.name, ".dubjob", output.parent))


def was_finishing(output: Path) -> bool:
    """Whether an earlier run of a job with this output had begun to put its results in place."""
    return (folder_path(output) / _FINISHING).exists()


def drop_finished(output: Path) -> None:
    """Remove what a killed run has left of a job whose results are in place.

    Parts that a run can go on from stay, and so does what another run holds.
    """
    path = folder_path(output)
    if not path.is_dir():
        return
    is_empty = all(entry.name == _LOCK for entry in path.iterdir())
    if not is_empty and not was_finishing(output):
        return
    with suppress(EncodeError), _locked(path, output):
        _empty(path)


def _begin(path: Path, output: Path, fingerprint: str) -> None:
    """Empty the folder and say in it whose it is."""
    _empty(path)
    about = "Finished parts of a dub. The same command goes on from here."
    text = json.dumps({"about": about, "output": output.name, "fingerprint": fingerprint})
    replace_bytes(path / _JOB, f"{text}\n".encode())


def fingerprint_of(settings: dict[str, Any], files: Sequence[Path]) -> str:
    """One value for settings and for the contents of files.

    Of each file its length counts and up to 16 MiB spread over it, not its name or age.

    Args:
        settings: JSON-ready.
        files: Files, or folders whose files count.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in files:
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in filter(Path.is_file, inside):
            digest.update(_sampled(file))
    return digest.hexdigest()


def _sampled(path: Path) -> bytes:
    digest = hashlib.sha256()
    size = path.stat().st_size
    digest.update(size.to_bytes(8, "little"))
    with path.open("rb") as file:
        for number in range(_SAMPLES):
            file.seek(max(0, size - _SAMPLE_BYTES) * number // (_SAMPLES - 1))
            digest.update(file.read(_SAMPLE_BYTES))
            if size <= _SAMPLE_BYTES:
                break
    return digest.digest()


@contextmanager
def _locked(path: Path, output: Path) -> Iterator[None]:
    """The folder, there and this run's alone; gone afterwards where nothing is left in it."""
    try:
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)
        lock = FileLock(path / _LOCK, timeout=0)
        lock.acquire()
    except Timeout as error:
        raise EncodeError(
            f"Another run is writing '{output}'.", "Wait for it, or choose another name with -o."
        ) from error
    except OSError as error:
        raise EncodeError(
            f"'{path.parent}' cannot be written: {error.strerror}.",
            "Choose another folder with --output.",
        ) from error
    try:
        yield
    finally:
        # Unlinked while it is held: whoever opens it from now on makes a new one.
        is_needed = any(entry.name != _LOCK for entry in path.iterdir()) if path.exists() else False
        with suppress(OSError):
            (path / _LOCK).unlink()
        lock.release()
        if not is_needed:
            with suppress(OSError):
                (path / _LOCK).unlink(missing_ok=True)
                path.rmdir()


def _read(path: Path) -> dict[str, Any]:
    try:
        return parse_json((path / _JOB).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _empty(path: Path) -> None:
    if not path.exists():
        return
    # What says that results are in place goes last: a run that is killed here leaves it.
    for entry in sorted(path.iterdir(), key=lambda entry: entry.name == _FINISHING):
        if entry.name == _LOCK:
            continue
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
