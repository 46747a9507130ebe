"""Files that training leaves: there whole, or not at all."""

from __future__ import annotations

from pathlib import Path

from dubcli.core.errors import TrainingError


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename; its folder is made.

    Raises:
        TrainingError: The disk is full, or the place cannot be written.
    """
    partial = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(content)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise TrainingError(
            f"'{path}' cannot be written: {error.strerror}.",
            "Make room or name another place, and run again.",
        ) from error
