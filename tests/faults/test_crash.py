"""Power cuts and kills between any two writes: a few states; `crash_long.py` has all of them."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from crash_jobs import JOBS
from crash_states import Recording, record
from disk_model import KILLED, POWER, STRICT, Disk, Tree
from runner import WATCHDOG_S, ForkServer
from system_calls import Replay, traced, why_not_traced

MOST = 6
FAST = ("dub", "import")

# Every way in which Python, a shell and the C library change files, in a folder "r".
_BUSY = """
import ctypes, os, shutil, subprocess, threading
os.makedirs("r/folder/deep")
with open("r/a", "wb") as file:
    file.write(b"first"); file.flush(); os.fsync(file.fileno())
    file.seek(2); file.write(b"X"); file.flush(); file.seek(0, 2); file.write(b"end")
with open("r/a", "r+b") as file:
    file.read(3); file.write(b"Y"); file.truncate(20)
with open("r/log", "a") as file: file.write("one\\n")
with open("r/log", "a") as file: file.write("two\\n")
shutil.copyfile("r/a", "r/copied")
os.replace("r/copied", "r/folder/moved")
def write(number):
    for _ in range(20):
        with open(f"r/of thread {number}", "ab") as file: file.write(b"%d" % number)
threads = [threading.Thread(target=write, args=[n]) for n in range(3)]
[thread.start() for thread in threads]; [thread.join() for thread in threads]
words = "echo hello > r/shell; cp r/shell r/folder/deep/copy; echo x >> r/shell"
subprocess.run(["sh", "-c", words])
os.mkdir("r/gone"); open("r/gone/file", "w").close(); shutil.rmtree("r/gone")
fd = os.open("r/at", os.O_RDWR | os.O_CREAT); os.pwrite(fd, b"late", 6); os.close(fd)
os.mkdir("r/new"); open("r/new/n", "w").close()
ctypes.CDLL(None).renameat2(-100, b"r/new", -100, b"r/folder", 2)
"""


@pytest.fixture(scope="module", autouse=True)
def _strace() -> None:
    reason = why_not_traced()
    if reason is not None:
        pytest.skip(f"{reason}: states of a power cut cannot be recorded")


def _followed(script: str, folder: Path) -> Disk:
    """The disk after a script that works in the folder "r"; its real work is done too."""
    for name in ("r", "before"):
        (folder / name).mkdir()
    log = folder / "calls"
    argv = traced([sys.executable, "-c", script], log)
    subprocess.run(argv, cwd=folder, check=True, timeout=WATCHDOG_S)
    disk = Disk(folder / "r", folder / "before")
    assert list(Replay(disk, folder).run(log))
    return disk


def _real(folder: Path) -> dict[str, bytes | None]:
    paths = sorted(folder.rglob("*"))
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in paths}


def _contents(disk: Disk, tree: Tree) -> dict[str, bytes | None]:
    return {name: disk.blobs[digest] if digest else None for name, digest in tree}


def test_the_model_of_the_disk_is_what_the_disk_holds(tmp_path: Path) -> None:
    disk = _followed(_BUSY, tmp_path)
    real = _real(tmp_path / "r")
    assert "moved" in real or "new/moved" in real
    assert _contents(disk, disk.tree(KILLED)) == real


def test_a_power_cut_takes_what_was_not_synced(tmp_path: Path) -> None:
    begin = 'import os\nfile = open("r/a.part", "wb")\nfile.write(b"all"); file.flush()\n'
    end = 'os.replace("r/a.part", "r/a")\n'
    synced = "os.fsync(file.fileno())\n"
    folder = 'os.fsync(os.open("r", os.O_RDONLY))\n'
    found: list[object] = []
    for number, script in enumerate((begin + end, begin + synced + end + folder)):
        place = tmp_path / str(number)
        place.mkdir()
        disk = _followed(script, place)
        found += [_contents(disk, disk.tree(variant)) for variant in (KILLED, POWER, STRICT)]
    assert found == [{"a": b"all"}, {"a": b""}, {}, *[{"a": b"all"}] * 3]


@pytest.fixture(scope="module", params=FAST)
def recording(
    request: pytest.FixtureRequest,
    server: ForkServer,
    tiny: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Recording:
    """A command that was followed. Its folder holds whatever state was looked at last."""
    job = next(job for job in JOBS if job.name == request.param)
    return record(job, server, tmp_path_factory.mktemp(job.name), tiny, writes=3)


def test_what_is_reported_as_done_survives_a_power_cut(recording: Recording) -> None:
    recording.check_last()


@pytest.mark.parametrize("number", range(MOST))
def test_the_same_command_goes_on_from_any_state(recording: Recording, number: int) -> None:
    chosen = random.Random(3).sample(recording.states, MOST)
    recording.check(chosen[number])
