"""Many damaged files in a row: `python tests/faults/fuzz_long.py --seed 1 --count 500`.

`--count` videos and recordings, `--inputs` files of other kinds. Prints each failure, then how many
runs ended how, as JSON. All run in one process; `--apart` gives each a process of its own, as a
user would. `--only NUMBER --keep FOLDER` writes the file of one case, with `--inputs 1` of one of
the other kinds.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from fuzz import Fuzzed, series
from fuzz_inputs import make_sources, series_of_inputs
from kept_process import KeptProcess
from malformed import ANY
from runner import Bench, Done, ForkServer, fingerprints, verify
from tiny import make_tiny

# Half of what the tests damage: containers hold all they held, and a run costs half.
_FRAMES = 6


def main() -> int:
    """Run a series; 1 when any case breaks a rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=500, help="damaged videos and recordings")
    parser.add_argument("--inputs", type=int, default=0, help="damaged files of other kinds")
    parser.add_argument("--only", type=int, help="write this case's file and run nothing")
    parser.add_argument("--keep", type=Path, default=Path(), help="where --only writes it")
    parser.add_argument("--apart", action="store_true", help="a process for each run")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # told like an interrupt
    with tempfile.TemporaryDirectory() as folder:
        tiny = Path(folder) / "tiny"
        tiny.mkdir()
        make_tiny(tiny, _FRAMES)
        server = ForkServer() if options.apart else KeptProcess()
        sources = _sources(server, Path(folder), tiny) if options.inputs else {}
        if options.only is not None:
            number = options.only + 1
            if options.inputs:
                print(series_of_inputs(options.seed, number)[-1].make(sources, options.keep))
            else:
                print(series(options.seed, number)[-1].make(tiny, options.keep))
            return 0
        told = _Told(options.seed)
        with suppress(KeyboardInterrupt):  # what ran so far is told
            for one in series_of_inputs(options.seed, options.inputs):
                with tempfile.TemporaryDirectory(dir=folder) as root:
                    bench = Bench(server, Path(root))
                    told.run(one.kind, one, partial(one.run, bench, sources, tiny))
            for case in series(options.seed, options.count):
                with tempfile.TemporaryDirectory(dir=folder) as root:
                    bench = Bench(server, Path(root))
                    kind = "audio" if case.is_audio else "video"
                    told.run(kind, case, partial(_damaged_media, case, bench, tiny))
        server.close()
    return told.end()


def _sources(server: ForkServer, folder: Path, tiny: Path) -> dict[str, bytes]:
    place = folder / "sources"
    place.mkdir()
    return make_sources(server, place, tiny)


def _damaged_media(case: Fuzzed, bench: Bench, tiny: Path) -> Done:
    made = case.make(tiny, bench.inputs)
    other = bench.take(tiny / ("mute.mp4" if case.is_audio else "speech.wav"), "other")
    video, audio = (other, made) if case.is_audio else (made, other)
    before = fingerprints(bench.inputs)
    done = bench.run(bench.command(video, audio, "-q"))
    verify(bench, done, ANY, before)
    return done


class _Told:
    """Counts how runs ended."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._ends: Counter[str] = Counter()
        self._peak_mib = 0.0

    def run(self, kind: str, case: object, run: Callable[[], Done]) -> None:
        """Run a case; a broken rule is printed at once."""
        try:
            done = run()
        except AssertionError as error:
            self._ends["failed"] += 1
            print(f"{case}: {error}", file=sys.stderr, flush=True)
            return
        self._peak_mib = max(self._peak_mib, done.peak_mib)
        self._ends[f"{kind}: {done.code}"] += 1

    def end(self) -> int:
        """Print the counts; 1 where a rule was broken."""
        ends = dict(sorted(self._ends.items()))
        told = {"seed": self._seed, "cases": sum(ends.values()), "ends": ends}
        print(json.dumps({**told, "peak_mib": round(self._peak_mib)}, indent=1))
        return 1 if self._ends["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
