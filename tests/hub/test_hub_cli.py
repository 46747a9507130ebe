"""`dub models list|pull|verify|path|remove`: what users see and which code they get."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from server import Fault, Hub
from shelf import Shelf, content_of, of_hub
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.core.errors import WeightsError
from dubcli.evaluation.published_networks import PerceptualScorer
from dubcli.metrics.foreign_weights import read_state
from dubcli.weights import resolve as weights
from dubcli.weights.lock import read_lock

CONTENT = content_of()
NC = {"license": "CC BY-NC 4.0", "commercial": False}


def _models(*words: str) -> Any:
    # Wide: a sentence of a table is one line, however long the paths in it are.
    return CliRunner().invoke(app, ["models", *words], env={"COLUMNS": "4000"})


@pytest.fixture
def three(hub: Hub, shelf: Shelf, tmp_path: Path) -> Shelf:
    """A file of the hub, one of an address under an unfree licence, and one of the package."""
    hub.repo("org/net", {"net.pth": CONTENT})
    shelf.add("net.v1", CONTENT, of_hub("org/net", "net.pth"))
    shelf.add("plain.v1", CONTENT, hub.url("a.task", CONTENT), needed_by=["train"], **NC)
    (tmp_path / "own.bin").write_bytes(b"own")
    shelf.add("own.v1", b"own", package=str(tmp_path / "own.bin"), needed_by=["dub"])
    return shelf


def _answers(monkeypatch: pytest.MonkeyPatch, answer: bool) -> list[str]:
    """Somebody sits there and answers so; the questions."""
    asked: list[str] = []

    def confirm(question: str, err: bool) -> bool:
        asked.append(question)
        return answer

    monkeypatch.setattr("dubcli.cli.models_command.is_asked_by_a_person", lambda: True)
    monkeypatch.setattr("typer.confirm", confirm)
    return asked


def test_list_tells_licence_use_and_state(three: Shelf) -> None:
    def state() -> dict[str, tuple[Any, ...]]:
        keys = ("present", "sha256_ok", "commercial", "needed_by")
        rows = json.loads(_models("list", "--json").stdout)
        return {row["name"]: tuple(row[key] for key in keys) for row in rows}

    assert state() == {
        "net.v1": (False, None, True, ["evaluate"]),
        "plain.v1": (False, None, False, ["train"]),
        "own.v1": (True, True, True, ["dub"]),
    }
    _models("pull", "net.v1")
    assert state()["net.v1"][:2] == (True, True)
    path = weights.local_path(weights.resolve("net.v1", role="part"))
    assert path is not None
    path.resolve().chmod(0o644)
    path.resolve().write_bytes(b"x")
    assert state()["net.v1"][:2] == (True, False)
    assert path.is_file()
    table = _models("list").stdout
    assert all(word in table for word in ("CC BY-NC 4.0", "evaluate", "commercial", "plain.v1"))


def test_pull_tells_what_it_did_and_data_alone_on_stdout(three: Shelf) -> None:
    done = _models("pull", "net.v1", "own.v1", "--json")
    assert done.exit_code == 0, done.stderr
    net, own = json.loads(done.stdout)
    assert (net["name"], net["downloaded"], own["downloaded"]) == ("net.v1", True, False)
    assert Path(net["path"]).read_bytes() == CONTENT
    assert "net.v1 1/1 MB" in done.stderr
    assert "net.v1: downloaded, sha256" in done.stderr
    assert "own.v1: here already" in done.stderr
    again = _models("pull", "net", "-q")
    assert (again.exit_code, again.output) == (0, "")


def test_pull_takes_what_a_command_needs_or_everything(three: Shelf, hub: Hub) -> None:
    assert [
        r["name"] for r in json.loads(_models("pull", "--for", "evaluate", "--json").stdout)
    ] == ["net.v1"]
    done = _models("pull", "--all", "--accept-licence", "--json")
    names = [row["name"] for row in json.loads(done.stdout)]
    assert names == ["net.v1", "plain.v1", "own.v1"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Give names, or --for COMMAND, or --all"),
        (["net.v1", "--all"], "Give names"),
        (["lost"], "Unknown model 'lost'"),
        (["--for", "cooking"], "'cooking'"),
        (["hf:lost"], "Write hf:ORG/REPO"),
    ],
)
def test_a_wrong_choice_is_one_line(words: list[str], said: str, three: Shelf) -> None:
    done = _models("pull", *words)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert said in done.stderr


def test_one_that_fails_does_not_keep_the_others(three: Shelf, hub: Hub) -> None:
    hub.faults = [Fault("/resolve/", method="HEAD", status=500, times=99)]
    done = _models("pull", "--all", "--accept-licence", "--json")
    assert done.exit_code == 4
    assert "net.v1: org/net/net.pth cannot be downloaded" in done.stderr
    assert [row["name"] for row in json.loads(done.stdout)] == ["plain.v1", "own.v1"]


def test_an_unfree_licence_is_shown_once_and_the_answer_kept(
    three: Shelf, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = _models("pull", "plain.v1")
    assert done.exit_code == 2
    assert "CC BY-NC 4.0. Commercial use: no." in done.stderr
    assert "--accept-licence" in done.stderr
    assert hub.seen == []
    asked = _answers(monkeypatch, False)
    done = _models("pull", "plain.v1", "net.v1", "-q")
    assert done.exit_code == 2
    assert "not agreed to was not downloaded" in done.stderr
    assert weights.is_whole(weights.resolve("net.v1", role="part"))
    assert (len(asked), read_lock().licences) == (1, {})
    asked = _answers(monkeypatch, True)
    assert _models("pull", "plain.v1").exit_code == 0
    assert read_lock().licences == {"plain.v1": "CC BY-NC 4.0"}
    done = _models("pull", "plain.v1")
    assert (done.exit_code, len(asked)) == (0, 1)
    assert "CC BY-NC" not in done.stderr


def test_verify_proves_what_is_here_and_moves_wrong_files_aside(three: Shelf) -> None:
    assert [row["name"] for row in json.loads(_models("verify", "--json").stdout)] == ["own.v1"]
    _models("pull", "net.v1")
    done = _models("verify")
    assert done.exit_code == 0
    assert "net.v1" in done.stdout
    path = weights.prove(weights.resolve("net.v1", role="part")).path
    path.resolve().chmod(0o644)
    path.resolve().write_bytes(b"damaged")
    done = _models("verify", "--json")
    assert done.exit_code == 4
    net, own = json.loads(done.stdout)
    assert (net["ok"], own["ok"]) == (False, True)
    assert "was moved to" in net["problem"]
    assert not path.exists()
    done = _models("verify", "net.v1")
    assert done.exit_code == 4
    assert "is not on this machine" in done.stdout


def test_a_damaged_package_file_stays_where_it_is(three: Shelf, tmp_path: Path) -> None:
    (tmp_path / "own.bin").write_bytes(b"damaged")
    done = _models("verify", "own.v1", "--json")
    assert done.exit_code == 4
    (own,) = json.loads(done.stdout)
    assert "Install dubcli again" in own["problem"]
    assert (tmp_path / "own.bin").is_file()


def test_path_prints_the_file_alone(three: Shelf, tmp_path: Path) -> None:
    done = _models("path", "own.v1")
    assert (done.exit_code, done.stdout) == (0, f"{tmp_path / 'own.bin'}\n")
    done = _models("path", "net.v1")
    assert (done.exit_code, done.stdout) == (4, "")
    assert "dub models pull net.v1" in done.stderr


def test_remove_deletes_downloads_and_never_the_package(three: Shelf, tmp_path: Path) -> None:
    _models("pull", "--all", "--accept-licence")
    done = _models("remove", "own.v1")
    assert (done.exit_code, (tmp_path / "own.bin").is_file()) == (2, True)
    done = _models("remove", "--all")
    assert done.exit_code == 0
    assert "net.v1: removed, 0.1 MB are free again" in done.stderr
    assert (tmp_path / "own.bin").is_file()
    for name in ("net.v1", "plain.v1"):
        assert weights.local_path(weights.resolve(name, role="part")) is None
    assert read_lock().licences == {"plain.v1": "CC BY-NC 4.0"}
    _models("remove", "plain.v1", "--forget")
    assert read_lock().licences == {}
    assert "not on this machine" in _models("remove", "net.v1").stderr


def test_interrupted_pulls_say_what_is_kept(three: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("dubcli.weights.local_files.download", stop)
    done = _models("pull", "net.v1", "-q")
    assert (done.exit_code, done.stderr.count("\n")) == (130, 1)


# What uses them ----------------------------------------------------------------------------------


def test_evaluate_uses_what_was_pulled(
    hub: Hub, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, fill: Callable[[Path], bytes]
) -> None:
    content = fill(Path("net.pth"))
    shelf.add("inception.fid", content, hub.url("net.pth", content), **NC)
    for name in ("alexnet", "lpips-alex", "vgg16", "lpips-vgg", "syncnet", "sface"):
        shelf.add(f"{name}.v1", CONTENT, hub.url(f"{name}.pth", CONTENT))
    cpu = torch.device("cpu")
    assert PerceptualScorer(None, cpu).missing["inception"] == ["dub models pull inception"]
    _models("pull", "inception", "--accept-licence")
    scorer = PerceptualScorer(None, cpu)
    assert list(scorer.files) == ["pt_inception-2015-12-05-6726825d.pth"]
    assert "inception" not in scorer.missing
    _models("remove", "inception", "--forget")
    assert "inception" in PerceptualScorer(None, cpu).missing


@pytest.fixture
def fill() -> Callable[[Path], bytes]:
    """Writes weights under the names of FID's Inception; returns them."""
    from dubcli.metrics.inception import Inception

    def write(path: Path) -> bytes:
        torch.save(Inception().state_dict(), path)
        return path.read_bytes()

    return write


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (Path("ran"), "code of a pickle ran"))


def test_a_foreign_pickle_is_read_without_running_it_and_that_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    torch.save({"weight": torch.ones(1)}, "good.pth")
    assert read_state(Path("good.pth"))["weight"].tolist() == [1.0]
    assert "good.pth' is a pickle of another project" in caplog.text
    torch.save({"weight": _Evil()}, "evil.pth")
    with pytest.raises(WeightsError, match="holds no weights"):
        read_state(Path("evil.pth"))
    assert not Path("ran").exists()
