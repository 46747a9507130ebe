"""Weights: what the manifest names, where the file lies, and proof that it is the right one.

`weights_manifest.json` holds `{"format": 2, "default": {architecture: tag}, "weights": {name:
entry}}`; `assets/weights_manifest.schema.json` says what an entry is. Its name is
`architecture.tag`; a published tag never changes. An entry with neither `package` nor `sources`
needs no weights and is named by its architecture alone. Entries with the role `part` are what
several models or scores share, such as the speech encoder.

A name of another form is a checkpoint that no manifest lists, see `weights.external`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from dubcli.core.errors import ChecksumError, ConfigError, ManifestError, WeightsError
from dubcli.weights import local_files as files
from dubcli.weights.download import Progress
from dubcli.weights.entry import HubSource, Source, UrlSource, WeightEntry
from dubcli.weights.external import describe, is_external

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dubcli.models.api import LipSyncModel

MANIFEST_NAME = "weights_manifest.json"
MANIFEST_FORMAT = 2
_PACKAGE_DIR = Path(__file__).parent.parent
_REINSTALL = "Install dubcli again, or choose another model (dub models list)."
_LOG = logging.getLogger(__name__)


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
    places = (_PACKAGE_DIR / MANIFEST_NAME, _PACKAGE_DIR.parent / MANIFEST_NAME)
    for place in places:
        if place.is_file():
            return place
    raise ManifestError(f"{MANIFEST_NAME} is missing from {_PACKAGE_DIR}.", "Install dubcli again.")


def load_manifest(path: Path | None = None) -> Manifest:
    """Read and check the manifest; `path` None takes the one that belongs to this installation.

    Raises:
        ManifestError: It is missing, is not JSON, or an entry lacks a field.
    """
    path = manifest_path() if path is None else path
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
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


def resolve(name: str, manifest: Manifest | None = None, role: str | None = "model") -> WeightEntry:
    """The entry that is meant by `architecture` (its default tag) or `architecture.tag`.

    `hf:ORG/REPO[@REV][:FILE]` and paths mean checkpoints that no manifest lists; of one of the
    hub the configuration is downloaded, and the entry's name holds the commit.

    Args:
        name: What users write.
        manifest: The one of this installation by default.
        role: Only entries of this role; None takes all.

    Raises:
        ConfigError: No entry has this name.
        ManifestError: The manifest cannot be used.
        WeightsError: There is no such checkpoint, or its configuration cannot be used.
    """
    if role != "part" and is_external(name):
        return describe(name)
    manifest = load_manifest() if manifest is None else manifest
    full = f"{name}.{manifest.default[name]}" if name in manifest.default else name
    entries = {
        key: entry for key, entry in manifest.weights.items() if role is None or entry.role == role
    }
    if full in entries:
        return entries[full]
    tags = (f"{short}.{tag}" for short, tag in manifest.default.items())
    short_names = (tag.split(".")[0] for tag in tags if tag in entries)
    known = sorted({*entries, *short_names})
    close = get_close_matches(name, known, n=1)
    hint = f"Did you mean '{close[0]}'? " if close else ""
    raise ConfigError(f"Unknown model '{name}'.", f"{hint}Known: {', '.join(known)}.")


def needed_by(purpose: str, manifest: Manifest | None = None) -> list[WeightEntry]:
    """Entries that are used for something, such as `evaluate`.

    Raises:
        ConfigError: Nothing is needed for it.
    """
    manifest = load_manifest() if manifest is None else manifest
    entries = list(manifest.weights.values())
    found = [entry for entry in entries if purpose in entry.needed_by]
    if not found:
        known = sorted({purpose for entry in entries for purpose in entry.needed_by})
        raise ConfigError(
            f"No weights are listed as needed for '{purpose}'.", f"Known: {', '.join(known)}."
        )
    return found


def part_path(name: str) -> Path:
    """The verified file of a part, such as `speech-encoder`, downloaded where it must be.

    Raises:
        ChecksumError: The file's sha256 is another.
        WeightsError: There is no such file.
        ConfigError: No part has this name, or its licence was not accepted.
    """
    entry = resolve(name, role="part")
    if not entry.sources:
        verify(entry)
    return weight_path(entry)


def local_path(entry: WeightEntry) -> Path | None:
    """The entry's file if it is on this machine, without downloading or proving anything."""
    if entry.sources:
        return files.find(entry)
    place = entry.path if entry.path is not None else entry.package
    path = None if place is None else _PACKAGE_DIR / place
    return path if path is not None and path.is_file() else None


def weight_path(entry: WeightEntry) -> Path:
    """The entry's file; one that is not in the package is downloaded and proven.

    Raises:
        ConfigError: Its licence was not accepted.
        ChecksumError: It is another file than the one that is meant.
        WeightsError: The file is not in the package, cannot be downloaded, or the entry has none.
    """
    if entry.sources:
        if files.find(entry) is None:
            _LOG.warning("Downloading %s (%s).", entry.name, size_in_words(entry))
        return files.obtain(entry)[0].path
    path = local_path(entry)
    if path is None:
        raise WeightsError(f"{entry.name}: {entry.package} is not installed.", _REINSTALL)
    return path


