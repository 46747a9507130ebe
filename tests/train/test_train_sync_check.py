"""What a sync expert finds: offsets in time, and how sure they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_sync import HandMadeExpert, made_mouth, made_sound

from dubcli.core.errors import ConfigError
from dubcli.core.types import F64
from dubcli.sync.scorer import MAX_OFFSET, SyncScore, SyncScorer, summarise
from dubcli.weights import manifest as manifests


def scorer() -> SyncScorer:
    expert: Any = HandMadeExpert()
    return SyncScorer(expert)


def _frames(rate: float, seconds: float = 6.0) -> F64:
    return np.arange(round(seconds * rate)) / rate


@pytest.mark.parametrize("rate", [22.131, 25, 30000 / 1001, 60])
@pytest.mark.parametrize("late_ms", [-440, -80, 0, 130, 520])
def test_an_offset_is_a_time_whatever_the_frame_rate(rate: float, late_ms: int) -> None:
    mouth = made_mouth(_frames(rate), late_s=late_ms / 1000)
    score = scorer().score(mouth, made_sound(6))
    assert score.offset_ms == pytest.approx(late_ms, abs=20)
    assert score.is_sure
    assert score.distance < 0.25


def test_frames_of_variable_rate_and_a_late_start_make_no_difference() -> None:
    rng = np.random.default_rng(1)
    times = 1.5 + np.cumsum(rng.uniform(0.015, 0.06, 120))
    score = scorer().score(made_mouth(times, late_s=0.16), made_sound(8))
    assert score.offset_frames == pytest.approx(4, abs=0.5)


def test_sound_of_another_mouth_is_not_sure() -> None:
    times = _frames(25, 40)
    still = replace(made_mouth(times), points=made_mouth(0 * times).points)
    assert not scorer().score(still, made_sound(40)).is_sure


def test_what_is_not_known_is_not_looked_at() -> None:
    times = _frames(25, 8)
    mouth, wrong = made_mouth(times, late_s=0.2), made_mouth(times + 50)
    is_wrong = (times > 3) & (times < 4)
    points = np.where(is_wrong[:, None, None], wrong.points, mouth.points)
    damaged = replace(mouth, points=points, usable=~is_wrong)
    score = scorer().score(damaged, made_sound(8))
    assert score.offset_frames == pytest.approx(5, abs=0.3)
    assert score.distance < 0.02
    full = scorer().score(mouth, made_sound(8))
    # A window of 9 samples falls away with each of them: the second, and 8 samples before it.
    assert full.num_windows - score.num_windows == pytest.approx(25 + 8, abs=2)


def test_no_window_reaches_over_a_cut_or_a_gap() -> None:
    times = _frames(25, 4)
    cut = made_mouth(times, shot=(times > 2).astype(np.int64))
    whole = scorer().score(made_mouth(times), made_sound(4)).num_windows
    assert scorer().score(cut, made_sound(4)).num_windows == whole - 9
    gap = made_mouth(times[(times < 1.9) | (times > 2.1)])
    assert scorer().score(gap, made_sound(4)).num_windows < whole - 9


@pytest.mark.parametrize("seconds", [0.04, 0.08, 0.4])
def test_too_short_a_clip_tells_nothing(seconds: float) -> None:
    score = scorer().score(made_mouth(_frames(25, seconds)), made_sound(4))
    assert (score.num_windows, score.is_sure) == (0, False)
    assert np.isnan(score.offset_frames)


def test_features_of_another_kind_are_refused() -> None:
    odd = replace(made_sound(4), kind="other")
    with pytest.raises(ConfigError, match="mel"):
        scorer().score(made_mouth(_frames(25, 4)), odd)


def test_speech_features_hold_the_mel_that_an_expert_listens_to() -> None:
    mel = made_sound(6)
    both = np.concatenate([np.ones((len(mel.values), 288), np.float32), mel.values], 1)
    speech = replace(mel, kind="speech", values=both, fill=np.zeros(368, np.float32))
    mouth = made_mouth(_frames(25), late_s=0.2)
    assert scorer().score(mouth, speech) == scorer().score(mouth, mel)


def test_confidence_is_median_minus_least_distance() -> None:
    distances = np.linspace(0.9, 1.1, 2 * MAX_OFFSET + 1).astype(np.float32)
    distances[MAX_OFFSET - 3] = 0.25
    score = summarise(distances, 80)
    assert score.distance == pytest.approx(0.25)
    assert score.confidence == pytest.approx(float(np.median(distances)) - 0.25)
    # The sound of three samples earlier fits: the picture comes three later.
    assert score.offset_frames == pytest.approx(3, abs=0.1)
    at_edge = summarise(np.arange(2 * MAX_OFFSET + 1, dtype=np.float32), 80)
    assert at_edge.offset_frames == MAX_OFFSET


@pytest.mark.parametrize(
    ("confidence", "num_windows", "offset_frames", "is_sure"),
    [
        (0.45, 50, 3.0, True),
        (0.45, 49, 3.0, False),
        (0.40, 50, 3.0, False),
        (0.31, 100, -3.0, True),
        (0.21, 1000, 0.0, True),
        (0.19, 100_000, 0.0, False),
        (0.60, 100, 15.0, False),
        (0.60, 100, -15.0, False),
    ],
)
def test_more_windows_need_less_confidence_and_the_edge_is_never_sure(
    confidence: float, num_windows: int, offset_frames: float, is_sure: bool
) -> None:
    score = SyncScore(
        confidence=confidence, distance=0.4, offset_frames=offset_frames, num_windows=num_windows
    )
    assert score.is_sure == is_sure


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(ConfigError, match="train, judge"):
        SyncScorer.load("critic", torch.device("cpu"))


def test_a_package_without_an_expert_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "manifest.json"
    path.write_text('{"format": 2, "default": {}, "weights": {}}')
    monkeypatch.setattr(manifests, "manifest_path", lambda: path)
    assert SyncScorer.load("train", torch.device("cpu")) is None
