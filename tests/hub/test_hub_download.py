"""Weights come whole and proven, whatever the hub and the disk do."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from server import Fault, Hub
from shelf import Shelf, content_of, files_below, of_hub

from dubcli.core.errors import ChecksumError, ConfigError, WeightsError
from dubcli.weights import download as client
from dubcli.weights import lock
from dubcli.weights import resolve as weights
from dubcli.weights.download import asset_folder, hub_cache
from dubcli.weights.entry import WeightEntry

CONTENT = content_of()
FILE = "nets/net.pth"


@pytest.fixture
def net(hub: Hub, shelf: Shelf) -> WeightEntry:
    """A large file of a repository, with a sha256."""
    hub.repo("org/net", {FILE: CONTENT, "other.json": b"{}"})
    return shelf.add("net.v1", CONTENT, of_hub("org/net", FILE))


@pytest.fixture
def plain(hub: Hub, shelf: Shelf) -> WeightEntry:
    """A file at an address of its own."""
    return shelf.add("plain.v1", CONTENT, hub.url("plain.task", CONTENT))


def _quarantined() -> list[str]:
    return files_below(asset_folder() / "quarantine")


# Coming whole ------------------------------------------------------------------------------------


def test_a_file_comes_over_the_redirect_and_is_proven(hub: Hub, net: WeightEntry) -> None:
    told: list[tuple[str, int, int]] = []
    assert weights.local_path(net) is None
    proof, is_new = weights.pull(net, lambda *step: told.append(step))
    assert is_new
    assert proof.path.read_bytes() == CONTENT
    assert proof.sha256 == net.sha256
    assert told[0] == ("net.v1", 0, 1)
    assert told[-1] == ("net.v1", 1, 1)
    assert weights.local_path(net) == proof.path
    again, is_new = weights.pull(net)
    assert (again, is_new) == (proof, False)
    assert len(hub.asked("GET", "/cdn/")) == 1


def test_a_token_goes_to_the_hub_and_not_to_its_cdn(
    hub: Hub, net: WeightEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repos["org/net"].private = True
    with pytest.raises(WeightsError, match=r"org/net/nets/net\.pth.*\(401\).*HF_TOKEN"):
        weights.pull(net)
    monkeypatch.setenv("HF_TOKEN", "reader")
    assert weights.pull(net)[0].path.read_bytes() == CONTENT
    (from_cdn,) = hub.asked("GET", "/cdn/")
    assert "authorization" not in from_cdn.headers
    assert hub.asked("HEAD", "/resolve/")[-1].headers["authorization"] == "Bearer reader"


@pytest.mark.parametrize("where", ["/cdn/", "/files/"])
def test_a_connection_cut_at_half_is_gone_on_with(
    where: str, hub: Hub, net: WeightEntry, plain: WeightEntry
) -> None:
    half = len(CONTENT) // 2
    hub.faults = [Fault(where, cut_after=half)]
    entry = net if where == "/cdn/" else plain
    assert weights.pull(entry)[0].path.read_bytes() == CONTENT
    first, second = hub.asked("GET", where)
    assert "range" not in first.headers
    begin = int(second.headers["range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < begin <= half


def test_a_killed_download_from_an_address_is_gone_on_with(hub: Hub, plain: WeightEntry) -> None:
    half = len(CONTENT) // 2
    hub.faults = [Fault("/files/", cut_after=half), Fault("/files/", status=503, times=99)]
    with pytest.raises(WeightsError, match="HTTP 503"):
        weights.pull(plain)
    hub.faults, hub.seen = [], []
    assert weights.pull(plain)[0].path.read_bytes() == CONTENT
    (asked,) = hub.asked("GET", "/files/")
    assert asked.headers["range"] == f"bytes={half}-"
    assert files_below(asset_folder()) == ["plain.task"]


def test_a_file_that_changed_meanwhile_is_not_spliced(hub: Hub, shelf: Shelf) -> None:
    old, new = content_of(seed=1), content_of(seed=2)
    entry = shelf.add("plain.v1", new, hub.url("plain.task", old))
    hub.faults = [Fault("/files/", cut_after=1000), Fault("/files/", status=500, times=99)]
    with pytest.raises(WeightsError):
        weights.pull(entry)
    hub.faults = []
    hub.url("plain.task", new)
    assert weights.pull(entry)[0].path.read_bytes() == new


@pytest.mark.parametrize("where", ["/cdn/", "/files/"])
def test_a_server_that_falls_silent_is_asked_again(
    where: str, hub: Hub, net: WeightEntry, plain: WeightEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 2.0)
    hub.faults = [Fault(where, hang_after=9000)]
    entry = net if where == "/cdn/" else plain
    assert weights.pull(entry)[0].path.read_bytes() == CONTENT
    assert hub.asked("GET", where)[-1].headers["range"].startswith("bytes=")


@pytest.mark.parametrize(("status", "headers"), [(429, {"Retry-After": "7"}), (500, {}), (503, {})])
@pytest.mark.parametrize("kind", ["hub", "address"])
def test_a_busy_server_is_asked_again_later(
    kind: str,
    status: int,
    headers: dict[str, str],
    hub: Hub,
    net: WeightEntry,
    plain: WeightEntry,
    pauses: list[float],
) -> None:
    method, where = ("HEAD", "/resolve/") if kind == "hub" else ("GET", "/files/")
    hub.faults = [Fault(where, method=method, status=status, headers=headers, times=2)]
    entry = net if kind == "hub" else plain
    assert weights.pull(entry)[0].path.read_bytes() == CONTENT
    assert pauses
    if headers:
        assert min(pauses) >= 7


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, r"\(401\).*HF_TOKEN"),
        (403, r"\(403\).*access"),
        (404, r"\(404\).*name"),
        (429, r"\(429\).*Wait"),
        (500, r"HTTP 500.*mirror"),
    ],
)
@pytest.mark.parametrize("kind", ["hub", "address"])
def test_a_refusal_is_one_line(
    kind: str, status: int, said: str, hub: Hub, net: WeightEntry, plain: WeightEntry
) -> None:
    method, where = ("HEAD", "/resolve/") if kind == "hub" else ("GET", "/files/")
    hub.faults = [Fault(where, method=method, status=status, times=99)]
    with pytest.raises(WeightsError, match=said) as raised:
        weights.pull(net if kind == "hub" else plain)
    assert "\n" not in str(raised.value)
    assert raised.value.exit_code == 4


def test_what_is_not_there_is_named(hub: Hub, shelf: Shelf) -> None:
    hub.repo("org/net", {"a.pth": CONTENT})
    for source, what in [
        (of_hub("org/lost", "a.pth"), "no such repository"),
        (of_hub("org/net", "a.pth", revision="dev"), "no such revision"),
        (of_hub("org/net", "b.pth"), "no such file"),
    ]:
        entry = shelf.add("net.v1", CONTENT, source)
        with pytest.raises(WeightsError, match=what):
            weights.pull(entry)


def test_a_server_that_is_gone_is_one_line(shelf: Shelf, hub: Hub) -> None:
    with Hub() as other:
        address = other.url("plain.task", CONTENT)
    entry = shelf.add("plain.v1", CONTENT, address)
    with pytest.raises(WeightsError, match=r"cannot be downloaded.*HF_ENDPOINT"):
        weights.pull(entry)


def test_the_next_source_is_asked_where_one_fails(hub: Hub, shelf: Shelf) -> None:
    hub.repo("org/net", {"a.pth": content_of(seed=2)})
    sources = of_hub("org/lost", "a.pth"), of_hub("org/net", "a.pth"), hub.url("c.pth", CONTENT)
    entry = shelf.add("net.v1", CONTENT, *sources)
    assert weights.pull(entry)[0].path.read_bytes() == CONTENT
    assert len(_quarantined()) == 2


def test_a_mirror_is_asked_in_place_of_the_hub(
    hub: Hub, net: WeightEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Hub() as mirror:
        mirror.repos = hub.repos
        template = mirror.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", mirror.endpoint)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        assert weights.pull(net)[0].path.read_bytes() == CONTENT
        assert mirror.seen
    assert not hub.seen


def test_the_other_transfer_of_the_hub_moves_the_same_bar() -> None:
    from huggingface_hub.utils._xet_progress_reporting import XetDownloadProgressReporter

    told: list[tuple[str, int, int]] = []
    bar_class = client._bar_class("net.v1", lambda *step: told.append(step))
    facts = {"total_bytes": 9_000_000, "total_bytes_completion_rate": None}
    rate = {"total_transfer_bytes_completion_rate": 1.0}
    with XetDownloadProgressReporter(
        reconstruction_desc="net", total=9_000_000, log_level=30, tqdm_class=bar_class
    ) as reporter:
        for done in (4_000_000, 9_000_000):
            amounts = {"total_bytes_completed": done, "total_transfer_bytes_completed": done // 2}
            reporter.update_progress(SimpleNamespace(**facts, **rate, **amounts))
    assert told == [("net.v1", 0, 9), ("net.v1", 4, 9), ("net.v1", 9, 9)]


# Offline -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["hub", "address"])
def test_offline_what_is_here_works_and_the_rest_says_so(
    kind: str,
    hub: Hub,
    net: WeightEntry,
    plain: WeightEntry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = net if kind == "hub" else plain
    offline = "huggingface_hub.constants.HF_HUB_OFFLINE"
    monkeypatch.setattr(offline, True)
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE forbids the network"):
        weights.pull(entry)
    monkeypatch.setattr(offline, False)
    weights.pull(entry)
    monkeypatch.setattr(offline, True)
    hub.seen = []
    assert weights.part_path(entry.name).read_bytes() == CONTENT
    assert hub.seen == []


def test_offline_no_second_source_is_tried(
    hub: Hub, shelf: Shelf, offline: None, caplog: pytest.LogCaptureFixture
) -> None:
    entry = shelf.add("net.v1", CONTENT, of_hub("org/net", "a"), hub.url("a", CONTENT))
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE"):
        weights.pull(entry)
    assert "next source" not in caplog.text


# Proof -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["hub", "address"])
def test_a_wrong_download_is_moved_aside_and_the_next_pull_starts_anew(
    kind: str, hub: Hub, net: WeightEntry, plain: WeightEntry
) -> None:
    entry, where = (net, "/cdn/") if kind == "hub" else (plain, "/files/")
    wrong = content_of(seed=2)
    hub.plain["plain.task"] = wrong
    hub.faults = [Fault("/cdn/", body=wrong)]
    with pytest.raises(ChecksumError, match=r"sha256 .*moved to .*dub models pull") as raised:
        weights.pull(entry)
    assert weights.local_path(entry) is None
    note, kept = sorted(_quarantined(), key=len, reverse=True)
    told = json.loads((asset_folder() / "quarantine" / note).read_text())
    assert told["entry"] == entry.name
    assert told["reason"] in str(raised.value)
    assert (asset_folder() / "quarantine" / kept).read_bytes() == wrong
    with pytest.raises(WeightsError, match="not on this machine"):
        weights.verify(entry)
    hub.plain["plain.task"] = CONTENT
    assert weights.pull(entry)[0].path.read_bytes() == CONTENT
    assert len(hub.asked("GET", where)) == 2


@pytest.mark.parametrize("damage", [b"", CONTENT[:-1], CONTENT + b"x"])
def test_damage_on_this_machine_is_found_and_never_handed_out(
    damage: bytes, hub: Hub, net: WeightEntry
) -> None:
    path = weights.pull(net)[0].path
    _damage(path, damage)
    assert not weights.is_whole(net)
    assert path.exists()
    with pytest.raises(ChecksumError, match=r"dub models pull net\.v1"):
        weights.part_path("net.v1")
    assert not path.exists()
    assert not list(hub_cache().rglob("blobs/*"))
    assert weights.pull(net)[0].path.read_bytes() == CONTENT


def test_a_pull_replaces_what_is_damaged(
    hub: Hub, net: WeightEntry, caplog: pytest.LogCaptureFixture
) -> None:
    path = weights.pull(net)[0].path
    _damage(path, b"damaged")
    proof, is_new = weights.pull(net)
    assert is_new
    assert proof.path.read_bytes() == CONTENT
    assert "is damaged or not net.v1" in caplog.text
    assert len(_quarantined()) == 2


def _damage(path: Path, content: bytes) -> None:
    path.resolve().chmod(0o644)
    path.resolve().write_bytes(content)


def test_a_size_that_is_not_the_stated_one_is_refused(hub: Hub, shelf: Shelf) -> None:
    entry = shelf.add("plain.v1", CONTENT, hub.url("a", CONTENT), sha256=None, bytes=3)
    with pytest.raises(ChecksumError, match="50000 bytes, expected 3"):
        weights.pull(entry)


# The lock ----------------------------------------------------------------------------------------


def test_without_a_sha256_the_first_download_is_recorded_and_later_ones_must_match(
    hub: Hub, shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    entry = shelf.add("plain.v1", CONTENT, hub.url("a.pth", CONTENT), sha256=None, bytes=None)
    proof, _ = weights.pull(entry)
    assert proof.is_recorded
    assert "Nobody states the sha256 of plain.v1" in caplog.text
    assert lock.read_lock().files["plain.v1"].sha256 == proof.sha256
    assert lock.lock_path().parent == Path(os.environ["DUB_HOME"])
    caplog.clear()
    weights.pull(entry)
    assert caplog.text == ""
    weights.files.discard(entry)
    hub.url("a.pth", content_of(seed=2))
    with pytest.raises(ChecksumError, match=r"as recorded in .*weights-lock.json.*--forget"):
        weights.pull(entry)
    assert lock.forget("plain.v1")
    assert weights.pull(entry)[0].path.read_bytes() == content_of(seed=2)


def test_the_known_beginning_of_a_sha256_is_checked(hub: Hub, shelf: Shelf) -> None:
    address = hub.url("a.pth", CONTENT)
    entry = shelf.add("plain.v1", CONTENT, address, sha256=None, sha256_start="00000000")
    with pytest.raises(ChecksumError, match="expected 00000000"):
        weights.pull(entry)
    assert lock.read_lock().files == {}
    whole = shelf.add("plain.v2", CONTENT, address, sha256_start="")
    entry = shelf.add("plain.v1", CONTENT, address, sha256=None, sha256_start=str(whole.sha256)[:8])
    assert weights.pull(entry)[0].is_recorded


def test_a_branch_is_pinned_to_the_commit_of_the_first_download(hub: Hub, net: WeightEntry) -> None:
    repo = hub.repos["org/net"]
    first = repo.branches["main"]
    weights.pull(net)
    assert lock.read_lock().files["net.v1"].commit == first
    repo.commit({FILE: content_of(seed=2)})
    weights.files.discard(net)
    assert weights.pull(net)[0].path.read_bytes() == CONTENT
    assert f"/resolve/{first}/" in hub.asked("HEAD", "/resolve/")[-1].path


def test_a_recorded_commit_that_is_gone_can_be_forgotten(hub: Hub, net: WeightEntry) -> None:
    repo = hub.repos["org/net"]
    weights.pull(net)
    weights.files.discard(net)
    repo.commits.clear()
    repo.commit({FILE: CONTENT})
    repo.commits["f" * 40] = repo.commits.pop(repo.branches["main"])
    repo.branches["main"] = "f" * 40
    with pytest.raises(WeightsError, match=r"at the recorded commit .*--forget"):
        weights.pull(net)
    lock.forget("net.v1")
    assert weights.pull(net)[0].path.read_bytes() == CONTENT


def test_a_pinned_file_with_a_sha256_needs_no_record(hub: Hub, shelf: Shelf) -> None:
    commit = hub.repo("org/net").commit({FILE: CONTENT})
    weights.pull(shelf.add("net.v1", CONTENT, of_hub("org/net", FILE, commit)))
    assert not lock.lock_path().exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 9}', '{"format": 1, "files": {"a": {}}}'])
def test_a_damaged_lock_is_named(text: str, net: WeightEntry) -> None:
    lock.lock_path().parent.mkdir()
    lock.lock_path().write_text(text)
    with pytest.raises(WeightsError, match=r"weights-lock\.json.*cannot be read.*delete it"):
        weights.pull(net)


def test_a_lock_that_cannot_be_written_is_named(
    hub: Hub, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DUB_HOME", str(tmp_path / "file"))
    entry = shelf.add("plain.v1", CONTENT, hub.url("a.pth", CONTENT), sha256=None)
    with pytest.raises(WeightsError, match=r"cannot be written.*DUB_HOME"):
        weights.pull(entry)


# Licences ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("commercial", [False, None])
def test_an_unfree_licence_must_be_accepted_before_anything_is_asked(
    commercial: bool | None, hub: Hub, shelf: Shelf
) -> None:
    facts = {"license": "CC BY-NC 4.0", "commercial": commercial}
    entry = shelf.add("plain.v1", CONTENT, hub.url("a.pth", CONTENT), **facts)
    with pytest.raises(ConfigError, match=r"CC BY-NC 4\.0.*--accept-licence"):
        weights.part_path("plain.v1")
    assert hub.seen == []
    lock.accept("plain.v1", "another licence")
    with pytest.raises(ConfigError):
        weights.pull(entry)
    lock.accept("plain.v1", "CC BY-NC 4.0")
    assert weights.part_path("plain.v1").read_bytes() == CONTENT


# The disk ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["hub", "address"])
def test_too_little_room_is_told_before_the_download(
    kind: str,
    hub: Hub,
    net: WeightEntry,
    plain: WeightEntry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usage = type("Usage", (), {"free": 100})()
    monkeypatch.setattr("dubcli.weights.download.shutil.disk_usage", lambda folder: usage)
    with pytest.raises(WeightsError, match=r"needs 0 MB.*has 0 MB left.*HF_HOME"):
        weights.pull(net if kind == "hub" else plain)
    assert hub.asked("GET", "") == []


@pytest.mark.parametrize("kind", ["hub", "address"])
def test_a_disk_that_fills_up_is_one_line_and_leaves_nothing(
    kind: str,
    hub: Hub,
    net: WeightEntry,
    plain: WeightEntry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def is_full(self: object, num: float | None = 1) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("dubcli.weights.download._Bar.update", is_full)
    entry = net if kind == "hub" else plain
    with pytest.raises(WeightsError, match=r"the disk is full.*HF_HOME"):
        weights.pull(entry)
    left = [name for name in files_below(Path("hub-home")) if not name.endswith(".etag")]
    assert [name for name in left if name not in ("CACHEDIR.TAG", "main")] == []
    monkeypatch.undo()


@pytest.mark.parametrize("kind", ["hub", "address"])
def test_a_cache_that_cannot_be_written_is_named(
    kind: str,
    hub: Hub,
    net: WeightEntry,
    plain: WeightEntry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "hub-home")

    monkeypatch.setattr("os.makedirs", read_only)
    monkeypatch.setattr("pathlib.Path.mkdir", read_only)
    with pytest.raises(WeightsError, match=r"'hub-home' cannot be written.*HF_HOME"):
        weights.pull(net if kind == "hub" else plain)


@pytest.mark.parametrize("kind", ["hub", "address"])
def test_a_read_only_cache_gives_what_it_has(
    kind: str,
    hub: Hub,
    shelf: Shelf,
    plain: WeightEntry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commit = hub.repo("org/net").commit({FILE: CONTENT})
    net = shelf.add("net.v1", CONTENT, of_hub("org/net", FILE, commit))
    entry = net if kind == "hub" else plain
    path = weights.pull(entry)[0].path
    hub.seen = []

    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "hub-home")

    for name in ("os.makedirs", "pathlib.Path.mkdir", "shutil.move"):
        monkeypatch.setattr(name, read_only)
    assert weights.part_path(entry.name) == path
    assert hub.seen == []
    path.resolve().chmod(0o644)
    path.resolve().write_bytes(b"damaged")
    with pytest.raises(ChecksumError, match=r"cannot be moved aside.*Delete it"):
        weights.part_path(entry.name)


def test_removing_frees_the_file_and_leaves_its_neighbours(hub: Hub, net: WeightEntry) -> None:
    from huggingface_hub import hf_hub_download

    weights.pull(net)
    neighbour = Path(hf_hub_download("org/net", "other.json"))
    assert weights.files.discard(net) == len(CONTENT)
    assert weights.local_path(net) is None
    assert neighbour.read_bytes() == b"{}"
    assert not [path for path in hub_cache().rglob("blobs/*") if path.stat().st_size > 1000]
    assert weights.files.discard(net) == 0
