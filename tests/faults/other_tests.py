"""What other folders of tests have, for fault tests and for processes that faults are put into."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

_TESTS = Path(__file__).parents[1]


def module_of(name: str, *folders: str) -> Any:
    """A module of other folders of tests, which are searched for this import alone."""
    paths = [str(_TESTS / folder) for folder in folders]
    sys.path[:0] = paths
    try:
        return importlib.import_module(name)
    finally:
        for path in paths:
            sys.path.remove(path)
