"""Learn the bundled face for a moment, and dub with what was learned."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from studio import DEMO, OTHER_PERSON, face_clip, ffmpeg, speech, times
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.identities.store import load_identity, save_identity


def run(*words: str | Path | int) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An identity of the bundled face after one step, from 1.6 seconds."""
    folder = tmp_path_factory.mktemp("people")
    ffmpeg("-i", DEMO, "-t", "3.2", "-c:v", "libx264", "-qp", "6", folder / "talk.mp4")
    words = ("--half", "--steps", 1, "--consent", "--device", "cpu", "--threads", 1)
    done = run("finetune", folder / "talk.mp4", "--name", folder / "lee", *words, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["last_step"] == 1
    return folder / "lee"


def _dubbed(tmp_path: Path, *words: str | Path) -> Any:
    face_clip(tmp_path / "clip.mp4")
    speech(tmp_path / "speech.wav", 0.5)
    return run(
        *("clip.mp4", "--audio", "speech.wav", "-o", "out.mp4", "--device", "cpu", "--threads", 1),
        *words,
    )


def test_a_dub_uses_the_identity_and_reports_it(learned: Path, tmp_path: Path) -> None:
    done = _dubbed(tmp_path, "--identity", learned)
    assert done.exit_code == 0, done.stderr
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["identity"] == "lee"
    assert report["references"] == []
    assert report["frames_dubbed"] > 0
    assert not any("same person" in line for line in report["warnings"])
    assert times(tmp_path / "out.mp4") == times(tmp_path / "clip.mp4")


def test_of_two_faces_the_one_of_the_identity_is_dubbed(learned: Path, tmp_path: Path) -> None:
    """Somebody larger stands beside the person."""
    beside = f"[a]scale=240:240,{OTHER_PERSON}[l];[b]scale=180:180,pad=240:240:0:60[r];[l][r]hstack"
    face_clip(tmp_path / "clip.mp4", f"split[a][b];{beside}", frames=8)
    speech(tmp_path / "speech.wav", 0.3)
    words = ("--identity", learned, "-o", "out.mp4", "--device", "cpu", "--threads", 1)
    done = run("clip.mp4", "--audio", "speech.wav", *words)
    assert done.exit_code == 0, done.stderr
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["face"] == 2
    assert report["face_reason"].startswith("most like the identity 'lee'")


def test_the_identity_changes_the_picture(learned: Path, tmp_path: Path) -> None:
    assert _dubbed(tmp_path, "--identity", learned).exit_code == 0
    with_identity = (tmp_path / "out.mp4").read_bytes()
    assert _dubbed(tmp_path, "-y").exit_code == 0
    assert (tmp_path / "out.mp4").read_bytes() != with_identity


def test_a_dub_points_out_that_the_face_is_known(learned: Path, tmp_path: Path) -> None:
    assert run("identities", "export", learned, "lee.dubid").exit_code == 0
    assert run("identities", "import", "lee.dubid").exit_code == 0
    done = _dubbed(tmp_path)
    assert done.exit_code == 0, done.stderr
    assert "--identity lee" in done.stderr


def test_an_identity_of_other_weights_is_refused(learned: Path, tmp_path: Path) -> None:
    identity = load_identity(learned)
    other = replace(identity, base=replace(identity.base, sha256="0" * 64))
    save_identity(other, tmp_path / "other")
    done = _dubbed(tmp_path, "--identity", tmp_path / "other")
    assert done.exit_code == 4
    assert len(done.stderr.strip().splitlines()) == 1
    assert "learned on iptalker" in done.stderr
    assert not (tmp_path / "out.mp4").exists()


def test_a_damaged_identity_is_refused(learned: Path, tmp_path: Path) -> None:
    save_identity(load_identity(learned), tmp_path / "lee")
    adapter = tmp_path / "lee" / "adapter.safetensors"
    adapter.write_bytes(adapter.read_bytes()[:-1])
    done = _dubbed(tmp_path, "--identity", tmp_path / "lee")
    assert done.exit_code == 4
    assert "damaged" in done.stderr
    assert not (tmp_path / "out.mp4").exists()


def test_an_unknown_identity_is_refused(tmp_path: Path) -> None:
    done = _dubbed(tmp_path, "--identity", "nobody")
    assert done.exit_code == 4
    assert "nobody" in done.stderr


def test_an_identity_of_another_model_is_refused(learned: Path, tmp_path: Path) -> None:
    done = _dubbed(tmp_path, "--identity", learned, "--model", "passthrough")
    assert done.exit_code == 4
    assert len(done.stderr.strip().splitlines()) == 1


def _bars(path: Path) -> Path:
    ffmpeg("-f", "lavfi", "-i", "testsrc=size=320x240:rate=25:duration=5", "-c:v", "libx264", path)
    return path


@pytest.mark.parametrize(
    ("make", "code", "told"),
    [
        (lambda folder: folder / "absent.mp4", 3, "absent.mp4"),
        (lambda folder: _bars(folder / "bars.mp4"), 5, "face"),
        (lambda folder: face_clip(folder / "short.mp4", frames=8), 7, "footage"),
        (lambda folder: folder.joinpath("text.mp4"), 3, "text.mp4"),
    ],
    ids=["absent", "no face", "too short", "not a video"],
)
def test_footage_that_cannot_be_learned_is_one_line(
    make: Any, code: int, told: str, tmp_path: Path
) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    done = run("finetune", make(tmp_path), "--name", tmp_path / "lee", "--consent", "-q")
    assert done.exit_code == code, done.stderr
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "lee").exists()
