"""Every bad and extreme input through the real command."""

from __future__ import annotations

from pathlib import Path

import pytest
from malformed import EXTREME, MALFORMED, Case
from malformed_sounds import SOUNDS
from runner import Bench, fingerprints, verify

CASES = [*MALFORMED, *EXTREME, *SOUNDS]


# A file that is refused costs a moment, one that is dubbed a second or two: every other one of
# those waits for `-m "long or not long"`.
_WHOLE = [case for case in CASES if 0 in case.codes][1::2]
_PARAMETERS = [
    pytest.param(case, id=case.name, marks=[pytest.mark.long] if case in _WHOLE else [])
    for case in CASES
]


def test_the_catalogue_is_large_and_its_names_differ() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert len(CASES) - len(_WHOLE) >= 60


@pytest.mark.parametrize("case", _PARAMETERS)
def test_bad_input(case: Case, bench: Bench, tiny: Path) -> None:
    made = case.make(tiny, bench.inputs)
    bench.output_name = case.output
    if case.is_audio:
        video, audio = bench.take(tiny / "mute.mp4", "video.mp4"), made
    else:
        video, audio = made, bench.take(tiny / "speech.wav", "speech for it.wav")
    before = fingerprints(bench.inputs)
    done = bench.run(bench.command(video, audio, "--quiet", *case.options))
    verify(bench, done, case.codes, before, case.named)
