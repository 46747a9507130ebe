"""The lag between sound and picture, found when a set is prepared or by a first sound model."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_clips import NUM_FRAMES, STEPS_PER_FRAME, made_clip, sound_of, write_set
from torch import Tensor, nn

from dubcli.config import PrepareConfig
from dubcli.core.errors import TrainingError
from dubcli.core.types import F32, AudioFeatures
from dubcli.face.landmarks import SPEAKING, mouth_open
from dubcli.face.neutral import rest_shape
from dubcli.models.common.mouth_map import INNER_BOTTOM
from dubcli.models.iptalker.network import NAMED_CONFIGS, NUM_POINTS
from dubcli.models.iptalker.offsets import MAX_LAG_FRAMES, correct_offsets, lag_of
from dubcli.sync.offset import OffsetColumns, measure_offset
from dubcli.sync.scorer import MouthClip, SyncScore, SyncScorer
from dubcli.training.data import prepare as prepare_module
from dubcli.training.data.prepared_clip import INDEX_NAME, PreparedClip
from dubcli.training.data.train_clips import TrainClip, load_clips, with_sound


def _series(num: int = 120) -> F32:
    noise = np.random.default_rng(5).standard_normal(num + 2)
    return np.convolve(noise, np.ones(3) / 3, "valid").astype(np.float32)


@pytest.mark.parametrize("lag", [-7, -3, -1, 0, 1, 2, 5, 8])
def test_a_known_shift_is_found_positive_when_the_picture_comes_later(lag: int) -> None:
    series = _series(160)
    sound, picture = series[20:140], series[20 - lag : 140 - lag]
    found, peak, at_zero = lag_of(sound, picture)
    assert found == lag
    assert peak == pytest.approx(1, abs=1e-5)
    assert (at_zero == peak) == (lag == 0)


def test_a_still_mouth_has_no_lag_and_no_correlation() -> None:
    still = np.full(60, 0.1, np.float32)
    assert lag_of(_series(60), still)[1:] == (0.0, 0.0)


class _Alignment(nn.Module):
    """Opens the mouth as wide as the middle of the window is loud."""

    def forward(self, audio: Tensor, tokens: Tensor) -> Tensor:
        middle = audio.shape[1] // 2
        return audio[:, middle - 1 : middle + 2, ::2].mean((1, 2))[:, None]

    def to_coefficients(self, v_alg: Tensor) -> Tensor:
        return v_alg + 1

    def speaking_points(self, coefficients: Tensor, neutral: Tensor) -> Tensor:
        assert neutral.shape == (NUM_POINTS, 3)
        points = torch.zeros(len(coefficients), NUM_POINTS, 3)
        points[:, INNER_BOTTOM, 1] = coefficients[:, 0]
        return points


class _SoundModel(nn.Module):
    """Stands for a trained network: only what the lag estimate asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.config = NAMED_CONFIGS["tiny"]
        self.alignment = _Alignment()
        self.weight = nn.Parameter(torch.zeros(1))


def _train_clip(lag_frames: int, **changes: Any) -> TrainClip:
    clip = made_clip(3, lag_frames=lag_frames, **changes)
    neutral = rest_shape(clip.canonical[:], clip.valid)
    return TrainClip(
        clip_id="clip",
        identity="clip",
        clip=clip,
        frames=np.flatnonzero(clip.valid),
        neutral=neutral,
        mouth_offset=clip.canonical[:, SPEAKING] - neutral,
        opening=mouth_open(clip.canonical[:]),
    )


@pytest.mark.parametrize("lag", [-4, 0, 3, 6])
def test_a_clip_that_lags_is_put_in_step(lag: int) -> None:
    model: Any = _SoundModel()
    model.train()
    (corrected,) = correct_offsets(model, [_train_clip(lag)])
    assert corrected.offset_steps == lag * STEPS_PER_FRAME
    # Looking is not training: the mode stays, and a second look finds nothing to correct.
    assert model.training
    assert correct_offsets(model, [corrected])[0].offset_steps == corrected.offset_steps


def test_the_step_between_frames_is_not_rounded() -> None:
    """At 25 frames a second a frame lasts 3.2 steps: six frames are 19, not 18."""
    clip = _train_clip(6)
    steps = np.round(np.arange(NUM_FRAMES) * 3.2).astype(np.int64)
    mel = np.repeat(clip.clip.sound("mel").version(0)[::STEPS_PER_FRAME].astype(np.float64), 4, 0)
    source = np.clip(np.arange(len(mel)) / 3.2, 0, NUM_FRAMES - 1).round().astype(np.int64)
    slow = replace(clip, clip=replace(clip.clip, steps=steps, **sound_of(mel[source * 4])))
    (corrected,) = correct_offsets(_model(), [slow])
    assert corrected.offset_steps == 19


def _model() -> Any:
    return _SoundModel()


