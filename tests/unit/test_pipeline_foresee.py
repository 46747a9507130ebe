"""From a few measured frames to a whole job's time and space."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from dubcli.core.errors import EncodeError
from dubcli.core.types import Window
from dubcli.preview.estimate import estimate, free_bytes, require_space
from dubcli.preview.plan_types import Estimate
from dubcli.preview.trial import Trial, num_key_frames, pick_windows

TRIAL = Trial(
    frames=64, dubbed_frame_s=0.1, passed_frame_s=0.01, key_frame_bytes=50_000, frame_bytes=2_000
)


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def _needed(**changed: int | None) -> Estimate:
    values: dict[str, int | None] = {"num_cuts": 0, "num_segments": 1, "other_bytes": 0, **changed}
    return estimate(TRIAL, frames=(900, 100), free=None, **values)  # pyright: ignore[reportArgumentType]


def _windows(*lengths: int) -> list[Window]:
    ends = np.cumsum(lengths).tolist()
    return [Window(b - n, b, b - n, b) for n, b in zip(lengths, ends, strict=True)]


def test_dubbed_and_other_frames_count_by_their_own_pace() -> None:
    assert _needed().seconds == pytest.approx(900 * 0.1 + 100 * 0.01, abs=1.0)


def test_signing_writes_the_result_once_more_beside_the_segments() -> None:
    plain, signed = _needed(other_bytes=500), _needed(other_bytes=500, is_copied=True)
    assert signed.result_bytes == plain.result_bytes
    assert signed.disk_bytes == plain.disk_bytes + plain.result_bytes
    # Two copies of the picture were foreseen already, and one is gone by then.
    several = {"other_bytes": 500, "num_segments": 4}
    rest = _needed(**several, is_copied=True).disk_bytes - _needed(**several).disk_bytes
    assert rest == 500


def test_key_frames_weigh_what_they_weigh() -> None:
    assert num_key_frames(1000, 2, 3) == 3 + 2 + 4
    assert num_key_frames(3, 10, 1) == 3
    picture = 5 * 50_000 + 995 * 2_000
    assert _needed().result_bytes == picture
    assert _needed(num_cuts=10).result_bytes == picture + 10 * 48_000


def test_segments_need_the_picture_once_more() -> None:
    one, three = _needed(other_bytes=7), _needed(num_segments=3, other_bytes=7)
    assert one.disk_bytes == 2 * (one.result_bytes - 7) + 7
    assert three.disk_bytes == 3 * (three.result_bytes - 7) + 7


def test_windows_are_spread_over_what_is_wanted() -> None:
    windows = _windows(16, 4, 16, 16, 16, 16, 16, 9)
    wanted = np.ones(109, np.bool_)
    wanted[:20] = False
    chosen = [w.emit_start for w in pick_windows(windows, wanted, 3)]
    assert chosen == [20, 52, 84]
    assert pick_windows(windows, ~wanted, 3) == windows[:1]
    assert pick_windows(windows, np.zeros(109, np.bool_), 3) == []


def test_a_disk_that_is_too_small_is_refused_in_one_line(tmp_path: Path) -> None:
    needed = estimate(
        TRIAL, frames=(1000, 0), num_cuts=0, num_segments=2, other_bytes=0, free=5_000_000
    )
    with pytest.raises(EncodeError, match="are free") as refused:
        require_space(needed, tmp_path / "out.mp4")
    assert "about 6.9 MB" in refused.value.cause
    assert "5.0 MB are free" in refused.value.cause
    assert str(tmp_path) in refused.value.cause
    assert "\n" not in str(refused.value)


def test_a_disk_that_is_large_enough_or_unknown_is_not_refused(tmp_path: Path) -> None:
    require_space(None, tmp_path / "out.mp4")
    require_space(_needed(), tmp_path / "out.mp4")
    for free in (6_864_000, None):
        enough = estimate(
            TRIAL, frames=(1000, 0), num_cuts=0, num_segments=2, other_bytes=0, free=free
        )
        require_space(enough, tmp_path / "out.mp4")


def test_a_file_system_that_does_not_say_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 0))
    assert free_bytes(tmp_path) is None
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(100, 100, 0))
    assert free_bytes(tmp_path) == 0

    def broken(path: Path) -> Usage:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(shutil, "disk_usage", broken)
    assert free_bytes(tmp_path) is None
