"""One scored result: what is kept of it, and where, so that an interrupted evaluation goes on."""

from __future__ import annotations

import json
import math
import re
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dubcli.core.atomic_io import replace_bytes
from dubcli.core.errors import DubError, EncodeError
from dubcli.core.json_text import parse_json

# Items of an evaluation that scored otherwise are scored again.
FORMAT = 2
# Less free space than this is what stopped a run that could not write.
_FULL_BYTES = 16 << 20
# What separates folders or drives on some system.
_UNSAFE = re.compile(r"[/\\:@]+")


@dataclass(frozen=True, kw_only=True)
class Item:
    """Scores of one clip in one run by one system.

    Attributes:
        clip: Name of the clip.
        identity: The person.
        run: As in `settings.RUNS`.
        system: A model or a baseline.
        fingerprint: What the scores depend on; another one makes them void.
        scores: Figures by key; NaN where not measured.
        seconds: Time of each frame after the first, s.
        output: Mouth opening of the result, NaN where unknown.
        compared: The opening that it is compared with.
        facts: What the dub reported, and what drove it.
        features: What `fid.score_sets` compares, packed; empty where not measured.
    """

    clip: str
    identity: str
    run: str
    system: str
    fingerprint: dict[str, Any]
    scores: dict[str, float]
    seconds: list[float] = field(default_factory=list[float])
    output: list[float] = field(default_factory=list[float])
    compared: list[float] = field(default_factory=list[float])
    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    features: dict[str, str] = field(default_factory=dict[str, str])


def item_path(folder: Path, clip: str, run: str, system: str) -> Path:
    """Where an item lies."""
    return folder / "items" / f"{file_name(clip, run, system)}.json"


def file_name(clip: str, run: str, system: str = "") -> str:
    """Clip, run and system as the start of a file's name; a system may be a path or `hf:...`."""
    return f"{clip}.{run}.{_UNSAFE.sub('_', system)}".removesuffix(".")


def save_item(item: Item, path: Path) -> None:
    """Write an item under a temporary name, then rename.

    Raises:
        EncodeError: The disk is full or the folder cannot be written.
    """
    write_text(path, json.dumps(to_json(asdict(item)), indent=1) + "\n")


def load_item(path: Path, fingerprint: dict[str, Any]) -> Item | None:
    """The item of an earlier run; None where there is none, or one of other circumstances."""
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        if content["fingerprint"] != to_json(fingerprint):
            return None
        for name in ("seconds", "output", "compared"):
            content[name] = [math.nan if value is None else value for value in content[name]]
        scores = content["scores"].items()
        content["scores"] = {key: math.nan if v is None else float(v) for key, v in scores}
        return Item(**content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def to_json(value: Any) -> Any:
    """JSON has no NaN: what was not measured is null. Numbers keep six digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return value


def write_text(path: Path, text: str) -> None:
    """Replace a file at once.

    Raises:
        EncodeError: The disk is full or the folder cannot be written.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file at once.

    Raises:
        EncodeError: The disk is full or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_bytes(path, content)
    except OSError as error:
        raise EncodeError(
            f"'{path}' cannot be written: {error.strerror}.",
            "Mend that and run the same command again: what was scored is kept.",
        ) from error


def stamp(path: Path) -> list[Any]:
    """Name, size and time of a file, which tell whether it is still the same."""
    try:
        facts = path.stat()
    except OSError:
        return [str(path)]
    return [str(path), facts.st_size, facts.st_mtime_ns]


def keep_result(result: Path, target: Path) -> None:
    """Copy a result to where it stays.

    Raises:
        EncodeError: The disk is full or the folder cannot be written.
    """
    try:
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(result, target)
    except OSError as error:
        raise EncodeError(
            f"'{target}' cannot be written: {error.strerror}.", "Free some space; run again."
        ) from error


def stop_if_full(error: DubError, folder: Path) -> None:
    """A full disk fails every later item too.

    Raises:
        EncodeError: It is full.
    """
    if shutil.disk_usage(folder).free < _FULL_BYTES:
        raise EncodeError(
            f"The disk of '{folder}' is full: {error.cause}",
            "Free some space and run the same command again: what was scored is kept.",
        ) from error
