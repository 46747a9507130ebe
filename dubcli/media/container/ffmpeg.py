"""The ffmpeg program: which one, safe names, how it is run."""

from __future__ import annotations

import functools
import logging
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ffmpeg

from dubcli.core.errors import EncodeError, FfmpegError, MediaError

MIN_VERSION = 6  # the first with -display_rotation, which keeps the rotation of a picture

_GLOBAL = ("-hide_banner", "-nostdin", "-loglevel", "error", "-y")
_log = logging.getLogger(__name__)

graph: Any = ffmpeg  # the library, which has no types


def ffmpeg_binary() -> str:
    """Path of the ffmpeg program: the one on PATH when new enough, else imageio-ffmpeg's.

    Raises:
        MediaError: There is none.
    """
    on_path = shutil.which("ffmpeg")
    if on_path is not None and _is_new_enough(on_path):
        return on_path
    import imageio_ffmpeg  # only needed where PATH has none

    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        found = f"'{on_path}' is older than version {MIN_VERSION}" if on_path else "none on PATH"
        raise MediaError(
            f"No usable ffmpeg program was found ({found}).",
            f"Install ffmpeg {MIN_VERSION} or newer, or run: pip install --force-reinstall "
            "imageio-ffmpeg",
        ) from error


def file_url(path: Path) -> str:
    """A file name that ffmpeg takes literally: no option, protocol, pipe or pattern."""
    url = f"file:{path}"
    return url if _is_text(url) else _RawName(url)


def build_argv(binary: str, stream: Any) -> list[str]:
    """The command for an ffmpeg-python output, quiet, never asking, overwriting its output."""
    return [binary, *_GLOBAL, *graph.get_args(stream)]


def run(argv: list[str]) -> bytes:
    """Run a command without a shell and with standard input closed.

    Args:
        argv: Program and arguments.

    Returns:
        What it wrote to standard output.

    Raises:
        MediaError: The program cannot be started.
        EncodeError: The disk is full.
        FfmpegError: The program failed.
    """
    return _finished(argv)[0]


def run_for_messages(argv: list[str]) -> str:
    """The same, for what a command says on standard error.

    Raises:
        MediaError: The program cannot be started.
        EncodeError: The disk is full.
        FfmpegError: The program failed.
    """
    return _finished(argv)[1].decode("utf-8", "replace")


def can_decode(path: Path, stream: int) -> bool:
    """Whether the program decodes the beginning of a stream; its libav may be another than ours.

    Args:
        path: The file.
        stream: Index of the stream in it.

    Raises:
        MediaError: The program cannot be started.
    """
    source = graph.input(file_url(path), t=1)[str(stream)]
    try:
        run(build_argv(ffmpeg_binary(), graph.output(source, "-", f="null")))
    except FfmpegError:
        return False
    return True


class _RawName(str):
    """A name of bytes that are no text. ffmpeg-python cannot hash one unless it shows as text."""

    def __str__(self) -> str:
        return self.encode("utf-8", "backslashreplace").decode()


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _finished(argv: list[str]) -> tuple[bytes, bytes]:
    """Standard output and error of a command that succeeded."""
    _log.debug("running %s", argv)
    pipe = subprocess.PIPE
    children: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        children.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe))

    try:
        # Interrupts reach the main thread alone: whenever one comes, the thread ends, and the child
        # is known before the error goes on.
        with ThreadPoolExecutor(max_workers=1) as thread:
            thread.submit(start).result()
        (process,) = children
        output, errors = process.communicate()
    except OSError as error:
        raise MediaError(
            f"'{argv[0]}' cannot be started: {error.strerror}.",
            f"Install ffmpeg {MIN_VERSION} or newer.",
        ) from error
    except BaseException:
        # It must not go on writing behind our back.
        for child in children:
            with child:
                child.kill()
        raise
    if process.returncode != 0:
        message = errors.decode("utf-8", "replace")
        if os.strerror(28) in message:  # ENOSPC
            raise EncodeError("The disk is full.", "Free some space, or choose another folder.")
        raise FfmpegError(argv, message or f"exit status {process.returncode}")
    return output, errors


def _is_new_enough(binary: str) -> bool:
    version = _major_version(binary)
    return version is None or version >= MIN_VERSION


@functools.cache
def _major_version(binary: str) -> int | None:
    """First number of the version; None for builds named after a commit, 0 for a broken one."""
    try:
        reply = subprocess.run(
            [binary, "-version"], capture_output=True, stdin=subprocess.DEVNULL, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    if reply.returncode != 0:
        return 0
    text = reply.stdout.decode("utf-8", "replace")
    match = re.match(r"ffmpeg version n?(\d+)\.", text)
    return int(match.group(1)) if match else None
