"""What a command and its child processes did to the files of one folder, as strace saw it.

Every call that changes a file or a name is applied to a `Disk`, in the order in which calls ended.
What this does not model (links, memory that is mapped to a file) raises instead of being left out.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from disk_model import Disk, DiskFile, DiskFolder, Node

_TRACED = (
    *("open", "openat", "creat", "close", "dup", "dup2", "dup3", "fcntl", "clone", "clone3"),
    *("fork", "vfork", "execve", "read", "readv", "write", "pwrite64", "writev", "pwritev"),
    *("pwritev2", "sendfile", "copy_file_range", "splice", "ftruncate", "truncate", "fallocate"),
    *("lseek", "rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdir", "mkdirat"),
    *("rmdir", "link", "linkat", "symlink", "symlinkat", "fsync", "fdatasync", "mmap", "chdir"),
)
_LONGEST = 1 << 27
_LINE = re.compile(r"(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)$", re.DOTALL)
_END = re.compile(r"^(.*)\)\s+= (-?\d+|\?|0x[0-9a-f]+).*$", re.DOTALL)
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_UNFINISHED = " <unfinished ...>"
WRITE, SYNC, RENAME, REMOVE, MAKE = "write", "sync", "rename", "remove", "make"


def why_not_traced() -> str | None:
    """Why calls cannot be recorded here; None where they can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    argv = ["strace", "-f", "-qq", "-o", os.devnull, "true"]
    done = subprocess.run(argv, capture_output=True, check=False, timeout=60)
    return None if done.returncode == 0 else "strace may not trace processes here"


def traced(argv: list[str], log: Path) -> list[str]:
    """The arguments that run a command and write its calls to a file."""
    options = ["-f", "-qq", "-xx", "-s", str(_LONGEST), "-o", str(log), "--seccomp-bpf"]
    return ["strace", *options, "-e", "raw=read,readv", "-e", f"trace={','.join(_TRACED)}", *argv]


@dataclass
class _Open:
    """An open file: what it is, where the next byte goes."""

    node: Node | None
    path: str
    place: int = 0
    appends: bool = False


@dataclass
class _Process:
    cwd: str
    files: dict[int, _Open] = field(default_factory=dict[int, _Open])

    def child(self) -> _Process:
        """What a fork begins with; open files are shared."""
        return _Process(self.cwd, dict(self.files))


@dataclass(frozen=True)
class _Call:
    name: str
    arguments: str
    result: int

    @property
    def words(self) -> list[str]:
        """The arguments; those of structures are cut further, which no user of them minds."""
        return [word.strip() for word in self.arguments.split(",")]

    @property
    def texts(self) -> list[bytes]:
        """All strings among the arguments."""
        found = []
        for text, is_cut in _TEXT.findall(self.arguments):
            assert not is_cut, f"{self.name} wrote more than is recorded"
            found.append(bytes.fromhex(text.replace("\\x", "")))
        return found

    @property
    def paths(self) -> list[str]:
        """All strings among the arguments, as paths."""
        return [os.fsdecode(text) for text in self.texts]

    def number(self, place: int) -> int:
        """An argument."""
        return int(self.words[place].strip("[]"), 0)


