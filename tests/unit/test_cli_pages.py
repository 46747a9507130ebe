"""docs/cli.md and the manual page say what the commands say."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import typer
import write_cli_pages

from dubcli.cli.app import app
from dubcli.cli.command_group import MAIN_JOB

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("name", sorted(write_cli_pages.PAGES))
def test_the_page_is_what_the_code_says(name: str) -> None:
    written = (DOCS / name).read_text(encoding="utf-8")
    assert written == write_cli_pages.PAGES[name](), f"run: {write_cli_pages.COMMAND_LINE}"


@pytest.mark.parametrize("width", ["40", "400"])
def test_the_pages_do_not_depend_on_the_terminal(
    width: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    assert (DOCS / "cli.md").read_text(encoding="utf-8") == write_cli_pages.markdown()


def test_every_command_and_option_is_on_both_pages() -> None:
    page, manual = write_cli_pages.markdown(), write_cli_pages.manual().replace("\\-", "-")
    group: object = typer.main.get_command(app)
    for name, command in getattr(group, "commands").items():  # noqa: B009
        assert f"dub {name}" in page
        assert name == MAIN_JOB or f"dub {name}" in manual
        for option in command.params:
            if option.param_type_name == "option":
                assert all(f"`{option.opts[0]}" in page for _ in option.opts)
                assert option.opts[0] in manual


def test_the_manual_page_is_sound_roff() -> None:
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("groff is not installed, so nothing here can read a manual page")
    argv = [groff, "-man", "-ww", "-z", str(DOCS / "dub.1")]
    run = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert run.stderr == ""
