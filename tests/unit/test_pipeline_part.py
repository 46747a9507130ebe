"""Where a part lies, what is looked at for it, and who can be dubbed in it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from made_faces import face_at, made_track

from dubcli.config import DubConfig
from dubcli.core.errors import ConfigError, NoFaceError
from dubcli.media.sound.audio_track import Part
from dubcli.media.video.timeline import FrameTimes
from dubcli.pipeline.analysis import Analysis
from dubcli.pipeline.part import (
    faces_of_part,
    is_inside,
    looked_at,
    part_s,
    part_strength,
    part_timeline,
    place_part,
)

# 50 frames, 2 s; the first is shown at 1 s.
TICK_S = Fraction(1, 1000)
TIMES = FrameTimes(pts=[1000 + 40 * n for n in range(50)], end_pts=3000, time_base=TICK_S)


def _config(**settings: Any) -> DubConfig:
    return DubConfig(video=Path("v.mp4"), audio=Path("a.wav"), **settings)


def _placed(**settings: Any) -> Part:
    part = place_part(_config(**settings), Fraction(1, 2), TIMES)
    assert part is not None
    return part


def _frames(part: Part) -> tuple[int, int]:
    inside = np.flatnonzero(is_inside(part, part_timeline(TIMES, part, Fraction(1))))
    assert len(inside) == inside[-1] - inside[0] + 1
    return int(inside[0]), int(inside[-1]) + 1


def test_without_start_and_end_there_is_no_part() -> None:
    config = _config(audio_offset=0.2)
    assert part_s(config, Fraction(1)) is None
    assert place_part(config, Fraction(1), TIMES) is None
    video: Any = SimpleNamespace(start_pts=0, time_base=TICK_S)
    assert looked_at(config, Fraction(1), video) is None


@pytest.mark.parametrize(
    ("settings", "frames", "outside"),
    [
        ({"start": "0.4"}, (10, 23), (True, True)),
        ({"start": "0.4", "audio_offset": 0.1}, (10, 25), (True, True)),
        ({"start": "0.41"}, (11, 23), (True, True)),
        ({"start": "0.4", "end": "0.8"}, (10, 20), (True, True)),
        ({"start": "0.4", "end": "0.801"}, (10, 21), (True, True)),
        ({"end": "1"}, (0, 25), (False, True)),
        ({"start": "1.6"}, (40, 50), (True, False)),
        ({"start": "1", "end": "99"}, (25, 50), (True, False)),
    ],
)
def test_frames_belong_to_a_part_by_when_they_appear(
    settings: dict[str, Any], frames: tuple[int, int], outside: tuple[bool, bool]
) -> None:
    part = _placed(**settings)
    assert _frames(part) == frames
    assert (part.has_before, part.has_after) == outside
    assert part.end_s <= TIMES.end_pts * TICK_S


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"start": "2"}, "after the end"), ({"start": "0.01", "end": "0.03"}, "No frame")],
)
def test_a_part_that_the_video_does_not_have(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        _placed(**settings)


def test_faces_are_looked_for_twenty_seconds_around_a_part() -> None:
    video: Any = SimpleNamespace(start_pts=1000, time_base=TICK_S)
    found = looked_at(_config(start="1:00", end="1:10"), Fraction(1), video)
    assert found == (1000 + 40_000, 1000 + 90_000)


def test_all_frames_stay_once_and_in_order() -> None:
    timeline = part_timeline(TIMES, _placed(start="0.4"), Fraction(9))
    assert timeline.pts.tolist() == TIMES.pts
    assert timeline.source_index.tolist() == list(range(50))
    assert timeline.end_pts == TIMES.end_pts


def test_the_fades_lie_inside_and_a_cut_at_the_border_needs_none() -> None:
    part = _placed(start="0.4", end="1.2")
    timeline = part_timeline(TIMES, part, Fraction(1))
    cuts = np.zeros(50, np.bool_)
    rising = [n / 6 for n in range(1, 6)]
    found = part_strength(part, timeline, cuts)
    assert not found[:10].any()
    assert not found[30:].any()
    assert found[10:30] == pytest.approx([*rising, *[1] * 10, *rising[::-1]])
    cuts[[10, 30]] = True
    assert part_strength(part, timeline, cuts)[10:30].tolist() == [1] * 20


def test_who_cannot_be_dubbed_in_the_part_does_not_count() -> None:
    track = made_track(np.stack([face_at()] * 50))
    early = replace(track, valid=np.arange(50) < 20)
    late = replace(track, valid=np.arange(50) >= 20)
    found = Analysis(times=TIMES, tracks=[early, late], num_corrupt=0)
    part = _placed(start="1", end="1.5")
    timeline = part_timeline(TIMES, part, Fraction(1))
    assert faces_of_part(found, part, timeline).tracks == [late]
    assert faces_of_part(found, None, timeline).tracks == [early, late]
    with pytest.raises(NoFaceError, match="between --start and --end"):
        faces_of_part(replace(found, tracks=[early]), part, timeline)
