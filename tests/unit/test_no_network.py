"""Nothing reaches for the network: at import and in a dub, where sockets are closed."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

# Runs before anything else in a fresh interpreter. A closed socket ends the process at once, so
# that no library can catch the refusal and go on. Local sockets between processes (AF_UNIX) stay.
CLOSE_SOCKETS = """
import os, socket, sys

REFUSED = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}

def refuse(event, args):
    is_open = event == "socket.__new__" and args[1] not in (socket.AF_UNIX, -1)
    if event in REFUSED or is_open:
        import traceback
        traceback.print_stack()
        os.write(2, b"a socket was opened: " + repr((event, args)).encode())
        os._exit(99)

sys.addaudithook(refuse)
"""
# The same for native code and for every process that is started, by the kernel: the call
# socket(AF_INET or AF_INET6) kills the process that makes it.
CLOSE_SOCKETS_IN_THE_KERNEL = """
import ctypes, struct

SOCKET_CALL = {"x86_64": 41, "aarch64": 198}[os.uname().machine]
PROGRAM = [  # (code, jump if true, jump if false, constant); see bpf(2) and seccomp(2)
    (0x20, 0, 0, 0),            # load the number of the system call
    (0x15, 0, 4, SOCKET_CALL),  # another one: allow
    (0x20, 0, 0, 16),           # load its first argument, the address family
    (0x15, 1, 0, 2),            # AF_INET: kill
    (0x15, 0, 1, 10),           # AF_INET6: kill; another: allow
    (0x06, 0, 0, 0x80000000),   # kill the process
    (0x06, 0, 0, 0x7FFF0000),   # allow
]
code = b"".join(struct.pack("HBBI", *line) for line in PROGRAM)
buffer = ctypes.create_string_buffer(code, len(code))
program = struct.pack("HxxxxxxQ", len(PROGRAM), ctypes.addressof(buffer))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):
    sys.exit(f"the kernel closes no sockets: {os.strerror(ctypes.get_errno())}")
"""
KNOWS_FILTERS = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")


def _run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code where sockets are closed, as a user's process: nothing tells it to stay offline."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_HUB_OFF")}
    parts = [CLOSE_SOCKETS, CLOSE_SOCKETS_IN_THE_KERNEL if KNOWS_FILTERS else "", code]
    return subprocess.run(
        [sys.executable, "-c", "\n".join(parts)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


IMPORT_EVERYTHING = """
import importlib, pkgutil
import dubcli

for module in pkgutil.walk_packages(dubcli.__path__, "dubcli."):
    if module.name != "dubcli.__main__":
        importlib.import_module(module.name)
print(len([name for name in sys.modules if name.startswith("dubcli.")]))
"""
RUN = """
from dubcli.cli.app import app

for arguments in ({commands}):
    try:
        app(list(arguments))
    except SystemExit as end:
        assert end.code in (None, 0), (arguments, end.code)
"""


def test_no_import_opens_a_socket(tmp_path: Path) -> None:
    run = _run(IMPORT_EVERYTHING, tmp_path)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 150


def test_no_socket_is_opened_by_a_dub(tmp_path: Path) -> None:
    commands = [
        ("demo", "-q", "--threads", "1", "--end", "1"),
        ("plan", "dub-demo.mp4", "-q"),
        ("inspect", "dub-demo.mp4"),
        ("models", "list"),
        ("models", "verify"),
        ("identities", "list"),
        ("config", "show"),
    ]
    run = _run(RUN.format(commands=", ".join(map(repr, commands))), tmp_path)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "dub-demo.mp4").is_file()


@pytest.mark.parametrize(
    "code",
    [
        "socket.create_connection(('127.0.0.1', 9))",
        "socket.socket(socket.AF_INET6)",
        "socket.getaddrinfo('localhost', 80)",
        pytest.param(
            "import subprocess\n"
            "child = 'import socket; socket.socket()'\n"
            "assert subprocess.run([sys.executable, '-c', child]).returncode == 0",
            marks=pytest.mark.skipif(not KNOWS_FILTERS, reason="no such filter of system calls"),
        ),
        pytest.param(
            "ctypes.CDLL(None).socket(2, 1, 0)",
            marks=pytest.mark.skipif(not KNOWS_FILTERS, reason="no such filter of system calls"),
        ),
    ],
)
def test_a_socket_would_be_noticed(code: str, tmp_path: Path) -> None:
    assert _run(code, tmp_path).returncode != 0
