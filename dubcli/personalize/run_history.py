"""Which step of a finetune is kept, when it stops, and the folder from which it goes on."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from dubcli.core.atomic_io import replace_bytes
from dubcli.core.disk_sync import sync_folder
from dubcli.core.errors import ConfigError, TrainingError
from dubcli.core.json_text import parse_json
from dubcli.personalize.validation import ValidationScore
from dubcli.training.checkpoint import list_checkpoints, read_state

# A correlation over so few frames is known to about this much: so much less costs nothing. What
# ends a run is twice that, twice in a row, and not before this step.
_TOLERATED_FALL, _STOPPING_FALL, _LEAST_STEPS = 0.05, 0.1, 75
# How much a texture that is off by a factor of e counts against a correlation of 1.
_TEXTURE_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class ValidationCheck:
    """A look at the footage kept apart, after so many steps; `loss` is the latest batch's."""

    step: int
    loss: float
    score: ValidationScore

    def as_json(self) -> dict[str, float | None]:
        """Plain numbers; None for what could not be measured."""
        return {"step": self.step, "loss": _known(self.loss), **as_figures(self.score)}


class History:
    """All checks of a run.

    Args:
        before: The base model without anything learned.
    """

    def __init__(self, before: ValidationScore) -> None:
        self.before = before
        self.checks: list[ValidationCheck] = []

    def add(self, check: ValidationCheck) -> bool:
        """Note a check; whether it is the best so far."""
        self.checks.append(check)
        return self.best is check

    @property
    def best(self) -> ValidationCheck:
        """The check with the best texture and sync together; the earliest of equals."""
        return max(self.checks, key=lambda check: self._worth(check.score))

    @property
    def has_lost_sync(self) -> bool:
        """The lips follow clearly worse than they did, and not by chance: twice in a row."""
        if len(self.checks) < 3 or self.checks[-1].step < _LEAST_STEPS:
            return False
        best = max(_number(check.score.sync) for check in self.checks)
        return all(_number(c.score.sync) < best - _STOPPING_FALL for c in self.checks[-2:])

    def _worth(self, score: ValidationScore) -> float:
        lost = _number(self.before.sync) - _TOLERATED_FALL - _number(score.sync)
        off = abs(math.log(max(score.texture, 1e-3)))
        return -max(0.0, lost) - _TEXTURE_SHARE * off


def _number(sync: float) -> float:
    return 0.0 if math.isnan(sync) else sync


def as_figures(score: ValidationScore) -> dict[str, float | None]:
    """The scores by name; None for what could not be measured."""
    return {name: _known(value) for name, value in asdict(score).items()}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 5)


def _score_of(figures: dict[str, Any]) -> ValidationScore:
    known = {field.name: figures[field.name] for field in fields(ValidationScore)}
    return ValidationScore(**{k: math.nan if v is None else v for k, v in known.items()})


def _best_name(step: int) -> str:
    return f"best-{step:06d}.safetensors"


class WorkFolder:
    """Where an unfinished run keeps what it needs to go on.

    Args:
        identity: Where the identity will lie; the folder is hidden beside it.
        request: What is learned from and how; another request is another run.
    """

    def __init__(self, identity: Path, request: dict[str, Any]) -> None:
        self.path = identity.with_name(f".{identity.name}.learning")
        self._name, self._request = identity.name, request

    def find(self, *, restart: bool) -> Path | None:
        """The checkpoint to go on from, None where the run begins.

        Args:
            restart: Drop what belongs to another run.

        Raises:
            ConfigError: The folder belongs to another run, and `restart` is not set.
        """
        if not self.path.exists() or self._was_only_begun():
            return None
        if self._stored() != self._request:
            if not restart:
                raise ConfigError(
                    f"An unfinished run of '{self._name}' learns from other footage or in another "
                    "way.",
                    "Run it again with its own options, or add -y to drop it.",
                )
            self.remove()
        found = list_checkpoints(self.path)
        return found[-1] if found else None

    def create(self) -> None:
        """Begin.

        Raises:
            TrainingError: It cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            sync_folder(self.path.parent)
            replace_bytes(self.path / "request.json", json.dumps(self._request, indent=1).encode())
        except OSError as error:
            raise self._unwritable(error) from error

    def remove(self) -> None:
        """Forget the run."""
        shutil.rmtree(self.path, ignore_errors=True)

    def save(self, history: History, best: dict[str, Tensor]) -> None:
        """Keep all checks, and what the best step changed.

        Raises:
            TrainingError: They cannot be written.
        """
        content = {
            "before": as_figures(history.before),
            "checks": [check.as_json() for check in history.checks],
        }
        try:
            # The checkpoint comes later: until then the run may go back to the best before.
            replace_bytes(self.path / _best_name(history.best.step), save(best))
            replace_bytes(self.path / "checks.json", json.dumps(content, indent=1).encode())
        except OSError as error:
            raise self._unwritable(error) from error

    def tidy(self, history: History) -> None:
        """Forget what earlier best steps changed."""
        for file in self.path.glob("best-*.safetensors"):
            if file.name != _best_name(history.best.step):
                file.unlink(missing_ok=True)

    def load(self, checkpoint: Path) -> tuple[History, dict[str, Tensor]]:
        """Checks up to a checkpoint, and the best step's changes.

        Raises:
            TrainingError: They are missing or damaged.
        """
        try:
            content = parse_json((self.path / "checks.json").read_text(encoding="utf-8"))
            history = History(_score_of(content["before"]))
            for row in content["checks"]:
                if row["step"] <= read_state(checkpoint).step:
                    loss = math.nan if row["loss"] is None else row["loss"]
                    check = ValidationCheck(step=row["step"], loss=loss, score=_score_of(row))
                    history.checks.append(check)
            return history, load_file(self.path / _best_name(history.best.step))
        except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
            raise TrainingError(
                f"The unfinished run in '{self.path}' is damaged: {error}.",
                "Add -y to begin again.",
            ) from error

    def _was_only_begun(self) -> bool:
        """The run was killed before it could say what it learns from, so it has learned nothing."""
        return all(entry.name.startswith(".request") for entry in self.path.iterdir())

    def _stored(self) -> dict[str, Any] | None:
        try:
            return parse_json((self.path / "request.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def _unwritable(self, error: OSError) -> TrainingError:
        return TrainingError(
            f"'{self.path}' cannot be written: {error.strerror or error}.",
            "Make room, or give a path on another disk as --name.",
        )
