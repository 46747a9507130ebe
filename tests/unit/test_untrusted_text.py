"""Texts nested so deeply that a parser gives up are refused like any other damage."""

from __future__ import annotations

import shutil
import struct
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.core.errors import IdentityError
from dubcli.core.json_text import parse_json
from dubcli.identities.archive import import_identity
from dubcli.weights.manifest import PACKAGE_DIR

DEPTH = 100_000
DEEP = '{"a":' + "[" * DEPTH + "]" * DEPTH + "}"
DEMO = ("--audio", str(PACKAGE_DIR / "assets" / "demo_speech.wav"))


def _one_line(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code in (2, 4), done.output
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.fixture
def video(tmp_path: Path) -> str:
    return str(shutil.copy(PACKAGE_DIR / "assets" / "demo.mp4", tmp_path / "clip.mp4"))


def test_a_deep_text_is_no_json() -> None:
    with pytest.raises(ValueError, match="too deeply"):
        parse_json(DEEP)


def test_a_deep_landmarks_file_is_named(tmp_path: Path, video: str) -> None:
    path = tmp_path / "points.json"
    path.write_text(DEEP)
    assert "points.json" in _one_line(video, *DEMO, "--landmarks", str(path))


def test_deep_weights_are_named(tmp_path: Path, video: str) -> None:
    header = DEEP.encode()
    (tmp_path / "net.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert "net" in _one_line(video, *DEMO, "--model", str(tmp_path / "net.safetensors"))
    (tmp_path / "config.json").write_text(DEEP)
    assert "config.json" in _one_line(video, *DEMO, "--model", str(tmp_path / "net.safetensors"))


def test_a_deep_settings_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dub.toml").write_text("a = " + "[" * DEPTH + "]" * DEPTH)
    monkeypatch.chdir(tmp_path)
    assert "dub.toml" in _one_line("config", "show")


def test_a_deep_identity_is_named(tmp_path: Path) -> None:
    file = tmp_path / "anna.dubid"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("identity.json", DEEP)
    with pytest.raises(IdentityError, match=r"anna\.dubid"):
        import_identity(file, None, tmp_path / "home")
