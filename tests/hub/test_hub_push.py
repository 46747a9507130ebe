"""`dub models push`: a checkpoint of one's own, whole, with its card, or not at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import published, trained, weights_of, write
from safetensors.torch import load
from server import Fault, Hub
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.weights import resolve as weights
from dubcli.weights.load import load_model

TERMS = ("--licence", "CC BY-NC 4.0", "--no-commercial", "--source", "my own face")


@pytest.fixture(scope="module")
def content() -> bytes:
    """A checkpoint's weights."""
    return weights_of()


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch, hub: Hub) -> None:
    monkeypatch.setenv("HF_TOKEN", "writer")


def _push(*words: str) -> Any:
    return CliRunner().invoke(app, ["models", "push", *words])


def test_what_was_pushed_is_what_others_load(hub: Hub, content: bytes, tmp_path: Path) -> None:
    write(tmp_path / "run" / "step-000020", trained(content))
    done = _push("run/", "me/lips", *TERMS, "--yes", "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    repo = hub.repos["me/lips"]
    assert repo.private
    assert told["commit"] == repo.branches["main"]
    assert told["sha256"] == hashlib.sha256(content).hexdigest()
    files = repo.commits[told["commit"]]
    assert files["model.safetensors"] == content
    assert set(files) == {".gitattributes", "model.safetensors", "config.json", "README.md"}
    assert (
        CliRunner().invoke(app, ["models", "pull", told["model"], "--accept-licence"]).exit_code
        == 0
    )
    model: Any = load_model(told["model"], "cpu")[0]
    state = model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in load(content).items())
    assert f"use it with --model {told['model']}" in done.stderr


def test_the_card_tells_licence_hash_scores_and_use(
    hub: Hub, content: bytes, tmp_path: Path
) -> None:
    write(tmp_path / "lips", published(content, license="mine | yours", metrics={"psnr": 26.3441}))
    assert _push("lips/", "me/lips", "--yes", "--public").exit_code == 0
    repo = hub.repos["me/lips"]
    assert not repo.private
    card = repo.commits[repo.branches["main"]]["README.md"].decode()
    header, body = card.removeprefix("---\n").split("\n---\n", 1)
    assert "license: other" in header
    assert 'license_name: "mine | yours"' in header
    assert "| licence | mine \\| yours |" in body
    assert "| commercial use | allowed |" in body
    assert "| psnr | 26.34 |" in body
    assert hashlib.sha256(content).hexdigest() in body
    assert "--model hf:me/lips" in body


def test_scores_must_be_of_these_weights(hub: Hub, content: bytes, tmp_path: Path) -> None:
    write(tmp_path / "lips", published(content))
    sha256 = hashlib.sha256(content).hexdigest()
    means = {"cross": {"mine": {"r": {"mean": 0.7}, "lse_c": {"mean": None}}}}
    scores = {"weights": {"mine": sha256, "other": "0" * 64}, "means": means}
    Path("scores.json").write_text(json.dumps(scores))
    assert _push("lips/", "me/lips", "--yes", "--scores", "scores.json").exit_code == 0
    repo = hub.repos["me/lips"]
    config = json.loads(repo.commits[repo.branches["main"]]["config.json"])
    assert config["metrics"] == {"cross.r": 0.7}
    for text in (json.dumps({**scores, "weights": {"mine": "0" * 64}}), "{", "[]"):
        Path("scores.json").write_text(text)
        done = _push("lips/", "me/lips", "--yes", "--scores", "scores.json")
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1)


def test_pushing_again_is_a_second_commit_of_the_same_repository(
    hub: Hub, content: bytes, tmp_path: Path
) -> None:
    write(tmp_path / "lips", published(content))
    write(tmp_path / "later", published(weights_of(seed=1)))
    first = json.loads(_push("lips/", "me/lips", "--yes", "--json").stdout)
    second = json.loads(_push("later/", "me/lips", "--yes", "--public", "--json").stdout)
    assert hub.repos["me/lips"].private
    assert set(hub.repos["me/lips"].commits) >= {first["commit"], second["commit"]}
    assert weights.resolve(first["model"]).sha256 == first["sha256"] != second["sha256"]
    assert weights.resolve("hf:me/lips").sha256 == second["sha256"]


@pytest.mark.parametrize(
    ("token", "fault", "said"),
    [
        ("nobody", None, r"does not know this token (401)"),
        ("reader", None, r"may not write there (403)"),
        ("writer", Fault("/commit/", method="POST", status=403), "may not write there (403)"),
        ("writer", Fault("/lfs/", method="PUT", status=500, times=99), "HTTP 500"),
        ("writer", Fault("/create", method="POST", status=429, times=99), "(429)"),
    ],
)
def test_a_refusal_is_one_line_and_nothing_is_committed(
    token: str,
    fault: Fault | None,
    said: str,
    hub: Hub,
    content: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    hub.faults = [fault] if fault else []
    write(tmp_path / "lips", published(content))
    done = _push("lips/", "me/lips", "--yes")
    assert done.exit_code == 4
    last = done.stderr.splitlines()[-1]
    assert last.startswith("dub: me/lips cannot be published: ")
    assert said in last
    assert "Traceback" not in done.stderr
    commits = hub.repos["me/lips"].commits if "me/lips" in hub.repos else {}
    assert not [files for files in commits.values() if "config.json" in files]


def test_without_token_terminal_or_network_nothing_is_asked(
    hub: Hub, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "lips", published(content))
    done = _push("lips/", "me/lips")
    assert (done.exit_code, "Add --yes" in done.stderr) == (2, True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    done = _push("lips/", "me/lips", "--yes")
    assert (done.exit_code, "HF_HUB_OFFLINE" in done.stderr) == (4, True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN")
    done = _push("lips/", "me/lips", "--yes")
    assert (done.exit_code, "HF_TOKEN" in done.stderr) == (2, True)
    assert hub.seen == []


def test_the_user_is_asked_and_may_say_no(
    hub: Hub, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "lips", published(content))
    asked: list[str] = []

    def confirm(question: str, err: bool) -> bool:
        asked.append(question)
        return False

    monkeypatch.setattr("dubcli.cli.models_command.is_asked_by_a_person", lambda: True)
    monkeypatch.setattr("typer.confirm", confirm)
    done = _push("lips/", "me/lips")
    assert (done.exit_code, "nothing was published" in done.stderr) == (0, True)
    assert "me/lips (private if it is new) under CC BY 4.0" in asked[0]
    assert hub.seen == []


def test_what_nobody_could_load_is_not_published(hub: Hub, content: bytes, tmp_path: Path) -> None:
    write(tmp_path / "run", trained(content))
    done = _push("run/", "me/lips", "--yes")
    assert (done.exit_code, "--licence" in done.stderr) == (2, True)
    other = weights_of(seed=1)
    write(tmp_path / "half", published(other[: len(other) // 2]))
    write(tmp_path / "wrong", published(content, config={"channels": 32}))
    for folder in ("half/", "wrong/", "gone/"):
        done = _push(folder, "me/lips", "--yes")
        assert (done.exit_code, done.stderr.count("\n")) == (4, 1)
    done = _push("wrong/", "lips", "--yes")
    assert done.exit_code == 2
    assert hub.seen == []
