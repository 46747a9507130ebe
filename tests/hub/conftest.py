"""A hub on this machine, asked without pauses, and a manifest that names what it has."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub.utils._http import close_session
from server import Hub
from shelf import Shelf

from dubcli.weights import manifest as manifests


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long anybody would have waited before asking again; nobody does."""
    taken: list[float] = []
    clock = SimpleNamespace(sleep=taken.append, time=time.time, monotonic=time.monotonic)
    monkeypatch.setattr("huggingface_hub.utils._http.time", clock)
    monkeypatch.setattr("huggingface_hub.file_download.time", clock)
    monkeypatch.setattr("dubcli.weights.download._pause", taken.append)
    return taken


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> Iterator[Hub]:
    """The hub that this process asks."""
    with Hub() as running:
        end = running.endpoint
        monkeypatch.setenv("NO_PROXY", "*")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        constants = "huggingface_hub.constants"
        monkeypatch.setattr(f"{constants}.ENDPOINT", end)
        template = end + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(f"{constants}.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(f"{constants}.HF_HUB_OFFLINE", False)
        # The plain protocol: the other one is spoken by a binary library to a service of its own.
        monkeypatch.setattr(f"{constants}.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(f"{constants}.HF_TOKEN_PATH", str(Path("no-token").absolute()))
        # What came in part is kept in such pieces; the tests' files are small.
        monkeypatch.setattr(f"{constants}.DOWNLOAD_CHUNK_SIZE", 1000)
        monkeypatch.setattr("dubcli.weights.download._CHUNK_BYTES", 1000)
        close_session()
        yield running
        close_session()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user forbids the network. Ask for it after `hub`."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """An empty manifest."""
    made = Shelf(tmp_path)
    monkeypatch.setattr(manifests, "manifest_path", made.write)
    return made
