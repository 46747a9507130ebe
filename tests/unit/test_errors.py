"""What an error tells."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from dubcli.core.errors import ConfigError, DeviceError, FfmpegError, MediaError, of_system

_NAN = """[aac @ 0x562936dcaec0] Input contains (near) NaN/+-Inf
[aost#0:0/aac @ 0x562936dca540] [enc:aac @ 0x562936dcadc0] Error submitting audio frame to the encoder
[aost#0:0/aac @ 0x562936dca540] [enc:aac @ 0x562936dcadc0] Error encoding a frame: Invalid argument
[aost#0:0/aac @ 0x562936dca540] Task finished with error code: -22 (Invalid argument)
[aost#0:0/aac @ 0x562936dca540] Terminating thread with return code -22 (Invalid argument)
"""  # noqa: E501


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (_NAN, "Input contains (near) NaN/+-Inf."),
        ("", "no message."),
        ("Conversion failed!\n", "Conversion failed!."),
        ("one\n\nout.mp4: Permission denied\n", "out.mp4: Permission denied."),
    ],
)
def test_a_failure_of_ffmpeg_shows_its_cause_not_what_came_of_it(said: str, shown: str) -> None:
    assert FfmpegError(["ffmpeg"], said).cause == f"ffmpeg failed: {shown}"


def test_what_disks_and_memory_do_is_no_bug() -> None:
    full = of_system(OSError(errno.ENOSPC, "No space left on device", "/out/a.mp4"))
    assert isinstance(full, MediaError)
    assert full.cause == "'/out/a.mp4': No space left on device."
    for error in (MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")):
        assert isinstance(of_system(error), DeviceError)
    with pytest.raises(ValueError, match="null") as raised:
        Path("a\0b").lstat()
    assert isinstance(of_system(raised.value), ConfigError)
    for bug in (
        ValueError("bad"),
        OSError(errno.EBADF, "Bad file descriptor"),
        RuntimeError("shapes differ"),
    ):
        assert of_system(bug) is None
