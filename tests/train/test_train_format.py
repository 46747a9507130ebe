"""The format of a prepared set: what a file holds, older ones, other sizes, workers."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_clips import NUM_FRAMES, made_clip, same_clip, write_set
from train_runs import same_bits

from dubcli.config import PrepareConfig, TrainConfig
from dubcli.core.errors import ConfigError, TrainingError
from dubcli.training.data.clip_file import load_clip, save_clip
from dubcli.training.data.mapped_array import MappedArray
from dubcli.training.data.prepared_clip import PreparedClip, runs_of
from dubcli.training.data.train_clips import load_clips, longest_run, run_starts
from dubcli.training.run import train


def _first_format(clip: PreparedClip, path: Path) -> None:
    """The clip as versions before sizes and kinds wrote it."""
    names = ("jpeg", "jpeg_ends", "landmarks", "canonical", "scale", "rotation", "translation")
    arrays = {name: getattr(clip, name)[:] for name in (*names, "valid", "shot", "steps", "heard")}
    speech = clip.sounds["speech"]
    np.savez(path, **arrays, voices=speech.versions[:], fill=speech.fill)


@pytest.mark.parametrize("size", [(208, 160), (416, 320)])
def test_a_clip_is_read_as_it_was_written_whatever_its_size(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    clip = made_clip(0, size=size)
    save_clip(clip, tmp_path / "clip.npz")
    found = load_clip(tmp_path / "clip.npz")
    assert same_clip(found, clip)
    assert found.crop(3).shape == (*size, 3)
    np.testing.assert_allclose(
        found.crop_points(np.array([3]))[0], clip.landmarks[3][:, :2] - clip.margin[::-1], atol=1e-3
    )


def test_pictures_points_and_sound_stay_in_the_file(tmp_path: Path) -> None:
    """A worker process is given where they are, not what they are."""
    save_clip(made_clip(0), tmp_path / "clip.npz")
    found = load_clip(tmp_path / "clip.npz")
    large = [found.jpeg, found.landmarks, found.canonical]
    large += [sound.versions for sound in found.sounds.values()]
    assert all(isinstance(array, MappedArray) for array in large)
    sent = pickle.dumps(found)
    assert len(sent) < (tmp_path / "clip.npz").stat().st_size / 10
    assert same_clip(pickle.loads(sent), found)


def test_kinds_of_features_are_stored_apart(tmp_path: Path) -> None:
    save_clip(made_clip(0), tmp_path / "clip.npz")
    with np.load(tmp_path / "clip.npz") as data:
        assert data["kinds"].tolist() == ["speech", "mel"]
        assert (data["sound_speech"].shape[-1], data["sound_mel"].shape[-1]) == (368, 80)
        assert int(data["format"]) == 2


def test_a_set_of_format_1_is_read(
    configured: Callable[..., TrainConfig], data: Path, tmp_path: Path
) -> None:
    clips = {"anna": made_clip(0), "ben": made_clip(1)}
    folder = write_set(tmp_path / "first", clips, {"cat": "no usable face"})
    for name, clip in clips.items():
        _first_format(clip, folder / f"{name}.npz")
        found = replace(clip, detector="mediapipe")
        assert same_clip(load_clip(folder / f"{name}.npz"), found)
    # A run on it is the run on the same set of today.
    for stage in ("geometry", "joint"):
        runs = [
            train(configured(f"{stage}-{place.name}", stage=stage, data=place, steps=1))
            for place in (data, folder)
        ]
        assert same_bits(*runs)


def test_a_later_format_is_refused_with_what_to_do(tmp_path: Path) -> None:
    save_clip(made_clip(0), tmp_path / "clip.npz")
    with np.load(tmp_path / "clip.npz") as data:
        arrays = dict(data)
    np.savez(tmp_path / "clip.npz", **{**arrays, "format": np.int64(3)})
    with pytest.raises(TrainingError, match="has format 3") as raised:
        load_clip(tmp_path / "clip.npz")
    assert "dub prepare" in raised.value.next_step


def test_larger_crops_are_trained_on_as_they_are_and_smaller_ones_are_told(
    configured: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    folder = write_set(tmp_path / "large", {"anna": made_clip(0, size=(416, 320))}, {})
    run = train(configured("large", data=folder, steps=1))
    assert not (run.parent / "notes.txt").exists()
    small = write_set(tmp_path / "small", {"anna": made_clip(0, size=(52, 40))}, {})
    run = train(configured("small", data=small, steps=1))
    assert "dub prepare --size 104x80" in (run.parent / "notes.txt").read_text()


def test_sets_of_other_forms_are_refused(
    configured: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    square = write_set(tmp_path / "square", {"anna": made_clip(0, size=(160, 160))}, {})
    with pytest.raises(TrainingError, match="of 160x160 px") as raised:
        train(configured(data=square))
    assert "--size 104x80" in raised.value.next_step
    clips = {"anna": made_clip(0), "ben": made_clip(1, size=(416, 320))}
    with pytest.raises(TrainingError, match="different sizes") as raised:
        train(configured(data=write_set(tmp_path / "mixed", clips, {})))
    assert "dub prepare" in raised.value.next_step
    clip = made_clip(0)
    turned = {"anna": replace(clip, template="other")}
    with pytest.raises(TrainingError, match="template 'other'"):
        train(configured(data=write_set(tmp_path / "turned", turned, {})))


@pytest.mark.parametrize(("stage", "missing"), [("geometry", "mel"), ("joint", "speech")])
def test_features_that_a_stage_hears_must_be_in_every_clip(
    configured: Callable[..., TrainConfig], tmp_path: Path, stage: str, missing: str
) -> None:
    """The tiny network hears log-mel; the sync expert of the stage joint, speech features."""
    whole = made_clip(0)
    sounds = {kind: sound for kind, sound in whole.sounds.items() if kind != missing}
    clips = {"anna": whole, "ben": replace(made_clip(1), sounds=sounds)}
    with pytest.raises(TrainingError, match=f"no sound features '{missing}'") as raised:
        train(configured(data=write_set(tmp_path / "set", clips, {}), stage=stage))
    assert f"--features {','.join([*sounds, missing])}" in raised.value.next_step
    assert not (tmp_path / "run").exists()


def test_workers_make_the_batches_that_the_process_itself_makes(
    configured: Callable[..., TrainConfig],
) -> None:
    alone = train(configured("alone", losses="no-gan"))
    assert same_bits(alone, train(configured("helped", losses="no-gan", workers=2)))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_cannot_be_decoded_is_told_in_a_line_by_workers_too(
    configured: Callable[..., TrainConfig], tmp_path: Path, workers: int
) -> None:
    clip = made_clip(0)
    spoiled = {"anna": replace(clip, jpeg=np.zeros(len(clip.jpeg), np.uint8))}
    folder = write_set(tmp_path / "set", spoiled, {})
    with pytest.raises(
        TrainingError, match=r"^Picture \d+ of a prepared clip is damaged"
    ) as raised:
        train(configured(data=folder, workers=workers))
    assert "dub prepare" in raised.value.next_step


def test_runs_end_at_cuts_and_unusable_frames(tmp_path: Path) -> None:
    valid = np.array([1, 1, 0, 1, 1, 1, 1, 0], bool)
    shot = np.array([0, 0, 0, 0, 0, 1, 1, 1])
    assert runs_of(valid, shot).tolist() == [[0, 2], [3, 5], [5, 7]]
    assert runs_of(~valid & False, shot).shape == (0, 2)
    (clip,) = load_clips(write_set(tmp_path, {"anna": made_clip(0)}, {}))
    assert longest_run(clip) == NUM_FRAMES
    assert run_starts(clip, NUM_FRAMES - 2).tolist() == [0, 1, 2]
    assert run_starts(clip, NUM_FRAMES + 1).tolist() == []


@pytest.mark.parametrize("size", ["", "416", "0x0", "16x12", "4160x3200", "a×b"])
def test_sizes_that_are_none_are_refused(tmp_path: Path, size: str) -> None:
    with pytest.raises(ConfigError, match="Crops of"):
        PrepareConfig(clips=tmp_path, output=tmp_path, size=size)
    assert PrepareConfig(clips=tmp_path, output=tmp_path, size="416x320").crop_size == (416, 320)
    with pytest.raises(ConfigError, match="Unknown sound features"):
        PrepareConfig(clips=tmp_path, output=tmp_path, features="mel,bark")
