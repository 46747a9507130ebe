"""Keys that sign Content Credentials: made for development, or the user's."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from made_certificates import SIGNER, Files, make_files

from dubcli.core.errors import ConfigError
from dubcli.provenance import certificate
from dubcli.provenance.certificate import (
    development_anchor,
    development_key,
    development_path,
    own_key,
)
from dubcli.provenance.credentials import check_key


def test_a_development_certificate_is_made_once_and_can_sign() -> None:
    assert development_anchor() == ""
    first, again = development_key(), development_key()
    assert first == again
    assert first.is_development
    check_key(first)
    assert development_anchor().startswith("-----BEGIN CERTIFICATE-----")
    assert first.chain_pem.count(b"BEGIN CERTIFICATE") == 2


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_only_the_user_may_read_the_key_and_no_other_certificate_can_be_issued() -> None:
    development_key()
    path = development_path()
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert path.read_bytes().count(b"PRIVATE KEY-----") == 2  # one key: begin and end


def test_where_it_cannot_be_kept_it_serves_for_this_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("DUB_HOME", str(tmp_path / "file"))
    check_key(development_key())


def test_a_damaged_one_is_named() -> None:
    development_key()
    development_path().write_text("damaged")
    with pytest.raises(ConfigError, match=r"development\.pem.*Delete it"):
        development_key()


def test_an_expired_one_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificate, "_YEARS", 0)
    development_path().parent.mkdir(parents=True)
    development_path().write_bytes(certificate._make_development())
    old = development_path().read_bytes()
    monkeypatch.undo()
    monkeypatch.setenv("DUB_HOME", str(development_path().parent.parent))
    check_key(development_key())
    assert development_path().read_bytes() != old


def test_one_that_was_made_by_a_clock_ahead_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = SimpleNamespace(now=lambda zone: datetime.now(zone) + timedelta(days=3))
    with monkeypatch.context() as patch:
        patch.setattr(certificate, "datetime", ahead)
        development_key()
    old = development_path().read_bytes()
    check_key(development_key())
    assert development_path().read_bytes() != old


def test_a_users_own_key_signs(tmp_path: Path) -> None:
    files = make_files(tmp_path)
    key = own_key(files.chain, files.key)
    assert (key.algorithm, key.signer, key.is_development) == ("es384", SIGNER, False)
    assert "PRIVATE" not in repr(key)
    check_key(key)


def _nonsense(files: Files) -> None:
    files.chain.write_text("nonsense")


def _no_key(files: Files) -> None:
    files.key.unlink()


def _broken_key(files: Files) -> None:
    files.key.write_bytes(files.key.read_bytes()[:90])


def _key_of_another(files: Files) -> None:
    files.key.write_bytes(make_files(files.key.parent / "other").key.read_bytes())


def _authority_first(files: Files) -> None:
    parts = files.chain.read_text().partition("-----END CERTIFICATE-----\n")
    files.chain.write_text(parts[2] + parts[0] + parts[1])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_nonsense, "no PEM certificate"),
        (_no_key, "cannot be read"),
        (_broken_key, "no PEM private key"),
        (_key_of_another, "does not belong"),
        (_authority_first, "comes first"),
    ],
)
def test_a_wrong_file_is_one_line(
    spoil: Callable[[Files], None], words: str, tmp_path: Path
) -> None:
    files = make_files(tmp_path)
    spoil(files)
    with pytest.raises(ConfigError, match=words) as told:
        own_key(files.chain, files.key)
    assert len(str(told.value).splitlines()) == 1


def test_encrypted_keys_and_expired_certificates_are_named(tmp_path: Path) -> None:
    locked = make_files(tmp_path / "locked", password=b"secret")
    with pytest.raises(ConfigError, match="is encrypted"):
        own_key(locked.chain, locked.key)
    expired = make_files(tmp_path / "expired", days=-5)
    with pytest.raises(ConfigError, match="not valid today"):
        own_key(expired.chain, expired.key)


def test_a_certificate_for_another_purpose_is_refused(tmp_path: Path) -> None:
    files = make_files(tmp_path, with_purpose=False)
    with pytest.raises(ConfigError, match="cannot sign Content Credentials") as told:
        check_key(own_key(files.chain, files.key))
    assert len(str(told.value).splitlines()) == 1
