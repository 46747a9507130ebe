"""Identities that are scored beside the models, each as a system of its own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from dubcli.config import EvaluateConfig
from dubcli.core.errors import ConfigError, IncompatibleAdapterError
from dubcli.evaluation.clips import EvalClip
from dubcli.identities.adapter import fits_installed
from dubcli.identities.layout import ADAPTER, DESCRIPTION, digest, is_extra
from dubcli.identities.store import identities_home, load_identity, locate, read_description
from dubcli.weights.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class StoredIdentity:
    """An identity that was found whole.

    Attributes:
        path: Its directory.
        base: Name of the weights that it was learned on.
        adapter_sha256: Digest of what is added to them.
        sha256: Digest of everything that a dub takes from it.
    """

    path: Path
    base: str
    adapter_sha256: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class IdentitySystem:
    """One identity for all clips, or a folder that holds one for each of them.

    Attributes:
        name: What tables call it: the name of the directory.
        path: The identity's directory, or the folder of several.
        is_folder: Each clip has its own.
        of_clip: The identity by the clip's name.
        lacking: Names of clips that have none.
    """

    name: str
    path: Path
    is_folder: bool
    of_clip: dict[str, StoredIdentity]
    lacking: tuple[str, ...] = ()


def find_identities(
    config: EvaluateConfig,
    clips: Sequence[EvalClip],
    taken: Collection[str],
    manifest: Manifest | None = None,
) -> list[IdentitySystem]:
    """The identities of `--identities`, checked before anything slow begins.

    Args:
        config: Names and paths of identities, and of folders with an identity for each clip.
        clips: The set.
        taken: Names of models and baselines, which none of them may have.
        manifest: The one of this installation by default.

    Raises:
        ConfigError: Two systems have one name, or a folder holds nothing for any clip.
        IdentityError: One is missing or damaged.
        IncompatibleAdapterError: One was learned on weights that are not installed.
    """
    systems: list[IdentitySystem] = []
    for listed in config.identity_names:
        system = _find(listed, clips, manifest)
        if system.name in {*taken, *(other.name for other in systems)}:
            raise ConfigError(
                f"Two systems are called '{system.name}'; one is the identity '{listed}'.",
                "Give its directory another name.",
            )
        systems.append(system)
    return systems


def _find(listed: str, clips: Sequence[EvalClip], manifest: Manifest | None) -> IdentitySystem:
    folder = Path(listed).expanduser()
    is_stored = any(_is_identity(path) for path in (folder, identities_home() / listed))
    if folder.is_dir() and not is_stored:
        return _find_folder(folder, clips, manifest)
    path = locate(listed)
    known = _check(path, manifest)
    return IdentitySystem(
        name=path.resolve().name,
        path=path,
        is_folder=False,
        of_clip={clip.name: known for clip in clips},
    )


def _find_folder(
    folder: Path, clips: Sequence[EvalClip], manifest: Manifest | None
) -> IdentitySystem:
    there = {clip.name: folder / clip.name for clip in clips if (folder / clip.name).is_dir()}
    if not there:
        raise ConfigError(
            f"'{folder}' is no identity and holds none for any clip.",
            f"An identity holds {DESCRIPTION}; one for a clip lies in a subfolder called like the "
            f"clip, such as '{clips[0].name}'.",
        )
    return IdentitySystem(
        name=folder.resolve().name,
        path=folder,
        is_folder=True,
        of_clip={name: _check(path, manifest) for name, path in there.items()},
        lacking=tuple(clip.name for clip in clips if clip.name not in there),
    )


def _is_identity(path: Path) -> bool:
    return (path / DESCRIPTION).is_file()


def _check(path: Path, manifest: Manifest | None) -> StoredIdentity:
    """Read an identity whole, and keep what tells it from others."""
    identity = load_identity(path)
    if not fits_installed(identity.base, manifest):
        raise IncompatibleAdapterError(
            f"The identity '{path}' was learned on {identity.base.name}, whose weights are not "
            "those of this installation.",
            "Learn it again with dub finetune.",
        )
    files = read_description(path).files
    used = sorted(f"{name} {sha256}" for name, sha256 in files.items() if not is_extra(name))
    used.append(str(identity.base))
    return StoredIdentity(
        path=path,
        base=identity.base.name,
        adapter_sha256=files[ADAPTER],
        sha256=digest("\n".join(used).encode()),
    )
