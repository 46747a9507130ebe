"""What every test gets: its own folder, a fixed seed, no network, no logged errors."""

from __future__ import annotations

import logging
import random
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SEED = 20


def pytest_configure() -> None:
    """Commands that tests start can be interrupted, even where the tests run in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _home_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """For what fixtures of a wider scope make before a test has its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DUB_HOME", str(tmp_path_factory.mktemp("dub-home")))
        yield


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # Not the identities of whoever runs the tests; beside the folder that tests list.
    monkeypatch.setenv("DUB_HOME", str(tmp_path.with_name(f"{tmp_path.name}-dub-home")))


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    """The same random numbers in any order of tests, and none left behind for the next."""
    torch = sys.modules.get("torch")
    states = random.getstate(), np.random.get_state(), torch.get_rng_state() if torch else None  # noqa: NPY002
    random.seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002
    if torch:
        torch.manual_seed(SEED)
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    if torch:
        torch.set_rng_state(states[2])


def _is_of_this_machine(host: str) -> bool:
    """Ray's processes talk by the machine's own address; only such a one can be bound to."""
    if host in ("127.0.0.1", "::1", "localhost"):
        return True
    try:
        with socket.socket() as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True


def _local_only(connect: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(self: socket.socket, address: Any) -> Any:
        is_local = self.family == socket.AF_UNIX or _is_of_this_machine(str(address[0]))
        assert is_local, f"a test reached for the network: {address}"
        return connect(self, address)

    return guarded


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, _local_only(getattr(socket.socket, name)))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(autouse=True)
def _own_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No weights that whoever runs the tests has downloaded, here and in processes."""
    home = tmp_path / "hub-home"
    folders = {"HF_HOME": home, "HF_HUB_CACHE": home / "hub", "HF_ASSETS_CACHE": home / "assets"}
    for name, folder in folders.items():
        monkeypatch.setenv(name, str(folder))
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", str(folder))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(autouse=True)
def _no_logged_errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    errors = [r.getMessage() for r in caplog.get_records("call") if r.levelno >= logging.ERROR]
    assert not errors, f"errors were logged: {errors}"
