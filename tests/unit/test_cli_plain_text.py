"""Names and tags that hold a terminal's codes are shown, not obeyed."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from rich.text import Text
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.cli.plain_table import PlainTable
from dubcli.cli.view import View, as_json, emit_table, say
from dubcli.core.formatting import plain_text

CODES = "\x1b]0;title\x07\x1b[2J\x9b31m\u202egpj.\r"


def _is_plain(text: str) -> bool:
    return not any(code in text for code in "\x1b\x07\x9b\u202e\r")


def test_what_steers_a_terminal_is_written_out() -> None:
    assert plain_text("a\x1b[31mb\x07") == r"a\x1b[31mb\x07"
    assert plain_text("two\nlines\tund ÄÖ 日本 שלום") == "two\nlines\tund ÄÖ 日本 שלום"


def test_errors_name_such_a_file_in_plain_text(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [str(tmp_path / f"clip{CODES}.mp4"), "--audio", "a.wav"])
    assert done.exit_code != 0
    assert r"\x1b]0;title\x07" in done.stderr
    assert _is_plain(done.stderr)


def test_a_settings_file_cannot_steer_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dub.toml").write_text('"\\u001b[31mkey" = 1\n')
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["config", "show"])
    assert done.exit_code != 0
    assert _is_plain(done.output)


def test_lines_records_tables_and_json_are_plain(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"a {CODES}")
    with View().logging():
        logging.getLogger("dubcli.x").warning("b %s", CODES)
    table = PlainTable("name", "text")
    table.add_row(f"c {CODES}", Text(f"d {CODES}"))
    emit_table(table)
    shown = capsys.readouterr()
    assert _is_plain(shown.out + shown.err)
    assert all(letter in shown.out + shown.err for letter in "abcd")
    assert _is_plain(as_json({"name": CODES}))
    assert json.loads(as_json({"name": CODES})) == {"name": CODES}
