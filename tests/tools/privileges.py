"""Take from a process that runs as root the right to write and read what others own."""

from __future__ import annotations

import ctypes
import os

_PR_CAPBSET_DROP = 24
# To write, and to read and search, whatever the permissions say; to act as any file's owner.
_OVERRIDES = (1, 2, 3)
_VERSION_3 = 0x20080522
SOMEBODY_ELSE = 12345


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Sets(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32)]
    _fields_ += [("inheritable", ctypes.c_uint32)]


def drop_overrides() -> None:
    """From now on permissions hold for this process and for those that it starts.

    Raises:
        OSError: The system does not let it.
    """
    library = ctypes.CDLL(None, use_errno=True)
    for number in _OVERRIDES:
        library.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
    header, sets = _Header(_VERSION_3, 0), (_Sets * 2)()
    if library.capget(ctypes.byref(header), sets):
        raise OSError(ctypes.get_errno(), "capget")
    kept = ~sum(1 << number for number in _OVERRIDES) & 0xFFFFFFFF
    for name in ("effective", "permitted", "inheritable"):
        setattr(sets[0], name, getattr(sets[0], name) & kept)
    if library.capset(ctypes.byref(header), sets):
        raise OSError(ctypes.get_errno(), "capset")


def give_away(path: str | os.PathLike[str]) -> None:
    """Let a folder belong to somebody else, readable and not writable for all others."""
    if os.geteuid() == 0:
        os.chown(path, SOMEBODY_ELSE, SOMEBODY_ELSE)
        os.chmod(path, 0o755)
    else:
        os.chmod(path, 0o555)
