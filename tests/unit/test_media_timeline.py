from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from dubcli.config import SYNC_MODES
from dubcli.core.errors import DecodeError
from dubcli.media.video.timeline import FrameTimes, Timeline, build_timeline

NTSC = FrameTimes(pts=[1001 * n for n in range(30)], end_pts=30_030, time_base=Fraction(1, 30_000))
FILM = FrameTimes(pts=[1001 * n for n in range(24)], end_pts=24_024, time_base=Fraction(1, 24_000))
FAST = FrameTimes(pts=[256 * n for n in range(60)], end_pts=15_360, time_base=Fraction(1, 15_360))
LATE = FrameTimes(
    pts=[507 + 512 * n for n in range(9)], end_pts=5115, time_base=Fraction(1, 15_360)
)
NEGATIVE = FrameTimes(pts=[-80, -40, 0, 40], end_pts=80, time_base=Fraction(1, 1000))
VFR = FrameTimes(pts=[3, 13, 83, 120, 121, 190], end_pts=225, time_base=Fraction(1, 1000))
ONE = FrameTimes(pts=[5], end_pts=45, time_base=Fraction(1, 1000))
SOURCES = [NTSC, FILM, FAST, LATE, NEGATIVE, VFR, ONE]
SHARES = [Fraction(0), Fraction(1, 7), Fraction(99, 100), 1, Fraction(5, 2), Fraction(37, 9), 50]
EXTENDING = ("loop", "bounce", "freeze")


def _frame_s(times: FrameTimes) -> Fraction:
    return int(times.durations.max()) * times.time_base


@pytest.mark.parametrize("times", SOURCES)
@pytest.mark.parametrize("mode", SYNC_MODES)
@pytest.mark.parametrize("share", SHARES)
def test_what_every_plan_promises(times: FrameTimes, mode: str, share: Fraction) -> None:
    audio_s = times.duration_s * share
    timeline = build_timeline(times, audio_s, mode)
    shown = min(len(timeline), len(times))
    assert len(timeline.source_index) == len(timeline.pts) >= 1
    assert timeline.pts.dtype == timeline.source_index.dtype == np.int64
    assert timeline.pts[:shown].tolist() == times.pts[:shown], "the first pass keeps its timestamps"
    assert timeline.source_index[:shown].tolist() == list(range(shown))
    assert np.all(np.diff([*timeline.pts, timeline.end_pts]) > 0)
    assert timeline.time_base == times.time_base
    assert 0 <= timeline.source_index.min() <= timeline.source_index.max() < len(times)
    assert 0 <= timeline.audio_s <= audio_s
    assert timeline.pad_s >= 0
    assert timeline.description.count(".") >= 1
    assert "\n" not in timeline.description


@pytest.mark.parametrize("times", SOURCES)
@pytest.mark.parametrize("share", SHARES)
def test_pad_lasts_as_long_as_the_video(times: FrameTimes, share: Fraction) -> None:
    audio_s = times.duration_s * share
    timeline = build_timeline(times, audio_s, "pad")
    assert timeline.pts.tolist() == times.pts
    assert timeline.end_pts == times.end_pts
    assert timeline.audio_s + timeline.pad_s == times.duration_s
    assert timeline.audio_s == min(audio_s, times.duration_s)


@pytest.mark.parametrize("times", SOURCES)
@pytest.mark.parametrize("share", SHARES)
def test_cut_ends_with_the_shorter_one(times: FrameTimes, share: Fraction) -> None:
    audio_s = times.duration_s * share
    timeline = build_timeline(times, audio_s, "cut")
    assert timeline.pad_s == 0
    assert timeline.audio_s == min(audio_s, times.duration_s)
    starts = [(pts - times.pts[0]) * times.time_base for pts in times.pts]
    assert len(timeline) == max(1, sum(start < audio_s for start in starts))
    assert timeline.duration_s >= timeline.audio_s


@pytest.mark.parametrize("times", SOURCES)
@pytest.mark.parametrize("mode", EXTENDING)
@pytest.mark.parametrize("share", SHARES)
def test_nothing_is_lost_in_the_extending_modes(
    times: FrameTimes, mode: str, share: Fraction
) -> None:
    audio_s = times.duration_s * share
    timeline = build_timeline(times, audio_s, mode)
    assert timeline.audio_s == audio_s
    assert len(timeline) >= len(times)
    if audio_s <= times.duration_s:
        assert timeline.pad_s == times.duration_s - audio_s
    else:
        assert timeline.pad_s == 0
        assert abs(timeline.duration_s - audio_s) < _frame_s(times)
        last_start = (int(timeline.pts[-1]) - times.pts[0]) * times.time_base
        assert last_start < audio_s


