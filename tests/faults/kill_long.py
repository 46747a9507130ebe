"""`kill -9` at random moments: `python tests/faults/kill_long.py --seed 1 --count 200`.

Commands in turn; each is killed again and again in one folder, wherever it happens to be, and goes
on from there, until it ends before it is killed. Prints what breaks a rule, then how the runs
ended, as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from crash_case import CrashCase, make_case
from crash_jobs import JOBS
from runner import ForkServer
from tiny import make_tiny

_KILLED = 128 + signal.SIGKILL
# Later than an undisturbed run took, so that some runs come to their end.
_LATEST = 1.25


def main() -> int:
    """Kill and go on; 1 when a rule is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=200, help="how many runs are killed")
    options = parser.parse_args()
    server, source = ForkServer(), random.Random(options.seed)
    ends: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        tiny = Path(folder) / "tiny"
        tiny.mkdir()
        make_tiny(tiny)
        killers = []
        for job in JOBS:
            place = Path(folder) / job.name
            place.mkdir()
            killers.append(_Killer(make_case(job, server, place, tiny), server, source))
        while sum(ends[name] for name in ends if name.endswith(" killed")) < options.count:
            for killer in killers:
                killer.round(ends)
    server.close()
    broken = sum(ends[name] for name in ends if name.endswith(" broken"))
    print(json.dumps({"seed": options.seed, "ends": dict(sorted(ends.items()))}))
    return 1 if broken else 0


class _Killer:
    """Kills one command.

    Args:
        case: The command; its undisturbed run is made here.
        server: Starts runs.
        source: Of the moments.
    """

    def __init__(self, case: CrashCase, server: ForkServer, source: random.Random) -> None:
        self._case, self._server, self._source = case, server, source
        began = time.monotonic()
        done = case.bench.run(case.argv, *case.faults)
        self._seconds = time.monotonic() - began
        assert done.code == 0, done.stderr
        case.finish()
        case.reset()

    def round(self, ends: Counter[str]) -> None:
        """Start the command once and kill it, or see it end."""
        name, bench = self._case.job.name, self._case.bench
        request = bench.request(self._case.argv, self._case.faults, {}, bench.root / "stderr")
        found = self._case.files()
        pid = self._server.start(request)
        time.sleep(self._source.uniform(0, _LATEST * self._seconds))
        os.kill(pid, signal.SIGKILL)  # not waited for yet, so the number is still its own
        done = bench.finish(pid)
        try:
            if done.code == _KILLED:
                ends[f"{name} killed"] += 1
                self._case.check_finals("after a kill")
            else:
                ends[f"{name} {self._case.judge(done, found)}"] += 1
                self._case.reset()
        except AssertionError as error:
            ends[f"{name} broken"] += 1
            print(f"{name}: {error}", file=sys.stderr, flush=True)
            self._case.reset()


if __name__ == "__main__":
    sys.exit(main())
