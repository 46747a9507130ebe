"""What an earlier run has left of a row: all of it, a part to go on from, or files in the way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dubcli import __version__
from dubcli.batches.row_checks import CheckedRow
from dubcli.config import DubConfig, FinetuneConfig, PlanConfig
from dubcli.core.errors import ConfigError, DubError, IdentityError
from dubcli.core.json_text import parse_json
from dubcli.identities.layout import DESCRIPTION
from dubcli.identities.store import read_description
from dubcli.identities.store import require_free as require_identity_free
from dubcli.pipeline.job import require_free
from dubcli.pipeline.resume import was_finishing


def is_there(row: CheckedRow, *, is_known: bool = False) -> bool:
    """The result of a row lies there, and its report says that it is of these options.

    A result that is older than what it was made of is of other files. Of an evaluation this is
    never known: it is run again, which scores nothing that is scored.

    Args:
        row: Of the batch.
        is_known: It was made of these very files: their times tell nothing, which may lie in the
            future where a clock was wrong.
    """
    config = row.config
    if isinstance(config, FinetuneConfig):
        told, newest_of = _told_by_identity(row.output), config.videos
        written = row.output / DESCRIPTION
    elif isinstance(config, DubConfig) and row.report is not None:
        told, written = _told_by(row.report), row.output
        newest_of = (config.video, *(voice.audio for voice in config.voices))
    else:
        return False
    if told is None or told.get("error") or not written.is_file():
        return False
    if not is_known and not _is_newer(written, newest_of):
        return False
    is_drawn = isinstance(config, PlanConfig) and told.get("picture")
    if is_drawn and not all(path.is_file() for path in row.others):
        return False
    return _is_same(row, told)


def lacks_comparison(row: CheckedRow) -> bool:
    """The comparison that the row asks for was not written."""
    return (
        isinstance(row.config, DubConfig)
        and row.config.compare is not None
        and not row.config.compare.exists()
    )


def in_the_way(row: CheckedRow) -> DubError | None:
    """What lies where the result would go, and may not be replaced; None where nothing does."""
    config = row.config
    try:
        if isinstance(config, FinetuneConfig):
            require_identity_free(row.output, replace=config.overwrite)
        elif isinstance(config, PlanConfig):
            _require_own_picture(row, config)
        elif isinstance(config, DubConfig) and not was_finishing(row.output):
            require_free(row.output, config)
    except DubError as error:
        return error
    return None


def _require_own_picture(row: CheckedRow, config: PlanConfig) -> None:
    """Refuse a picture of the faces that is there and was not drawn for this row.

    Raises:
        ConfigError: It was not.
    """
    if config.overwrite or not any(path.exists() for path in row.others):
        return
    told = None if row.report is None else _told_by(row.report)
    if told is None or not told.get("picture") or not _is_same(row, told):
        raise ConfigError(
            f"'{row.others[0]}' exists.",
            "Set overwrite, name another in the column 'faces', or set picture to no.",
        )


def _is_same(row: CheckedRow, told: dict[str, Any]) -> bool:
    """Whether a report is of the row's options, and of this version."""
    wanted = json.loads(json.dumps(row.config.as_json(), default=str))
    return (told.get("config"), told.get("version")) == (wanted, __version__)


def _told_by(report: Path) -> dict[str, Any] | None:
    """What a report says; None where it cannot be read or is none."""
    try:
        told = parse_json(report.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) else None


def _told_by_identity(path: Path) -> dict[str, Any] | None:
    """Options and version that an identity was learned with; None where none is there."""
    try:
        description = read_description(path)
    except IdentityError:
        return None
    return {"config": description.report.get("config"), "version": description.version}


def _is_newer(written: Path, inputs: Sequence[Path]) -> bool:
    """Whether a file was written after all of what it was made of."""
    try:
        newest = max(path.stat().st_mtime_ns for path in inputs)
        return written.stat().st_mtime_ns >= newest
    except OSError:
        return False
