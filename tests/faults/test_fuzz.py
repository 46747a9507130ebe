"""Randomly damaged files through the real command. `DUB_FUZZ=COUNT` runs more of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fuzz import Fuzzed, series
from malformed import ANY
from runner import Bench, fingerprints, verify

SEED = 20
CASES = series(SEED, int(os.environ.get("DUB_FUZZ", "42")))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_damaged_file(case: Fuzzed, bench: Bench, tiny: Path) -> None:
    made = case.make(tiny, bench.inputs)
    other = bench.take(tiny / ("mute.mp4" if case.is_audio else "speech.wav"), "other")
    video, audio = (other, made) if case.is_audio else (made, other)
    before = fingerprints(bench.inputs)
    verify(bench, bench.run(bench.command(video, audio, "-q")), ANY, before)
