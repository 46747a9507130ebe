"""Checkpoints that no manifest lists: of the hub (`hf:ORG/REPO[@REV][:FILE]`), or the user's own.

A published checkpoint is a safetensors file with a `config.json` beside it:

    {"dubcli": 1, "architecture": "iptalker", "config": {...}, "file": "model.safetensors",
     "sha256": "...", "bytes": 0, "license": "...", "commercial": false, "source": "...",
     "metrics": {}}

A folder may also be a training run or one of its checkpoints: then it is the running average.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from dubcli.core.errors import ConfigError, WeightsError
from dubcli.core.json_text import parse_json
from dubcli.weights.download import commit_of, download
from dubcli.weights.download_errors import AbsentError
from dubcli.weights.entry import HUB_PREFIX, HubSource, WeightEntry
from dubcli.weights.local_files import digest

FORMAT = 1
CONFIG_NAME, WEIGHTS_NAME = "config.json", "model.safetensors"
_MARK, _SUFFIX = "dubcli", ".safetensors"
# What training writes, see `training.checkpoint`.
_STATE_NAME, _AVERAGE_NAME = "state.json", "average.safetensors"
_PART = r"[A-Za-z0-9][\w.-]*"
_HUB_NAME = re.compile(
    rf"(?P<repo>{_PART}/{_PART})(?:@(?P<revision>[^:@]+))?(?::(?P<file>[^:]+))?", re.ASCII
)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DEFAULT_REVISION = "main"
_PUBLISH = "dub models push writes what is needed."


@dataclass(frozen=True, kw_only=True)
class HubName:
    """The parts of `hf:ORG/REPO[@REV][:FILE]`; `file` '' for what the configuration names."""

    repo: str
    revision: str
    file: str


def is_external(name: str) -> bool:
    """Whether a model's name means a checkpoint of the hub or of the user's disk."""
    separators = [os.sep, *([os.altsep] if os.altsep else [])]
    is_path = name.endswith(_SUFFIX) or any(mark in name for mark in separators)
    return is_path or name.startswith(HUB_PREFIX) or name in (os.curdir, os.pardir)


def describe(name: str) -> WeightEntry:
    """What an external name means; of the hub, only the configuration is downloaded.

    Raises:
        ConfigError: The name has another form.
        WeightsError: There is no such checkpoint, or its configuration cannot be used.
    """
    if name.startswith(HUB_PREFIX):
        return _of_hub(parse_hub_name(name))
    return of_path(Path(name).expanduser())


def parse_hub_name(name: str) -> HubName:
    """Take `hf:ORG/REPO[@REV][:FILE]` apart.

    Raises:
        ConfigError: It has another form.
    """
    found = _HUB_NAME.fullmatch(name.removeprefix(HUB_PREFIX))
    file = (found["file"] or "") if found else ""
    if found is None or (file and not (file.endswith(_SUFFIX) and _is_inside(file))):
        raise ConfigError(
            f"'{name}' is no checkpoint of the hub.",
            "Write hf:ORG/REPO, hf:ORG/REPO@REVISION, or with :FILE.safetensors behind it.",
        )
    revision = found["revision"] or _DEFAULT_REVISION
    return HubName(repo=found["repo"], revision=revision, file=file)


def _is_inside(file: str) -> bool:
    parts = PurePosixPath(file).parts
    return not PurePosixPath(file).is_absolute() and ".." not in parts and "\\" not in file


def _of_hub(name: HubName) -> WeightEntry:
    place = f"{HUB_PREFIX}{name.repo}@{name.revision}"
    content, commit, config_file = _hub_config(name, place)
    described = _described(content, f"{place}: {config_file}")
    folder = PurePosixPath(config_file).parent
    file = name.file or str(folder / described["file"])
    if described["sha256"] is None:
        raise WeightsError(f"{place}: {config_file} states no sha256 of {file}.", _PUBLISH)
    return WeightEntry(
        name=f"{HUB_PREFIX}{name.repo}@{commit}:{file}",
        sources=(HubSource(repo=name.repo, revision=commit, file=file),),
        **{key: value for key, value in described.items() if key != "file"},
    )


def _hub_config(name: HubName, place: str) -> tuple[Any, str, str]:
    """The configuration that belongs to a file of a repository, its commit, and its name."""
    file = PurePosixPath(name.file or WEIGHTS_NAME)
    general = str(file.with_name(CONFIG_NAME))
    try:
        content, commit = _fetch_config(name.repo, name.revision, general, place)
    except AbsentError:
        if not name.file:
            raise
        content, commit = None, name.revision
    if not name.file or _names(content, file.name):
        return content, commit, general
    own = str(file.with_suffix(".json"))
    return *_fetch_config(name.repo, commit, own, place), own


def _fetch_config(repo: str, revision: str, file: str, place: str) -> tuple[Any, str]:
    source = HubSource(repo=repo, revision=revision, file=file)
    path = download(source, place)
    return _read_json(path, f"{place}: {file}"), str(commit_of(source, path))


def _names(content: Any, file: str) -> bool:
    return isinstance(content, dict) and content.get("file", WEIGHTS_NAME) == file


def of_path(path: Path) -> WeightEntry:
    """A checkpoint of the user's own: a folder, a training run, or a safetensors file.

    Raises:
        WeightsError: There is none, or its configuration cannot be used.
    """
    if not path.exists():
        raise WeightsError(
            f"'{path}' does not exist.", "Name a checkpoint's folder or its .safetensors file."
        )
    if path.is_dir():
        steps = sorted(step for step in path.glob("step-*") if (step / _STATE_NAME).is_file())
        folder = steps[-1] if steps and not (path / CONFIG_NAME).is_file() else path
        return _of_folder(folder, None)
    return _of_folder(path.parent, path)


def _of_folder(folder: Path, file: Path | None) -> WeightEntry:
    if (folder / _STATE_NAME).is_file():
        return _of_training(folder, file or folder / _AVERAGE_NAME)
    own = None if file is None else file.with_suffix(".json")
    config = own if own is not None and own.is_file() else folder / CONFIG_NAME
    if not config.is_file():
        raise WeightsError(
            f"'{file or folder}' has no {CONFIG_NAME} beside it, so its architecture is not known.",
            _PUBLISH,
        )
    described = _described(_read_json(config, f"'{config}'"), f"'{config}'")
    if file is not None and config.name == CONFIG_NAME and described["file"] != file.name:
        raise WeightsError(
            f"'{config}' describes {described['file']}, not {file.name}.",
            f"Write its own configuration as {file.stem}.json.",
        )
    return _own(file or folder / described.pop("file"), described)


def _of_training(folder: Path, file: Path) -> WeightEntry:
    """A checkpoint that `dub train` wrote."""
    state = _read_json(folder / _STATE_NAME, f"'{folder / _STATE_NAME}'")
    config = _read_json(folder / CONFIG_NAME, f"'{folder / CONFIG_NAME}'")
    try:
        content = {
            _MARK: FORMAT,
            "architecture": state["architecture"],
            "config": config["model"],
            "source": f"trained for {state['step']} steps",
        }
    except (KeyError, TypeError) as error:
        raise WeightsError(
            f"'{folder}' is no training checkpoint: {error!r}.", "Name a step-NNNNNN directory."
        ) from error
    return _own(file, _described(content, f"'{folder}'"))


def _own(file: Path, described: dict[str, Any]) -> WeightEntry:
    sha256, num_bytes = digest(file)
    known = {"sha256": described["sha256"] or sha256, "num_bytes": num_bytes}
    fields = {key: value for key, value in described.items() if key != "file"}
    return WeightEntry(name=str(file), path=file.absolute(), **{**fields, **known})


def _read_json(path: Path, where: str) -> Any:
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightsError(f"{where} cannot be read: {error.strerror}.", _PUBLISH) from error
    except ValueError as error:
        raise WeightsError(f"{where} is no JSON: {error}.", _PUBLISH) from error


def _described(content: Any, where: str) -> dict[str, Any]:
    """Fields of `WeightEntry` and `file`, checked one by one."""
    if not isinstance(content, dict) or _MARK not in content:
        raise WeightsError(
            f"{where} is not of this project: it has no '{_MARK}'.",
            f"Only checkpoints of this project's format can be used; {_PUBLISH}",
        )
    if content[_MARK] != FORMAT:
        raise WeightsError(
            f"{where} has format {content[_MARK]}, this version reads {FORMAT}.", "Upgrade dubcli."
        )
    fields: dict[str, Any] = {
        "architecture": content.get("architecture"),
        "config": content.get("config"),
        "file": content.get("file", WEIGHTS_NAME),
        "sha256": content.get("sha256"),
        "num_bytes": content.get("bytes"),
        "license": content.get("license", ""),
        "commercial": content.get("commercial"),
        "source": content.get("source", ""),
        "metrics": content.get("metrics", {}),
    }
    wrong = [name for name, is_fine in _CHECKS.items() if not is_fine(fields[name])]
    if wrong:
        raise WeightsError(f"{where}: {', '.join(wrong)} cannot be used.", _PUBLISH)
    return fields


def _is_file_name(value: Any) -> bool:
    return (
        isinstance(value, str)
        and value.endswith(_SUFFIX)
        and PurePosixPath(value).name == value
        and "\\" not in value
    )


_CHECKS = {
    "architecture": lambda value: isinstance(value, str) and value,
    "config": lambda value: isinstance(value, dict),
    "file": _is_file_name,
    "sha256": lambda value: value is None or (isinstance(value, str) and _SHA256.fullmatch(value)),
    "num_bytes": lambda value: value is None or (type(value) is int and value > 0),
    "license": lambda value: isinstance(value, str),
    "commercial": lambda value: value is None or isinstance(value, bool),
    "source": lambda value: isinstance(value, str),
    "metrics": lambda value: isinstance(value, dict),
}
