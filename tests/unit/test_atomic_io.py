"""A file or folder has its name only when it is on the disk, also if power fails then."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dubcli.core import atomic_io
from dubcli.core.atomic_io import move_file, place_folder, replace_bytes
from dubcli.core.disk_sync import exchange


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What was synced and renamed, in order, by name."""
    seen: list[tuple[str, str]] = []
    sync, rename = os.fsync, os.rename

    def named(kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def told(what: Any, *more: Any, **rest: Any) -> Any:
            path = os.readlink(f"/proc/self/fd/{what}") if isinstance(what, int) else what
            seen.append((kind, Path(path).name))
            return call(what, *more, **rest)

        return told

    monkeypatch.setattr(os, "fsync", named("sync", sync))
    monkeypatch.setattr(os, "replace", named("rename", os.replace))
    monkeypatch.setattr(os, "rename", named("rename", rename))
    return seen


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="names of open files are read from /proc"
)


@needs_proc
def test_a_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, calls: list[tuple[str, str]]
) -> None:
    replace_bytes(tmp_path / "a", b"content")
    part, folder = ".a.part", tmp_path.name
    assert calls == [("sync", part), ("rename", part), ("sync", folder)]
    calls.clear()
    move_file(tmp_path / "a", tmp_path / "b")
    assert calls == [("sync", "a"), ("rename", "a"), ("sync", folder)]


@needs_proc
def test_a_folder_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, calls: list[tuple[str, str]]
) -> None:
    made = _folder(tmp_path / "made", "new")
    place_folder(made, tmp_path / "wanted")
    assert set(calls[:3]) == {("sync", "file"), ("sync", "deep"), ("sync", "made")}
    assert calls[3:] == [("rename", "made"), ("sync", tmp_path.name)]


def _folder(path: Path, content: str) -> Path:
    (path / "deep").mkdir(parents=True)
    (path / "deep" / "file").write_text(content)
    return path


def _content(path: Path) -> str:
    return (path / "deep" / "file").read_text()


@pytest.mark.parametrize("can_swap", [True, False])
def test_a_folder_replaces_another(
    can_swap: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_swap:
        monkeypatch.setattr(atomic_io, "exchange", lambda one, other: False)
    made, wanted = _folder(tmp_path / ".w.part", "new"), _folder(tmp_path / "w", "old")
    place_folder(made, wanted)
    assert _content(wanted) == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


def test_a_folder_that_may_not_be_replaced_stays(tmp_path: Path) -> None:
    made, wanted = _folder(tmp_path / ".w.part", "new"), _folder(tmp_path / "w", "old")
    with pytest.raises(FileExistsError):
        place_folder(made, wanted, replace=False)
    assert (_content(wanted), _content(made)) == ("old", "new")


def test_a_disk_that_fails_when_it_is_synced_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    replace_bytes(path, b"old")

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        replace_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_names_that_cannot_be_swapped_stay(tmp_path: Path) -> None:
    one = _folder(tmp_path / "one", "1")
    assert not exchange(one, tmp_path / "absent")
    assert _content(one) == "1"
