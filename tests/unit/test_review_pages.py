"""Pages of `dub report`: what they are made of, and that all text in them is text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.core.reports import DubReport
from dubcli.review.excerpts import choose_excerpts, remarks_of, times_in, worth_a_look
from dubcli.review.html_page import visible

EVIL = "<script>alert(1)</script>\x1b[31m\u202e=1+1&\"'\udc80"


class _Reader(HTMLParser):
    """Tags, scripts and texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def _report(**changes: Any) -> dict[str, Any]:
    values = {"frames": 250, "frames_dubbed": 200, "duration_s": 10.0, "model": "passthrough"}
    return {**vars(DubReport(output="gone.mp4")), **values, **changes}


def _page(path: str, *words: str) -> str:
    run = CliRunner().invoke(app, ["report", path, "-o", "page.html", "-y", *words])
    assert run.exit_code == 0, run.stderr
    return Path("page.html").read_text(encoding="utf-8")


def test_text_of_reports_cannot_act_on_the_page() -> None:
    report = _report(
        output=EVIL,
        warnings=[EVIL],
        config={"video": EVIL, "audio": [{"face": EVIL}]},
        speakers=[{"face": 1, "reason": EVIL, "audio": EVIL}],
        marks=[{"kind": EVIL, "where": EVIL}],
        passed_through=[{"start_s": 1, "end_s": 2, "frames": 25, "reason": EVIL}],
        model_facts={EVIL: {EVIL: EVIL}},
        seconds={EVIL: 1},
    )
    Path("r.json").write_text(json.dumps(report))
    page = _page("r.json")
    found = _Reader(page)
    assert "\x1b" not in page
    assert "\u202e" not in page
    scripts = [attributes for tag, attributes in found.tags if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "page-data"}, {}]
    assert not [name for _, attributes in found.tags for name in attributes if name[:2] == "on"]
    assert sum("<script>alert(1)</script>" in text for text in found.texts) > 5
    assert "'gone" not in page


def test_pages_load_nothing_from_anywhere() -> None:
    Path("r.json").write_text(json.dumps(_report()))
    page = _page("r.json")
    tags = _Reader(page).tags
    (policy,) = (values["content"] or "" for _, values in tags if "http-equiv" in values)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert not re.findall(r"https?://|@import|url\(", page)


def test_codes_of_terminals_and_directions_are_shown() -> None:
    assert visible({"a\x07": ["\x1b[0m", 3, ("\u202e", "ok\n")]}) == {
        "a\u2407": ["\u241b[0m", 3, ["\ufffd", "ok\n"]]
    }


def test_a_batch_shows_each_row_once_as_it_ended() -> None:
    lines = [
        {"dub_batch": 1, "jobs": "jobs.csv"},
        {
            "row": 2,
            "status": "failed",
            "error": EVIL,
            "output": "=cmd",
            "seconds": 70,
            "attempts": 1,
        },
        {"row": 1, "status": "done", "output": "a.mp4", "report": "a.json", "seconds": 3.2},
        {"row": 2, "status": "done", "error": None, "output": "b.mp4", "attempts": 2},
        {"row": 3, "status": "failed", "error": EVIL, "output": "c.mp4", "attempts": 3},
    ]
    text = "\n".join(json.dumps(line) for line in lines) + '\n{"row": 4, "stat'
    Path("batch.jsonl").write_text(text)
    Path("a.json").write_text(json.dumps(_report(warnings=["at 0:03.0 something"])))
    page = _page("batch.jsonl")
    assert "3 rows: 2 done, 1 failed" in page
    assert 'href="page_files/row-1.html"' in page
    inner = Path("page_files/row-1.html").read_text(encoding="utf-8")
    assert 'data-at="3.0"' in inner
    again = _page("batch.jsonl", "--pages", "0")
    assert "href=" not in again.replace('href="data:,"', "")
    assert not Path("page_files").exists()


