"""Visual dubbing: lips of a video that follow new audio."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dubcli.core.waiting_threads import let_waiting_threads_sleep

if TYPE_CHECKING:
    from dubcli.config import DubConfig
    from dubcli.core.reports import DubReport
    from dubcli.pipeline.engine import Engine
    from dubcli.pipeline.run import dub

__version__ = "0.1.0"
__all__ = ["DubConfig", "DubReport", "Engine", "__version__", "dub"]

_HOMES = {
    "DubConfig": "dubcli.config",
    "DubReport": "dubcli.core.reports",
    "Engine": "dubcli.pipeline.engine",
    "dub": "dubcli.pipeline.run",
}


def __getattr__(name: str) -> Any:
    """Load the public names on first use, so that `import dubcli` stays cheap."""
    if name not in _HOMES:
        raise AttributeError(f"module 'dubcli' has no attribute {name!r}")
    let_waiting_threads_sleep()
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
