"""The manifest: every known weight file, its hash, licence and configuration.

`weights_manifest.json` holds `{"format": 2, "default": {architecture: tag}, "weights": {name:
entry}}`; `assets/weights_manifest.schema.json` says what an entry is. Its name is
`architecture.tag`; a published tag never changes. An entry with neither `package` nor `sources`
needs no weights and is named by its architecture alone. Entries with the role `part` are what
several models or scores share, such as the speech encoder.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dubcli.core.errors import ManifestError
from dubcli.core.json_text import parse_json
from dubcli.weights.entry import HubSource, Source, UrlSource, WeightEntry

MANIFEST_NAME = "weights_manifest.json"
MANIFEST_FORMAT = 2
PACKAGE_DIR = Path(__file__).parent.parent


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All known weights by name, and the tag that each architecture uses by default."""

    path: Path
    weights: dict[str, WeightEntry]
    default: dict[str, str]


def manifest_path() -> Path:
    """Where the manifest lies: in the package, or at the root of a source checkout.

    Raises:
        ManifestError: It lies at neither place.
    """
    places = (PACKAGE_DIR / MANIFEST_NAME, PACKAGE_DIR.parent / MANIFEST_NAME)
    for place in places:
        if place.is_file():
            return place
    raise ManifestError(f"{MANIFEST_NAME} is missing from {PACKAGE_DIR}.", "Install dubcli again.")


def load_manifest(path: Path | None = None) -> Manifest:
    """Read and check the manifest; `path` None takes the one that belongs to this installation.

    Raises:
        ManifestError: It is missing, is not JSON, or an entry lacks a field.
    """
    path = manifest_path() if path is None else path
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        if content["format"] != MANIFEST_FORMAT:
            raise ManifestError(
                f"{path} has format {content['format']}, this version reads {MANIFEST_FORMAT}.",
                "Upgrade dubcli.",
            )
        weights = {name: _entry(name, stated) for name, stated in content["weights"].items()}
        default = dict(content["default"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ManifestError(
            f"{path} cannot be read: {type(error).__name__}: {error}.", "Install dubcli again."
        ) from error
    for architecture, tag in default.items():
        if f"{architecture}.{tag}" not in weights:
            raise ManifestError(
                f"{path} names {architecture}.{tag} as default but does not list it.",
                "Install dubcli again.",
            )
    return Manifest(path=path, weights=weights, default=default)


def _entry(name: str, stated: dict[str, Any]) -> WeightEntry:
    entry = WeightEntry(
        name=name,
        architecture=stated["architecture"],
        role=stated.get("role", "model"),
        package=stated.get("package"),
        sources=tuple(_source(source) for source in stated.get("sources", ())),
        sha256=stated["sha256"],
        sha256_start=stated.get("sha256_start", ""),
        num_bytes=stated["bytes"],
        config=stated["config"],
        license=stated["license"],
        commercial=stated.get("commercial"),
        needed_by=tuple(stated.get("needed_by", ())),
        source=stated["source"],
        metrics=stated.get("metrics", {}),
    )
    if entry.package is not None and entry.sources:
        raise ValueError(f"{name} lies in the package and elsewhere")
    if name.split(".")[0] != entry.architecture:
        raise ValueError(f"{name} does not start with its architecture {entry.architecture}")
    is_stated = re.fullmatch(r"[0-9a-f]{64}", entry.sha256 or "") is not None
    if (entry.package and not is_stated) or (entry.sha256 is not None and not is_stated):
        raise ValueError(f"{name} has no sha256")
    return entry


def _source(stated: dict[str, Any]) -> Source:
    return UrlSource(**stated) if "url" in stated else HubSource(**stated)
