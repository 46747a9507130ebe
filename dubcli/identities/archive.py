"""One file for one identity: to move it between machines."""

from __future__ import annotations

import os
import re
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from dubcli.core.atomic_io import move_file
from dubcli.core.errors import ConfigError, IdentityError
from dubcli.identities.layout import (
    DESCRIPTION,
    MAX_FILE_BYTES,
    MAX_FILES,
    REFERENCES,
    check_contents,
    check_sizes,
    dump,
    is_known,
    parse,
    renamed,
)
from dubcli.identities.store import (
    ARCHIVE_SUFFIX,
    check_name,
    identities_home,
    place_files,
    read_files,
    require_free,
)
from dubcli.identities.work_folder import work_folder

_ANY_DATE = (1980, 1, 1, 0, 0, 0)
_GET_AGAIN = "Export it again: dub identities export NAME FILE"
_ENCRYPTED = 0x1
_FILE_MODE = 0o644
# The file holds pictures of a face.
_OWNER_ALONE = 0o600


def export_identity(path: Path, file: Path, *, replace: bool = False) -> Path:
    """Write an identity as one file, all or nothing.

    Args:
        path: Its directory.
        file: Gets the suffix `.dubid` where it has none.
        replace: Replace the file if it exists.

    Returns:
        The file that was written.

    Raises:
        ConfigError: The file exists, or is a folder.
        IdentityError: The identity is missing or damaged, or the file cannot be written.
    """
    if not file.is_dir() and not file.suffix:
        file = file.with_name(file.name + ARCHIVE_SUFFIX)
    if file.is_dir():
        raise ConfigError(f"{file} is a folder.", f"Name a file, such as {file / path.name}.dubid.")
    if os.path.lexists(file) and not replace:
        raise ConfigError(f"{file} exists.", "Name another file, or add -y to replace it.")
    description, contents = read_files(path)
    try:
        with work_folder(file) as folder:
            partial = folder / file.name
            _pack(partial, {DESCRIPTION: dump(description), **contents})
            move_file(partial, file)
    except OSError as error:
        raise IdentityError(
            f"{file} cannot be written: {error.strerror or error}.", "Name another place."
        ) from error
    return file


def _pack(file: Path, contents: Mapping[str, bytes]) -> None:
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ALONE)
    with os.fdopen(handle, "wb") as stream, zipfile.ZipFile(stream, "w") as archive:
        for member, content in contents.items():
            info = zipfile.ZipInfo(member, _ANY_DATE)
            info.external_attr = (stat.S_IFREG | _FILE_MODE) << 16
            # Pictures and weights do not shrink any further.
            archive.writestr(info, content)


def import_identity(
    file: Path, name: str | None = None, home: Path | None = None, *, replace: bool = False
) -> Path:
    """Make an identity of an exported file; nothing is placed before all of it is proven.

    Args:
        file: Written by `export_identity`.
        name: What it is called here; None keeps its name.
        home: Where identities live by name.
        replace: Replace the identity of that name.

    Returns:
        Its directory.

    Raises:
        ConfigError: The name is in use, or cannot be a name.
        IdentityError: The file is missing, damaged, or no exported identity.
    """
    if name is not None:
        name = unicodedata.normalize("NFC", name)
        check_name(name)
    contents = _read_archive(file)
    description = parse(contents.pop(DESCRIPTION), file)
    check_contents(description, contents, file)
    extra = sorted(contents.keys() - description.files.keys())
    if extra:
        raise _refused(file, f"it holds {extra[0]!r}, which it does not list")
    description = renamed(description, name or description.name)
    check_name(description.name)
    path = (identities_home() if home is None else home) / description.name
    require_free(path, replace=replace)
    from dubcli.identities.arrays import decode

    decode(description, contents, file)
    place_files(description, contents, path, replace=replace)
    return path


def _read_archive(file: Path) -> dict[str, bytes]:
    """Members by name, each of a name and a size that an identity can have."""
    if file.is_dir():
        raise IdentityError(f"{file} is a folder, no exported identity.", _GET_AGAIN)
    try:
        with zipfile.ZipFile(file) as archive:
            members = [info for info in archive.infolist() if info.filename != f"{REFERENCES}/"]
            _check_members(members, file)
            return {info.filename: _read_member(archive, info, file) for info in members}
    except FileNotFoundError as error:
        raise IdentityError(f"There is no file {file}.", "Give an exported identity.") from error
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        RuntimeError,
        ValueError,
    ) as error:
        raise _refused(file, "it is damaged or no such file at all") from error
    except OSError as error:
        raise IdentityError(
            f"{file} cannot be read: {error.strerror or error}.", "Check its permissions."
        ) from error


def _check_members(members: list[zipfile.ZipInfo], file: Path) -> None:
    names = [info.filename for info in members]
    if len(names) > MAX_FILES:
        raise _refused(file, f"it holds {len(names)} files")
    for info in members:
        kind = stat.S_IFMT(info.external_attr >> 16)
        if not is_known(info.filename) or kind not in (0, stat.S_IFREG):
            shown = re.sub(r"[^\x20-\x7e]", "?", info.filename)[:60]
            raise _refused(file, f"it holds '{shown}', which is no part of an identity")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _refused(file, "it is packed in an unusual way")
        if info.flag_bits & _ENCRYPTED:
            raise _refused(file, "it is encrypted")
    if len(set(names)) != len(names):
        raise _refused(file, "it holds a file twice")
    if DESCRIPTION not in names:
        raise _refused(file, f"it holds no {DESCRIPTION}")
    check_sizes((info.file_size for info in members), file)


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, file: Path) -> bytes:
    """One member; it may claim to be smaller than it is."""
    with archive.open(info) as stream:
        content = stream.read(min(info.file_size, MAX_FILE_BYTES) + 1)
    if len(content) != info.file_size:
        raise _refused(file, f"{info.filename} is not as large as it says")
    return content


def _refused(file: Path, why: str) -> IdentityError:
    return IdentityError(f"{file} is no exported identity: {why}.", _GET_AGAIN)
