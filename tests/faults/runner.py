"""One run of the real command on bad input or under a fault, and what must hold after any run."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError

# A guard against hangs on the slowest machine, not a measure: a run takes one or two seconds.
WATCHDOG_S = 300
# Pictures claimed by a header must not cost memory that no picture needs.
PEAK_MIB = 1536
OPTIONS = ("--model", "passthrough", "--device", "cpu", "--threads", "1")
Fault = tuple[str | int, ...]
_PROGRESS = re.compile(r"dub: \w+ \d+/(\d+|\?) frames|waiting$")


class HangError(AssertionError):
    """A run did not end; the message has the stacks of its threads."""


class EndedError(EOFError):
    """The process that answers has ended."""


@dataclass(frozen=True)
class Done:
    """How a run ended: exit code (128 + n for signal n, as shells count), streams, memory."""

    code: int
    stdout: str
    stderr: str
    peak_mib: float

    @property
    def lines(self) -> list[str]:
        """What was said on stderr."""
        return [line for line in self.stderr.splitlines() if line.strip()]


class ForkServer:
    """Starts runs of the command quickly: see `server.py`."""

    def __init__(self, script: str = "server.py") -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name(script))],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answers: queue.Queue[str] = queue.Queue()
        self._has_ended = False
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        """End the server."""
        assert self._process.stdin is not None
        self._has_ended = True
        with suppress(BrokenPipeError):  # it has ended by itself
            self._process.stdin.close()
        if self._process.stdout is not None:
            self._process.wait(WATCHDOG_S)
            self._process.stdout.close()

    def start(self, request: dict[str, Any]) -> int:
        """Start a run; returns its process number."""
        self._ask(request)
        return int(self._answer()["pid"])

    def wait(self, pid: int, stacks: Path) -> tuple[int, float]:
        """Exit code and peak memory in MiB of a run.

        Raises:
            HangError: It does not end.
        """
        self._ask({"wait": pid})
        try:
            answer = self._answer()
        except queue.Empty:
            said = give_up(pid, stacks)
            with suppress(EndedError):
                self._answer()
            raise HangError(f"no end after {WATCHDOG_S} s:\n{said}") from None
        assert not answer.get("left"), f"left behind: {answer['left']}"
        code = os.waitstatus_to_exitcode(answer["status"])
        return (128 - code if code < 0 else code), answer["peak_kib"] / 1024

    def _ask(self, request: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        answer = self._answers.get(timeout=WATCHDOG_S)
        if not answer:
            raise EndedError
        return json.loads(answer)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")


def give_up(pid: int, stacks: Path) -> str:
    """End a run that hangs; returns the stacks of its threads, which it writes as it ends."""
    with suppress(ProcessLookupError):  # it has just ended by itself
        process = os.pidfd_open(pid)
        try:
            os.kill(pid, signal.SIGUSR1)
            if not select.select([process], [], [], WATCHDOG_S)[0]:
                os.kill(pid, signal.SIGKILL)
        finally:
            os.close(process)
    return stacks.read_text("utf-8", "replace")


@dataclass
class Bench:
    """One case: a folder of inputs, one for the output, one for temporary files.

    Attributes:
        server: Starts the runs.
        root: An empty folder of the case.
        output_name: Name of the result.
        environment: Changes to the environment; None removes a variable.
    """

    server: ForkServer
    root: Path
    output_name: str = "out.mp4"
    environment: dict[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for folder in (self.inputs, self.outputs, self.temporary):
            folder.mkdir(exist_ok=True)

    @property
    def inputs(self) -> Path:
        """Where the case's inputs lie."""
        return self.root / "in"

    @property
    def outputs(self) -> Path:
        """Where the result goes."""
        return self.root / "out"

    @property
    def temporary(self) -> Path:
        """TMPDIR of the run."""
        return self.root / "tmp"

    @property
    def output(self) -> Path:
        """The result's path."""
        return self.outputs / self.output_name

    @property
    def job_folder(self) -> Path:
        """Where finished parts of an interrupted run are kept."""
        return self.outputs / f"{self.output_name}.dubjob"

    def take(self, path: Path, name: str | None = None) -> Path:
        """A copy of a file among the inputs."""
        return Path(shutil.copy(path, self.inputs / (name or path.name)))

    def command(self, video: Path, audio: Path, *options: str) -> list[str]:
        """Arguments of the main job."""
        words = [*OPTIONS, *options, "--audio", str(audio), "-o", str(self.output), "--"]
        return [*words, str(video)]

    def run(self, argv: list[str], *faults: Fault, limits: dict[str, int] | None = None) -> Done:
        """Run the command to its end.

        Args:
            argv: Its arguments.
            faults: Names and arguments of functions in `hooks.py`.
            limits: Limits of `resource`, by name.
        """
        pid = self.server.start(self.request(argv, faults, limits or {}, self.root / "stderr"))
        return self.finish(pid, None)

    @contextmanager
    def running(self, argv: list[str], *faults: Fault) -> Iterator[Running]:
        """Run the command while the block looks at it."""
        pipe = self.root / "said"
        os.mkfifo(pipe)
        pid = self.server.start(self.request(argv, faults, {}, pipe))
        with pipe.open(encoding="utf-8", errors="replace") as said:
            running = Running(pid, self, iter(said.readline, ""))
            try:
                yield running
            finally:
                if running.done is None:
                    running.finish()
        pipe.unlink()

    def request(
        self, argv: list[str], faults: tuple[Fault, ...], limits: dict[str, int], stderr: Path
    ) -> dict[str, Any]:
        """What `server.py` needs to know of a run."""
        changes = {"TMPDIR": str(self.temporary), "OMP_NUM_THREADS": "1", **self.environment}
        if faults:
            changes["DUB_FAULTS"] = json.dumps(faults)
        environment = {**os.environ, **changes}
        (self.root / "stacks").touch()
        return {
            "argv": argv,
            "cwd": str(self.root),
            "environment": {k: v for k, v in environment.items() if v is not None},
            "stdout": str(self.root / "stdout"),
            "stderr": str(stderr),
            "stacks": str(self.root / "stacks"),
            "limits": limits,
        }

    def finish(self, pid: int, said: str | None = None) -> Done:
        """Wait for the end of a run."""
        code, peak_mib = self.server.wait(pid, self.root / "stacks")
        texts = []
        for name in ("stdout", "stderr"):
            path = self.root / name
            texts.append(path.read_text("utf-8", "replace") if path.is_file() else "")
            path.unlink(missing_ok=True)
        return Done(code, texts[0], texts[1] if said is None else said, peak_mib)


