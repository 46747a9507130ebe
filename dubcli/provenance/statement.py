"""What a mark says of a result, in one form for every place where marks lie."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, cast

from dubcli import __version__
from dubcli.core.json_text import parse_json

# IPTC NewsCodes, digital source type; C2PA and XMP use the same term.
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
TOOL = "dub"
SENTENCE = "Lips dubbed by dub"

Place = Literal["none", "embedded", "sidecar"]


@dataclass(frozen=True, kw_only=True)
class Statement:
    """Who changed what with which weights.

    Attributes:
        model: Name and tag of the weights, never a path.
        weights_sha256: None for a model without weights.
        visible: Frames show a mark.
        credentials: Where the signed Content Credentials were put.
        version: Of this tool.
    """

    model: str
    weights_sha256: str | None
    visible: bool = False
    credentials: Place = "none"
    version: str = __version__

    @property
    def sentence(self) -> str:
        """For people."""
        return f"{SENTENCE} {self.version} ({self.model})"

    def as_json(self) -> str:
        """For programs: one line."""
        facts = {"tool": TOOL, "edit": "lips", "digital_source_type": SOURCE_TYPE, **asdict(self)}
        return json.dumps(facts, sort_keys=True)


def statement_of(text: str) -> Statement | None:
    """What `Statement.as_json` wrote; None for anything else."""
    try:
        facts = parse_json(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(facts, dict):
        return None
    known = cast("dict[str, Any]", facts)
    kinds = {"model": str, "weights_sha256": (str, type(None)), "visible": bool}
    kinds |= {"credentials": str, "version": str}
    if known.get("tool") != TOOL or any(
        not isinstance(known.get(name), kind) for name, kind in kinds.items()
    ):
        return None
    if known["credentials"] not in ("none", "embedded", "sidecar"):
        return None
    return Statement(**{entry.name: known[entry.name] for entry in fields(Statement)})


def model_label(name: str) -> str:
    """A model's name without the folders of a user's own checkpoint, which are private."""
    path = Path(name)
    is_path = path.is_absolute() or name.startswith(("./", "../", "~"))
    return printable(path.name if is_path else name)


def printable(name: str) -> str:
    """A file's name as text: bytes of it that are no UTF-8 become question marks."""
    return name.encode("utf-8", "replace").decode()
