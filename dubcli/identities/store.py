"""Identities on disk: where they are, load, save, list, remove.

A directory is written beside its final place and swapped in when it is complete, so the one that
it replaces is whole until then. Tensor and picture libraries load only where arrays are needed.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from dubcli.core.atomic_io import place_folder
from dubcli.core.disk_sync import sync_folder
from dubcli.core.errors import ConfigError, DubError, IdentityError
from dubcli.core.paths import data_home
from dubcli.identities.layout import (
    ADAPTER,
    DESCRIPTION,
    PERSON,
    REFERENCES,
    Description,
    check_contents,
    check_sizes,
    damaged,
    digest,
    dump,
    is_extra,
    is_known,
    parse,
)
from dubcli.identities.work_folder import only_copy, work_folder

if TYPE_CHECKING:
    from dubcli.identities.identity import Identity

ARCHIVE_SUFFIX = ".dubid"
MAX_NAME_BYTES = 100
_RESERVED = re.compile(r"con|prn|aux|nul|com[0-9]|lpt[0-9]", re.IGNORECASE)
_LITTER = (".DS_Store", "Thumbs.db", "desktop.ini")
Read = TypeVar("Read")
_SEE_LIST = "See: dub identities list"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One identity of a list.

    Attributes:
        name: Its directory's name: what `--identity` takes.
        path: Its directory.
        num_bytes: Size of its files together.
        description: What it says of itself; None where it is damaged.
        problem: Why it is damaged; empty where it is whole.
    """

    name: str
    path: Path
    num_bytes: int
    description: Description | None
    problem: str = ""


def identities_home() -> Path:
    """Where identities live by name: `$DUB_HOME/identities`, or the user's data directory."""
    return data_home() / "identities"


def check_name(name: str) -> None:
    """Refuse what cannot name a directory on every system, or would look like a path or a file.

    Raises:
        ConfigError: The name is empty, too long, or holds other characters.
    """
    kinds = [unicodedata.category(letter)[0] for letter in name]
    is_fine = all(kind in "LMN" or letter in "-_" for kind, letter in zip(kinds, name, strict=True))
    is_short = len(name.encode(errors="replace")) <= MAX_NAME_BYTES
    if not (name and is_fine and kinds[0] in "LN" and is_short) or _RESERVED.fullmatch(name):
        raise ConfigError(
            f"{name[:40]!r} cannot be the name of an identity.",
            "Use up to 100 letters, digits, - and _, a letter or digit first; or give a path.",
        )


def locate(name_or_path: str | Path, home: Path | None = None) -> Path:
    """The directory that a name or a path means, whether it is there or not.

    A plain name lives under `home`. What holds a separator is a path, and so is a plain word
    that names no identity there but an identity's directory, or any file, here.

    Raises:
        ConfigError: It is neither a path nor a possible name.
    """
    text = os.fspath(name_or_path)
    separators = [os.sep, *([os.altsep] if os.altsep else [])]
    if any(mark in text for mark in separators) or text in (os.curdir, os.pardir):
        return Path(text).expanduser()
    name = unicodedata.normalize("NFC", text)
    named = (identities_home() if home is None else home) / name
    here = Path(text)
    if text and not named.is_dir() and ((here / DESCRIPTION).is_file() or here.is_file()):
        return here
    check_name(name)
    return named


def load_identity(path: Path) -> Identity:
    """Read a whole identity; every file is proven by its digest first.

    Raises:
        IdentityError: It is missing, cannot be read, or is damaged.
    """
    description, contents = read_files(path)
    from dubcli.identities.arrays import decode

    return decode(description, contents, path)


def read_files(path: Path) -> tuple[Description, dict[str, bytes]]:
    """What `identity.json` says, and the proven content of every file that it lists.

    Raises:
        IdentityError: It is missing, cannot be read, or is damaged.
    """
    return _read_steadily(path, lambda description: (description, _contents(path, description)))


def _contents(path: Path, description: Description) -> dict[str, bytes]:
    try:
        sizes = [(path / name).stat().st_size for name in description.files if _is_file(path, name)]
        check_sizes(sizes, path)
        contents = {
            name: (path / name).read_bytes() for name in description.files if _is_file(path, name)
        }
    except OSError as error:
        raise _unreadable(path, error) from error
    check_contents(description, contents, path)
    return contents