class Running:
    """A run that has not ended yet.

    Attributes:
        pid: Its process number.
        done: How it ended; None before.
    """

    def __init__(self, pid: int, bench: Bench, lines: Iterator[str]) -> None:
        self.pid = pid
        self.done: Done | None = None
        self._bench = bench
        self._lines = lines
        self._said: list[str] = []
        self._stacks: list[str] = []
        self._watchdog = threading.Timer(WATCHDOG_S, self._give_up)
        self._watchdog.start()

    def wait_for(self, words: str) -> None:
        """Read stderr until a line has these words."""
        for line in self._lines:
            self._said.append(line)
            if words in line:
                return
        raise AssertionError(f"{words!r} was never said: {self._said} {self._stacks}")

    def finish(self) -> None:
        """Wait for the end.

        Raises:
            HangError: It did not come.
        """
        self._said += self._lines
        self._watchdog.cancel()
        self.done = self._bench.finish(self.pid, "".join(self._said))
        if self._stacks:
            raise HangError(f"no end after {WATCHDOG_S} s:\n{self._stacks[0]}")

    def _give_up(self) -> None:
        self._stacks.append(give_up(self.pid, self._bench.root / "stacks"))


def fingerprints(folder: Path) -> dict[str, str]:
    """Name and sha256 of everything in a folder; what is no file counts by its kind."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder)).encode("utf-8", "surrogateescape").hex()
        is_plain = path.is_file() and os.access(path, os.R_OK) and not path.is_symlink()
        content = path.read_bytes() if is_plain else str(path.lstat().st_mode).encode()
        found[name] = hashlib.sha256(content).hexdigest()
    return found


def verify(
    bench: Bench, done: Done, codes: Collection[int], before: dict[str, str], named: str = ""
) -> None:
    """What must hold after any run.

    The documented exit code, one line on stderr (besides progress), a complete output or none,
    nothing left in the output's or the temporary folder, inputs as they were, modest memory.

    Args:
        bench: The case.
        done: How its run ended.
        codes: Exit codes that are right.
        before: `fingerprints` of the inputs before the run.
        named: What the line must contain.
    """
    told = f"exit code {done.code}, stderr:\n{done.stderr}"
    assert "Traceback" not in done.stderr, told
    assert done.code in codes, told
    assert fingerprints(bench.inputs) == before, "the inputs changed"
    assert done.peak_mib < PEAK_MIB, f"{done.peak_mib:.0f} MiB"
    left = leftovers(bench, done)
    assert left == [], f"{left}, {told}"
    if done.code == 0:
        check_output(bench.output)
    else:
        check_line(done, named)
        assert not bench.output.exists(), told


def check_line(done: Done, named: str = "") -> None:
    """One line that says what is wrong, after at most lines of progress."""
    lines = [line for line in done.lines if not _PROGRESS.match(line)]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("dub: "), done.stderr
    assert named in lines[0], done.stderr


def leftovers(bench: Bench, done: Done) -> list[str]:
    """What a run left besides its result: nothing, or a job folder that it announced."""
    # Credentials lie beside what cannot hold them.
    ends = (bench.output.suffix, ".json", ".c2pa") if done.code == 0 else ()
    expected = {bench.output.with_suffix(end).name for end in ends}
    found = [path for path in bench.outputs.iterdir() if path.name not in expected]
    announced = bench.job_folder.name in done.stderr
    found = [path for path in found if not (announced and path == bench.job_folder)]
    return sorted(str(path) for path in [*found, *bench.temporary.iterdir()])


def check_output(path: Path) -> None:
    """The result decodes whole: as many pictures as its report counts, and sound."""
    report = json.loads(path.with_suffix(".json").read_text("utf-8"))
    with av.open(os.path.abspath(path)) as container:
        pictures = sum(1 for _ in container.decode(video=0))
    with av.open(os.path.abspath(path)) as container:
        sound = sum(frame.samples for frame in container.decode(audio=0))
    assert pictures == report["frames"] > 0
    assert sound > 0


def is_readable(path: Path) -> bool:
    """Whether a file under the result's name decodes without an error."""
    try:
        with av.open(os.path.abspath(path)) as container:
            return sum(1 for _ in container.decode(video=0)) > 0
    except FFmpegError:
        return False
