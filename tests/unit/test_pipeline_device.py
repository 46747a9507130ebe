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


@pytest.mark.parametrize(
    ("has_tiles", "capabilities", "is_fast"),
    [
        (False, {}, False),
        (True, {}, True),
        # Zen 4 and later.
        (False, {"avx512_bf16": True, "sse4a": True}, True),
        # Intel, with its tiles hidden from a virtual machine.
        (False, {"avx512_bf16": True, "sse4a": False}, False),
        (False, {"avx512_bf16": False, "sse4a": True}, False),
    ],
)
def test_mixed_precision_only_where_it_pays(
    has_tiles: bool,
    capabilities: dict[str, bool],
    is_fast: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_tiles, raising=False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    with autocast(torch.device("cpu")):
        assert torch.is_autocast_enabled("cpu") is is_fast


def test_an_older_torch_that_tells_nothing_means_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_amx_tile_supported", "get_capabilities"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    with autocast(torch.device("cpu")):
        assert not torch.is_autocast_enabled("cpu")
