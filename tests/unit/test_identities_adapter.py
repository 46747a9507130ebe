"""An adapter changes the weights that it was learned on, and no others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_identities import LEARNED, SHA256, made_identity, tiny_model
from torch import Tensor, nn

from dubcli.core.errors import IdentityError, IncompatibleAdapterError
from dubcli.identities import adapter
from dubcli.identities.adapter import apply_adapter, difference, fits_installed
from dubcli.identities.identity import Base
from dubcli.weights.entry import WeightEntry
from dubcli.weights.manifest import Manifest


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_what_was_learned_comes_back() -> None:
    base = tiny_model()
    before = _copy(base)
    learned = {name: value + 0.01 * torch.randn_like(value) for name, value in before.items()}
    deltas = difference(before, learned, LEARNED)
    assert {value.dtype for value in deltas.values()} == {torch.float16}
    apply_adapter(base, made_identity(adapter=deltas), SHA256)
    for name, value in base.state_dict().items():
        wanted = learned[name] if name in LEARNED else before[name]
        torch.testing.assert_close(value, wanted, atol=5e-5, rtol=0)
        assert torch.equal(value, before[name]) == (name not in LEARNED)


def test_half_precision_models_take_an_adapter_too() -> None:
    model = tiny_model().bfloat16()
    before = _copy(model)
    deltas = {"decoder.out.bias": torch.full((4,), 0.5).half()}
    apply_adapter(model, made_identity(adapter=deltas), SHA256)
    value = model.state_dict()["decoder.out.bias"]
    assert value.dtype == torch.bfloat16
    assert torch.equal(value, before["decoder.out.bias"] + 0.5)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_a_difference_that_half_precision_cannot_hold_is_refused(value: float) -> None:
    before, after = {"a": torch.zeros(2)}, {"a": torch.tensor([0.0, value])}
    with pytest.raises(IdentityError, match=r"not finite \(a\)"):
        difference(before, after, ["a"])


@pytest.mark.parametrize("sha256", ["0" * 64, None])
def test_other_weights_are_refused_with_the_reason(sha256: str | None) -> None:
    model = tiny_model()
    before = _copy(model)
    with pytest.raises(
        IncompatibleAdapterError,
        match=r"'anna' was learned on iptalker\.tiny \(sha256 5e5e.*Learn it again with dub",
    ) as caught:
        apply_adapter(model, made_identity(), sha256)
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_another_architecture_is_refused() -> None:
    identity = made_identity(architecture="g4g", base=Base(name="g4g.v1", sha256=SHA256))
    with pytest.raises(IncompatibleAdapterError, match=r"learned on g4g\.v1, this is iptalker"):
        apply_adapter(tiny_model(), identity, SHA256)


@pytest.mark.parametrize(
    ("name", "delta", "message"),
    [
        ("decoder.lost", torch.zeros(1), r"changes decoder\.lost, which this model does not have"),
        ("decoder.out.bias", torch.ones(5), r"out\.bias with the shape \(5,\), the model's is \(4"),
    ],
)
def test_an_adapter_that_does_not_fit_changes_nothing(
    name: str, delta: Tensor, message: str
) -> None:
    model = tiny_model()
    before = _copy(model)
    deltas = {**made_identity().adapter, name: delta.half()}
    with pytest.raises(IncompatibleAdapterError, match=message):
        apply_adapter(model, made_identity(adapter=deltas), SHA256)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_where_the_right_weights_are_installed_they_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    entry = WeightEntry(name="iptalker.tiny", architecture="iptalker", sha256=SHA256)
    manifest = Manifest(path=tmp_path, weights={entry.name: entry}, default={})
    monkeypatch.setattr(adapter, "load_manifest", lambda: manifest)
    base = made_identity().base
    assert fits_installed(base)
    assert not fits_installed(replace(base, sha256="0" * 64))
    assert not fits_installed(replace(base, name="iptalker.other"))
    with pytest.raises(IncompatibleAdapterError, match=r"--model iptalker\.tiny, or learn it"):
        apply_adapter(tiny_model(), made_identity(), "0" * 64)
