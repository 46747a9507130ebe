"""Every state in which a killed command or a power cut leaves a folder, and what follows from it.

A command is recorded by strace in a folder of its own. Each prefix of its calls that ends at a
sync, a rename or a removal, and some that end at a write, gives the states of `disk_model`; equal
ones count once. Each state is put on the disk, checked, and the same command is run there again.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crash_case import CrashCase, make_case
from crash_jobs import CrashJob
from disk_model import STRICT, VARIANTS, Disk, Tree
from runner import WATCHDOG_S, ForkServer
from system_calls import MAKE, WRITE, Replay, traced

# Each traced call costs two switches to strace and back.
_TRACED_WATCHDOG_S = 5 * WATCHDOG_S


@dataclass(frozen=True)
class State:
    """A folder as it may be found.

    Attributes:
        number: Of the call after which it is found.
        after: What that call did.
        variant: What was lost, see `disk_model`.
        tree: Paths and digests.
    """

    number: int
    after: str
    variant: str
    tree: Tree

    def __str__(self) -> str:
        return f"{self.variant} at call {self.number} ({self.after})"


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A command that was recorded.

    Attributes:
        case: The command and its folder.
        initial: The folder before it.
        blobs: Contents by digest.
        states: Equal ones once, in order.
        last: What a power cut leaves of names and contents after the command has ended.
        counts: Recorded calls by kind.
    """

    case: CrashCase
    initial: Tree
    blobs: dict[str, bytes]
    states: tuple[State, ...]
    last: State
    counts: dict[str, int]

    def check(self, state: State) -> str:
        """Put a state on the disk and run the command there; returns how that ended.

        Raises:
            AssertionError: Something is half-written or lost, or the command does not end well.
        """
        self._put(state)
        self.case.check_finals("before the run")
        return self.case.run_again()

    def check_last(self) -> None:
        """What a command has reported as done survives a power cut.

        Raises:
            AssertionError: It does not.
        """
        self._put(self.last)
        finals = self.case.job.finals(self.case.bench)
        assert finals == self.case.after, f"a power cut after the end leaves {finals}"

    def _put(self, state: State) -> None:
        root = self.case.bench.root
        shutil.rmtree(root)
        root.mkdir()
        as_before = {(path, digest) for path, digest in self.initial if digest}
        for name, digest in state.tree:
            path = root / name
            if not digest:
                path.mkdir()
            elif (name, digest) in as_before:
                shutil.copy2(self.case.template / name, path)  # commands tell inputs by their time
            else:
                path.write_bytes(self.blobs[digest])
                path.chmod(0o600)


def record(job: CrashJob, server: ForkServer, folder: Path, tiny: Path, writes: int) -> Recording:
    """Run a command and collect its states.

    Args:
        job: The command.
        server: Starts runs.
        folder: An empty folder.
        tiny: The tiny files.
        writes: How many of its writes are sampled.
    """
    case, log = make_case(job, server, folder, tiny), folder / "calls"
    root = case.bench.root
    _run_traced(case, log, folder)
    case.finish()
    disk = Disk(root, case.template)
    initial = disk.tree(STRICT)
    changes = list(Replay(Disk(root, case.template), root).run(log))
    states = _collect(disk, changes, Replay(disk, root), log, writes)
    return Recording(
        case=case,
        initial=initial,
        blobs=disk.blobs,
        states=states,
        last=State(len(changes), "the end", STRICT, disk.tree(STRICT)),
        counts=dict(Counter(kind for kind, _ in changes)),
    )


def _run_traced(case: CrashCase, log: Path, folder: Path) -> None:
    request = case.bench.request(case.argv, case.faults, {}, folder / "stderr")
    request |= {name: str(folder / name) for name in ("stdout", "stacks")}
    for name in ("stdout", "stderr", "stacks"):
        (folder / name).touch()
    script = Path(__file__).with_name("server.py")
    words = traced([sys.executable, str(script), json.dumps(request)], log)
    done = subprocess.run(
        words,
        check=False,
        timeout=_TRACED_WATCHDOG_S,
        cwd=case.bench.root,
        stdin=subprocess.DEVNULL,
    )
    said = (folder / "stderr").read_text("utf-8", "replace")
    assert done.returncode == 0, f"exit code {done.returncode}: {said}"


def _collect(
    disk: Disk, changes: Sequence[tuple[str, str]], replay: Replay, log: Path, writes: int
) -> tuple[State, ...]:
    """The states after every change but those writes that are not sampled; equal ones once."""
    places = [number for number, (kind, _) in enumerate(changes) if kind in (WRITE, MAKE)]
    skipped = set(places) - set(random.Random(1).sample(places, min(writes, len(places))))
    seen: set[Tree] = set()
    states: list[State] = []
    for number, (kind, name) in enumerate(replay.run(log)):
        if number in skipped:
            continue
        for variant in VARIANTS:
            tree = disk.tree(variant)
            if tree not in seen:
                seen.add(tree)
                states.append(State(number, f"{kind} {Path(name).name}", variant, tree))
    return tuple(states)
