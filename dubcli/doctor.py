"""What this machine has and lacks for the main job, and how to mend it."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dubcli.config import DubConfig
from dubcli.errors import DeviceError, DubError, WeightsError

ENCODERS = (
    "libx264",
    "libx265",
    "libsvtav1",
    "mpeg4",
    "prores_ks",
    "h264_nvenc",
    "hevc_nvenc",
    "h264_videotoolbox",
)
LITTLE_DISK_BYTES = 1 << 30
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


def examine() -> list[Check]:
    """Look at everything that the main job needs."""
    looks: dict[str, Callable[[], Check]] = {
        "python": _python,
        "platform": _platform,
        "torch": _torch,
        "cpu": _cpu,
        "opencv": _opencv,
        "mediapipe": _mediapipe,
        "ffmpeg": _ffmpeg,
        "encoders": _encoders,
        "weights": _weights,
        "disk": _disk,
    }
    return [_guarded(name, look) for name, look in looks.items()]


def exit_code(checks: list[Check]) -> int:
    """0 when the main job can run; otherwise the device's code before the weights'."""
    return max((check.exit_code for check in checks), default=0)


def _guarded(name: str, look: Callable[[], Check]) -> Check:
    """A check that fails becomes a finding: the others must still be shown."""
    try:
        return look()
    except ImportError as error:
        known = library_error(error)
        fix = known.next_step if known else "Install dubcli again."
        return Check(name=name, value=str(error), fix=fix, exit_code=DeviceError.exit_code)
    except DubError as error:
        return Check(name=name, value=error.cause, fix=error.next_step, exit_code=error.exit_code)


def _python() -> Check:
    return Check(name="python", value=f"{platform.python_version()} ({sys.executable})")


def _platform() -> Check:
    return Check(name="platform", value=platform.platform())


def _torch() -> Check:
    import torch

    devices = ["cpu"]
    if torch.cuda.is_available():
        devices = [
            f"cuda:{index} ({torch.cuda.get_device_name(index)})"
            for index in range(torch.cuda.device_count())
        ]
    elif torch.backends.mps.is_available():
        devices = ["mps"]
    return Check(name="torch", value=f"{torch.__version__} on {', '.join(devices)}")


def _cpu() -> Check:
    import torch

    info = Path("/proc/cpuinfo")
    flags = set(info.read_text().split()) if info.is_file() else set[str]()
    fast = [
        label for label, flag in (("bf16", "avx512_bf16"), ("AMX", "amx_tile")) if flag in flags
    ]
    capability = torch.backends.cpu.get_cpu_capability()
    return Check(
        name="cpu",
        value=f"{torch.get_num_threads()} threads, {capability}"
        + (f", {', '.join(fast)}" if fast else ", no bf16 units"),
    )


def _opencv() -> Check:
    import cv2

    return Check(name="opencv", value=cv2.__version__)


def _mediapipe() -> Check:
    try:
        version = importlib.metadata.version("mediapipe")
    except importlib.metadata.PackageNotFoundError as error:
        raise DeviceError("mediapipe is not installed.", "Install dubcli again.") from error
    return Check(name="mediapipe", value=version)


def _ffmpeg() -> Check:
    from dubcli.media.ffmpeg import ffmpeg_binary

    program = ffmpeg_binary()
    try:
        run = subprocess.run(
            [program, "-version"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise DeviceError(
            f"ffmpeg does not run: {error}.", "Install ffmpeg, or imageio-ffmpeg again."
        ) from error
    version = run.stdout.split("\n", 1)[0].removeprefix("ffmpeg version ").split(" ")[0]
    return Check(name="ffmpeg", value=f"{version} ({program})")


def _encoders() -> Check:
    import av

    found = [name for name in ENCODERS if name in av.codecs_available]
    if "libx264" not in found:
        raise DeviceError(f"PyAV {av.__version__} lacks libx264.", "Install the PyPI wheel of av.")
    return Check(name="encoders", value=f"{', '.join(found)} (PyAV {av.__version__})")


def _weights() -> Check:
    from dubcli.weights import resolve, verify

    try:
        entry = resolve(DubConfig.model)
    except DubError as error:
        raise WeightsError(
            f"No weights of the default model '{DubConfig.model}' are listed.",
            "Install dubcli again.",
        ) from error
    verify(entry)
    verify(resolve("speech-encoder", role="part"))
    return Check(name="weights", value=f"{entry.name}, {entry.num_bytes / 1e6:.1f} MB, verified")


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free
    return Check(
        name="disk",
        value=f"{free / 1e9:.1f} GB free in {Path.cwd()}",
        fix="Free some space: results need room." if free < LITTLE_DISK_BYTES else "",
    )