def test_scores_become_tables_of_means_and_clips() -> None:
    measure = {"key": "r", "title": "r", "region": "lips", "unit": "", "better": "higher"}
    scores = {
        "version": "0.1.0",
        "command": "dub evaluate clips",
        "measures": {"reconstruction": [measure]},
        "means": {"reconstruction": {"m<b>": {"r": {"mean": 0.5, "low": 0.4, "high": 0.61}}}},
        "clips": [
            {"clip": "x", "identity": "p", "run": "reconstruction", "system": "m<b>",
             "scores": {"r": 0.5, "none": None}},
        ],
        "failures": {"y": "no face"},
    }  # fmt: skip
    Path("scores").mkdir()
    Path("scores/scores.json").write_text(json.dumps(scores))
    page = _page("scores")
    assert "0.5 (0.4 to 0.61)" in page
    assert "m&lt;b&gt;" in page
    assert "Not scored: y: no face" in page
    assert "none" not in re.findall(r'class="sort">(.*?)<', page)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("r.json", "{}"),
        ("r.json", "[1]"),
        ("r.json", "no json"),
        ("r.json", '{"output": 3, "frames": 1, "duration_s": 1}'),
        ("r.json", '{"output": "x", "frames": 1, "duration_s": "long"}'),
        ("r.json", '{"output": "x", "frames": 1, "duration_s": 1, "passed_through": [{}]}'),
        ("r.json", '{"output": "x", "frames": 1, "duration_s": NaN}'),
        pytest.param(
            "r.json", f'{{"output": "x", "frames": 1, "duration_s": 1{"0" * 400}}}', id="too-large"
        ),
        ("s.json", '{"measures": [], "means": {}, "clips": []}'),
        ("s.json", '{"measures": {"r": [{}]}, "means": {"r": {"m": {}}}, "clips": []}'),
        ("s.json", '{"measures": {"r": [{"key": [1]}]}, "means": {}, "clips": []}'),
        ("s.json", '{"measures": {"r": 3}, "means": {"r": {"m": 3}}, "clips": []}'),
        ("s.json", '{"measures": {}, "means": {}, "clips": 3}'),
        ("s.json", '{"measures": {}, "means": {}, "clips": [], "failures": [1]}'),
        ("b.jsonl", '{"dub_batch": 1}\n'),
        ("b.jsonl", 'x\n{"row": 1}\n'),
        ("clip.mp4", "no report beside it"),
    ],
)
def test_other_files_are_refused_in_one_line(name: str, content: str) -> None:
    Path(name).write_text(content)
    run = CliRunner().invoke(app, ["report", name])
    assert run.exit_code == 2
    assert len(run.stderr.splitlines()) == 1
    assert [path.name for path in Path().iterdir()] == [name]