def _read_steadily(path: Path, read: Callable[[Description], Read]) -> Read:
    """Read what a description lists; again where another process has replaced the identity."""
    while True:
        description = read_description(path)
        try:
            return read(description)
        except IdentityError:
            if read_description(path) == description:
                raise


def read_description(path: Path) -> Description:
    """What `identity.json` says, without reading the other files.

    Raises:
        IdentityError: It is missing, cannot be read, or is damaged.
    """
    try:
        if not path.is_dir():
            raise _missing(path)
        if not (path / DESCRIPTION).is_file():
            raise damaged(path, f"{DESCRIPTION} is missing")
        return parse((path / DESCRIPTION).read_bytes(), path)
    except OSError as error:
        raise _unreadable(path, error) from error


def read_file(path: Path, name: str) -> bytes:
    """The proven content of one file of an identity.

    Raises:
        IdentityError: It is missing, cannot be read, or is another.
    """
    return _read_steadily(path, lambda description: _content(path, description, name))


def _content(path: Path, description: Description, name: str) -> bytes:
    try:
        content = (path / name).read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    if digest(content) != description.files[name]:
        raise damaged(path, f"{name} is not as it was written")
    return content


def save_identity(
    identity: Identity,
    path: Path,
    extras: Mapping[str, bytes] | None = None,
    *,
    replace: bool = False,
) -> None:
    """Write an identity as a directory, all or nothing.

    Args:
        identity: What is written.
        path: The directory; see `locate`.
        extras: Further files by name, such as `before.png`, `log.csv`.
        replace: Replace the identity that is there.

    Raises:
        ConfigError: The name is in use, or the place holds something else.
        IdentityError: It cannot be written (the disk is full), or holds what cannot be stored.
    """
    extras = extras or {}
    strange = [name for name in extras if not is_extra(name)]
    if strange:
        raise ValueError(f"{strange[0]} cannot lie in an identity")
    require_free(path, replace=replace)
    from dubcli.identities.arrays import encode

    contents = {**encode(identity), **extras}
    description = Description(
        name=identity.name,
        architecture=identity.architecture,
        base=identity.base,
        created=identity.created,
        version=identity.version,
        consent=identity.consent,
        mouth=identity.mouth,
        report=identity.report,
        files={name: digest(content) for name, content in sorted(contents.items())},
    )
    place_files(description, contents, path, replace=replace)


def require_free(path: Path, *, replace: bool) -> None:
    """Refuse a place that is taken; cheap, so that learning can ask before it begins.

    Raises:
        ConfigError: An identity is there and is not to be replaced, or something else is.
    """
    if not os.path.lexists(path):
        return
    stranger = _stranger(path)
    if stranger:
        raise ConfigError(f"{path} is no identity: {stranger}.", "Choose another name or place.")
    if not replace:
        raise ConfigError(
            f"The identity '{path.name}' exists already in {path.parent}.",
            "Choose another name, or replace it with --overwrite (-y).",
        )


