"""What this machine has and lacks for the main job, and how to mend it."""

from __future__ import annotations

from collections.abc import Callable

from dubcli.doctor import machine, programs, stores
from dubcli.doctor.check import Check, guarded, library_error

__all__ = ["Check", "examine", "exit_code", "library_error"]


def examine() -> list[Check]:
    """Look at everything that the main job needs, and at what else users ask about."""
    looks: dict[str, Callable[[], Check]] = {
        "python": machine.python,
        "platform": machine.system,
        "torch": machine.torch_build,
        "device": machine.device,
        "cpu": machine.cpu,
        "opencv": programs.opencv,
        "ffmpeg": programs.ffmpeg,
        "encoders": programs.encoders,
        "weights": stores.weights,
        "other weights": stores.other_weights,
        "disk": stores.disk,
        "temporary files": stores.temporary,
        "hub": stores.hub,
        "extras": programs.extras,
    }
    found = [guarded(name, look) for name, look in looks.items()]
    # Damage among weights that it does not need stops no main job.
    return [*found, *stores.paths()]


def exit_code(checks: list[Check]) -> int:
    """0 when the main job can run; otherwise the device's code before the weights'."""
    return max((check.exit_code for check in checks), default=0)
