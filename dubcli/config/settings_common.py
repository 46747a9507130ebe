"""What the configurations share: checks, and help beside each field."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from dubcli.config.option_parsing import check

DEVICES = ("auto", "cpu", "cuda", "mps")
_HELP = "help"


def about(text: str) -> dict[str, str]:
    """Metadata of a field: what the option is for, as users read it."""
    return {_HELP: text}


def help_of(metadata: Any) -> str:
    """What a field's metadata says of the option; empty where it says nothing."""
    return metadata.get(_HELP, "")


def check_device(device: str) -> None:
    """Refuse what is no device. Raises ConfigError."""
    check(
        device.split(":")[0] in DEVICES,
        f"Unknown device '{device}'.",
        "Use auto, cpu, cuda, cuda:N or mps.",
    )


def check_precision(precision: str) -> None:
    """Refuse what is no number format. Raises ConfigError."""
    check(
        precision in ("auto", "float32", "bfloat16"),
        f"Unknown precision '{precision}'.",
        "Use auto, float32 or bfloat16.",
    )


def as_json(config: Any) -> dict[str, Any]:
    """Fields of a configuration as JSON-ready values."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            items = cast("dict[str, Any]", value).items()
            return {key: plain(item) for key, item in items}
        if isinstance(value, tuple):
            return [plain(item) for item in cast("tuple[Any, ...]", value)]
        return str(value) if isinstance(value, Path) else value

    return {key: plain(value) for key, value in asdict(config).items()}
