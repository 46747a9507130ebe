"""One finding about the machine, and what kept a look at it from ending."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from dubcli.core.errors import DeviceError, DubError

_MISSING_LIBRARY = re.compile(r"(lib[\w+.-]*\.so[\w.]*): cannot open shared object file")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One fact about the machine.

    Attributes:
        name: What was looked at.
        value: What was found.
        fix: What to do when it is not right, '' when it is.
        exit_code: Code of `dub doctor` when the main job cannot run for this reason, 0 otherwise.
    """

    name: str
    value: str
    fix: str = ""
    exit_code: int = 0


def library_error(error: ImportError) -> DeviceError | None:
    """The error for a shared library that the system lacks; None for any other import error."""
    match = _MISSING_LIBRARY.search(str(error))
    if match is None:
        return None
    return DeviceError(
        f"{match[1]} is missing on this system.",
        "Install it: 'apt install libgl1 libglib2.0-0' on Debian and Ubuntu, "
        "'dnf install mesa-libGL glib2' on Fedora.",
    )


def guarded(name: str, look: Callable[[], Check]) -> Check:
    """A check that fails becomes a finding: the others must still be shown."""
    try:
        return look()
    except ImportError as error:
        known = library_error(error)
        fix = known.next_step if known else "Install dubcli again."
        return Check(name=name, value=str(error), fix=fix, exit_code=DeviceError.exit_code)
    except DubError as error:
        return Check(name=name, value=error.cause, fix=error.next_step, exit_code=error.exit_code)
    except OSError as error:
        return Check(name=name, value=str(error), fix="Check the disk and its permissions.")