def test_figures_and_names_beyond_all_measure_are_shown_or_left_out() -> None:
    huge = 10**400
    rows = [
        {"row": 1, "status": "done", "seconds": huge, "attempts": huge, "report": "y" * 5000},
        {"row": 2, "status": {"<b>": 1}, "output": ["x"], "error": {"a": 1}, "report": "\0"},
    ]
    Path("batch.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "2 rows" in _page("batch.jsonl")
    report = _report(output="x" * 5000, warnings=[f"at {'9' * 400}:00:00.1 and 0:02.0"])
    Path("r.json").write_text(json.dumps(report))
    assert 'data-at="2.0"' in _page("r.json")
    scores = {
        "measures": {"r": [{"key": "k"}]},
        "means": {"r": {"m": {"k": {"mean": huge, "low": 1, "high": 2}}}},
        "clips": [{"scores": {"k": huge}}, {"clip": "c"}, {"scores": {"k": 1}}, 3],
    }
    Path("s.json").write_text(json.dumps(scores))
    assert "<h2>Clips</h2>" in _page("s.json")


def test_rows_that_can_have_no_page_are_not_counted_as_left_out() -> None:
    """A plan has no page, scores have one of their own, and `--pages` limits the others."""
    Path("scores").mkdir()
    scores = {"measures": {}, "means": {}, "clips": [{"clip": "x", "scores": {"r": 0.5}}]}
    Path("scores/scores.json").write_text(json.dumps(scores))
    Path("a.plan.json").write_text("{}")
    Path("b.json").write_text(json.dumps(_report()))
    reports = (("plan", "a.plan.json"), ("evaluate", "scores/scores.json"), ("dub", "b.json"))
    rows = [
        {"row": number, "command": command, "status": "done", "output": report, "report": report}
        for number, (command, report) in enumerate(reports, 1)
    ]
    Path("batch.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = _page("batch.jsonl")
    assert "no page of their own" not in page
    assert "row-1.html" not in page
    assert 'href="page_files/row-2.html"' in page
    assert "<h2>Clips</h2>" in Path("page_files/row-2.html").read_text(encoding="utf-8")
    assert "1 result has no page of its own" in _page("batch.jsonl", "--pages", "1")
    assert "2 results have no page of their own" in _page("batch.jsonl", "--pages", "0")
    assert "page of their own; --embed makes one file" in _page("batch.jsonl", "--embed")
    Path("b.json").write_text("{")
    assert "Row 3 has no page: &#39;b.json&#39; is no report" in _page("batch.jsonl")


def test_tables_show_values_as_text_for_people() -> None:
    Path("r.json").write_text(json.dumps(_report(model_facts={"m": {"style": {"gain": 0.9}}})))
    assert "gain=0.9" in _page("r.json")
    Path("batch.jsonl").write_text(json.dumps({"row": 1, "status": "failed", "attempts": 0}) + "\n")
    assert "0.0 s" not in _page("batch.jsonl")


def test_nothing_of_others_is_replaced() -> None:
    Path("r.json").write_text(json.dumps(_report()))
    Path("page.html").write_text("kept")
    run = CliRunner().invoke(app, ["report", "r.json", "-o", "page.html"])
    assert run.exit_code == 2
    Path("page_files").mkdir()
    Path("page_files/holiday.mp4").write_text("kept")
    run = CliRunner().invoke(app, ["report", "r.json", "-o", "page.html", "-y"])
    assert run.exit_code == 2
    assert "files of others" in run.stderr
    assert Path("page.html").read_text() == Path("page_files/holiday.mp4").read_text() == "kept"


def test_a_short_result_is_shown_whole() -> None:
    (one,) = choose_excerpts(59.0, [3.0, 20.0], 60)
    assert (one.start_s, one.end_s) == (0, 59)


def test_excerpts_of_a_long_result_lie_around_what_matters_most() -> None:
    times = [1800.0, 1802.0, 1.0, *range(100, 1000, 50)]
    parts = choose_excerpts(3600.0, times, 60)
    assert sum(part.end_s - part.start_s for part in parts) <= 60
    assert all(a.end_s < b.start_s for a, b in pairwise(parts))
    for at_s in times[:8]:
        assert any(part.start_s <= at_s <= part.end_s for part in parts), at_s
    assert all(0 <= part.start_s < part.end_s <= 3600 for part in parts)


def test_warnings_come_before_ranges_and_times_in_words_are_found() -> None:
    report = DubReport(
        output="x",
        warnings=["out of step from 0:05.5 to 1:02:03"],
        passed_through=[
            {"start_s": 8.0, "end_s": 9.0, "reason": "covered"},
            {"start_s": 20.0, "end_s": 20.1, "reason": "flash"},
            {"start_s": 30.0, "end_s": 90.0, "reason": "outside"},
        ],
        model_ranges=[{"figure": "agreement", "start_s": 4.0, "end_s": 5.0, "is_low": True}],
    )
    assert worth_a_look(report) == [5.5, 3723.0, 4.0, 8.0, 9.0]
    assert len(remarks_of(report)) == 2
    assert times_in("a ratio of 16:9 and 3:05 and 12:34.5") == (185.0, 754.5)


def test_json_nested_without_end_is_refused_in_one_line() -> None:
    Path("deep.json").write_text("[" * 100_000)
    for words in (["report", "deep.json"], ["study", "--votes", "deep.json", "--key", "deep.json"]):
        run = CliRunner().invoke(app, words)
        assert (run.exit_code, len(run.stderr.splitlines())) == (2, 1)
