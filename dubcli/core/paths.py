"""Where this user's own data lie: identities, accepted licences, recorded hashes, settings."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_config_path, user_data_path

HOME_VARIABLE = "DUB_HOME"


def data_home() -> Path:
    """`$DUB_HOME`, or the user's data directory of this system."""
    chosen = os.environ.get(HOME_VARIABLE)
    return Path(chosen).expanduser() if chosen else user_data_path("dubcli", appauthor=False)


def settings_home() -> Path:
    """Folder of the user's own `dub.toml`: `$DUB_HOME`, or the configuration directory."""
    chosen = os.environ.get(HOME_VARIABLE)
    return Path(chosen).expanduser() if chosen else user_config_path("dubcli", appauthor=False)
