"""A checkpoint to a repository of the hub, with its configuration and its model card."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dubcli.core.errors import ConfigError, WeightsError
from dubcli.core.json_text import parse_json
from dubcli.weights.download import own_words
from dubcli.weights.download_errors import is_offline, network_errors, reason, status_of
from dubcli.weights.entry import HUB_PREFIX, WeightEntry
from dubcli.weights.external import CONFIG_NAME, FORMAT, WEIGHTS_NAME, parse_hub_name

_CARD_NAME = "README.md"
# What the hub calls licences that it knows.
_HUB_LICENCES = {
    "apache-2.0": "apache-2.0",
    "mit": "mit",
    "bsd-2-clause": "bsd-2-clause",
    "bsd-3-clause": "bsd-3-clause",
    "cc by 4.0": "cc-by-4.0",
    "cc by-sa 4.0": "cc-by-sa-4.0",
    "cc by-nc 4.0": "cc-by-nc-4.0",
    "cc by-nc-sa 4.0": "cc-by-nc-sa-4.0",
    "cc0 1.0": "cc0-1.0",
}


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a publisher says of a checkpoint.

    Attributes:
        licence: Of the weights.
        commercial: Whether it allows commercial use; None where that is not stated.
        source: What they were trained on, in words.
        metrics: Measured scores by name.
    """

    licence: str
    commercial: bool | None
    source: str
    metrics: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Published:
    """Where a checkpoint is now.

    Attributes:
        model: What `--model` takes.
        repo: `ORG/REPO`.
        commit: Of the repository.
        url: Of its page.
        sha256: Of the weight file.
    """

    model: str
    repo: str
    commit: str
    url: str
    sha256: str


def check_repo(repo: str) -> None:
    """Refuse what names no repository.

    Raises:
        ConfigError: It does not.
    """
    name = parse_hub_name(f"{HUB_PREFIX}{repo}")
    if name.repo != repo:
        raise ConfigError(f"'{repo}' is no repository.", "Write ORG/REPO.")


def scores_of(path: Path, sha256: str) -> dict[str, float]:
    """Means that `dub evaluate` measured of these very weights, from its `scores.json`.

    Raises:
        ConfigError: It is no such file, or tells of other weights.
    """
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        systems = [name for name, known in content["weights"].items() if known == sha256]
        found = {
            f"{run}.{key}": estimate["mean"]
            for run, of_systems in content["means"].items()
            for system in systems[:1]
            for key, estimate in of_systems.get(system, {}).items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"'{path}' is no scores.json of dub evaluate: {type(error).__name__}: {error}.",
            "Name the file in the folder of its --output.",
        ) from error
    measured = {key: value for key, value in found.items() if _is_number(value)}
    if not measured:
        raise ConfigError(
            f"'{path}' tells nothing of these weights (sha256 {sha256[:12]}).",
            "Score them: dub evaluate CLIPS --models PATH -o DIR",
        )
    return measured


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def publish(entry: WeightEntry, repo: str, terms: Terms, *, private: bool = True) -> Published:
    """Put a checkpoint of the user's own into a repository, which is made where there is none.

    One commit holds the weights, `config.json` and the card, so no reader sees a part of it.

    Args:
        entry: As `weights.external.of_path` gives it.
        repo: `ORG/REPO`.
        terms: What is said of it.
        private: Whether a new repository is seen by its owners alone.

    Raises:
        ConfigError: There is no token.
        WeightsError: The hub refuses, or cannot be reached.
    """
    from huggingface_hub import HfApi, constants, get_token
    from huggingface_hub.utils import disable_progress_bars  # a bar of its own would break ours

    if is_offline():
        raise _refused(repo, None)
    if get_token() is None:
        raise ConfigError(
            "Publishing needs a token of the hub.", "Set HF_TOKEN to one that may write."
        )
    api = HfApi(endpoint=constants.ENDPOINT)
    try:
        with own_words(), disable_progress_bars():
            api.create_repo(repo, private=private, exist_ok=True)
            info = api.create_commit(
                repo,
                operations=_operations(entry, repo, terms),
                commit_message=f"dub models push: {entry.architecture}",
            )
    except RuntimeError as error:
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        raise _refused(repo, cause) from error
    except (*network_errors(), ValueError) as error:
        raise _refused(repo, error) from error
    return Published(
        model=f"{HUB_PREFIX}{repo}@{info.oid}",
        repo=repo,
        commit=info.oid,
        url=f"{api.endpoint}/{repo}",
        sha256=str(entry.sha256),
    )


