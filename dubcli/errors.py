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
    interrupted (Ctrl-C)        130

Anything that is not a `DubError` is a bug: traceback, exit code 1.
"""

from __future__ import annotations

INTERRUPTED_EXIT_CODE = 130


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
        stderr: What it printed; the last line is shown.
    """

    def __init__(self, argv: list[str], stderr: str) -> None:
        self.argv = argv
        self.stderr = stderr
        lines = [line for line in stderr.strip().splitlines() if line.strip()]
        super().__init__(
            f"ffmpeg failed: {lines[-1] if lines else 'no message'}.",
            "Run again with --verbose to see the whole command.",
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
