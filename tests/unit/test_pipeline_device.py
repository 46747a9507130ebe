from __future__ import annotations

import pytest
import torch

from dubcli.core.errors import DeviceError
from dubcli.pipeline.device import autocast, choose_device


def test_auto_takes_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto") == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == torch.device("cuda")


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps"])
def test_an_absent_device_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: name == "cuda:1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(DeviceError, match=f"'{name}' is not available here. Use --device auto"):
        choose_device(name)


@pytest.mark.parametrize("name", ["cuda:", "cuda:x", "cuda:-1", "cpu:7:1"])
def test_a_malformed_device_is_the_users_mistake(name: str) -> None:
    with pytest.raises(DeviceError, match=r"names no device\. Use --device auto"):
        choose_device(name)


def test_mixed_precision_only_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for is_fast in (False, True):
        monkeypatch.setattr(
            torch.cpu, "_is_amx_tile_supported", lambda fast=is_fast: fast, raising=False
        )
        with autocast(cpu):
            assert torch.is_autocast_enabled("cpu") is is_fast
