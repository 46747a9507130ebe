"""StyleSim: what the style encoder sees and does not see, and what is compared with what."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from dubcli.core.types import F32
from dubcli.evaluation.source import Source
from dubcli.evaluation.style_network import StyleJudge, StyleJudgeConfig
from dubcli.evaluation.style_similarity import StyleSimilarity, mouth_windows_of
from dubcli.face.pose import fit_pose, mean_face
from dubcli.metrics.lips import MouthSeries
from dubcli.sync.scorer import MouthClip
from dubcli.weights.manifest import load_manifest

CONFIG = StyleJudgeConfig(
    window=20, num_components=4, channels=8, embedding=8, num_strangers=2, dropout=0.0
)
NUM_FRAMES, SPLIT = 120, 48


@pytest.fixture
def judge() -> StyleJudge:
    """Untrained, with components and strangers of its own."""
    torch.manual_seed(0)
    made = StyleJudge(CONFIG)
    made.components.normal_(std=5)
    made.strangers.copy_(torch.nn.functional.normalize(torch.randn(2, 8), dim=-1))
    return made.eval().requires_grad_(False)


def _windows(num: int = 1) -> Tensor:
    return 0.1 * torch.randn(num, CONFIG.window, 102, 3)


def test_vectors_have_unit_length_and_stand_alone(judge: StyleJudge) -> None:
    windows = _windows(4)
    vectors = judge(windows)
    assert torch.allclose(vectors.norm(dim=-1), torch.ones(4), atol=1e-5)
    assert torch.allclose(judge(windows[2:3])[0], vectors[2], atol=1e-5)


def test_the_shape_of_the_face_is_not_looked_at_but_how_it_moves_is(judge: StyleJudge) -> None:
    windows, face = _windows(), torch.randn(102, 3)
    assert torch.allclose(judge(windows + face), judge(windows), atol=1e-4)
    assert not torch.allclose(judge(2 * windows), judge(windows), atol=1e-3)
    still = windows.clone()
    still[:, :, 61:] = 0
    assert torch.equal(judge(still), judge(windows))


def test_a_window_that_is_too_short_for_the_convolutions_is_refused() -> None:
    with pytest.raises(ValueError, match="window 12"):
        StyleJudgeConfig(window=12)


def test_windows_with_unknown_frames_are_left_out() -> None:
    points = np.random.default_rng(0).normal(0, 0.1, (60, 102, 3)).astype(np.float32)
    usable = np.ones(60, np.bool_)
    usable[30] = False
    clip = MouthClip(points=points, times=np.arange(60) / 25, usable=usable)
    windows, starts = mouth_windows_of(clip, 20, 8)
    assert (starts[0], len(starts)) == (0, 4)
    assert not any(start <= 30 < start + 20 for start in starts.tolist())
    assert np.diff(starts).min() >= 8
    assert windows.shape == (4, 20, 102, 3)


def test_two_frames_at_one_rounded_time_spoil_nothing() -> None:
    times = np.arange(60) / 25
    times[1] = times[0]
    points = np.random.default_rng(0).normal(0, 0.1, (60, 102, 3)).astype(np.float32)
    windows, _ = mouth_windows_of(MouthClip(points=points, times=times), 16, 8)
    assert np.isfinite(windows).all()


class _SourceParts(SimpleNamespace):
    def __len__(self) -> int:
        return NUM_FRAMES


def _mouth(openings: F32) -> MouthSeries:
    faces = np.repeat(mean_face()[None].astype(np.float32) * 60 + 100, len(openings), 0)
    middle = np.arange(faces.shape[1]) % 2 == 0
    faces[:, middle, 1] += 10 * openings[:, None]
    stand_in: Any = SimpleNamespace(opening=openings, landmarks=faces)
    return cast(MouthSeries, stand_in)


def _source(openings: F32) -> Source:
    mouth = _mouth(openings)
    still = _mouth(np.zeros_like(openings)).landmarks
    parts = _SourceParts(
        valid=np.ones(NUM_FRAMES, bool),
        split=SPLIT,
        seconds=np.arange(NUM_FRAMES) / 25,
        pose=fit_pose(still),
        track=SimpleNamespace(landmarks=mouth.landmarks, shot=np.zeros(NUM_FRAMES, np.int64)),
        mouth=mouth,
    )
    return cast(Source, parts)


def _openings(seed: int) -> F32:
    return np.random.default_rng(seed).uniform(0, 1, NUM_FRAMES).astype(np.float32)


def test_the_source_itself_is_its_own_ceiling(judge: StyleJudge) -> None:
    source = _source(_openings(0))
    scores = StyleSimilarity(judge).score(source, source.mouth)
    assert scores["style_sim"] == scores["style_sim_own"]
    assert all(-1.001 <= value <= 1.001 for value in scores.values())


def test_the_result_is_compared_with_the_references_part_alone(judge: StyleJudge) -> None:
    scorer, openings = StyleSimilarity(judge), _openings(0)
    made = _mouth(_openings(1))
    scores = scorer.score(_source(openings), made)
    behind = openings.copy()
    behind[SPLIT:] = _openings(2)[SPLIT:]
    other = scorer.score(_source(behind), made)
    assert other["style_sim"] == pytest.approx(scores["style_sim"], abs=1e-5)
    assert other["style_sim_stranger"] == pytest.approx(scores["style_sim_stranger"], abs=1e-5)
    assert other["style_sim_own"] != pytest.approx(scores["style_sim_own"], abs=1e-5)
    before = _openings(3)
    before[SPLIT:] = _openings(1)[SPLIT:]
    same = scorer.score(_source(openings), _mouth(before))
    assert same["style_sim"] == pytest.approx(scores["style_sim"], abs=1e-5)


def test_what_is_not_seen_for_long_enough_is_not_measured(judge: StyleJudge) -> None:
    openings = _openings(0)
    openings[::10] = math.nan
    source = replace_mouth(_source(_openings(1)), openings)
    assert all(
        math.isnan(value) for value in StyleSimilarity(judge).score(source, source.mouth).values()
    )


def replace_mouth(source: Source, openings: F32) -> Source:
    """The source with a mouth that is unknown where the opening is."""
    source.__dict__["mouth"] = _mouth(openings)
    return source


def test_without_weights_nothing_is_told() -> None:
    manifest = load_manifest()
    without = {name: tag for name, tag in manifest.default.items() if name != "style-judge"}
    scorer = StyleSimilarity.load(torch.device("cpu"), replace(manifest, default=without))
    assert not scorer
    assert scorer.score(_source(_openings(0)), _mouth(_openings(1))) == {}


def test_the_shipped_encoder_loads_and_knows_strangers() -> None:
    scorer = StyleSimilarity.load(torch.device("cpu"), load_manifest())
    source = _source(_openings(0))
    scores = scorer.score(source, source.mouth)
    assert scorer
    assert scorer.sha256
    assert all(math.isfinite(value) for value in scores.values())
