"""Videos of other tools: which clip each belongs to, what is refused, which frame meets which."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dubcli import Engine
from dubcli.batches.job_list import WrittenRow
from dubcli.batches.row_checks import check_rows
from dubcli.config import EvaluateConfig
from dubcli.core.errors import ConfigError
from dubcli.core.progress import no_progress
from dubcli.evaluation.clips import EvalClip
from dubcli.evaluation.result_alignment import nearest_frames, notes_on, sound_lag
from dubcli.evaluation.result_videos import find_results
from dubcli.evaluation.score import score_lips
from dubcli.evaluation.tables import Evaluation, as_json, command_line
from dubcli.evaluation.tasks import list_tasks

CLIPS = [
    EvalClip(path=Path(f"{name}.mp4"), name=name, identity=name, audio=Path(f"{name}.wav"))
    for name in ("dev-anna", "ben")
]
TAKEN = ("iptalker.v3", "anna", "ground-truth")


def _config(*results: str, settings: str = EvaluateConfig.settings) -> EvaluateConfig:
    return EvaluateConfig(
        clips=Path("clips"), output=Path("out"), results=results, settings=settings
    )


def _videos(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def test_videos_are_matched_by_the_clips_name_in_each_setting(tmp_path: Path) -> None:
    folder = _videos(
        tmp_path / "made",
        *("dev/anna.webm", "ben.dubbed.mkv", "notes.txt", "carol.mp4"),
        *("cross/ben.mp4", "silence/dev-anna.mp4", "cross-speech/ben.mp4"),
    )
    (found,) = find_results(_config(f"tool = {folder}"), CLIPS, TAKEN)
    assert found.name == "tool"
    assert {key: str(path.relative_to(folder)) for key, path in found.of_item.items()} == {
        ("reconstruction", "dev-anna"): "dev/anna.webm",
        ("reconstruction", "ben"): "ben.dubbed.mkv",
        ("cross-clip", "ben"): "cross/ben.mp4",
        ("silence", "dev-anna"): "silence/dev-anna.mp4",
    }
    # Without --speech nothing is driven by a recording.
    assert sorted(found.unmatched) == ["carol.mp4", "cross-speech/ben.mp4"]


def test_a_clip_without_a_video_is_a_task_that_will_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dubcli.evaluation.tasks.has_sound", lambda clip: True)
    folder = _videos(tmp_path / "made", "ben.mp4", "silence/ben.mp4")
    config = replace(_config(f"tool={folder}"), baselines="")
    results = find_results(config, CLIPS, TAKEN)
    tasks = list(list_tasks(config, CLIPS, [], [], [], results))
    assert [(task.clip.name, task.run, task.made) for task in tasks] == [
        ("dev-anna", "reconstruction", None),
        ("dev-anna", "silence", None),
        ("ben", "reconstruction", folder / "ben.mp4"),
        ("ben", "silence", folder / "silence/ben.mp4"),
    ]
    assert not any(task.is_dubbed for task in tasks)


@pytest.mark.parametrize(
    ("prepare", "named", "said"),
    [
        (lambda folder: None, "tool", "there is no such folder"),
        (lambda folder: _videos(folder, "carol.mp4"), "tool", "no video there is of a clip"),
        (lambda folder: _videos(folder, "ben.mp4"), "iptalker.v3", "name of a model"),
        (lambda folder: _videos(folder, "ben.mp4"), "g4g", "name of a model"),
        (lambda folder: _videos(folder, "ben.mp4"), "anna", "name of a model, an identity"),
        (lambda folder: _videos(folder, "ben.mp4", "ben.mov"), "tool", "both of the clip 'ben'"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    prepare: Callable[[Path], Any], named: str, said: str, tmp_path: Path
) -> None:
    folder = tmp_path / "made"
    prepare(folder)
    with pytest.raises(ConfigError, match=said):
        find_results(_config(f"{named}={folder}"), CLIPS, TAKEN)


@pytest.mark.parametrize("listed", ["folder", "=folder", "tool="])
def test_a_folder_without_a_name_or_a_name_without_a_folder_is_refused(listed: str) -> None:
    with pytest.raises(ConfigError, match="NAME=FOLDER"):
        _config(listed)


def test_two_folders_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="Two --results are called 'a'"):
        _config("a=x", "a=y")


def test_the_command_repeats_every_folder() -> None:
    config = _config("a=x", "b=my results")
    expected = "dub evaluate clips --output out --results a=x --results 'b=my results'"
    assert command_line(config) == expected
    json.dumps(as_json(Evaluation(config=config, items=[])))


def test_each_time_is_given_the_nearest_frame_until_the_video_ends() -> None:
    # 10 frames a second, half a second, against 25 frames a second.
    known, wanted = np.arange(5) / 10, np.arange(20) / 25
    found = nearest_frames(known, 0.5, wanted)
    assert found.tolist() == [0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4, 4, 4]
    assert nearest_frames(wanted, 0.8, wanted).tolist() == list(range(20))


def _wave(path: Path, samples: np.ndarray) -> Path:
    from dubcli.media.sound.sound_file import write_wave

    write_wave(path, samples.astype(np.float32), 16_000)
    return path


def test_the_lag_of_a_videos_own_sound_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dubcli.evaluation import result_alignment

    rng = np.random.default_rng(0)
    sound = 0.1 * rng.standard_normal(16_000)
    driver = _wave(tmp_path / "driver.wav", sound)

    class _Info:
        audio = object()

    class _Video:
        start_pts, time_base = 0, 1

    monkeypatch.setattr(result_alignment, "probe", lambda path: _Info())
    monkeypatch.setattr(result_alignment, "require_video", lambda info: _Video())
    for lag in (0.0, 0.12, -0.08):
        moved = np.roll(sound, round(lag * 16_000))
        noisy = 0.5 * moved + 0.01 * rng.standard_normal(16_000)
        assert sound_lag(_wave(tmp_path / "made.wav", noisy), driver) == pytest.approx(lag)
    other = _wave(tmp_path / "other.wav", 0.1 * rng.standard_normal(16_000))
    assert math.isnan(sound_lag(other, driver) or 0.0)


def test_notes_count_what_was_done() -> None:
    facts = {"compared_frames": 20, "source_frames": 20, "is_scaled": True, "is_retimed": False}
    short = {**facts, "compared_frames": 15, "is_cut": True}
    (note,) = notes_on([("tool", "silence", facts), ("tool", "silence", short)])
    assert note.startswith("tool, silence: 2 of 2 had another size")
    assert "1 of 2 had another length" in note
    assert "at least 75 %" in note
    same = {**facts, "is_scaled": False}
    assert notes_on([("tool", "silence", same)]) == []


def test_a_mouth_that_followed_the_unshifted_sound_is_scored_both_ways() -> None:
    class _Source:
        seconds = np.arange(100) / 25
        valid = np.ones(100, bool)
        split = 40
        clip = CLIPS[0]
        mouth: Any = None

    class _Mouth:
        def __init__(self, opening: Any) -> None:
            self.opening = opening.astype(np.float32)
            marks = np.random.default_rng(2).uniform(0, 100, (133, 3))
            self.landmarks = np.repeat(marks[None], 100, 0).astype(np.float32)

    rng = np.random.default_rng(1)
    true = np.convolve(rng.standard_normal(110), np.ones(5) / 5, "same")[5:105]
    source: Any = _Source()
    source.mouth = _Mouth(true)
    # The picture comes 3 frames late, so what follows the file's sound is 3 frames early.
    early: Any = _Mouth(np.roll(true, -3))
    in_step: Any = _Mouth(true)
    follows_file = score_lips("reconstruction", source, early, None, 0.12, 0.0).scores
    follows_given = score_lips("reconstruction", source, in_step, None, 0.12).scores
    assert follows_file["r_own_offset"] == pytest.approx(1, abs=1e-5)
    assert follows_given["r_own_offset"] == pytest.approx(1, abs=1e-5)
    assert follows_file["r"] == pytest.approx(follows_given["r"], abs=0.1)
    assert follows_file["r"] < 0.8


def test_a_row_of_a_batch_may_score_all_models_and_refuses_like_the_command(
    tmp_path: Path,
) -> None:
    _videos(tmp_path / "clips", "ben.mp4")

    def checked(**cells: Any) -> tuple[list[Any], list[Any]]:
        cells = {"clips": str(tmp_path / "clips"), "output": str(tmp_path / "out"), **cells}
        written = [WrittenRow(number=1, cells={"command": "evaluate", **cells})]
        with Engine("cpu", 1) as engine:
            return check_rows(written, {}, {}, None, engine, no_progress)

    assert len(checked(models="all")[0]) == 1
    (failed,) = checked(models="nobody")[1]
    assert "Unknown model 'nobody'" in failed.error
