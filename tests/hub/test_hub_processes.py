"""The command as users run it: its own process, environment and limits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from privileges import drop_overrides, give_away
from server import Fault, Hub, Seen
from shelf import Shelf, content_of, files_below, of_hub

if sys.platform != "win32":
    import resource

CONTENT = content_of()
# A guard against hangs on the slowest machine, not a measure.
WATCHDOG_S = 300
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(hub: Hub, shelf: Shelf, tmp_path: Path) -> Start:
    """Begin a command; `dub` is left out of its words."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.endpoint,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "*",
    }

    def begin(*words: str, setup: Callable[[], None] | None = None, **changes: str) -> Any:
        script = Path(__file__).with_name("run_dub.py")
        return subprocess.Popen(
            [sys.executable, str(script), str(shelf.path), *words],
            env={**environment, **changes},
            cwd=tmp_path,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=setup,
        )

    return begin


def _end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=WATCHDOG_S)
    return process.returncode, out, err


@pytest.mark.parametrize("count", [2, pytest.param(8, marks=pytest.mark.long)])
def test_processes_at_once_get_the_same_whole_file(
    count: int, hub: Hub, shelf: Shelf, start: Start
) -> None:
    hub.repo("org/net", {"net.pth": CONTENT})
    shelf.add("net.v1", CONTENT, of_hub("org/net", "net.pth"), sha256=None)
    shelf.add("plain.v1", CONTENT, hub.url("plain.task", CONTENT), sha256=None)
    both = threading.Barrier(count, timeout=WATCHDOG_S)

    def meet(seen: Seen) -> None:
        # Nobody gets an answer before the other one asks.
        if seen.method == "HEAD" and not both.broken:
            both.wait()

    hub.before = meet
    processes = [start("models", "pull", "net.v1", "plain.v1", "--json") for _ in range(count)]
    ends = [_end(process) for process in processes]
    assert [code for code, _, _ in ends] == [0] * count, ends
    rows = [json.loads(out) for _, out, _ in ends]
    facts = ("name", "path", "sha256")
    first, *others = ([{key: row[key] for key in facts} for row in found] for found in rows)
    assert others == [first] * (count - 1)
    assert all(Path(row["path"]).read_bytes() == CONTENT for row in first)
    assert len(hub.asked("GET", "/files/")) == 1
    recorded = json.loads(Path(os.environ["DUB_HOME"], "weights-lock.json").read_text())["files"]
    assert {name: fields["sha256"] for name, fields in recorded.items()} == {
        row["name"]: row["sha256"] for row in first
    }


@pytest.mark.skipif(sys.platform != "linux", reason="privileges as Linux has them")
def test_a_cache_of_somebody_else_is_only_read(hub: Hub, shelf: Shelf, start: Start) -> None:
    hub.repo("org/net", {"net.pth": CONTENT})
    shelf.add("net.v1", CONTENT, of_hub("org/net", "net.pth"))
    shelf.add("plain.v1", CONTENT, hub.url("plain.task", CONTENT))
    shelf.add("other.v1", CONTENT + b"2", hub.url("other.task", CONTENT + b"2"))
    assert _end(start("models", "pull", "net.v1", "plain.v1", "-q"))[0] == 0
    homes = Path("hub-home"), Path(os.environ["DUB_HOME"])
    for path in [*homes, *(path for home in homes for path in home.rglob("*"))]:
        if path.is_dir():
            give_away(path)

    def setup() -> None:
        if os.geteuid() == 0:
            drop_overrides()

    for name in ("net.v1", "plain.v1"):
        code, out, err = _end(start("models", "path", name, setup=setup))
        assert (code, err) == (0, ""), err
        assert Path(out.strip()).read_bytes() == CONTENT
    code, out, err = _end(start("models", "pull", "other.v1", "-q", setup=setup))
    assert (code, out) == (4, "")
    assert err.count("\n") == 1, err


@pytest.mark.skipif(sys.platform == "win32", reason="limits and signals of POSIX")
def test_a_full_disk_is_one_line_and_what_came_is_deleted(
    hub: Hub, shelf: Shelf, start: Start
) -> None:
    hub.repo("org/net", {"net.pth": CONTENT})
    shelf.add("net.v1", CONTENT, of_hub("org/net", "net.pth"))
    shelf.add("plain.v1", CONTENT, hub.url("plain.task", CONTENT))

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    for name in ("net.v1", "plain.v1"):
        code, out, err = _end(start("models", "pull", name, "-q", setup=limit))
        assert (code, out) == (4, "")
        assert err.count("\n") == 1
        assert "the disk is full" in err
    left = files_below(Path("hub-home"))
    assert not [name for name in left if name.endswith((".part", ".incomplete", ".pth", ".task"))]
    assert _end(start("models", "pull", "net.v1", "plain.v1"))[0] == 0


@pytest.mark.skipif(sys.platform == "win32", reason="limits and signals of POSIX")
@pytest.mark.parametrize("number", ["SIGINT", "SIGKILL"])
def test_a_download_that_is_stopped_leaves_nothing_that_could_be_loaded(
    number: str, hub: Hub, shelf: Shelf, start: Start
) -> None:
    hub.repo("org/net", {"net.pth": CONTENT})
    shelf.add("net.v1", CONTENT, of_hub("org/net", "net.pth"))
    asked = threading.Event()
    hub.before = lambda seen: asked.set() if "/cdn/" in seen.path else None
    hub.faults = [Fault("/cdn/", hang_after=9000)]
    process = start("models", "pull", "net.v1")
    assert asked.wait(WATCHDOG_S)
    process.send_signal(getattr(signal, number))
    code, _, err = _end(process)
    assert code == (130 if number == "SIGINT" else -signal.SIGKILL)
    assert "Traceback" not in err
    code, out, _ = _end(start("models", "path", "net.v1"))
    assert (code, out) == (4, "")
    code, _, err = _end(start("models", "pull", "net.v1"))
    assert (code, "Traceback" in err) == (0, False)
    code, out, _ = _end(start("models", "path", "net.v1"))
    assert Path(out.strip()).read_bytes() == CONTENT


def test_mirror_token_and_offline_are_variables_of_the_environment(
    hub: Hub, shelf: Shelf, start: Start
) -> None:
    hub.repo("org/net", {"net.pth": CONTENT}, private=True)
    shelf.add("net.v1", CONTENT, of_hub("org/net", "net.pth"))
    code, _, err = _end(start("models", "pull", "net.v1", "-q"))
    assert (code, err.count("\n")) == (4, 1)
    assert "HF_TOKEN" in err
    assert _end(start("models", "pull", "net.v1", HF_TOKEN="reader"))[0] == 0
    hub.seen = []
    code, out, _ = _end(start("models", "path", "net.v1", HF_HUB_OFFLINE="1"))
    assert (code, Path(out.strip()).read_bytes()) == (0, CONTENT)
    code, _, err = _end(start("models", "pull", "net.v1", HF_HUB_OFFLINE="1"))
    assert (code, "here already" in err) == (0, True)
    assert hub.seen == []
