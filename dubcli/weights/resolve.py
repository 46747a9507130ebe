"""What a model's name means, where its file lies, and proof that it is the right one.

A name of a form that the manifest does not list is a checkpoint of the hub or of the user, see
`weights.external`.
"""

from __future__ import annotations

import logging
from difflib import get_close_matches
from pathlib import Path

from dubcli.core.errors import ConfigError, WeightsError
from dubcli.core.progress import Progress
from dubcli.models.registry import model_names
from dubcli.weights import local_files as files
from dubcli.weights import manifest as manifests
from dubcli.weights.entry import WeightEntry
from dubcli.weights.external import describe, is_external
from dubcli.weights.manifest import Manifest, load_manifest

REINSTALL = "Install dubcli again, or choose another model (dub models list)."
_LOG = logging.getLogger(__name__)


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
    if name in model_names():
        raise ConfigError(
            f"No weights of '{name}' ship with this version.",
            f"Train some with 'dub train {name}' and name the run's folder, or choose another "
            f"model. Known: {', '.join(known)}.",
        )
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


def part_path(name: str, manifest: Manifest | None = None) -> Path:
    """The verified file of a part, such as `speech-encoder`, downloaded where it must be.

    Args:
        name: Of its manifest entry.
        manifest: The one of this installation by default.

    Raises:
        ChecksumError: The file's sha256 is another.
        WeightsError: There is no such file.
        ConfigError: No part has this name, or its licence was not accepted.
    """
    entry = resolve(name, manifest, role="part")
    if not entry.sources:
        verify(entry)
    return weight_path(entry)


def local_path(entry: WeightEntry) -> Path | None:
    """The entry's file if it is on this machine, without downloading or proving anything."""
    if entry.sources:
        return files.find(entry)
    place = entry.path if entry.path is not None else entry.package
    path = None if place is None else manifests.PACKAGE_DIR / place
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
        raise WeightsError(f"{entry.name}: {entry.package} is not installed.", REINSTALL)
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
