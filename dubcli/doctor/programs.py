"""Libraries and programs that read, look at and write video."""

from __future__ import annotations

import importlib.util
import subprocess

from dubcli.core.errors import DeviceError
from dubcli.doctor.check import Check

_HARDWARE = ("h264_nvenc", "hevc_nvenc", "h264_videotoolbox")
_LAST_RESORT = "libx264"
# What each extra brings, by the names that are imported.
_EXTRAS = {"c2pa": ("c2pa", "cryptography"), "evaluate": ("skimage", "matplotlib")}
# Extras that few need are told of, and not asked for.
_RARE_EXTRAS = ("mediapipe",)


def opencv() -> Check:
    """The version that is loaded."""
    import cv2

    return Check(name="opencv", value=cv2.__version__)


def ffmpeg() -> Check:
    """The program that joins picture and sound."""
    from dubcli.media.container.ffmpeg import ffmpeg_binary

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


def encoders() -> Check:
    """Encoders of every family that some container takes."""
    import av

    from dubcli.media.container.formats import CONTAINERS

    names = dict.fromkeys(name for container in CONTAINERS.values() for name in container.encoders)
    missing = [name for name in names if name not in av.codecs_available]
    if _LAST_RESORT in missing:
        raise DeviceError(
            f"PyAV {av.__version__} lacks {_LAST_RESORT}.", "Install the PyPI wheel of av."
        )
    found = [name for name in (*names, *_HARDWARE) if name in av.codecs_available]
    lacking = f"; lacks {', '.join(missing)}" if missing else ""
    return Check(
        name="encoders",
        value=f"{', '.join(found)} (PyAV {av.__version__}){lacking}",
        fix="Sources of these kinds become another kind; the PyPI wheel of av has all."
        if missing
        else "",
    )


def extras() -> Check:
    """What was installed besides."""
    found = {
        name: all(importlib.util.find_spec(module) is not None for module in modules)
        for name, modules in _EXTRAS.items()
    }
    rare = {name: importlib.util.find_spec(name) is not None for name in _RARE_EXTRAS}
    told = ", ".join(
        f"{name}: {'yes' if there else 'no'}" for name, there in {**found, **rare}.items()
    )
    absent = [name for name, there in found.items() if not there]
    fix = f"For signed marks or scores: pip install 'dubcli[{','.join(absent)}]'" if absent else ""
    return Check(name="extras", value=told, fix=fix)
