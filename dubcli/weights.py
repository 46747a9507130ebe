"""Weights: what the manifest names, where the file lies, and proof that it is the right one.

`weights_manifest.json` holds `{"format": 1, "default": {architecture: tag}, "weights": {name:
entry}}`. An entry's name is `architecture.tag`; a published tag never changes. An entry with
neither `package` nor `hub` needs no weights and is named by its architecture alone. Entries with
the role `part` are what several models or scores share, such as the speech encoder.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dubcli.errors import ChecksumError, ConfigError, ManifestError, WeightsError

if TYPE_CHECKING:
    from torch import Tensor

    from dubcli.models.base import LipSyncModel

MANIFEST_NAME = "weights_manifest.json"
MANIFEST_FORMAT = 1
_PACKAGE_DIR = Path(__file__).parent
_REINSTALL = "Install dubcli again, or choose another model (dub models list)."


@dataclass(frozen=True, kw_only=True)
class HubSource:
    """A file in a Hugging Face repository, pinned to a commit."""

    repo: str
    revision: str
    file: str


@dataclass(frozen=True, kw_only=True)
class WeightEntry:
    """One entry of the manifest.

    Attributes:
        name: `architecture.tag`, or the architecture alone where no weights are needed.
        architecture: Name in the model registry, or of the part.
        role: `model`, or `part` where users cannot dub with it alone.
        package: Path of the file inside the package, None where it is not shipped.
        hub: Where it is downloaded from, None where it is shipped.
        sha256: Hex digest of the file, None where there is no file.
        num_bytes: Size of the file.
        config: Arguments of the model's configuration.
        license: Licence of the weights.
        source: What they were trained on, in words.
        metrics: Measured scores by name.
    """

    name: str
    architecture: str
    role: str = "model"
    package: str | None = None
    hub: HubSource | None = None
    sha256: str | None = None
    num_bytes: int = 0
    config: dict[str, Any] = field(default_factory=dict[str, Any])
    license: str = ""
    source: str = ""
    metrics: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def needs_weights(self) -> bool:
        """Whether there is a file to load."""
        return self.package is not None or self.hub is not None


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
        weights = {name: _entry(name, fields) for name, fields in content["weights"].items()}
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


def _entry(name: str, fields: dict[str, Any]) -> WeightEntry:
    hub = fields["hub"] if fields.get("hub") else None
    entry = WeightEntry(
        name=name,
        architecture=fields["architecture"],
        role=fields.get("role", "model"),
        package=fields.get("package"),
        hub=HubSource(**hub) if hub else None,
        sha256=fields["sha256"],
        num_bytes=fields["bytes"],
        config=fields["config"],
        license=fields["license"],
        source=fields["source"],
        metrics=fields.get("metrics", {}),
    )
    if entry.package is not None and entry.hub is not None:
        raise ValueError(f"{name} has two sources")
    if name.split(".")[0] != entry.architecture:
        raise ValueError(f"{name} does not start with its architecture {entry.architecture}")
    if entry.needs_weights and not re.fullmatch(r"[0-9a-f]{64}", entry.sha256 or ""):
        raise ValueError(f"{name} has no sha256")
    return entry


def resolve(name: str, manifest: Manifest | None = None, role: str = "model") -> WeightEntry:
    """The entry that is meant by `architecture` (its default tag) or `architecture.tag`.

    Raises:
        ConfigError: No entry has this name.
        ManifestError: The manifest cannot be used.
    """
    manifest = load_manifest() if manifest is None else manifest
    full = f"{name}.{manifest.default[name]}" if name in manifest.default else name
    entries = {key: entry for key, entry in manifest.weights.items() if entry.role == role}
    if full in entries:
        return entries[full]
    tags = (f"{short}.{tag}" for short, tag in manifest.default.items())
    short_names = (tag.split(".")[0] for tag in tags if tag in entries)
    known = sorted({*entries, *short_names})
    close = get_close_matches(name, known, n=1)
    hint = f"Did you mean '{close[0]}'? " if close else ""
    raise ConfigError(f"Unknown model '{name}'.", f"{hint}Known: {', '.join(known)}.")


def part_path(name: str) -> Path:
    """The verified file of a part, such as `speech-encoder`.

    Raises:
        ChecksumError: The file's sha256 is another.
        WeightsError: There is no such file.
        ConfigError: No part has this name.
    """
    entry = resolve(name, role="part")
    verify(entry)
    return weight_path(entry)


def local_path(entry: WeightEntry) -> Path | None:
    """The entry's file if it is on this machine, without downloading anything."""
    if entry.package is not None:
        path = _PACKAGE_DIR / entry.package
        return path if path.is_file() else None
    if entry.hub is not None:
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(entry.hub.repo, entry.hub.file, revision=entry.hub.revision)
        return Path(cached) if isinstance(cached, str) else None
    return None


def weight_path(entry: WeightEntry) -> Path:
    """The entry's file, downloaded first where it comes from the hub.

    Raises:
        WeightsError: The file is not in the package, cannot be downloaded, or the entry has none.
    """
    if entry.hub is not None:
        return _download(entry.name, entry.hub)
    path = local_path(entry)
    if path is None:
        raise WeightsError(f"{entry.name}: {entry.package} is not installed.", _REINSTALL)
    return path


def _download(name: str, hub: HubSource) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(hub.repo, hub.file, revision=hub.revision))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise WeightsError(
            f"{name}: {hub.repo}/{hub.file} cannot be downloaded: {error}.",
            "Check the connection (HF_ENDPOINT, HF_HUB_OFFLINE), or choose another model "
            "(dub models list).",
        ) from error


def _read_verified(entry: WeightEntry) -> bytes:
    """The file's content, which is proven and used as one read."""
    path = weight_path(entry)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.", _REINSTALL) from error
    found = hashlib.sha256(content).hexdigest()
    if found != entry.sha256:
        raise ChecksumError(
            f"{path} is damaged or not {entry.name}: sha256 {found[:12]}, "
            f"expected {str(entry.sha256)[:12]}.",
            "Delete it and run again." if entry.hub else _REINSTALL,
        )
    return content


def verify(entry: WeightEntry) -> None:
    """Prove that the entry's file is the one that the manifest names.

    Raises:
        ChecksumError: Its sha256 is another.
        WeightsError: There is no such file.
    """
    if entry.needs_weights:
        _read_verified(entry)


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
            f"{entry.name} is not a safetensors file: {error}.", _REINSTALL
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
    from dubcli.models.registry import create_model

    entry = resolve(name)
    state = load_state(entry) if entry.needs_weights else {}
    model = create_model(entry.architecture, entry.config)
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise WeightsError(
            f"{entry.name} does not fit the architecture {entry.architecture}: "
            f"{str(error).splitlines()[-1].strip()}",
            _REINSTALL,
        ) from error
    return cast("LipSyncModel", model.to(device).eval()), entry.sha256
