"""Why a transfer did not end, in one line with what to do."""

from __future__ import annotations

import errno
import os

from dubcli.core.errors import WeightsError

TOO_MANY, SERVER_ERROR = 429, 500
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_ABSENT = 404
_ABSENT_THINGS = {"RevisionNotFound": "revision", "RepoNotFound": "repository"}
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


class AbsentError(WeightsError):
    """There is no such repository, revision or file."""


class RefusedError(Exception):
    """A status that is no success.

    Args:
        status: Of HTTP.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


def is_offline() -> bool:
    """Whether the user forbids the network."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def network_errors() -> tuple[type[Exception], ...]:
    """What the hub's client raises. Which HTTP library it is built on is its own affair."""
    from huggingface_hub.errors import HfHubHTTPError, XetDownloadError

    bases = [base for base in HfHubHTTPError.__mro__ if issubclass(base, Exception)]
    return *(base for base in bases if base is not Exception), XetDownloadError


def explain(name: str, place: str, error: Exception | None) -> WeightsError:
    """One line for whatever kept a transfer from ending.

    Args:
        name: What users call the file.
        place: Where it comes from or goes to.
        error: What happened; None for a network that the user forbids.
    """
    from huggingface_hub.errors import LocalEntryNotFoundError

    if isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    cause, step = reason(error)
    is_absent = error is not None and status_of(error) == _ABSENT
    kind = AbsentError if is_absent else WeightsError
    return kind(f"{name}: {place} cannot be downloaded: {cause}.", step)


def reason(error: Exception | None) -> tuple[str, str]:
    """What happened and what to do."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    if error is None or isinstance(error, OfflineModeIsEnabled) or is_offline():
        return "HF_HUB_OFFLINE forbids the network, and it is not on this machine", (
            "Get it without HF_HUB_OFFLINE, or bring the cache of a machine that has it (HF_HOME)."
        )
    status = status_of(error)
    if status is not None:
        return _reason_of_status(status, error)
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return "the disk is full", "Make room, or name another place with HF_HOME."
    if isinstance(error, OSError) and error.errno in _READ_ONLY:
        where = f"'{error.filename}'" if error.filename else "the cache"
        return f"{where} cannot be written ({os.strerror(error.errno)})", (
            "Name another place with HF_HOME."
        )
    if isinstance(error, OSError) and "Consistency check" in str(error):
        return "it did not come whole", "Run the same command again."
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0].rstrip("."), (
        "Check the connection and the mirror (HF_ENDPOINT), and run the same command again."
    )


def _reason_of_status(status: int, error: Exception) -> tuple[str, str]:
    if status == 401:
        return "there is no such repository, or it asks who you are (401)", (
            "Check the name, and set HF_TOKEN if it is not public."
        )
    if status == 403:
        return "this account may not have it (403)", (
            "Ask for access on its page, and set HF_TOKEN to a token that may read it."
        )
    if status == _ABSENT:
        code = getattr(error, "response", None)
        what = {
            "RevisionNotFound": "revision",
            "EntryNotFound": "file",
            "RepoNotFound": "repository",
        }
        found = what.get(code.headers.get("X-Error-Code", "") if code is not None else "", "file")
        return f"there is no such {found} (404)", "Check the name, or choose another model."
    if status == TOO_MANY:
        return "too many requests (429)", "Wait some minutes; with HF_TOKEN more are allowed."
    if status >= SERVER_ERROR:
        return f"the server fails (HTTP {status})", "Try later, or a mirror (HF_ENDPOINT)."
    return f"HTTP {status}", "Check the address, or choose another model."


def status_of(error: Exception) -> int | None:
    """The status of HTTP that an error is about."""
    if isinstance(error, RefusedError):
        return error.status
    response = getattr(error, "response", None)
    return getattr(response, "status_code", None)
