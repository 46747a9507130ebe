"""`dub identities`: data on stdout, one line for each mistake, nothing removed unasked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from made_identities import SHA256, everything_in, made_identity
from typer.testing import CliRunner

from dubcli.cli import identities_command as cli_identities
from dubcli.cli.app import app
from dubcli.identities import adapter
from dubcli.identities.store import identities_home, load_identity, save_identity
from dubcli.weights.entry import WeightEntry
from dubcli.weights.manifest import Manifest


def _run(*arguments: str, answer: str | None = None) -> Any:
    return CliRunner().invoke(app, ["identities", *arguments], input=answer, env={"COLUMNS": "200"})


@pytest.fixture
def anna() -> Path:
    path = identities_home() / "anna"
    save_identity(made_identity(), path, {"log.csv": b"step\n"})
    return path


@pytest.fixture
def _weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """This installation has the weights that the made identities were learned on."""
    entry = WeightEntry(name="iptalker.tiny", architecture="iptalker", sha256=SHA256)
    manifest = Manifest(path=tmp_path, weights={entry.name: entry}, default={})
    monkeypatch.setattr(adapter, "load_manifest", lambda: manifest)


@pytest.fixture
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_identities, "is_asked_by_a_person", lambda: True)


def _fails(result: Any, code: int, *words: str) -> None:
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("dub: ")
    assert result.stderr.count("\n") == 1
    assert all(word in result.stderr for word in words), result.stderr


@pytest.mark.usefixtures("_weights")
def test_list_tells_what_is_there_and_what_is_damaged(anna: Path) -> None:
    save_identity(made_identity("bert"), anna.with_name("bert"))
    (anna.with_name("bert") / "person.safetensors").unlink()
    rows = json.loads(_run("list", "--json").stdout)
    assert [row["name"] for row in rows] == ["anna", "bert"]
    first, second = rows
    assert (first["base"], first["kept_step"], first["fits"]) == ("iptalker.tiny", 200, True)
    assert first["created"] == "2026-11-21T10:05:00+00:00"
    assert first["consent"] == "2026-11-21T10:00:00+00:00"
    size = sum(len(content) for content in everything_in(anna).values())
    assert first["megabytes"] == size / 1e6
    assert first["path"] == str(anna)
    assert first["problem"] == ""
    assert "person.safetensors is missing" in second["problem"]
    assert (second["base"], second["fits"]) == (None, None)
    result = _run("list")
    assert result.exit_code == 0
    assert result.stderr == ""
    words = " ".join(result.stdout.split())
    for word in ("anna", "bert", "iptalker.tiny", "200", "2026-11-21", "yes", "person.safetensors"):
        assert word in words


def test_list_says_when_the_weights_are_others(anna: Path) -> None:
    row = json.loads(_run("list", "--json").stdout)[0]
    assert (row["name"], row["fits"]) == (anna.name, False)


def test_an_empty_list_is_empty_data() -> None:
    result = _run("list", "--json")
    assert json.loads(result.stdout) == []
    result = _run("list")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "dub finetune" in result.stderr


@pytest.mark.usefixtures("_weights")
def test_show_tells_what_a_person_cares_about(anna: Path) -> None:
    result = _run("show", "anna")
    assert result.exit_code == 0
    assert result.stderr == ""
    words = " ".join(result.stdout.split())
    for word in ("iptalker.tiny", "kept_step", "gain.psnr", "2.25", "--consent", "opening_p95"):
        assert word in words
    content = json.loads(_run("show", "anna", "--json").stdout)
    assert content["consent"] == {
        "agreed": True,
        "date": "2026-11-21T10:00:00+00:00",
        "how": "--consent",
    }
    assert content["base"] == {"name": "iptalker.tiny", "sha256": SHA256}
    assert content["fits"] is True
    assert (content["references"], content["path"]) == (2, str(anna))
    assert content["report"] == made_identity().report
    assert "log.csv" in content["files"]


def test_show_takes_a_path_too(tmp_path: Path) -> None:
    save_identity(made_identity("eve"), tmp_path / "any place")
    content = json.loads(_run("show", str(tmp_path / "any place"), "--json").stdout)
    assert content["name"] == "eve"


def test_show_does_not_show_what_is_damaged_or_missing(anna: Path) -> None:
    _fails(_run("show", "ana"), 4, "no identity 'ana'", "'anna'", "dub identities list")
    _fails(_run("show", "a b"), 2, "cannot be the name")
    (anna / "log.csv").write_bytes(b"other")
    _fails(_run("show", "anna", "--json"), 4, "damaged", "log.csv")


def test_square_brackets_of_a_report_are_shown_as_they_are(anna: Path) -> None:
    report = {"file": "[bold]x[/bold].mp4"}
    save_identity(made_identity(report=report), anna, replace=True)
    assert "[bold]x[/bold].mp4" in _run("show", "anna").stdout


def test_remove_without_a_terminal_needs_yes(anna: Path) -> None:
    _fails(_run("remove", "anna"), 2, "no terminal", "--yes")
    assert anna.exists()
    result = _run("remove", "anna", "--yes")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "removed the identity 'anna'" in result.stderr
    assert not anna.exists()
    _fails(_run("remove", "anna", "--yes"), 4, "no identity 'anna'")


@pytest.mark.usefixtures("_terminal")
@pytest.mark.parametrize(("answer", "is_removed"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_remove_asks(answer: str, is_removed: bool, anna: Path) -> None:
    result = _run("remove", "anna", answer=answer)
    assert result.exit_code == 0
    assert str(anna) in result.stderr
    assert anna.exists() != is_removed
    assert ("nothing was removed" in result.stderr) != is_removed


@pytest.mark.usefixtures("_terminal")
def test_an_interrupted_question_removes_nothing(anna: Path) -> None:
    result = _run("remove", "anna", answer="")
    assert result.exit_code == 130
    assert anna.exists()


def test_remove_refuses_what_is_no_identity(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_bytes(b"precious")
    _fails(_run("remove", "./home", "--yes"), 4, "no identity")
    assert (tmp_path / "home" / "thesis.txt").exists()


def test_a_damaged_identity_can_be_removed(anna: Path) -> None:
    (anna / "identity.json").write_bytes(b"{")
    assert _run("remove", "anna", "--yes").exit_code == 0
    assert not anna.exists()


def test_export_and_import_move_an_identity(anna: Path, tmp_path: Path) -> None:
    result = _run("export", "anna", "out/of anna")
    _fails(result, 4, "cannot be written")
    result = _run("export", "anna", "of anna")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "wrote of anna.dubid" in result.stderr
    assert "pictures of a face" in result.stderr
    before = everything_in(anna)
    assert _run("remove", "anna", "--yes").exit_code == 0
    result = _run("import", "of anna.dubid")
    assert "the file says that the person agreed, 2026-11-21" in result.stderr
    assert (result.exit_code, result.stdout) == (0, "")
    assert "--identity anna" in result.stderr
    assert everything_in(anna) == before


@pytest.mark.parametrize("flag", ["-y", "--overwrite"])
def test_export_and_import_replace_only_when_asked(flag: str, anna: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.dubid"
    file.write_bytes(b"old")
    _fails(_run("export", "anna", "x.dubid"), 2, "exists")
    assert file.read_bytes() == b"old"
    assert _run("export", "anna", "x.dubid", flag).exit_code == 0
    save_identity(made_identity(report={"kept_step": 7}), anna, replace=True)
    _fails(_run("import", "x.dubid"), 2, "'anna' exists already")
    assert load_identity(anna).report == {"kept_step": 7}
    assert _run("import", "x.dubid", flag).exit_code == 0
    assert load_identity(anna).report == made_identity().report


def test_import_under_another_name(anna: Path) -> None:
    assert _run("export", "anna", "x").exit_code == 0
    result = _run("import", "x.dubid", "--name", "maria")
    assert result.exit_code == 0
    assert load_identity(anna.with_name("maria")).name == "maria"
    _fails(_run("import", "x.dubid", "--name", "a/b"), 2, "cannot be the name")


def test_bad_files_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.dubid").write_bytes(b"no archive")
    _fails(_run("import", "x.dubid"), 4, "no exported identity")
    _fails(_run("import", "lost.dubid"), 4, "There is no file lost.dubid")
    assert not identities_home().exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [([], "command"), (["lost"], "lost"), (["show"], "NAME"), (["export", "anna"], "FILE")],
)
def test_wrong_use_is_exit_2(arguments: list[str], named: str) -> None:
    _fails(_run(*arguments), 2, named)


def test_every_command_and_option_is_explained() -> None:
    text = _run("--help").stdout
    for word in ("list", "show", "remove", "export", "import"):
        assert word in text
        assert CliRunner().invoke(app, ["identities", word, "--help"]).exit_code == 0
    assert "identities" in CliRunner().invoke(app, ["--help"]).stdout