def test_a_lag_that_explains_hardly_more_is_no_lag() -> None:
    clip = _train_clip(0)
    slow = np.sin(np.arange(NUM_FRAMES) / 12).astype(np.float32)
    # Everything here changes so slowly that one frame to the side fits nearly as well.
    mel = np.repeat(np.roll(slow, -1), STEPS_PER_FRAME)[:, None] * np.ones((1, 80))
    unclear = replace(clip, clip=replace(clip.clip, **sound_of(mel)), opening=slow)
    assert lag_of(np.roll(slow, -1), slow)[0] == 1
    assert correct_offsets(_model(), [unclear])[0].offset_steps == 0


def test_clips_that_no_lag_explains_and_silent_ones_are_left_out() -> None:
    still = _train_clip(0)
    still = replace(still, opening=np.full(NUM_FRAMES, 0.1, np.float32))
    silent = _train_clip(0, with_sound=False)
    fine = _train_clip(0)
    kept = correct_offsets(_model(), [still, silent, fine])
    assert [clip is fine for clip in kept] == [True]


def test_the_largest_lag_is_not_trusted() -> None:
    """At the edge of the search the true lag may lie beyond it."""
    clip = _train_clip(MAX_LAG_FRAMES)
    assert correct_offsets(_model(), [clip])[0].offset_steps == 0


class _Judge:
    """Stands for a trained expert: says what it was told to say."""

    def __init__(self, confidence: float, offset_frames: float = 0.0, num_windows: int = 200):
        self._score = SyncScore(
            confidence=confidence,
            distance=0.5,
            offset_frames=offset_frames,
            num_windows=num_windows,
        )

    audio_kind = "speech"

    def score(self, mouths: MouthClip, features: AudioFeatures) -> SyncScore:
        assert len(mouths) == NUM_FRAMES
        assert features.kind == "speech"
        return self._score


def _measured(judge: Any, **changes: Any) -> OffsetColumns:
    return measure_offset(judge, made_clip(1, **changes))


def test_a_sure_offset_is_written_in_milliseconds() -> None:
    assert _measured(_Judge(0.4, offset_frames=-3.25)) == OffsetColumns(
        offset_ms="-130", offset_confidence="0.400"
    )


def test_sound_that_does_not_follow_the_mouth_is_dropped_with_the_reason() -> None:
    found = _measured(_Judge(0.05, offset_frames=9.0))
    assert (found.offset_ms, found.offset_confidence) == ("", "0.050")
    assert "does not follow the mouth" in found.sound_dropped


def test_what_cannot_be_told_changes_nothing() -> None:
    assert _measured(_Judge(0.2, num_windows=99)) == OffsetColumns(offset_confidence="0.200")
    assert _measured(_Judge(0.05, num_windows=20)) == OffsetColumns(offset_confidence="0.050")
    for nothing in (_measured(None), _measured(_Judge(0.9), with_sound=False)):
        assert nothing == OffsetColumns()
    assert _measured(_Judge(float("nan"), num_windows=0)) == OffsetColumns()


def _prepared(folder: Path, judge: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A set of one made clip as `dub prepare` writes it."""

    def load(role: str, device: torch.device, manifest: object) -> Any:
        assert role == "train"
        return judge

    def made(source: object, form: object, engine: object) -> PreparedClip:
        return made_clip(1)

    monkeypatch.setattr(SyncScorer, "load", load)
    monkeypatch.setattr(prepare_module, "prepare_clip", made)
    (folder / "clips").mkdir()
    (folder / "clips" / "one.mp4").write_text("")
    prepare_module.prepare(PrepareConfig(clips=folder / "clips", output=folder / "set"))
    return folder / "set"


def _row(folder: Path) -> dict[str, str]:
    with (folder / INDEX_NAME).open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    return row


def test_prepare_writes_the_offset_and_training_corrects_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _prepared(tmp_path, _Judge(0.4, offset_frames=-4.0), monkeypatch)
    row = _row(folder)
    assert (row["offset_ms"], row["has_audio"], row["dropped"]) == ("-160", "yes", "")
    (clip,) = load_clips(folder)
    # 160 ms are 12.8 of 80 steps a second.
    assert clip.offset_steps == -13
    # What was measured is not measured again by a sound model.
    assert correct_offsets(_model(), [clip])[0] is clip


def test_doubtful_sound_is_not_learnt_from_but_its_pictures_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _prepared(tmp_path, _Judge(0.05), monkeypatch)
    assert _row(folder)["sound_dropped"]
    assert _row(folder)["dropped"] == ""
    (clip,) = load_clips(folder)
    assert not clip.has_audio
    assert len(clip.frames) == NUM_FRAMES
    with pytest.raises(TrainingError, match="sound"):
        with_sound([clip])


def test_sets_of_earlier_versions_tell_no_offset(tmp_path: Path) -> None:
    (clip,) = load_clips(write_set(tmp_path / "set", {"one": made_clip(1)}, {}))
    assert (clip.offset_steps, clip.is_in_step, clip.has_audio) == (0, False, True)


def test_a_damaged_offset_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _prepared(tmp_path, _Judge(0.4, offset_frames=2.0), monkeypatch)
    index = folder / INDEX_NAME
    index.write_text(index.read_text().replace(",80,", ",soon,"))
    with pytest.raises(TrainingError, match="'soon'"):
        load_clips(folder)
