"""Votes of a blind test become means with intervals, and nothing else does."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from page_scripts import STUDY, values_of
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.core.errors import ConfigError
from dubcli.study.study_key import key_as_json, plan_trials, read_key, system_names
from dubcli.study.votes import sum_up


def _study(num_clips: int = 4, systems: tuple[str, ...] = ("ours", "theirs")) -> tuple[Any, Path]:
    """A key of made folders, as `make_study` writes it."""
    folders = [Path(name) for name in systems]
    for folder in folders:
        folder.mkdir()
        for number in range(num_clips):
            (folder / f"clip{number}.mp4").touch()
    trials, _ = plan_trials(folders, 0)
    Path("key.json").write_text(key_as_json("abc", folders, trials))
    return trials, Path("key.json")


def _vote(trial: Any, marks: dict[str, int], preferred: str | None) -> dict[str, Any]:
    """One vote that gives each system a mark for everything."""
    names = {film.system: film.name for film in trial.films}
    return {
        "trial": trial.name,
        "scores": {
            name: dict.fromkeys(("picture", "sync", "likeness"), marks[system])
            for system, name in names.items()
        },
        "preferred": names.get(preferred or "", ""),
    }


def _save(path: str, voter: str, votes: list[dict[str, Any]], study: str = "abc") -> Path:
    Path(path).write_text(json.dumps({"study": study, "voter": voter, "votes": votes}))
    return Path(path)


def test_means_are_over_viewers_with_an_interval() -> None:
    trials, key = _study()
    marks = {"ours": 5, "theirs": 2}
    # The first viewer saw more pairs, and counts as one all the same.
    first = _save("a.json", "a", [_vote(t, marks, "ours") for t in trials])
    second = _save("b.json", "b", [_vote(trials[0], {"ours": 3, "theirs": 4}, None)])
    result = sum_up([first, second], read_key(key))
    ours = result.opinions["ours"]["sync"]
    assert (result.voters, result.votes) == (2, 5)
    assert (ours.mean, ours.low, ours.high) == (4, 3, 5)
    (pair,) = result.preferences
    assert (pair.first, pair.wins, pair.ties, pair.losses) == ("ours", 4, 1, 0)
    assert pair.share.mean == 75


def test_one_viewer_has_no_interval_and_voting_again_counts_once() -> None:
    trials, key = _study()
    old = _save("old.json", "a", [_vote(trials[0], {"ours": 1, "theirs": 1}, "theirs")])
    new = _save("new.json", "a", [_vote(trials[0], {"ours": 4, "theirs": 2}, "ours")])
    result = sum_up([old, new], read_key(key))
    assert result.votes == 1
    assert result.opinions["ours"]["picture"].mean == 4
    assert math.isnan(result.opinions["ours"]["picture"].low)
    assert "voted on before" in result.notes[0]


def test_what_the_page_exports_is_read_as_json_and_as_csv() -> None:
    trials, key = _study(1)
    one, other = (film.name for film in trials[0].films)
    answers = {"left-picture": "5", "left-sync": "4", "left-likeness": "3", "preferred": "left"}
    answers |= {"right-picture": "1", "right-sync": "2", "right-likeness": "2"}
    order = [{"trial": trials[0].name, "left": other, "right": one}]
    given = json.dumps({trials[0].name: answers})
    call = f"it.asVotes('abc', '=1+1', {json.dumps(order)}, {given})"
    made = values_of(STUDY, votes=call, csv=f"it.asCsv({call})")
    Path("votes.json").write_text(json.dumps(made["votes"]))
    Path("votes.csv").write_text(made["csv"])
    for name in ("votes.json", "votes.csv"):
        result = sum_up([Path(name)], read_key(key))
        best = trials[0].films[1].system
        assert result.opinions[best]["picture"].mean == 5
        (pair,) = result.preferences
        assert (pair.wins, pair.losses) == ((1, 0) if pair.first == best else (0, 1))
    assert "'=1+1" in made["csv"]


def test_the_command_prints_means_and_json() -> None:
    trials, key = _study(1, ("[red]x", "=cmd"))
    votes = [_vote(trials[0], {"[red]x": 5, "=cmd": 2}, "[red]x")]
    _save("a.json", "a", votes)
    _save("b.json", "b", votes)
    words = ["study", "--votes", "a.json", "b.json", "--key", str(key)]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.stderr
    assert "[red]x" in shown.stdout
    assert "5.00 (5.00 to 5.00)" in shown.stdout
    made = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert made["preferences"][0]["share"]["mean"] in (0, 100)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"study": "other"}, "another study"),
        ({"votes": "x"}, "no file of votes"),
        ({"votes": [{"trial": "x", "scores": {}, "preferred": ""}]}, "not possible"),
    ],
)
def test_votes_that_do_not_fit_are_refused(change: dict[str, Any], said: str) -> None:
    _, key = _study()
    Path("v.json").write_text(json.dumps({"study": "abc", "voter": "a", "votes": [], **change}))
    with pytest.raises(ConfigError, match=said):
        sum_up([Path("v.json")], read_key(key))


def test_marks_out_of_range_are_refused() -> None:
    trials, key = _study()
    path = _save("v.json", "a", [_vote(trials[0], {"ours": 9, "theirs": 1}, None)])
    with pytest.raises(ConfigError, match="not possible"):
        sum_up([path], read_key(key))


def test_three_systems_meet_in_all_pairs_and_names_of_films_say_nothing() -> None:
    trials, _ = _study(3, ("a", "b", "c"))
    assert len(trials) == 9
    pairs = {frozenset(film.system for film in trial.films) for trial in trials}
    assert pairs == {frozenset("ab"), frozenset("ac"), frozenset("bc")}
    for trial in trials:
        assert all(set(film.name) <= set("0123456789abcdef") for film in trial.films)
    assert len({film.name for trial in trials for film in trial.films}) == 9


def test_folders_that_do_not_go_together_are_refused() -> None:
    Path("a").mkdir()
    Path("b").mkdir()
    Path("a/x.mp4").touch()
    for words, said in (
        (("a", "b"), "same name"),
        (("a",), "a pair has two"),
        (("a", "a"), "the same"),
        (("a", "none"), "cannot be read"),
        (("--votes", "v.json"), "without the key"),
    ):
        run = CliRunner().invoke(app, ["study", *words])
        assert run.exit_code == 2
        assert said in run.stderr
        assert len(run.stderr.splitlines()) == 1
    assert sorted(path.name for path in Path().iterdir()) == ["a", "b"]
    assert system_names([Path("x/out"), Path("y/out")])[0].endswith("x/out")
