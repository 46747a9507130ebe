"""All checks in order: ruff check, ruff format, pyright, pytest. Fails if any of them does."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHECKS = {
    "ruff check": ["ruff", "check", "."],
    "ruff format": ["ruff", "format", "--check", "."],
    # Not the interpreter on PATH, which need not be this environment's.
    "pyright": ["pyright", "--pythonpath", sys.executable],
}
ENVIRONMENT = {
    # Pyright asks the network for newer versions of itself otherwise.
    "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1",
    # A worker a core: threads that wait for each other by spinning would take the cores from them.
    "OMP_NUM_THREADS": "1",
    "GOMP_SPINCOUNT": "0",
}


def main() -> int:
    """Run every check; pytest last, so that its closing line ends the output."""
    failed = [name for name, arguments in CHECKS.items() if not _passes(arguments)]
    if failed:
        print(f"Failed before the tests: {', '.join(failed)}", flush=True)
    with tempfile.TemporaryDirectory(prefix="dub-tests-") as folder:
        if not _passes(_pytest(Path(folder))):
            failed.append("pytest")
    return 1 if failed else 0


def _pytest(folder: Path) -> list[str]:
    """Workers for all cores; the tests of a file share one, and so what they set up together."""
    workers = str(os.cpu_count() or 1)
    scratch = str(folder / "tests")
    return ["pytest", "-q", "-n", workers, "--dist", "loadfile", "--basetemp", scratch]


def _passes(arguments: list[str]) -> bool:
    argv = [sys.executable, "-m", *arguments]
    environment = {**os.environ, **ENVIRONMENT}
    return subprocess.run(argv, cwd=ROOT, env=environment, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
