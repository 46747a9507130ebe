"""All checks in order: ruff check, ruff format, pyright, pytest. Fails if any of them does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHECKS = {
    "ruff check": ["ruff", "check", "."],
    "ruff format": ["ruff", "format", "--check", "."],
    # Not the interpreter on PATH, which need not be this environment's.
    "pyright": ["pyright", "--pythonpath", sys.executable],
    "pytest": ["pytest", "-q"],
}


def main() -> int:
    """Run every check; pytest last, so that its closing line ends the output."""
    # Pyright asks the network for newer versions of itself otherwise.
    environment = {**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    failed: list[str] = []
    for name, arguments in CHECKS.items():
        if name == "pytest" and failed:
            print(f"Failed before the tests: {', '.join(failed)}", flush=True)
        argv = [sys.executable, "-m", *arguments]
        if subprocess.run(argv, cwd=ROOT, env=environment, check=False).returncode != 0:
            failed.append(name)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