@pytest.mark.parametrize("times", [NTSC, VFR])
@pytest.mark.parametrize("mode", ["loop", "bounce"])
def test_each_picture_keeps_its_own_duration(times: FrameTimes, mode: str) -> None:
    timeline = build_timeline(times, times.duration_s * 5, mode)
    shown = np.diff([*timeline.pts, timeline.end_pts])
    assert shown.tolist() == times.durations[timeline.source_index].tolist()


def test_loop_starts_over() -> None:
    timeline = build_timeline(VFR, Fraction(1, 2), "loop")
    assert timeline.source_index.tolist() == [0, 1, 2, 3, 4, 5] * 2 + [0, 1]
    assert timeline.pts.tolist() == [*VFR.pts, *[p + 222 for p in VFR.pts], 447, 457]


def test_bounce_turns_without_a_repeat() -> None:
    timeline = build_timeline(NEGATIVE, Fraction(64, 100), "bounce")
    assert timeline.source_index.tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2, 3]
    assert all(abs(a - b) == 1 for a, b in pairwise(timeline.source_index))


def test_freeze_holds_the_last_picture_at_its_duration() -> None:
    timeline = build_timeline(VFR, Fraction(1, 2), "freeze")
    assert timeline.source_index.tolist() == [0, 1, 2, 3, 4, 5] + [5] * 8
    assert timeline.pts.tolist() == VFR.pts + [225 + 35 * n for n in range(8)]


def test_freeze_on_a_stub_frame_does_not_make_millions_of_frames() -> None:
    stub = FrameTimes(pts=[0, 3600, 7200], end_pts=7201, time_base=Fraction(1, 90_000))
    assert len(build_timeline(stub, Fraction(3600), "freeze")) < 100_000


@pytest.mark.parametrize("mode", SYNC_MODES)
@pytest.mark.parametrize("times", [NTSC, FILM, FAST, LATE])
def test_overhang_below_one_frame_is_kept(times: FrameTimes, mode: str) -> None:
    audio_s = times.duration_s + _frame_s(times) - Fraction(1, 10**6)
    timeline = build_timeline(times, audio_s, mode)
    assert timeline.pts.tolist() == times.pts
    assert (timeline.audio_s, timeline.pad_s) == (audio_s, 0)
    longer = build_timeline(times, times.duration_s + _frame_s(times), mode)
    assert (len(longer) > len(times)) == (mode in EXTENDING)
    assert (longer.audio_s == times.duration_s) == (mode not in EXTENDING)


def test_an_hour_does_not_drift() -> None:
    timeline = build_timeline(NTSC, Fraction(3600), "loop")
    expected = [1001 * n for n in range(len(timeline))]
    assert timeline.pts.tolist() == expected
    assert len(timeline) == -(-3600 * 30_000 // 1001)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="sync mode"):
        build_timeline(VFR, Fraction(1), "stretch")
    with pytest.raises(ValueError, match="lasts"):
        build_timeline(VFR, Fraction(-1), "cut")
    with pytest.raises(ValueError, match="at least one"):
        FrameTimes(pts=[], end_pts=0, time_base=Fraction(1, 25))
    with pytest.raises(ValueError, match="increase"):
        FrameTimes(pts=[0, 2, 2], end_pts=3, time_base=Fraction(1, 25))
    with pytest.raises(ValueError, match="increase"):
        FrameTimes(pts=[0, 2], end_pts=2, time_base=Fraction(1, 25))
    assert isinstance(build_timeline(VFR, Fraction(1), "cut"), Timeline)


@pytest.mark.parametrize(
    ("step", "last", "time_base"),
    [
        (1, 40_000_000, Fraction(1, 1_000_000_000)),  # the rate in the header is a billion
        (512, 512, Fraction(1, 2_147_483_647)),
        (31_536_000, 31_536_000, Fraction(1)),
    ],
)
@pytest.mark.parametrize("mode", SYNC_MODES)
def test_times_of_a_damaged_header_are_refused(
    step: int, last: int, time_base: Fraction, mode: str
) -> None:
    pts = [step * n for n in range(12)]
    times = FrameTimes(pts=pts, end_pts=pts[-1] + last, time_base=time_base)
    with pytest.raises(DecodeError, match="timestamps are damaged"):
        build_timeline(times, Fraction(1, 2), mode)


def test_long_slides_and_repeated_times_are_no_damage() -> None:
    slides = FrameTimes(pts=[0, 600, 4000], end_pts=5000, time_base=Fraction(1))
    repeated = FrameTimes(
        pts=[3600 * n + k for n in range(9) for k in range(4)],
        end_pts=9 * 3600,
        time_base=Fraction(1, 90_000),
    )
    for times in (slides, repeated):
        assert len(build_timeline(times, times.duration_s, "pad")) == len(times)
