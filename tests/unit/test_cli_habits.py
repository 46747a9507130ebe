"""What people expect of a command: progress as they want it, completion, help by topic."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from dubcli.cli import progress_view
from dubcli.cli.app import app
from dubcli.cli.view import say
from dubcli.core.reports import DubReport

JOB = ["clip.mp4", "--audio", "new.wav"]


@pytest.fixture
def run_job(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run the main job with a pipeline that only tells how far it is."""

    def dub(config: Any, progress: Any, announce: Callable[[str], None], engine: Any) -> DubReport:
        announce("begins")
        progress("analyse", 1, 0)
        for done in range(1, 101):
            progress("dub", done, 100)
        return DubReport(output="x.mp4", frames=100)

    stand_in = ModuleType("dubcli.pipeline.run")
    stand_in.dub = dub  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "dubcli.pipeline.run", stand_in)
    return lambda *arguments: CliRunner().invoke(app, [*JOB, *arguments])


def test_jsonl_is_one_object_a_line_with_what_programs_need(run_job: Callable[..., Any]) -> None:
    result = run_job("--progress", "jsonl", "--quiet")
    assert result.exit_code == 0
    assert result.stdout == ""
    rows = [json.loads(line) for line in result.stderr.splitlines()]
    assert all(list(row) == ["stage", "done", "total", "unit", "fps", "eta"] for row in rows)
    first, last = rows[0], rows[-1]
    assert (first["stage"], first["total"], first["eta"]) == ("analyse", None, None)
    assert (last["stage"], last["done"], last["total"], last["eta"]) == ("dub", 100, 100, 0)
    assert last["fps"] > 0
    assert last["unit"] == "frames"
    assert len([row for row in rows if row["stage"] == "dub"]) < 20


def test_jsonl_foretells_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = iter([0.0, 0.1, 10.0])
    monkeypatch.setattr(progress_view.time, "monotonic", lambda: next(now))
    with progress_view.json_lines("frames", say) as progress:
        progress("dub", 1, 200)
        progress("dub", 2, 200)  # too early to be shown
        progress("dub", 100, 200)
    rows = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    told = [(row["done"], row["fps"], row["eta"]) for row in rows]
    # One frame in no time is no pace.
    assert told == [(1, None, None), (100, 10.0, 10.0)]


def test_messages_beside_jsonl_are_no_json(run_job: Callable[..., Any]) -> None:
    lines = run_job("--progress", "jsonl").stderr.splitlines()
    assert "dub: begins" in lines
    assert all(line.startswith(("dub: ", "{")) for line in lines)


def test_none_leaves_the_messages_and_nothing_else(run_job: Callable[..., Any]) -> None:
    lines = run_job("--progress", "none").stderr.splitlines()
    assert lines == ["dub: begins", "dub: x.mp4: 100 frames, 0 dubbed"]


def test_plain_and_auto_are_lines_where_no_terminal_is(run_job: Callable[..., Any]) -> None:
    for style in ("plain", "auto"):
        assert "dub: dub 100/100 frames" in run_job("--progress", style).stderr


def test_a_bar_can_be_asked_for_without_a_terminal(run_job: Callable[..., Any]) -> None:
    result = run_job("--progress", "bar", "-q")
    assert "100/100" in result.stderr
    assert "dub: dub" not in result.stderr


def test_an_unknown_style_is_one_line(run_job: Callable[..., Any]) -> None:
    result = run_job("--progress", "loud")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "jsonl" in result.stderr


def _complete(words: str) -> list[str]:
    """What a shell offers for the last word."""
    environment = {
        **os.environ,
        "_DUB_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len((words + "|").split()) - 1),
    }
    argv = [sys.executable, "-m", "dubcli"]
    run = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    return run.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("dub mod", {"models"}),
        ("dub --au", {"--audio", "--audio-offset", "--audio-stream"}),
        ("dub clip.mp4 --keep", {"--keep-silent-frames"}),
        ("dub clip.mp4 --sync-mode b", {"bounce"}),
        ("dub clip.mp4 --progress ", {"auto", "bar", "plain", "jsonl", "none"}),
        ("dub models p", {"path", "pull", "push"}),
        ("dub models pull --acc", {"--accept-licence"}),
        ("dub train --ha", {"--half-size"}),
        ("dub train s", {"sync"}),
    ],
)
def test_the_shell_completes_commands_options_and_choices(words: str, offered: set[str]) -> None:
    assert set(_complete(words)) == offered


def test_completion_offers_whatever_the_settings_hold() -> None:
    Path("dub.toml").write_text("this is no TOML")
    assert _complete("dub mod") == ["models"]
    assert _complete("dub clip.mp4 --mix") == ["--mix-original"]


def test_completion_is_installed_for_the_users_shell(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        # The test's own parent process is no shell.
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }
    argv = [sys.executable, "-m", "dubcli", "--install-completion", "bash"]
    run = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    assert "installed" in run.stdout
    (script,) = tmp_path.rglob("dub.sh")
    assert "complete" in script.read_text()
    assert str(script) in (tmp_path / ".bashrc").read_text()


PANELS = [
    "What you need first",
    "Input",
    "Faces",
    "Sound",
    "Length",
    "Output",
    "Marks",
    "How it runs",
    "Options of iptalker, lip-identity, personatalk",
    "Options of iptalker",
    "Options of personatalk",
    "Other",
]


def _panels(*arguments: str) -> dict[str, list[str]]:
    """Options in each panel of a help, by its title."""
    text = CliRunner().invoke(app, [*arguments, "--help"], env={"COLUMNS": "200"}).stdout
    panels: dict[str, list[str]] = {}
    title = ""
    for line in text.splitlines():
        if found := re.match(r"╭─ (.+?) ─", line):
            title = found[1]
            panels[title] = []
        elif option := re.match(r"│ [ *]*(--[a-z0-9-]+)", line):
            panels[title].append(option[1])
    return panels


def test_help_begins_with_the_six_options_that_people_need_first() -> None:
    panels = _panels()
    titles = [title for title in panels if title not in ("Arguments", "Commands")]
    assert titles == PANELS
    first = ["--audio", "--output", "--overwrite", "--face", "--sync-mode", "--dry-run"]
    assert panels["What you need first"] == first
    assert "--mix-original" in panels["Sound"]
    assert "--no-mark" in panels["Marks"]
    assert {"--version", "--help", "--install-completion"} <= set(panels["Other"])


@pytest.mark.parametrize("command", ["plan", "demo", "finetune", "train", "evaluate", "prepare"])
def test_help_of_other_commands_has_the_same_panels(command: str) -> None:
    panels = _panels(command)
    titles = [title for title in panels if title != "Arguments"]
    assert titles[0] == "What you need first"
    assert 1 <= len(panels[titles[0]]) <= 6
    assert [title for title in PANELS if title in titles] == [t for t in titles if t != "Learning"]
    assert "--progress" in panels["How it runs"]
