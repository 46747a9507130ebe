"""A command in a folder of its own, and what must hold there after anything has stopped it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from crash_jobs import CrashJob, Finals, surroundings
from runner import Bench, Done, Fault, ForkServer, check_line

# Folders of a case in which a command may leave something.
_WATCHED = ("out", "home", "tmp", "list")
SAME, REFUSED = "same", "refused"


@dataclass(kw_only=True)
class CrashCase:
    """A command, and what its folder holds before and after it.

    Attributes:
        job: Which command.
        bench: Its folder; states are put at the same path.
        argv: Its arguments.
        template: A copy of the folder as it was before.
        before: What a user relied on before.
        after: And after a run that nobody disturbed; empty until `finish`.
        left: All files after such a run.
    """

    job: CrashJob
    bench: Bench
    argv: list[str]
    template: Path
    before: Finals
    after: Finals
    left: frozenset[str] = frozenset()

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What is put into each run: a batch works in the process that is stopped."""
        return (*self.job.faults, ("in process",))

    def reset(self) -> None:
        """Put the folder back to what it was before."""
        shutil.rmtree(self.bench.root)
        shutil.copytree(self.template, self.bench.root)

    def finish(self) -> None:
        """Keep what a run has left that nobody disturbed."""
        self.after, self.left = self.job.finals(self.bench), frozenset(self.files())

    def check_finals(self, when: str) -> None:
        """Nothing is half-written under a name that a user relies on, and nothing is lost."""
        finals = self.job.finals(self.bench)
        for name, value in finals.items():
            known = {one[name] for one in (self.before, self.after) if name in one}
            assert value in known, f"{when}: {name} is half-written: {value}"
        lost = self.before.keys() - finals.keys()
        assert not lost, f"{when}: {sorted(lost)} is lost"

    def run_again(self) -> str:
        """Run the command to its end in the folder as it is; returns how that ended.

        Raises:
            AssertionError: It ends with another result, without one, or leaves something behind.
        """
        found = self.files()
        return self.judge(self.bench.run(self.argv, *self.faults), found)

    def judge(self, done: Done, found: set[str] | None = None) -> str:
        """How a run ended, where the folder held some files before.

        Raises:
            AssertionError: As for `run_again`.
        """
        told = f"exit code {done.code}: {done.stderr}"
        finals = self.job.finals(self.bench)
        assert finals == self.after, f"another result: {finals}, not {self.after}; {told}"
        if done.code == 0:
            # Nobody can remove what a stopped process has put into TMPDIR.
            old = {name for name in found or () if name.startswith("tmp/")}
            extra = self.files() - self.left - old
            assert not extra, f"left behind: {sorted(extra)}; {told}"
            return SAME
        assert self.job.refusal, told
        check_line(done, self.job.refusal)
        return REFUSED

    def files(self) -> set[str]:
        """All files where a command may leave something."""
        found = (path for name in _WATCHED for path in (self.bench.root / name).rglob("*"))
        return {str(path.relative_to(self.bench.root)) for path in found if path.is_file()}


def make_case(job: CrashJob, server: ForkServer, folder: Path, tiny: Path) -> CrashCase:
    """Prepare a command in an empty folder, from the tiny files."""
    root, template = folder / "case", folder / "before"
    root.mkdir()
    bench = Bench(server, root)
    bench.environment = surroundings(bench)
    argv = job.prepare(bench, tiny)
    shutil.copytree(root, template)
    before = job.finals(bench)
    return CrashCase(job=job, bench=bench, argv=argv, template=template, before=before, after={})
