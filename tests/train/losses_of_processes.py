"""Trains as the command line says, under `torchrun` or alone, and writes each update's losses.

    python -m torch.distributed.run ... losses_of_processes.py LOSSES.json train MODEL ...

The log of a run has five digits behind the point; here are all of them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from dubcli.cli.app import app
from dubcli.training import loop


def main() -> None:
    path, words = Path(sys.argv[1]), sys.argv[2:]
    losses: list[dict[str, float]] = []

    def keep(folder: Path, step: int, seconds: float, values: Mapping[str, float]) -> None:
        losses.append(dict(values))
        path.write_text(json.dumps(losses))

    loop.append_row = keep
    app(words, prog_name="dub")


if __name__ == "__main__":
    main()
