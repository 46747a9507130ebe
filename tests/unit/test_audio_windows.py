"""Which audio belongs to which frame, exactly and for hours; windows over shots."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from dubcli.audio.windows import frame_steps, gather_windows, iter_windows
from dubcli.core.types import F32, AudioFeatures

RATES = [Fraction(24000, 1001), Fraction(25), Fraction(30000, 1001), Fraction(60)]
HOUR_S = 3600


def _features(num: int = 10, start_s: Fraction = Fraction(0)) -> AudioFeatures:
    """Step i holds the number i in all bands."""
    values = np.repeat(np.arange(num, dtype=np.float32)[:, None], 4, 1)
    return AudioFeatures(
        values=values,
        rate_hz=Fraction(80),
        kind="mel",
        start_s=start_s,
        fill=np.full(4, -1, np.float32),
    )


def _sequence(num: int = 10) -> tuple[F32, F32]:
    """Values and fill of `_features`."""
    features = _features(num)
    return features.values, features.fill


def _nearest(time_s: Fraction) -> int:
    """The step whose centre is nearest, the later one of two."""
    return (time_s * 80 + Fraction(1, 2)).__floor__()


@pytest.mark.parametrize("rate", RATES, ids=str)
def test_steps_are_exact_over_an_hour_of_constant_rate(rate: Fraction) -> None:
    num = int(HOUR_S * rate)
    steps = frame_steps(range(num), 1 / rate, _features(), Fraction(0))
    places = [0, 1, 2, 999, num // 2, num - 2, num - 1]
    assert [int(steps[i]) for i in places] == [_nearest(i / rate) for i in places]
    # Nothing is lost or gained on the way.
    assert set(np.diff(steps)) <= {int(80 / rate), int(80 / rate) + 1}
    assert len(steps) == num


@pytest.mark.parametrize("time_base", [Fraction(1, 90_000), Fraction(1, 15_360), Fraction(1, 1000)])
def test_the_unit_of_time_does_not_matter(time_base: Fraction) -> None:
    """30000/1001 frames a second as containers store them, rounded to their own clock."""
    pts = [round(Fraction(1001 * i, 30_000) / time_base) for i in range(0, 107_892, 37)]
    steps = frame_steps(pts, time_base, _features(), Fraction(0))
    assert steps.tolist() == [_nearest(p * time_base) for p in pts]


def test_variable_rates_are_exact_over_an_hour() -> None:
    time_base = Fraction(1, 90_000)
    gaps = np.random.default_rng(6).integers(900, 9000, 70_000)
    pts = np.cumsum(gaps)
    pts = pts[pts < HOUR_S * 90_000]
    steps = frame_steps(pts.tolist(), time_base, _features(), Fraction(0))
    error = steps - pts * 80 / 90_000
    assert float(np.abs(error).max()) <= 0.5
    assert int(steps[-1]) == _nearest(int(pts[-1]) * time_base)


def test_clocks_that_start_elsewhere_are_taken_into_account() -> None:
    """Video begins at 10 s on its own clock, the sound 0.5 s into the video."""
    features = _features(start_s=Fraction(1, 2))
    steps = frame_steps([10_000, 10_500, 11_000], Fraction(1, 1000), features, Fraction(10))
    assert steps.tolist() == [-40, 0, 40]


def test_windows_are_centred_on_the_frames_own_step() -> None:
    windows = gather_windows(*_sequence(), np.array([5, 6]), 4)
    assert windows.shape == (2, 4, 4)
    assert windows.dtype == np.float32
    assert windows[0, :, 0].tolist() == [3, 4, 5, 6]
    assert windows[1, 2, 0] == 6


def test_outside_the_sound_there_is_fill() -> None:
    windows = gather_windows(*_sequence(), np.array([0, 9, -100, 100]), 4)
    assert windows[0, :, 0].tolist() == [-1, -1, 0, 1]
    assert windows[1, :, 0].tolist() == [7, 8, 9, -1]
    assert np.all(windows[2:] == -1)
    assert np.all(gather_windows(*_sequence(0), np.array([0, 3]), 6) == -1)


@pytest.mark.parametrize("cuts", [[], [0], [1], [7, 8, 30], [16, 32, 49], [60, 99]])
@pytest.mark.parametrize(("window", "context"), [(1, 0), (5, 2), (16, 16), (100, 3)])
def test_windows_tile_once_and_never_cross_a_cut(
    cuts: list[int], window: int, context: int
) -> None:
    count = 50
    windows = list(iter_windows(count, window, context, cuts))
    emitted = [i for w in windows for i in range(w.emit_start, w.emit_stop)]
    assert emitted == list(range(count))
    for w in windows:
        assert w.emit_stop - w.emit_start <= window
        assert w.emit_start - w.start <= context
        assert w.stop - w.emit_stop <= context
        assert not [cut for cut in cuts if w.start < cut < w.stop]
    # Context is given wherever the shot has it.
    bounds = sorted({0, count, *(cut for cut in cuts if cut < count)})
    for w in windows:
        shot_start = max(b for b in bounds if b <= w.emit_start)
        shot_stop = min(b for b in bounds if b >= w.emit_stop)
        assert w.start == max(shot_start, w.emit_start - context)
        assert w.stop == min(shot_stop, w.emit_stop + context)


def test_no_frames_need_no_windows() -> None:
    assert list(iter_windows(0, 16, 2)) == []
