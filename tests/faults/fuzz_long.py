"""Many damaged files in a row: `python tests/faults/fuzz_long.py --seed 1 --count 500`.

Prints each failure with the command that makes the file again, then how many runs ended how, as
JSON. `--only NUMBER --keep FOLDER` writes one case's file.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

from fuzz import Fuzzed, series
from malformed import ANY
from runner import Bench, ForkServer, fingerprints, verify
from tiny import make_tiny


def main() -> int:
    """Run a series; 1 when any case breaks a rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--only", type=int, help="write this case's file and run nothing")
    parser.add_argument("--keep", type=Path, default=Path(), help="where --only writes it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tiny = Path(folder) / "tiny"
        tiny.mkdir()
        make_tiny(tiny)
        if options.only is not None:
            case = series(options.seed, options.only + 1)[-1]
            print(case.make(tiny, options.keep))
            return 0
        return _run(series(options.seed, options.count), tiny, Path(folder))


def _run(cases: list[Fuzzed], tiny: Path, folder: Path) -> int:
    server = ForkServer()
    ends: Counter[str] = Counter()
    peak_mib = 0.0
    for case in cases:
        with tempfile.TemporaryDirectory(dir=folder) as root:
            bench = Bench(server, Path(root))
            made = case.make(tiny, bench.inputs)
            other = bench.take(tiny / ("mute.mp4" if case.is_audio else "speech.wav"), "other")
            video, audio = (other, made) if case.is_audio else (made, other)
            before = fingerprints(bench.inputs)
            end = "hang"
            try:
                done = bench.run(bench.command(video, audio, "-q"))
                end, peak_mib = str(done.code), max(peak_mib, done.peak_mib)
                verify(bench, done, ANY, before)
            except AssertionError as error:
                ends["failed"] += 1
                print(f"{case} ({end}): {error}", file=sys.stderr, flush=True)
            ends[f"audio {end}" if case.is_audio else f"video {end}"] += 1
    server.close()
    print(json.dumps({"ends": dict(sorted(ends.items())), "peak_mib": round(peak_mib)}))
    return 1 if ends["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