def place_files(
    description: Description, contents: Mapping[str, bytes], path: Path, *, replace: bool
) -> None:
    """Write the files beside `path`, then swap them in.

    Raises:
        ConfigError: The place is taken.
        IdentityError: It cannot be written.
    """
    check_sizes((len(content) for content in contents.values()), f"'{description.name}'")
    written = {**contents, DESCRIPTION: dump(description)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with work_folder(path) as partial:
            (partial / REFERENCES).mkdir()
            for name, content in written.items():
                (partial / name).write_bytes(content)
            require_free(path, replace=replace)
            place_folder(partial, path, replace=replace)
    except OSError as error:
        if isinstance(error, FileExistsError):
            require_free(path, replace=replace)  # another process came first
        kept = "; the old one is untouched" if path.is_dir() else ""
        raise IdentityError(
            f"The identity '{path.name}' cannot be written to {path.parent}: "
            f"{error.strerror or error}{kept}.",
            "Make room or give another place.",
        ) from error


def list_identities(home: Path | None = None) -> list[Entry]:
    """Every identity that has a name, damaged ones too, in alphabetical order.

    Raises:
        IdentityError: The home itself cannot be read.
    """
    home = identities_home() if home is None else home
    try:
        if not home.is_dir():
            return []
        places = sorted(place for place in home.iterdir() if not place.name.startswith("."))
    except OSError as error:
        raise _unreadable(home, error) from error
    return [_entry(place) for place in places if place.is_dir()]


def _entry(path: Path) -> Entry:
    description, problem = None, ""
    try:
        description, _ = read_files(path)
    except DubError as error:
        problem = error.cause
    sizes: list[int] = []
    with suppress(OSError):
        sizes = [file.stat().st_size for file in path.rglob("*") if file.is_file()]
    return Entry(
        name=path.name,
        path=path,
        num_bytes=sum(sizes),
        description=description,
        problem=problem,
    )


def require_identity(path: Path) -> None:
    """Refuse a place that is no identity; a damaged one is one.

    Raises:
        IdentityError: It is missing, or holds what is no part of an identity.
    """
    if not os.path.lexists(path) or path.is_file():
        raise _missing(path)
    stranger = _stranger(path)
    if stranger:
        raise IdentityError(f"{path} is no identity: {stranger}.", _SEE_LIST)


def remove_identity(path: Path) -> None:
    """Remove an identity, damaged ones too; nothing else is ever removed.

    Raises:
        IdentityError: It is missing, holds files that are no part of an identity, or cannot be
            removed.
    """
    require_identity(path)
    try:
        # Renamed first: a removal that breaks off leaves no half identity under the name.
        with work_folder(path) as doomed:
            path.rename(doomed / path.name)
            sync_folder(path.parent)
    except OSError as error:
        raise IdentityError(
            f"{path} cannot be removed: {error.strerror or error}.", "Check its permissions."
        ) from error
    if doomed.exists():
        raise IdentityError(f"{doomed} cannot be removed whole.", "Remove it yourself.")


def _stranger(path: Path) -> str:
    """Why a place is no identity, damaged or whole; empty where it is one."""
    if path.is_symlink():
        return "it is a link"
    if not path.is_dir():
        return "it is no directory"
    if not _holds_a_sign(path):
        return "it holds nothing that an identity is made of"
    for place in sorted(path.rglob("*")):
        name = place.relative_to(path).as_posix()
        is_folder = place.is_dir() and not place.is_symlink()
        if is_folder != (name == REFERENCES) or not (
            is_folder or is_known(name) or place.name in _LITTER
        ):
            return f"{name} is no part of an identity"
    return ""


def _holds_a_sign(path: Path) -> bool:
    """Whether an identity was stored here: other programs too have an identity.json."""
    if any((path / name).is_file() for name in (ADAPTER, PERSON)):
        return True
    try:
        read_description(path)
    except IdentityError:
        return False
    return True


def _is_file(path: Path, name: str) -> bool:
    return (path / name).is_file()


def _missing(path: Path) -> IdentityError:
    if path.is_file():
        is_archive = path.suffix == ARCHIVE_SUFFIX
        step = f"Import it first: dub identities import {path}" if is_archive else _SEE_LIST
        return IdentityError(f"{path} is a file, no identity.", step)
    try:
        names = [place.name for place in path.parent.iterdir() if (place / DESCRIPTION).is_file()]
    except OSError:
        names = []
    kept = only_copy(path)
    if kept is not None:
        return IdentityError(
            f"There is no identity '{path.name}' in {path.parent}: its replacement was broken off.",
            f"Bring the old one back: mv '{kept}' '{path}'",
        )
    close = get_close_matches(path.name, names, n=3)
    hint = f"Did you mean {' or '.join(repr(name) for name in close)}? " if close else ""
    return IdentityError(f"There is no identity '{path.name}' in {path.parent}.", hint + _SEE_LIST)


def _unreadable(path: Path, error: OSError) -> IdentityError:
    return IdentityError(
        f"{path} cannot be read: {error.strerror or error}.", "Check its permissions."
    )