class Replay:
    """Applies recorded calls to a disk.

    Args:
        disk: As it was before the command.
        cwd: Where the command began.
    """

    def __init__(self, disk: Disk, cwd: Path) -> None:
        self._disk, self._cwd = disk, str(cwd)
        self._processes: dict[int, _Process] = {}
        self._begun: dict[int, tuple[str, str]] = {}

    def run(self, log: Path) -> Iterator[tuple[str, str]]:
        """Kind and path of each change, after it was applied."""
        with log.open(encoding="ascii", errors="replace") as lines:
            for line in lines:
                found = _LINE.match(line.rstrip("\n"))
                if found is None:
                    continue  # a signal, the end of a process
                pid, resumed, name, rest = int(found[1]), found[2], found[3], found[4]
                process = self._process(pid)
                if resumed:
                    name, begin = self._begun.pop(pid)
                    rest = begin + rest
                if rest.endswith(_UNFINISHED):
                    rest = rest[: -len(_UNFINISHED)]
                    self._begun[pid] = (name, rest)
                    if name == "close":
                        # Another thread may get the number before this call has ended.
                        process.files.pop(int(rest), None)
                    continue
                if resumed and name == "close":
                    continue
                call = _parsed(name, rest)
                if call is not None:
                    yield from self._apply(process, call)

    def _process(self, pid: int) -> _Process:
        if pid not in self._processes:
            starters = [(p, text) for p, (name, text) in self._begun.items() if name in _STARTS]
            if not self._processes:
                self._processes[pid] = _Process(self._cwd)
            else:
                assert starters, f"process {pid} was started by nobody"
                self._start(starters[-1][0], starters[-1][1], pid)
        return self._processes[pid]

    def _start(self, parent: int, arguments: str, pid: int) -> None:
        of = self._processes[parent]
        self._processes[pid] = of if "CLONE_THREAD" in arguments else of.child()

    def _apply(self, process: _Process, call: _Call) -> Iterator[tuple[str, str]]:
        if call.name in _STARTS:
            if call.result not in self._processes:
                owner = next(p for p, one in self._processes.items() if one is process)
                self._start(owner, call.arguments, call.result)
            return
        handler = self._HANDLERS.get(call.name)
        told = handler(self, process, call) if handler is not None else None
        if told is not None:
            yield told

    def _node(
        self, process: _Process, call: _Call, number: int = 0
    ) -> tuple[DiskFolder | None, str]:
        """Folder and name of a path among the arguments, and its dirfd where the call has one."""
        path = call.paths[number]
        if not os.path.isabs(path):
            before = call.arguments.split('"')[2 * number].split(",")
            at = before[-2].strip() if len(before) > 1 else "AT_FDCWD"
            if at.isdigit():
                opened = process.files.get(int(at))
                if opened is None or not isinstance(opened.node, DiskFolder):
                    return None, ""
                return self._disk.place(path, opened.node)
            path = os.path.join(process.cwd, path)
        return self._disk.place(os.path.normpath(path))

    def _open(self, process: _Process, call: _Call) -> tuple[str, str] | None:
        path = call.paths[0]
        flags = call.arguments.split('"')[2]
        if call.name == "creat":
            flags = "O_CREAT|O_TRUNC"
        process.files.pop(call.result, None)
        parent, name = self._node(process, call)
        if parent is None:
            process.files[call.result] = _Open(None, os.path.join(process.cwd, path))
            return None
        node = parent.now.get(name) if name else parent
        told = None
        if node is None:
            assert "O_CREAT" in flags, f"{path} was opened and is not there"
            node = parent.now[name] = DiskFile()
            told = (MAKE, name)
        elif "O_TRUNC" in flags and isinstance(node, DiskFile):
            node.resize(0)
            told = (WRITE, name)
        process.files[call.result] = _Open(node, path, appends="O_APPEND" in flags)
        return told

    def _close(self, process: _Process, call: _Call) -> None:
        process.files.pop(call.number(0), None)

    def _dup(self, process: _Process, call: _Call) -> None:
        if call.name == "fcntl" and "F_DUPFD" not in call.arguments:
            return
        opened = process.files.get(call.number(0))
        process.files.pop(call.result, None)
        if opened is not None:
            process.files[call.result] = opened

    def _exec(self, process: _Process, call: _Call) -> None:
        # Python opens everything so that programs it starts do not get it.
        process.files = {n: opened for n, opened in process.files.items() if n < 3}

    def _write(self, process: _Process, call: _Call) -> tuple[str, str] | None:
        opened = process.files.get(call.number(0))
        if opened is None or not isinstance(opened.node, DiskFile):
            return None
        data = b"".join(call.texts)[: call.result]
        if call.name.startswith("pwrite"):
            place = call.number(-1 if call.name != "pwritev2" else -2)
        else:
            place = len(opened.node.now) if opened.appends else opened.place
            opened.place = place + len(data)
        opened.node.write(data, place)
        return WRITE, opened.path

    def _read(self, process: _Process, call: _Call) -> None:
        opened = process.files.get(call.number(0))
        if opened is not None:
            opened.place += call.result

    def _copy(self, process: _Process, call: _Call) -> tuple[str, str] | None:
        """Bytes that the kernel takes from one file to another."""
        is_range = call.name == "copy_file_range"
        target = process.files.get(call.number(2 if is_range else 0))
        source = process.files.get(call.number(0 if is_range else 1))
        if target is None or not isinstance(target.node, DiskFile):
            return None
        assert source is not None, f"{call.name} from what is no file"
        offset = call.words[1 if is_range else 2]
        assert not is_range or call.words[3] == "NULL"
        begin = source.place if offset == "NULL" else int(offset.split("]")[0].strip("["))
        if offset == "NULL":
            source.place += call.result
        if isinstance(source.node, DiskFile):
            data = bytes(source.node.now[begin : begin + call.result])
        else:
            data = Path(source.path).read_bytes()[begin : begin + call.result]
        assert len(data) == call.result
        target.node.write(data, target.place)
        target.place += len(data)
        return WRITE, target.path

    def _seek(self, process: _Process, call: _Call) -> None:
        opened = process.files.get(call.number(0))
        if opened is not None:
            opened.place = call.result

    def _resize(self, process: _Process, call: _Call) -> tuple[str, str] | None:
        if call.name == "truncate":
            parent, name = self._node(process, call)
            node = parent.now.get(name) if parent is not None else None
        else:
            opened = process.files.get(call.number(0))
            node = opened.node if opened is not None else None
        if not isinstance(node, DiskFile):
            return None
        if call.name != "fallocate":
            node.resize(call.number(1))
        elif call.words[1] == "0":
            node.resize(max(len(node.now), call.number(2) + call.number(3)))
        else:
            raise NotImplementedError(call.arguments)
        return WRITE, call.name

    def _rename(self, process: _Process, call: _Call) -> tuple[str, str] | None:
        source, old = self._node(process, call, 0)
        target, new = self._node(process, call, 1)
        if source is None and target is None:
            return None
        assert source is not None, f"into the folder: {call.paths}"
        assert target is not None, f"out of the folder: {call.paths}"
        if "RENAME_EXCHANGE" in call.arguments:
            source.now[old], target.now[new] = target.now[new], source.now[old]
        else:
            target.now[new] = source.now.pop(old)
        return RENAME, f"{old} -> {new}"

    def _remove(self, process: _Process, call: _Call) -> tuple[str, str] | None:
        parent, name = self._node(process, call)
        if parent is None:
            return None
        del parent.now[name]
        return REMOVE, name

    def _make(self, process: _Process, call: _Call) -> tuple[str, str] | None:
        parent, name = self._node(process, call)
        if parent is None:
            return None
        parent.now[name] = DiskFolder()
        return MAKE, name

    def _sync(self, process: _Process, call: _Call) -> tuple[str, str] | None:
        opened = process.files.get(call.number(0))
        if opened is None or opened.node is None:
            return None
        opened.node.sync()
        return SYNC, opened.path

    def _map(self, process: _Process, call: _Call) -> None:
        opened = process.files.get(int(call.words[4])) if "MAP_ANON" not in call.arguments else None
        is_shared = "MAP_SHARED" in call.arguments and "PROT_WRITE" in call.arguments
        if opened is not None and isinstance(opened.node, DiskFile) and is_shared:
            raise NotImplementedError(f"memory is mapped to {opened.path}")

    def _chdir(self, process: _Process, call: _Call) -> None:
        process.cwd = os.path.normpath(os.path.join(process.cwd, call.paths[0]))

    def _link(self, process: _Process, call: _Call) -> None:
        if any(self._disk.place(os.path.abspath(path))[0] for path in call.paths[1:]):
            raise NotImplementedError(f"a link is not modelled: {call.paths}")

    _HANDLERS: ClassVar[dict[str, Callable[[Replay, _Process, _Call], tuple[str, str] | None]]] = {
        **dict.fromkeys(("open", "openat", "creat"), _open),
        "close": _close,
        **dict.fromkeys(("dup", "dup2", "dup3", "fcntl"), _dup),
        "execve": _exec,
        **dict.fromkeys(("write", "pwrite64", "writev", "pwritev", "pwritev2"), _write),
        **dict.fromkeys(("read", "readv"), _read),
        **dict.fromkeys(("sendfile", "copy_file_range", "splice"), _copy),
        "lseek": _seek,
        **dict.fromkeys(("ftruncate", "truncate", "fallocate"), _resize),
        **dict.fromkeys(("rename", "renameat", "renameat2"), _rename),
        **dict.fromkeys(("unlink", "unlinkat", "rmdir"), _remove),
        **dict.fromkeys(("mkdir", "mkdirat"), _make),
        **dict.fromkeys(("fsync", "fdatasync"), _sync),
        "mmap": _map,
        "chdir": _chdir,
        **dict.fromkeys(("link", "linkat", "symlink", "symlinkat"), _link),
    }


_STARTS = ("clone", "clone3", "fork", "vfork")


def _parsed(name: str, rest: str) -> _Call | None:
    """A call that succeeded."""
    found = _END.match(rest)
    if found is None or found[2] == "?":
        return None
    result = int(found[2], 0)
    return None if result < 0 else _Call(name, found[1], result)
