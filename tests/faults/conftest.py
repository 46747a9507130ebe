"""What the fault tests share: tiny files, one server of runs, a bench for each test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from runner import Bench, ForkServer
from tiny import make_tiny

if not hasattr(os, "fork"):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small valid files."""
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def server() -> Iterator[ForkServer]:
    """Starts the runs of all fault tests."""
    running = ForkServer()
    yield running
    running.close()


@pytest.fixture
def bench(server: ForkServer, tmp_path: Path) -> Bench:
    """An empty case."""
    root = tmp_path / "bench"
    root.mkdir()
    return Bench(server, root)


@pytest.fixture
def make_bench(server: ForkServer, tmp_path: Path) -> Callable[[str], Bench]:
    """Makes an empty case of a name."""

    def make(name: str) -> Bench:
        root = tmp_path / name
        root.mkdir()
        return Bench(server, root)

    return make
