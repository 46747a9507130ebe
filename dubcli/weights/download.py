"""Downloads: a file of the hub by `huggingface_hub`, a file at an address by its HTTP client.

Nothing here judges content: `weights.local_files` proves it. What goes wrong becomes one line.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from dubcli.core.atomic_io import move_file
from dubcli.core.errors import WeightsError
from dubcli.core.progress import Progress
from dubcli.weights.download_errors import (
    NO_ROOM,
    SERVER_ERROR,
    TOO_MANY,
    RefusedError,
    explain,
    is_offline,
    network_errors,
)
from dubcli.weights.entry import HubSource, Source, UrlSource

_CHUNK_BYTES = 1 << 20
_MEGABYTE = 1_000_000
# Further attempts after one that brought nothing new, and the longest pause between two.
_RETRIES, _LONGEST_PAUSE_S = 4, 60.0
_LOG = logging.getLogger(__name__)


class _Interrupted(Exception):
    """A transfer that may be gone on with.

    Args:
        cause: What happened.
        pause_s: How long the server asks to wait; None where it does not.
    """

    def __init__(self, cause: Exception, pause_s: float | None = None) -> None:
        super().__init__(str(cause))
        self.cause, self.pause_s = cause, pause_s


def hub_cache() -> Path:
    """Where `huggingface_hub` keeps files of repositories."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def asset_folder() -> Path:
    """Where files of other addresses, and what was moved aside, are kept."""
    from huggingface_hub import constants

    return Path(constants.HF_ASSETS_CACHE) / "dubcli"


def cached(source: Source, commit: str | None = None) -> Path | None:
    """The file of a source if it is on this machine.

    Args:
        source: Where it comes from.
        commit: What its branch stood for when it was recorded.
    """
    if isinstance(source, UrlSource):
        path = _asset_path(source)
        return path if path.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    revision = commit or source.revision
    found = try_to_load_from_cache(
        source.repo, source.file, revision=revision, cache_dir=hub_cache()
    )
    return Path(found) if isinstance(found, str) else None


def commit_of(source: Source, path: Path) -> str | None:
    """The commit that a file in the hub's cache belongs to; None for another address."""
    if isinstance(source, UrlSource):
        return None
    return path.parents[source.file.count("/")].name


