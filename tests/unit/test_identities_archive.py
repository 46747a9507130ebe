"""One file carries an identity to another machine, and nothing else."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_identities import everything_in, made_identity

from dubcli.core.errors import ConfigError, IdentityError
from dubcli.identities.archive import export_identity, import_identity
from dubcli.identities.layout import MAX_FILE_BYTES
from dubcli.identities.store import load_identity, save_identity

Members = list[tuple[zipfile.ZipInfo, bytes]]


@pytest.fixture
def anna(tmp_path: Path) -> Path:
    path = tmp_path / "people" / "anna"
    save_identity(made_identity(), path, {"log.csv": b"step\n"})
    return path


@pytest.fixture
def file(anna: Path, tmp_path: Path) -> Path:
    return export_identity(anna, tmp_path / "anna.dubid")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "other machine"


def _members(file: Path) -> Members:
    with zipfile.ZipFile(file) as archive:
        return [(info, archive.read(info)) for info in archive.infolist()]


def _pack(file: Path, members: Members) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as archive:
        warnings.simplefilter("ignore")  # of two members of one name
        for info, content in members:
            archive.writestr(info, content)


def test_what_is_exported_is_imported_bit_for_bit(anna: Path, file: Path, home: Path) -> None:
    path = import_identity(file, home=home)
    assert path == home / "anna"
    assert everything_in(path) == everything_in(anna)
    assert file.name == "anna.dubid"
    again = export_identity(path, home / "again.zip")
    assert again.read_bytes() == file.read_bytes()


def test_an_identity_gets_another_name(file: Path, home: Path) -> None:
    path = import_identity(file, "Zoe\u0308", home)
    assert path.name == "Zo\u00eb"
    assert load_identity(path).name == "Zo\u00eb"
    with pytest.raises(ConfigError, match="cannot be the name"):
        import_identity(file, "../x", home)


def test_a_suffix_is_added_only_where_there_is_none(anna: Path, tmp_path: Path) -> None:
    assert export_identity(anna, tmp_path / "of anna").name == "of anna.dubid"
    assert export_identity(anna, tmp_path / "anna.zip").name == "anna.zip"


def test_a_file_is_replaced_only_when_asked(anna: Path, file: Path, tmp_path: Path) -> None:
    file.write_bytes(b"old")
    with pytest.raises(ConfigError, match=r"exists\..*-y"):
        export_identity(anna, file)
    assert file.read_bytes() == b"old"
    export_identity(anna, file, replace=True)
    assert zipfile.is_zipfile(file)
    with pytest.raises(ConfigError, match=r"is a folder.*anna\.dubid"):
        export_identity(anna, tmp_path / "people", replace=True)


def test_a_damaged_identity_is_not_exported(anna: Path, tmp_path: Path) -> None:
    (anna / "log.csv").write_bytes(b"other")
    with pytest.raises(IdentityError, match=r"log\.csv is not as it was written"):
        export_identity(anna, tmp_path / "x.dubid")
    assert not (tmp_path / "x.dubid").exists()


def test_an_export_to_a_full_disk_leaves_the_old_file(
    anna: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_bytes(b"old")
    before = everything_in(file.parent)

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", fail)
    with pytest.raises(IdentityError, match=r"anna\.dubid cannot be written: No space left"):
        export_identity(anna, file, replace=True)
    assert everything_in(file.parent) == before


_KILLED = """
import os, signal, sys, zipfile
from pathlib import Path
from dubcli.identities.archive import export_identity
zipfile.ZipFile.close = lambda archive: os.kill(os.getpid(), signal.SIGKILL)
export_identity(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.skipif(os.name == "nt", reason="folders cannot be held there, and nothing is swept")
def test_what_a_killed_export_has_left_goes_with_the_next(anna: Path, tmp_path: Path) -> None:
    file = tmp_path / "anna.dubid"
    killed = subprocess.run([sys.executable, "-c", _KILLED, anna, file], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not file.exists()
    assert len(list(tmp_path.iterdir())) == 2
    export_identity(anna, file)
    assert {place.name for place in tmp_path.iterdir()} == {"people", "anna.dubid"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600  # it holds pictures of a face


def test_a_name_in_use_is_replaced_only_when_asked(file: Path, home: Path) -> None:
    save_identity(made_identity(seed=1), home / "anna")
    before = everything_in(home)
    with pytest.raises(ConfigError, match="'anna' exists already"):
        import_identity(file, home=home)
    assert everything_in(home) == before
    import_identity(file, home=home, replace=True)
    assert load_identity(home / "anna").report == made_identity().report
    assert everything_in(home) != before


def test_a_full_disk_while_importing_leaves_the_old_one(
    file: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_identity(made_identity(seed=1), home / "anna")
    before = everything_in(home)

    def fail(self: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(IdentityError, match="No space left"):
        import_identity(file, home=home, replace=True)
    assert everything_in(home) == before


def _link(members: Members) -> Members:
    info = zipfile.ZipInfo("log.csv")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return [*[pair for pair in members if pair[0].filename != "log.csv"], (info, b"/etc/passwd")]


def _bomb(members: Members) -> Members:
    info = zipfile.ZipInfo("before.png")
    info.compress_type = zipfile.ZIP_DEFLATED
    return [*members, (info, bytes(MAX_FILE_BYTES + 1))]


def _many(members: Members) -> Members:
    return [*members, *((zipfile.ZipInfo(f"x{number}.png"), b"") for number in range(300))]


def _extra(name: str) -> Callable[[Members], Members]:
    return lambda members: [*members, (zipfile.ZipInfo(name), b"x")]


def _without(name: str) -> Callable[[Members], Members]:
    return lambda members: [pair for pair in members if pair[0].filename != name]


def _changed(name: str) -> Callable[[Members], Members]:
    def change(members: Members) -> Members:
        return [
            (info, content[:-1] + bytes([content[-1] ^ 1]) if info.filename == name else content)
            for info, content in members
        ]

    return change


def _unusual(members: Members) -> Members:
    members[0][0].compress_type = zipfile.ZIP_LZMA
    return members


HOSTILE: dict[str, tuple[Callable[[Members], Members], str]] = {
    "traversal": (_extra("../../evil.png"), r"holds '\.\./\.\./evil\.png'"),
    "traversal inside": (_extra("references/../../evil.png"), "no part of an identity"),
    "absolute path": (_extra("/tmp/evil.png"), "holds '/tmp/evil.png'"),
    "windows path": (_extra("..\\evil.png"), r"no part of an identity"),
    "escape codes": (_extra("\x1b[2Jx"), r"holds '\?\[2Jx'"),
    "symbolic link": (_link, r"holds 'log\.csv', which is no part"),
    "bomb": (_bomb, "more than an identity can"),
    "many files": (_many, "it holds 308 files"),
    "unlisted member": (_extra("after.png"), "holds 'after.png', which it does not list"),
    "program": (_extra("run.sh"), "holds 'run.sh'"),
    "nested folder": (_extra("a/b.png"), "holds 'a/b.png'"),
    "twice": (_extra("log.csv"), "holds a file twice"),
    "missing member": (_without("adapter.safetensors"), "adapter.safetensors is missing"),
    "missing description": (_without("identity.json"), "holds no identity.json"),
    "wrong hash": (_changed("references/0.png"), r"references/0\.png is not as it was written"),
    "wrong description": (_changed("identity.json"), "identity.json"),
    "unusual packing": (_unusual, "packed in an unusual way"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_places_nothing(case: str, file: Path, home: Path, tmp_path: Path) -> None:
    change, message = HOSTILE[case]
    if case == "wrong description":
        change = lambda members: [  # noqa: E731
            (i, c.replace(b"0.125", b"0.126") if i.filename == "identity.json" else c)
            for i, c in members
        ]
    _pack(file, change(_members(file)))
    before = everything_in(tmp_path)
    with pytest.raises(IdentityError, match=message) as caught:
        import_identity(file, home=home)
    assert caught.value.exit_code == 4
    assert str(caught.value).isprintable()
    assert everything_in(tmp_path) == before
    assert not home.exists()


def test_a_member_that_understates_its_size_is_not_unpacked(file: Path, home: Path) -> None:
    _pack(file, _bomb(_members(file)))
    content = bytearray(file.read_bytes())
    for mark, place in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        start = content.rindex(mark) + place
        content[start : start + 4] = (1000).to_bytes(4, "little")
    file.write_bytes(content)
    with zipfile.ZipFile(file) as archive:
        assert archive.getinfo("before.png").file_size == 1000
    with pytest.raises(IdentityError, match="no exported identity"):
        import_identity(file, home=home)
    assert not home.exists()


def test_an_encrypted_file_is_named(file: Path, home: Path) -> None:
    content = bytearray(file.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    file.write_bytes(content)
    with pytest.raises(IdentityError, match="encrypted"):
        import_identity(file, home=home)


def test_a_file_that_was_packed_again_by_hand_is_taken(anna: Path, file: Path, home: Path) -> None:
    members = _members(file)
    for info, _ in members:
        info.compress_type = zipfile.ZIP_DEFLATED
    _pack(file, [(zipfile.ZipInfo("references/"), b""), *members])
    assert everything_in(import_identity(file, home=home)) == everything_in(anna)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(share: float, file: Path, home: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(IdentityError, match=r"no exported identity.*Export it again"):
        import_identity(file, home=home)


def test_a_flipped_bit_anywhere_is_noticed_or_harmless(anna: Path, file: Path, home: Path) -> None:
    content = file.read_bytes()
    refused = 0
    for place in range(0, len(content), len(content) // 60):
        damaged = bytearray(content)
        damaged[place] ^= 4
        file.write_bytes(damaged)
        try:
            path = import_identity(file, home=home, replace=True)
        except IdentityError:
            refused += 1
        else:
            assert everything_in(path) == everything_in(anna)
    assert refused > 50


def test_missing_files_and_folders_are_named(home: Path, tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match=r"There is no file .*lost\.dubid"):
        import_identity(tmp_path / "lost.dubid", home=home)
    with pytest.raises(IdentityError, match="is a folder"):
        import_identity(tmp_path, home=home)


def test_a_name_inside_the_file_cannot_be_a_path(file: Path, home: Path, anna: Path) -> None:
    from made_identities import rewrite

    rewrite(anna, name="../evil")
    content = (anna / "identity.json").read_bytes()
    members = [(i, content if i.filename == "identity.json" else c) for i, c in _members(file)]
    _pack(file, members)
    with pytest.raises(ConfigError, match="cannot be the name"):
        import_identity(file, home=home)
    assert json.loads(content)["name"] == "../evil"
    assert not home.exists()
    assert import_identity(file, "eve", home) == home / "eve"