def size_in_words(entry: WeightEntry) -> str:
    """How large an entry's file is."""
    if not entry.num_bytes:
        return "size not known"
    if entry.num_bytes < 100_000:
        return f"{entry.num_bytes / 1e3:.0f} kB"
    return f"{entry.num_bytes / 1e6:.1f} MB"


def verify(entry: WeightEntry) -> None:
    """Prove that the entry's file is the right one; a wrong download is moved aside.

    Raises:
        ChecksumError: Its sha256 is another.
        WeightsError: There is no such file.
    """
    if entry.needs_weights:
        prove(entry)


def prove(entry: WeightEntry) -> files.Proof:
    """As `verify`, of an entry that has a file; tells where it lies.

    Raises:
        ChecksumError: Its sha256 is another.
        WeightsError: There is no such file.
    """
    return files.check(entry) if entry.sources else files.prove(entry, weight_path(entry))


def is_whole(entry: WeightEntry) -> bool:
    """Whether the entry's file is here and the right one; nothing is moved aside."""
    if entry.sources:
        return files.is_as_stated(entry)
    try:
        verify(entry)
    except WeightsError:
        return False
    return True


def pull(entry: WeightEntry, progress: Progress | None = None) -> tuple[files.Proof, bool]:
    """Get an entry's file and prove it; a wrong one on this machine is replaced.

    Args:
        entry: One with weights; those of the package are proven only.
        progress: Called as (name, megabytes done, all megabytes or 0).

    Returns:
        The proof, and whether it was downloaded now.

    Raises:
        ConfigError: Its licence was not accepted.
        ChecksumError: What came is another file; it was moved aside.
        WeightsError: It cannot be got.
    """
    if not entry.sources:
        return prove(entry), False
    return files.obtain(entry, progress, anew=True)


def _read_verified(entry: WeightEntry) -> bytes:
    """The file's content, which is proven and used as one read."""
    path = weight_path(entry)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.", _REINSTALL) from error
    found = hashlib.sha256(content).hexdigest()
    if entry.sha256 is not None and found != entry.sha256:
        raise ChecksumError(
            f"{path} is damaged or not {entry.name}: sha256 {found[:12]}, "
            f"expected {entry.sha256[:12]}.",
            _REINSTALL if entry.package else "Get it again.",
        )
    return content


def load_state(entry: WeightEntry) -> dict[str, Tensor]:
    """Verified parameters by name, on the CPU; half precision becomes float32.

    Raises:
        ChecksumError: The file's sha256 is another.
        WeightsError: There is no such file, or it is no safetensors file.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    content = _read_verified(entry)
    try:
        state = load(content)
    except SafetensorError as error:
        raise WeightsError(
            f"{entry.name} is not a safetensors file: {error}.",
            _REINSTALL if entry.package else "Name a .safetensors file.",
        ) from error
    half = (torch.float16, torch.bfloat16)
    return {key: value.float() if value.dtype in half else value for key, value in state.items()}


def load_model(name: str, device: str) -> tuple[LipSyncModel, str | None]:
    """Build a model, load its verified weights strictly and put it on a device.

    Args:
        name: As in `resolve`.
        device: A torch device, such as `cpu` or `cuda:0`.

    Returns:
        The model in evaluation mode, and the sha256 of its weights (None where it needs none).

    Raises:
        ConfigError: No entry has this name.
        WeightsError: The weights are missing, damaged or of another architecture.
    """
    return load_entry(resolve(name), device)


def load_entry(entry: WeightEntry, device: str) -> tuple[LipSyncModel, str | None]:
    """As `load_model`, of an entry that was looked up.

    Raises:
        WeightsError: The weights are missing, damaged or of another architecture.
    """
    model = _build(entry)
    state = load_state(entry) if entry.needs_weights else {}
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise WeightsError(
            f"{entry.name} does not fit the architecture {entry.architecture}: "
            f"{str(error).splitlines()[-1].strip()}",
            _REINSTALL if entry.package else "Use the configuration that it was trained with.",
        ) from error
    return cast("LipSyncModel", model.to(device).eval()), entry.sha256


def _build(entry: WeightEntry) -> nn.Module:
    """The untrained model; a configuration from elsewhere may hold anything."""
    from dubcli.models.registry import create_model, model_names

    if entry.package is not None or not entry.needs_weights:
        return create_model(entry.architecture, entry.config)
    step = "Use the version of dubcli that made it, or another model (dub models list)."
    if entry.architecture not in model_names():
        raise WeightsError(
            f"{entry.name} is of '{entry.architecture}', which is no model of this version.", step
        )
    try:
        model = create_model(entry.architecture, entry.config)
        _check_types(model)
    except ConfigError as error:
        raise WeightsError(f"{entry.name}: {error.cause}", step) from error
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{entry.name}: no '{entry.architecture}' can be built of its configuration: "
            f"{' '.join(str(error).split())[:200]}.",
            step,
        ) from error
    return model


def _check_types(model: nn.Module) -> None:
    """Refuse values that a network is built with and that fail much later."""
    config = model.config
    hints = get_type_hints(type(config))
    for entry in fields(cast(Any, config)):
        value = getattr(config, entry.name)
        if not _fits(value, hints[entry.name]):
            raise TypeError(f"{entry.name} is {value!r}")


def _fits(value: Any, hint: Any) -> bool:
    """Whether a field of this type may have this value."""
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, one) for one in get_args(hint))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is hint and (hint is not int or value > 0)
