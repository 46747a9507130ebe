"""What a finetune leaves behind: its report, and the identity on disk."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dubcli import __version__
from dubcli.core.errors import ConfigError
from dubcli.core.reports import FinetuneReport
from dubcli.identities.identity import Base, Consent, Identity
from dubcli.identities.store import save_identity
from dubcli.personalize.footage.gather import Footage
from dubcli.personalize.person_subject import person_subject
from dubcli.personalize.personal_clips import mouth_statistics
from dubcli.personalize.validation import Validation
from dubcli.pipeline.engine import Engine
from dubcli.training.data.train_clips import TrainClip
from dubcli.training.recipes import learning_names
from dubcli.training.run_folder import encode_rows
from dubcli.weights.entry import WeightEntry


@dataclass(frozen=True, kw_only=True)
class Person:
    """What an identity holds beside what was learned.

    Attributes:
        engine: Holds the weights as they ship.
        entry: The weights that were learned on.
        device: Where the model runs.
        footage: All that is known of the person.
        learned: What was learned from.
        held: What was kept apart.
        consent: Whether the person agreed.
    """

    engine: Engine
    entry: WeightEntry
    device: torch.device
    footage: Footage
    learned: list[TrainClip]
    held: Validation
    consent: Consent


def base_model(engine: Engine, entry: WeightEntry, device: torch.device) -> Any:
    """The weights as they ship: a network that fulfils `LipSyncModel`, to be changed at will.

    Raises:
        WeightsError: They are missing or damaged.
    """
    return copy.deepcopy(engine.model(entry, device))


def cannot_learn(entry: WeightEntry) -> ConfigError:
    """The error for a model that cannot be fine-tuned."""
    known = ", ".join(learning_names())
    return ConfigError(f"'{entry.name}' cannot learn a person.", f"Use --model {known}.")


def store_identity(
    person: Person,
    report: FinetuneReport,
    deltas: dict[str, Tensor],
    path: Path,
    log: Path,
    *,
    replace: bool,
) -> None:
    """Write the identity: what a dub will load is what is encoded and shown here.

    Args:
        person: Whose identity it is.
        report: Goes with it.
        deltas: What was learned.
        path: Where it goes.
        log: Losses by step; stored too where it exists.
        replace: Replace the identity that is there.

    Raises:
        ConfigError: The place is taken.
        IdentityError: It cannot be written.
    """
    model, footage = base_model(person.engine, person.entry, person.device), person.footage
    rows = [person.held.truth(), person.held.pictures(model)]
    with torch.inference_mode():
        values = model.state_dict()
        for name, delta in deltas.items():
            values[name].add_(delta.to(values[name]))
        neutral = person.learned[0].neutral
        subject = person_subject(model.spec, footage.references, neutral, person.device)
        state = model.state_tensors(model.prepare(subject))
    identity = Identity(
        name=path.name,
        architecture=person.entry.architecture,
        base=Base(name=person.entry.name, sha256=person.entry.sha256),
        adapter=deltas,
        references=footage.references,
        state={name: value.cpu() for name, value in state.items()},
        neutral=person.learned[0].neutral,
        embedding=footage.embedding,
        mouth=mouth_statistics(person.learned),
        report=asdict(report),
        consent=person.consent,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
    )
    extras = {
        "before.png": encode_rows(rows),
        "after.png": encode_rows([rows[0], person.held.pictures(model)]),
    }
    if log.is_file():
        extras["log.csv"] = log.read_bytes()
    save_identity(identity, path, extras, replace=replace)
