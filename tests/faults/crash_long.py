"""Power cuts and kills at every change of a file: `python tests/faults/crash_long.py`.

Prints each state from which a command does not end well, then what was recorded and how the runs
ended, as JSON. Runs from states take place in one process a command; `--apart` gives each a process
of its own. Needs strace.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

from crash_jobs import JOBS
from crash_states import Recording, record
from kept_process import KeptProcess
from runner import ForkServer
from system_calls import why_not_traced
from tiny import make_tiny


def main() -> int:
    """Record and check; 1 when a state breaks a rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [job.name for job in JOBS]
    parser.add_argument("--job", choices=names, action="append", help="only these commands")
    parser.add_argument("--writes", type=int, default=200, help="sampled writes of each command")
    parser.add_argument("--most", type=int, default=0, help="no more states of each; 0 is all")
    parser.add_argument("--first", type=int, default=0, help="only so many from the first on")
    parser.add_argument("--list", action="store_true", help="list the states and run nothing")
    parser.add_argument("--apart", action="store_true", help="a process for each run")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # told like an interrupt
    reason = why_not_traced()
    if reason is not None:
        print(reason, file=sys.stderr)
        return 2
    broken, told = 0, {}
    with tempfile.TemporaryDirectory() as folder:
        tiny = Path(folder) / "tiny"
        tiny.mkdir()
        make_tiny(tiny)
        for job in (job for job in JOBS if job.name in (options.job or names)):
            place = Path(folder) / job.name
            place.mkdir()
            server = ForkServer() if options.apart else KeptProcess()
            recording = record(job, server, place, tiny, options.writes)
            if options.list:
                print(*recording.states, sep="\n")
                server.close()
                continue
            ends = _check(recording, options.first, options.most)
            server.close()
            broken += ends["broken"]
            told[job.name] = {
                "calls": recording.counts,
                "states": len(recording.states),
                "ends": dict(sorted(ends.items())),
            }
            print(json.dumps({job.name: told[job.name]}), file=sys.stderr, flush=True)
    print(json.dumps(told, indent=1))
    return 1 if broken else 0


def _check(recording: Recording, first: int, most: int) -> Counter[str]:
    """Run from each state; an interrupt ends that, and what ran so far is told."""
    states = list(recording.states)[: first or None]
    if most and len(states) > most:
        chosen = sorted(random.Random(1).sample(range(len(states)), most))
        states = [states[number] for number in chosen]
    ends: Counter[str] = Counter()
    try:
        recording.check_last()
    except AssertionError as error:
        ends["broken"] += 1
        print(f"{recording.case.job.name}: {error}", file=sys.stderr, flush=True)
    for state in states:
        try:
            ends[recording.check(state)] += 1
        except KeyboardInterrupt:
            break
        except AssertionError as error:
            ends["broken"] += 1
            print(f"{recording.case.job.name}, {state}: {error}", file=sys.stderr, flush=True)
    return ends


if __name__ == "__main__":
    sys.exit(main())
