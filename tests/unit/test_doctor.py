"""What `dub doctor` finds, and when the main job cannot run."""

from __future__ import annotations

import importlib.util
import json
import threading
from collections import namedtuple
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import pytest
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.core.errors import DeviceError
from dubcli.doctor import examine, exit_code, machine, programs, stores
from dubcli.doctor.check import guarded
from dubcli.media.container.formats import CONTAINERS

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def server() -> Iterator[str]:
    """A hub that answers 404 to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(404)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Not on stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture
def _online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


def test_the_command_tells_everything_and_the_main_job_can_run() -> None:
    done = CliRunner().invoke(app, ["doctor", "--json"])
    found = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.exit_code == 0, done.stdout
    assert {"device", "cpu", "hub", "extras", "weights cache", "user data"} <= set(found)
    assert {"identities", "temporary files", "other weights"} <= set(found)
    assert "not asked" in found["hub"]["value"]
    assert "c2pa: yes" in found["extras"]["value"]
    assert "verified" in found["weights"]["value"]


@pytest.mark.usefixtures("_online")
def test_the_hub_is_asked_where_the_user_says(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server)
    check = stores.hub()
    assert (check.value, check.exit_code) == (f"{server} answers", 0)


@pytest.mark.usefixtures("_online")
@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "no address"])
def test_a_hub_that_does_not_answer_is_no_error(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    check = stores.hub()
    assert "does not answer" in check.value
    assert "dub models" in check.fix
    assert check.exit_code == 0


def test_every_encoder_of_every_container_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    all_of_them = {name for container in CONTAINERS.values() for name in container.encoders}
    found = programs.encoders()
    assert found.fix == ""
    assert all(name in found.value for name in all_of_them)
    monkeypatch.setattr(av, "codecs_available", all_of_them - {"libsvtav1"})
    check = programs.encoders()
    assert "lacks libsvtav1" in check.value
    assert check.fix
    assert check.exit_code == 0
    monkeypatch.setattr(av, "codecs_available", all_of_them - {"libx264"})
    check = guarded("encoders", programs.encoders)
    assert check.exit_code == DeviceError.exit_code
    assert check.fix


def test_a_full_disk_stops_the_main_job(monkeypatch: pytest.MonkeyPatch) -> None:
    def usage(free: int) -> None:
        monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(1 << 40, 0, free))

    usage(1 << 40)
    assert (stores.disk().fix, stores.disk().exit_code) == ("", 0)
    usage(1 << 29)
    assert stores.disk().fix
    assert stores.disk().exit_code == 0
    usage(1 << 20)
    assert stores.disk().exit_code == 3
    assert exit_code([stores.disk()]) == 3


def test_places_that_cannot_be_written_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("DUB_HOME", str(tmp_path / "file" / "home"))
    found = {check.name: check for check in stores.paths()}
    assert "cannot be written" in found["user data"].value
    assert "DUB_HOME" in found["identities"].fix
    assert found["weights cache"].fix == ""


def test_absent_extras_come_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "c2pa" else find(name)
    )
    check = programs.extras()
    assert "c2pa: no, evaluate: yes" in check.value
    assert "'dubcli[c2pa]'" in check.fix


def test_a_gpu_tells_what_it_can_do(monkeypatch: pytest.MonkeyPatch) -> None:
    Facts = namedtuple("Facts", "name major minor total_memory")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda: True)
    monkeypatch.setattr(
        "torch.cuda.get_device_properties", lambda _: Facts("Some GPU", 9, 0, 80_000_000_000)
    )
    assert machine.device().value == "cuda:0 (Some GPU, capability 9.0, 80 GB, bf16)"


def test_one_look_that_fails_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(stores, "other_weights", broken)
    found = {check.name: check for check in examine()}
    assert "Permission denied" in found["other weights"].value
    assert found["weights"].exit_code == 0
