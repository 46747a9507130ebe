"""Errors a user can act on, and the exit code of each.

    DubError                      1
    ├── ConfigError               2   an option or a value is wrong
    ├── MediaError                3   a file cannot be read or written
    │   ├── ProbeError
    │   ├── DecodeError
    │   ├── EncodeError
    │   └── FfmpegError
    ├── WeightsError              4   weights are missing, damaged or of another model
    │   ├── ManifestError
    │   ├── ChecksumError
    │   ├── IncompatibleAdapterError
    │   └── IdentityError
    ├── FaceError                 5   no usable face
    │   ├── NoFaceError
    │   └── AlignmentError
    ├── DeviceError               6   the device is absent or out of memory
    └── TrainingError             7   training data or state cannot be used
    some rows of a batch failed  10
    interrupted (Ctrl-C)        130

Anything that is not a `DubError` is a bug: traceback, exit code 1.
"""

from __future__ import annotations

import errno
import re

INTERRUPTED_EXIT_CODE = 130
BATCH_FAILED_EXIT_CODE = 10

# What disks, permissions and other programs do to a run, as against mistakes of this one.
_OUTSIDE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ESTALE, errno.ENODEV, errno.ENXIO),
    *(errno.EMFILE, errno.ENFILE, errno.ENAMETOOLONG, errno.ELOOP, errno.ENETUNREACH),
}
_NO_MEMORY = ("can't allocate memory", "out of memory")
# What Python says of it, whatever is done with the file.
_ZERO_BYTE = "embedded null"
# What `of_system` knows errors of.
SYSTEM_ERRORS = (OSError, MemoryError, RuntimeError, ValueError)

# ffmpeg names the part that speaks, with its address, and follows up a cause with what comes of it.
_FFMPEG_PART = re.compile(r"\[[^]]* @ 0x[0-9a-f]+\]")
_FFMPEG_CONSEQUENCE = re.compile(
    r"Terminating thread|Task finished|Nothing was written|Conversion failed|Could not open encoder"
    r"|Error (sending frames|while opening encoder|submitting|encoding a frame)"
)


class DubError(Exception):
    """Base of every error that a user can act on.

    Args:
        cause: What went wrong, naming the file or value.
        next_step: What to try next; shown on the same line.
    """

    exit_code = 1

    def __init__(self, cause: str, next_step: str = "") -> None:
        self.cause = " ".join(cause.split())
        self.next_step = " ".join(next_step.split())
        super().__init__(f"{self.cause} {self.next_step}".strip())


class ConfigError(DubError):
    """An option, a value or a combination of both cannot be used."""

    exit_code = 2


class MediaError(DubError):
    """A media file cannot be read or written."""

    exit_code = 3


class ProbeError(MediaError):
    """A file is missing, unreadable or holds no usable stream."""


class DecodeError(MediaError):
    """A stream breaks off or cannot be decoded."""


class EncodeError(MediaError):
    """The result cannot be encoded or written."""


class FfmpegError(MediaError):
    """The ffmpeg program failed.

    Args:
        argv: The command that was run.
        stderr: What it printed; the last line that names a cause is shown.
    """

    def __init__(self, argv: list[str], stderr: str) -> None:
        self.argv = argv
        self.stderr = stderr
        lines = [_FFMPEG_PART.sub("", line).strip() for line in stderr.strip().splitlines()]
        lines = [line for line in lines if line]
        causes = [line for line in lines if not _FFMPEG_CONSEQUENCE.match(line)]
        said = (causes or lines or ["no message"])[-1].rstrip(".")
        super().__init__(
            f"ffmpeg failed: {said}.", "Run again with --verbose to see the whole command."
        )


class WeightsError(DubError):
    """Weights are missing, damaged or of another model."""

    exit_code = 4


class ManifestError(WeightsError):
    """The weights manifest is malformed or lacks an entry."""


class ChecksumError(WeightsError):
    """A weight file is not the one that the manifest names."""


class IncompatibleAdapterError(WeightsError):
    """An identity adapter belongs to other base weights."""


class IdentityError(WeightsError):
    """A stored identity is missing, damaged or cannot be written."""


class FaceError(DubError):
    """The video has no face that can be used."""

    exit_code = 5


class NoFaceError(FaceError):
    """No frame of the video shows a usable face."""


class AlignmentError(FaceError):
    """Landmarks do not determine an alignment."""


class DeviceError(DubError):
    """The requested device is absent or out of memory."""

    exit_code = 6


class TrainingError(DubError):
    """Training data or a training state cannot be used."""

    exit_code = 7


def of_system(error: BaseException) -> DubError | None:
    """What a user can mend of an error that no stage expected; None for a bug.

    Args:
        error: Of a disk, of files that somebody else changed, of a name that is none, or for want
            of memory.
    """
    text = str(error).lower()
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in text for words in _NO_MEMORY)
    ):
        return DeviceError("Memory ran out.", "Close other programs, or use a smaller video.")
    if isinstance(error, OSError) and error.errno in _OUTSIDE:
        where = "" if error.filename is None else f"'{error.filename}': "
        if error.errno == errno.ENAMETOOLONG:
            return MediaError(f"{where}{error.strerror}.", "Use a shorter name or folder.")
        return MediaError(
            f"{where}{error.strerror}.",
            "Check that the disk has room, and that nobody moves or removes files meanwhile.",
        )
    if isinstance(error, ValueError) and _ZERO_BYTE in text:
        return ConfigError(
            "The name of a file holds a zero byte.", "Write it again where it is listed."
        )
    return None
