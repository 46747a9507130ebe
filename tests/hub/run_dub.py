"""The command in a process of its own, with a manifest of the tests: `run_dub.py MANIFEST ...`."""

from __future__ import annotations

import sys
from pathlib import Path

from dubcli.cli.app import app
from dubcli.weights import manifest as manifests


def main() -> None:
    """Run it."""
    manifest = Path(sys.argv.pop(1))
    manifests.manifest_path = lambda: manifest
    app()


if __name__ == "__main__":
    main()
