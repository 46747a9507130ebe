"""What an engine shares between jobs, and what it keeps apart."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from made_identities import LEARNED, SHA256, made_identity, tiny_model

from dubcli import Engine
from dubcli.core.errors import IncompatibleAdapterError
from dubcli.weights.entry import WeightEntry

CPU = torch.device("cpu")
ENTRY = WeightEntry(
    name="iptalker.tiny", architecture="iptalker", package="tiny.safetensors", sha256=SHA256
)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the entries that were loaded, each time they were."""
    names: list[str] = []

    def load(entry: WeightEntry, device: str) -> Any:
        names.append(f"{entry.name} on {device}")
        return tiny_model(), entry.sha256

    monkeypatch.setattr("dubcli.pipeline.engine.load_entry", load)
    return names


def test_models_are_loaded_once_and_again_after_closing(loads: list[str]) -> None:
    with Engine(device="cpu") as engine:
        for _ in range(3):
            engine.model(ENTRY, CPU)
        assert loads == ["iptalker.tiny on cpu"]
        engine.close()
        engine.model(ENTRY, CPU)
    assert len(loads) == 2


def test_parameters_are_shared_and_nothing_else(loads: list[str]) -> None:
    with Engine(device="cpu") as engine:
        one, other = (engine.model(ENTRY, CPU) for _ in range(2))
    assert isinstance(one, torch.nn.Module)
    assert isinstance(other, torch.nn.Module)
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    assert all(first is second for first, second in pairs)
    one.__dict__["strength"] = 2.0  # what a job sets on its model
    assert not hasattr(other, "strength")
    assert one.decoder is not other.decoder


def test_an_identity_stays_with_its_job(loads: list[str]) -> None:
    identity = made_identity()
    with Engine(device="cpu") as engine:
        before: Any = engine.model(ENTRY, CPU)
        plain = {name: value.clone() for name, value in before.state_dict().items()}
        adapted: Any = engine.model(ENTRY, CPU, identity)
        again: Any = engine.model(ENTRY, CPU, identity)
        after: Any = engine.model(ENTRY, CPU)
    assert loads == ["iptalker.tiny on cpu"]
    for name, value in plain.items():
        assert torch.equal(before.state_dict()[name], value)
        assert torch.equal(after.state_dict()[name], value)
        assert torch.equal(adapted.state_dict()[name], again.state_dict()[name])
        assert torch.equal(adapted.state_dict()[name], value) == (name not in LEARNED)


def test_an_identity_of_other_weights_is_refused_and_leaves_no_trace(loads: list[str]) -> None:
    identity = made_identity()
    other = WeightEntry(
        name="iptalker.other", architecture="iptalker", package="a.safetensors", sha256="1" * 64
    )
    with Engine(device="cpu") as engine:
        with pytest.raises(IncompatibleAdapterError):
            engine.model(other, CPU, identity)
        model: Any = engine.model(other, CPU)
    for name, value in tiny_model().state_dict().items():
        assert torch.equal(model.state_dict()[name], value)


def test_threads_of_one_job_are_not_the_next_one_s() -> None:
    usual = torch.get_num_threads()
    engine = Engine(threads=0)
    try:
        engine.use_threads(usual + 1)
        assert torch.get_num_threads() == usual + 1
        engine.use_threads(0)
        assert torch.get_num_threads() == usual
    finally:
        torch.set_num_threads(usual)
