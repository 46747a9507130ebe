"""One made row: what is kept of it, and where, so that an interrupted run goes on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from dubcli.core.errors import ConfigError
from dubcli.core.json_text import parse_json
from dubcli.evaluation.results import file_name, to_json, write_text
from dubcli.evaluation.tables import MeanEstimate

# Rows of a run that stored or scored otherwise are made again.
FORMAT = 1
_ROWS = "rows"


@dataclass(frozen=True, kw_only=True)
class MadeRow:
    """A row that was made.

    Attributes:
        key: What it depends on; another one makes it void.
        figures: By key; NaN where not measured.
        facts: What is to be noted: steps, seconds.
        clips: Scores by clip, where the row was made on a prepared set.
    """

    key: Mapping[str, Any]
    figures: Mapping[str, MeanEstimate]
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    clips: Mapping[str, Mapping[str, float]] = field(
        default_factory=dict[str, "Mapping[str, float]"]
    )


def row_path(folder: Path, model: str, table: str, row: str) -> Path:
    """Where a row lies."""
    name = file_name(model, table, "-".join(row.replace("=", "").split()))
    return folder / _ROWS / f"{name}.json"


def save_row(row: MadeRow, path: Path) -> MadeRow:
    """Write a row at once, and give it as it was stored.

    Raises:
        EncodeError: The disk is full or the folder cannot be written.
    """
    content = {"format": FORMAT, **asdict(row)}
    write_text(path, json.dumps(to_json(content), indent=1) + "\n")
    return load_row(path) or row


def load_row(path: Path) -> MadeRow | None:
    """The row of an earlier run; None where there is none that can be read."""
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        if content.pop("format") != FORMAT:
            return None
        figures = {key: _estimate(value) for key, value in content.pop("figures").items()}
        clips = {
            clip: {key: _number(value) for key, value in scores.items()}
            for clip, scores in content.pop("clips").items()
        }
        return MadeRow(figures=figures, clips=clips, **content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _estimate(value: dict[str, Any]) -> MeanEstimate:
    means = {name: _number(value[name]) for name in ("mean", "low", "high")}
    return MeanEstimate(**means, people=value["people"], frames=value["frames"])


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def key_hash(key: Mapping[str, Any]) -> str:
    """Eight letters and digits that tell settings apart."""
    return sha256(json.dumps(to_json(dict(key)), sort_keys=True).encode()).hexdigest()[:8]


def known_row(path: Path, key: Mapping[str, Any]) -> MadeRow | None:
    """The row of an earlier run with these settings; None where nothing lies there.

    Raises:
        ConfigError: It was made with other settings.
    """
    found = load_row(path)
    if found is None:
        return None
    wanted = to_json(dict(key))
    names = {**wanted, **found.key}
    different = [name for name in names if wanted.get(name) != found.key.get(name)]
    if different:
        changes = ", ".join(
            f"{name} {_told(found.key.get(name))}, now {_told(wanted.get(name))}"
            for name in different
        )
        raise ConfigError(
            f"'{path}' was made with other settings: {changes}.",
            "Use -y to make it again, or another folder.",
        )
    return found


def _told(value: Any) -> str:
    """A setting in a sentence; of long ones that they are others."""
    text = "none" if value is None else json.dumps(value) if not isinstance(value, str) else value
    return text if len(text) <= 40 else f"{text[:37]}..."
