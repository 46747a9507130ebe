"""`dub finetune` of a small network on drawn footage, for processes that faults are put into."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from made_clips import made_clip
from test_train_finetune import MadeEngine, made_footage

from dubcli.personalize import run as module
from dubcli.pipeline.engine import Engine


@contextmanager
def _made_engine(*_: Any) -> Iterator[Engine]:
    yield MadeEngine()


def install() -> None:
    """From now on whoever is learned is drawn, and looked at after every second step."""
    footage = made_footage(made_clip(0))
    changes: dict[str, Any] = {
        "gather_footage": lambda *_, **__: footage,
        "engine_for": _made_engine,
        "CHECK_EVERY": 2,
        "_FRAMES": 2,
    }
    for name, value in changes.items():
        setattr(module, name, value)
