"""`python -m dubcli` does the same as `dub`."""

from __future__ import annotations

from dubcli.cli.app import app

if __name__ == "__main__":
    app(prog_name="dub")