def download(
    source: Source,
    name: str,
    *,
    commit: str | None = None,
    num_bytes: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """The file of a source, from this machine where it is there.

    Args:
        source: Where it comes from.
        name: What users call it.
        commit: The recorded one, asked for in place of the source's branch.
        num_bytes: Its size, if that is known: room is looked for first.
        progress: Called as (name, megabytes done, all megabytes or 0).

    Raises:
        WeightsError: It cannot be got.
    """
    try:
        with own_words():
            if isinstance(source, UrlSource):
                return _download_url(source, name, num_bytes, progress)
            return _download_hub(source, name, commit, num_bytes, progress)
    except WeightsError:
        raise
    except (*network_errors(), RefusedError, RuntimeError, ValueError) as error:
        raise explain(name, str(source), error) from error


def _download_hub(
    source: HubSource,
    name: str,
    commit: str | None,
    num_bytes: int | None,
    progress: Progress | None,
) -> Path:
    from huggingface_hub import hf_hub_download

    if cached(source, commit) is None:
        _require_room(name, num_bytes, hub_cache())
    # It asks for a tqdm, and uses what `_Bar` has of one.
    bar_class: Any = _bar_class(name, progress)
    path = hf_hub_download(
        source.repo,
        source.file,
        revision=commit or source.revision,
        cache_dir=hub_cache(),
        tqdm_class=bar_class,
    )
    return Path(path)


def _download_url(
    source: UrlSource, name: str, num_bytes: int | None, progress: Progress | None
) -> Path:
    final = _asset_path(source)
    if final.is_file():
        return final
    if is_offline():
        raise explain(name, str(source), None)
    final.parent.mkdir(parents=True, exist_ok=True)
    # A second process waits, and then finds the file.
    with FileLock(final.with_name(f".{final.name}.lock")):
        if not final.is_file():
            _require_room(name, num_bytes, final.parent)
            partial = final.with_name(f"{final.name}.part")
            try:
                _transfer(source.url, partial, _bar_class(name, progress))
            except OSError as error:
                if error.errno in NO_ROOM:
                    partial.unlink(missing_ok=True)
                raise
            move_file(partial, final)
            _validator_path(partial).unlink(missing_ok=True)
    return final


def _asset_path(source: UrlSource) -> Path:
    """One folder an address, so that two files of one name do not meet."""
    digest = hashlib.sha256(source.url.encode()).hexdigest()[:16]
    return asset_folder() / "files" / digest / source.file


def _validator_path(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.etag")


def _transfer(url: str, partial: Path, bar_class: type[_Bar]) -> None:
    """Fill `partial`; what an earlier run left of the same file is gone on with."""
    failures = 0
    while True:
        before = _size(partial)
        try:
            _stream(url, partial, bar_class)
            return
        except _Interrupted as broken:
            failures = 0 if _size(partial) > before else failures + 1
            if failures > _RETRIES:
                raise broken.cause from broken
            pause_s = 2.0**failures if broken.pause_s is None else broken.pause_s
            _LOG.warning("%s: %s; going on at %d MB.", url, broken, _size(partial) // _MEGABYTE)
            _pause(min(pause_s, _LONGEST_PAUSE_S))


def _pause(seconds: float) -> None:
    time.sleep(seconds)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _stream(url: str, partial: Path, bar_class: type[_Bar]) -> None:
    """One request, from where `partial` ends if the server still has the same file."""
    from huggingface_hub import constants, get_session

    validator = _validator_path(partial)
    known = validator.read_text(encoding="utf-8") if validator.is_file() else ""
    begin = _size(partial) if known else 0
    headers = {"Accept-Encoding": "identity"}
    if begin:
        headers |= {"Range": f"bytes={begin}-", "If-Range": known}
    transport = tuple(kind for kind in network_errors() if kind is not OSError)
    try:
        with get_session().stream(
            "GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
        ) as response:
            _check_status(response.status_code, response.headers)
            is_rest = response.status_code == 206
            total = int(response.headers.get("Content-Length", 0)) + (begin if is_rest else 0)
            validator.write_text(response.headers.get("ETag", ""), encoding="utf-8")
            with partial.open("ab" if is_rest else "wb") as file:
                bar = bar_class(total=total, initial=begin if is_rest else 0)
                for chunk in response.iter_bytes(_CHUNK_BYTES):
                    file.write(chunk)
                    bar.update(len(chunk))
    except transport as error:
        raise _Interrupted(error) from error
    if total and _size(partial) != total:
        raise _Interrupted(OSError(f"{_size(partial)} of {total} bytes came"))


def _check_status(status: int, headers: Mapping[str, str]) -> None:
    if status in (200, 206):
        return
    refusal = RefusedError(status)
    if status == TOO_MANY or status >= SERVER_ERROR:
        asked = headers.get("Retry-After", "")
        raise _Interrupted(refusal, float(asked) if asked.isdigit() else None)
    raise refusal


def _require_room(name: str, num_bytes: int | None, folder: Path) -> None:
    """Refuse a download that cannot end well, before it begins."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if num_bytes and free < num_bytes:
        raise WeightsError(
            f"{name} needs {num_bytes / 1e6:.0f} MB, {folder} has {free / 1e6:.0f} MB left.",
            "Make room, or name another place with HF_HOME.",
        )


class _Bar:
    """What `huggingface_hub` moves on: an imitation of a progress bar that tells ours."""

    name = ""
    progress: Progress | None = None

    def __init__(self, *_: Any, total: float | None = None, initial: float = 0, **__: Any) -> None:
        self.total, self.n = total or 0, initial
        self._tell()

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, num: float | None = 1) -> None:
        """So many bytes more."""
        self.n += num or 0
        self._tell()

    def update_transfer(self, num: float) -> None:
        """Bytes on the wire, which are counted apart from those of the file: one bar is enough."""

    def close(self) -> None:
        """Nothing is left to do."""

    def refresh(self, *_: Any, **__: Any) -> None:
        """It is always fresh."""

    def set_description(self, *_: Any, **__: Any) -> None:
        """It is described already."""

    set_description_str = set_postfix = set_postfix_str = set_description
    set_transfer_postfix_str = set_description

    def _tell(self) -> None:
        if self.progress is not None:
            total = max(1, round(self.total / _MEGABYTE)) if self.total else 0
            done = total if self.total and self.n >= self.total else int(self.n // _MEGABYTE)
            self.progress(self.name, done, total)


def _bar_class(name: str, progress: Progress | None) -> type[_Bar]:
    shown = None if progress is None else staticmethod(progress)
    return type("Bar", (_Bar,), {"name": name, "progress": shown})


class _Relay(logging.Handler):
    """First lines of what the library says, as our own."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one on."""
        _LOG.warning("%s", record.getMessage().split("\n", 1)[0])


@contextlib.contextmanager
def own_words() -> Iterator[None]:
    """The library's warnings come as one line each, and its guess about the disk not at all."""
    logger = logging.getLogger("huggingface_hub")
    handlers, propagates = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [_Relay(logging.WARNING)], False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.handlers, logger.propagate = handlers, propagates