def _operations(entry: WeightEntry, repo: str, terms: Terms) -> list[Any]:
    from huggingface_hub import CommitOperationAdd

    config = json.dumps(configuration(entry, terms), indent=2, ensure_ascii=False) + "\n"
    contents: dict[str, str | bytes] = {
        WEIGHTS_NAME: str(entry.path),
        CONFIG_NAME: config.encode(),
        _CARD_NAME: model_card(entry, repo, terms).encode(),
    }
    return [
        CommitOperationAdd(path_in_repo=name, path_or_fileobj=content)
        for name, content in contents.items()
    ]


def configuration(entry: WeightEntry, terms: Terms) -> dict[str, Any]:
    """What `config.json` of a published checkpoint holds."""
    return {
        "dubcli": FORMAT,
        "architecture": entry.architecture,
        "config": entry.config,
        "file": WEIGHTS_NAME,
        "sha256": entry.sha256,
        "bytes": entry.num_bytes,
        "license": terms.licence,
        "commercial": terms.commercial,
        "source": terms.source,
        "metrics": terms.metrics,
    }


def model_card(entry: WeightEntry, repo: str, terms: Terms) -> str:
    """The card that the hub shows, Markdown."""
    known = _HUB_LICENCES.get(terms.licence.lower())
    header = [f"license: {known}"] if known else ["license: other"]
    header += [] if known else [f"license_name: {json.dumps(terms.licence, ensure_ascii=False)}"]
    header += ["library_name: dubcli", "tags:", "- lip-sync", "- visual-dubbing"]
    allowed = {True: "allowed", False: "**not allowed**", None: "not stated"}[terms.commercial]
    rows = [f"| {_cell(key)} | {_cell(value)} |" for key, value in terms.metrics.items()]
    scores = ["| measure | value |", "|---|---|", *rows] if rows else ["Not measured."]
    return "\n".join(
        [
            *("---", *header, "---", ""),
            *(f"# {repo}", ""),
            f"Weights of the lip-sync model `{entry.architecture}`, for `dub`:",
            *("", "```sh", f"dub video.mp4 --audio new.wav --model {HUB_PREFIX}{repo}", "```", ""),
            *("| | |", "|---|---|"),
            f"| licence | {_cell(terms.licence)} |",
            f"| commercial use | {allowed} |",
            f"| trained on | {_cell(terms.source or 'not stated')} |",
            f"| file | `{WEIGHTS_NAME}`, {entry.num_bytes:,} bytes |",
            f"| sha256 | `{entry.sha256}` |",
            *("", "## Scores", "", *scores, ""),
            *("## Intended use", ""),
            "Lip-synchronous dubbing of speech, by or with the consent of the person shown. Say "
            "that the result is made.",
            "",
        ]
    )


def _cell(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(text.split()).replace("|", "\\|")


def _refused(repo: str, error: Exception | None) -> WeightsError:
    """One line for whatever kept it from being published."""
    status = None if error is None else status_of(error)
    if status == 401:
        cause, step = (
            "the hub does not know this token (401)",
            ("Set HF_TOKEN to a valid token that may write."),
        )
    elif status == 403:
        cause, step = (
            "this token may not write there (403)",
            ("Take a token with write access, or a repository of your own."),
        )
    elif error is None:
        cause, step = "HF_HUB_OFFLINE forbids the network", "Publish without HF_HUB_OFFLINE."
    else:
        cause, step = reason(error)
    return WeightsError(f"{repo} cannot be published: {cause}.", step)
