"""The comparison of two versions sees what a viewer could."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import astuple
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import pytest

SCRIPT = Path(__file__).parents[1] / "bench/compare_versions.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compare_versions", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["compare_versions"] = module
    spec.loader.exec_module(module)
    return module


def _video(path: Path, levels: list[int], loudness: float = 0.1, late: int = 0) -> Path:
    """A lossless video of flat frames with a tone."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream("ffv1", rate=25)
        picture.width, picture.height, picture.pix_fmt = 32, 16, "gray"
        sound = container.add_stream("pcm_s16le", rate=16000)
        for number, level in enumerate(levels):
            frame = av.VideoFrame.from_ndarray(np.full((16, 32), level, np.uint8), "gray")
            frame.pts, frame.time_base = number + (late if number else 0), Fraction(1, 25)
            container.mux(picture.encode(frame))
        tone = (loudness * 32767 * np.sin(np.arange(1600) / 5)).astype(np.int16)
        audio = av.AudioFrame.from_ndarray(tone[None], "s16", "mono")
        audio.sample_rate, audio.pts = 16000, 0
        container.mux(sound.encode(audio))
        container.mux(picture.encode(None))
        container.mux(sound.encode(None))
    return path


def test_the_same_content_is_alike(bench: ModuleType, tmp_path: Path) -> None:
    files = [_video(tmp_path / f"{name}.mkv", [10, 20, 30]) for name in "ab"]
    found = bench.compare(*files)
    assert (found.frames, found.other_frames, found.largest) == (3, 0, 0)
    assert found.is_none


@pytest.mark.parametrize(
    ("levels", "loudness", "late", "expected"),
    [
        ([10, 24, 30], 0.1, 0, (3, 1, 32 * 16, 4, 36.1, 0)),
        ([10, 20], 0.1, 0, (2, 1, 0, 0, None, 0)),
        ([10, 20, 30], 0.0, 0, (3, 0, 0, 0, None, 2 * 1599)),
        ([10, 20, 30], 0.1, 3, (3, 2, 0, 0, None, 0)),
    ],
    ids=["samples", "missing frame", "sound", "times"],
)
def test_differences_are_found(
    bench: ModuleType,
    tmp_path: Path,
    levels: list[int],
    loudness: float,
    late: int,
    expected: tuple[float | None, ...],
) -> None:
    old = _video(tmp_path / "old.mkv", [10, 20, 30])
    new = _video(tmp_path / "new.mkv", levels, loudness, late)
    found = bench.compare(old, new)
    assert astuple(found) == expected
    assert not found.is_none


def test_other_decisions_are_named_and_other_times_are_not(
    bench: ModuleType, tmp_path: Path
) -> None:
    paths = [tmp_path / f"{name}.json" for name in "ab"]
    for path, frames, seconds in zip(paths, (7, 8), (1.0, 2.0), strict=True):
        told = {"frames_dubbed": frames, "face": 1, "seconds": {"total": seconds}}
        path.write_text(json.dumps(told))
    assert bench.differing_decisions(*paths) == ["frames_dubbed"]
    assert bench.differing_decisions(paths[0], paths[0]) == []


def test_options_after_two_dashes_are_the_versions_own(bench: ModuleType) -> None:
    words = ["python", "other:tree", "a.mp4", "b.mp4", "--threads", "2", "--", "--crf", "0", "-v"]
    options = bench.parse(words)
    assert (options.old, options.new, options.threads) == ("python", "other:tree", 2)
    assert options.videos == [Path("a.mp4"), Path("b.mp4")]
    assert options.more == ["--crf", "0", "-v"]
    assert bench.parse(["python", "python"]).more == []
