"""Randomly damaged files through the real command. `DUB_FUZZ=COUNT` runs more of each.

Videos and recordings each in a process of its own, other files in one process.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzz import Fuzzed, series
from fuzz_inputs import FuzzedInput, Sources, make_sources, series_of_inputs
from kept_process import KeptProcess
from malformed import ANY
from runner import Bench, fingerprints, verify

SEED = 20
CASES = series(SEED, int(os.environ.get("DUB_FUZZ", "42")))
INPUTS = series_of_inputs(SEED, int(os.environ.get("DUB_FUZZ", "27")))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_damaged_file(case: Fuzzed, bench: Bench, tiny: Path) -> None:
    made = case.make(tiny, bench.inputs)
    other = bench.take(tiny / ("mute.mp4" if case.is_audio else "speech.wav"), "other")
    video, audio = (other, made) if case.is_audio else (made, other)
    before = fingerprints(bench.inputs)
    verify(bench, bench.run(bench.command(video, audio, "-q")), ANY, before)


@pytest.fixture(scope="module")
def kept() -> Iterator[KeptProcess]:
    """One process for all runs of this file that need none of their own."""
    process = KeptProcess()
    yield process
    process.close()


@pytest.fixture(scope="module")
def sources(kept: KeptProcess, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Sources:
    """Whole files of every kind."""
    return make_sources(kept, tmp_path_factory.mktemp("sources"), tiny)


@pytest.mark.parametrize("case", INPUTS, ids=str)
def test_damaged_input(
    case: FuzzedInput, kept: KeptProcess, sources: Sources, tiny: Path, tmp_path: Path
) -> None:
    case.run(Bench(kept, tmp_path), sources, tiny)


def test_a_crash_is_the_exit_code_of_its_run_alone(
    kept: KeptProcess, tiny: Path, tmp_path: Path
) -> None:
    bench = Bench(kept, tmp_path)
    job = bench.command(bench.take(tiny / "mute.mp4"), bench.take(tiny / "speech.wav"), "-q")
    before = fingerprints(bench.inputs)
    assert bench.run(job, ("signal", signal.SIGSEGV, "begin", 0)).code == 128 + signal.SIGSEGV
    verify(bench, bench.run(job), {0}, before)


def test_a_file_that_a_run_leaves_open_is_told(
    kept: KeptProcess, tiny: Path, tmp_path: Path
) -> None:
    bench = Bench(kept, tmp_path)
    video = bench.take(tiny / "mute.mp4")
    job = bench.command(video, bench.take(tiny / "speech.wav"), "-q")
    with pytest.raises(AssertionError, match=r"left behind: .*mute"):
        bench.run(job, ("leave open", str(video), "begin", 0))
    kept.close()  # the fault would be in all its next runs
