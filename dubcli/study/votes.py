"""Votes of a blind test: read, checked against the key, and summed up with intervals."""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from dubcli.core.errors import ConfigError
from dubcli.core.json_text import parse_json
from dubcli.metrics.statistics import bootstrap_mean
from dubcli.study.study_key import StudyKey

QUESTIONS = ("picture", "sync", "likeness")
_FIRST, _SAME, _SECOND = 1.0, 0.5, 0.0


@dataclass(frozen=True, kw_only=True)
class TrialVote:
    """What one viewer said of one pair.

    Attributes:
        voter: The viewer.
        trial: Name of the pair.
        scores: 1 to 5 by film and question.
        preferred: Name of the film, '' for neither.
    """

    voter: str
    trial: str
    scores: Mapping[str, Mapping[str, int]]
    preferred: str


@dataclass(frozen=True, kw_only=True)
class VoteMean:
    """A mean over viewers with its 95 % interval (bootstrap over viewers).

    The interval is NaN where there is one viewer.
    """

    mean: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class PairPreference:
    """How often one system was preferred to another.

    Attributes:
        first: A system.
        second: Another one.
        wins: Pairs in which the first was preferred.
        ties: Pairs in which neither was.
        losses: Pairs in which the second was.
        share: Of the first, ties counting half, in percent; a mean over viewers.
    """

    first: str
    second: str
    wins: int
    ties: int
    losses: int
    share: VoteMean


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """What viewers said.

    Attributes:
        voters: How many.
        votes: Pairs that were voted on, all viewers together.
        opinions: Mean opinion score, 1 to 5, by system and question.
        preferences: Of each two systems.
        notes: What was left out, and why.
    """

    voters: int
    votes: int
    opinions: dict[str, dict[str, VoteMean]]
    preferences: list[PairPreference]
    notes: list[str]


def sum_up(paths: Sequence[Path], key: StudyKey) -> StudyResult:
    """Means of the votes in files that viewers exported, JSON or CSV.

    Args:
        paths: The files; where one viewer voted on a pair twice, the later file counts.
        key: Of the study.

    Raises:
        ConfigError: A file cannot be read, is damaged, or belongs to another study.
    """
    votes: dict[tuple[str, str], TrialVote] = {}
    notes: list[str] = []
    for path in paths:
        again = 0
        for vote in read_votes(path, key):
            again += (vote.voter, vote.trial) in votes
            votes[vote.voter, vote.trial] = vote
        if again:
            notes.append(f"'{path}': {again} pairs were voted on before by the same viewer")
    if not votes:
        raise ConfigError("The files hold no votes.", "Have viewers vote first.")
    chosen = list(votes.values())
    opinions = {
        system: {question: _opinion(chosen, key, system, question) for question in QUESTIONS}
        for system in key.systems
    }
    return StudyResult(
        voters=len({vote.voter for vote in chosen}),
        votes=len(chosen),
        opinions=opinions,
        preferences=[_preference(chosen, key, *pair) for pair in combinations(key.systems, 2)],
        notes=notes,
    )


def read_votes(path: Path, key: StudyKey) -> list[TrialVote]:
    """The votes of one file.

    Raises:
        ConfigError: It cannot be read, is damaged, or belongs to another study.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = _from_csv(text) if path.suffix.lower() == ".csv" else parse_json(text)
        study, voter, votes = str(content["study"]), str(content["voter"]), content["votes"]
        found = [_vote(voter, vote) for vote in votes]
    except OSError as error:
        raise ConfigError(
            f"'{path}' cannot be read: {error.strerror}.", "Name a file of votes."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"'{path}' is no file of votes.", "Use what the page of the study exported."
        ) from error
    if study != key.study:
        raise ConfigError(f"'{path}' holds votes of another study.", "Use that study's key.")
    for vote in found:
        _check_vote(path, vote, key)
    return found


def _vote(voter: str, entry: Mapping[str, Any]) -> TrialVote:
    return TrialVote(
        voter=voter,
        trial=str(entry["trial"]),
        scores={
            str(film): {question: int(scores[question]) for question in QUESTIONS}
            for film, scores in entry["scores"].items()
        },
        preferred=str(entry["preferred"] or ""),
    )


def _check_vote(path: Path, vote: TrialVote, key: StudyKey) -> None:
    films = key.films_of.get(vote.trial, ())
    is_known = set(vote.scores) == set(films) and vote.preferred in (*films, "")
    is_scored = all(1 <= v <= 5 for scores in vote.scores.values() for v in scores.values())
    if not (films and is_known and is_scored):
        raise ConfigError(
            f"'{path}': the vote on the pair '{vote.trial}' is not possible.", "Was it edited?"
        )


def _from_csv(text: str) -> dict[str, Any]:
    """A row for each film, as the page exports them."""
    rows = list(csv.DictReader(io.StringIO(text)))
    trials: dict[str, dict[str, Any]] = {}
    for row in rows:
        vote = trials.setdefault(row["trial"], {"trial": row["trial"], "scores": {}})
        vote["scores"][row["film"]] = {question: row[question] for question in QUESTIONS}
        preferred = row["film"] if row["preferred"] == "1" else ""
        vote["preferred"] = vote.get("preferred") or preferred
    # A mark that keeps spreadsheets from calculating with a name.
    voter = rows[0]["voter"].removeprefix("'") if rows else ""
    study = rows[0]["study"] if rows else ""
    return {"study": study, "voter": voter, "votes": list(trials.values())}


def _opinion(votes: Sequence[TrialVote], key: StudyKey, system: str, question: str) -> VoteMean:
    by_voter: dict[str, list[float]] = defaultdict(list)
    for vote in votes:
        for film, scores in vote.scores.items():
            if key.system_of.get(film) == system:
                by_voter[vote.voter].append(scores[question])
    return _mean_over(by_voter)


def _preference(
    votes: Sequence[TrialVote], key: StudyKey, first: str, second: str
) -> PairPreference:
    by_voter: dict[str, list[float]] = defaultdict(list)
    for vote in votes:
        systems = {key.system_of[film] for film in vote.scores}
        if systems == {first, second}:
            preferred = key.system_of.get(vote.preferred)
            value = _SAME if preferred is None else _FIRST if preferred == first else _SECOND
            by_voter[vote.voter].append(value)
    values = [value for each in by_voter.values() for value in each]
    share = _mean_over({voter: [100 * v for v in each] for voter, each in by_voter.items()})
    return PairPreference(
        first=first,
        second=second,
        wins=values.count(_FIRST),
        ties=values.count(_SAME),
        losses=values.count(_SECOND),
        share=share,
    )


def _mean_over(by_voter: Mapping[str, Sequence[float]]) -> VoteMean:
    means = [sum(values) / len(values) for values in by_voter.values()]
    mean, low, high = bootstrap_mean(means)
    if len(means) < 2:
        low = high = math.nan
    return VoteMean(mean=mean, low=low, high=high)
