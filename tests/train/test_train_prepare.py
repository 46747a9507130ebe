"""`dub prepare`: videos to a training set, with a reason for what cannot be used."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.config import PrepareConfig, TrainConfig
from dubcli.core.errors import ConfigError, TrainingError
from dubcli.media.container.ffmpeg import ffmpeg_binary
from dubcli.training.data.clip_file import load_clip
from dubcli.training.data.prepare import list_sources, prepare
from dubcli.training.data.prepared_clip import stored_size
from dubcli.training.data.train_clips import load_clips
from dubcli.training.run import train

TIMEOUT_S = 300


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of the bundled clip in a folder of its own, beside a text with a video's name."""
    folder = tmp_path_factory.mktemp("clips")
    (folder / "anna").mkdir()
    demo = str(files("dubcli") / "assets" / "demo.mp4")
    argv = [ffmpeg_binary(), "-v", "error", "-i", demo, "-frames:v", "30", "-t", "1.2"]
    subprocess.run([*argv, str(folder / "anna" / "first.mp4")], check=True)
    (folder / "notes.mp4").write_text("This is no video.\n")
    (folder / "readme.txt").write_text("Nor is this.\n")
    return folder


def _rows(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "index.csv").open(newline="", encoding="utf-8") as file:
        return {row["clip"]: row for row in csv.DictReader(file)}


def test_the_command_prepares_and_reuses(clips: Path, tmp_path: Path) -> None:
    output = tmp_path / "set"
    catalogue = tmp_path / "people.csv"
    catalogue.write_text("file,identity\nfirst.mp4,Anna\n")
    arguments = ["prepare", str(clips), "--output", str(output), "--catalogue", str(catalogue)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    rows = _rows(output)
    assert list(rows) == ["anna-first", "notes"]
    assert rows["anna-first"]["identity"] == "Anna"
    assert rows["anna-first"]["dropped"] == ""
    assert "notes.mp4" in rows["notes"]["dropped"]

    clip = load_clip(output / "anna-first.npz")
    assert len(clip) == int(rows["anna-first"]["frames"]) == 30
    assert clip.picture(29).shape == (*stored_size(clip.size), 3)
    # The clip's own sound, 80 steps a second, in step with its frames.
    assert rows["anna-first"]["has_audio"] == ("yes" if clip.has_sound else "no")

    assert CliRunner().invoke(app, arguments).exit_code == ConfigError.exit_code
    before = (output / "anna-first.npz").stat().st_mtime_ns
    assert CliRunner().invoke(app, [*arguments, "-y"]).exit_code == 0
    assert (output / "anna-first.npz").stat().st_mtime_ns == before
    assert _rows(output) == rows
    _damaged_clips_are_made_again(output, arguments)
    _can_be_trained_on(output, tmp_path)
    _another_size_is_prepared_anew(output, arguments)


def _another_size_is_prepared_anew(output: Path, arguments: list[str]) -> None:
    before = load_clip(output / "anna-first.npz")
    frames = np.arange(len(before))
    small = before.crop_points(frames)
    words = [*arguments, "-y", "--size", "416x320", "--features", "mel"]
    assert CliRunner().invoke(app, words).exit_code == 0
    clip = load_clip(output / "anna-first.npz")
    assert (clip.size, list(clip.sounds)) == ((416, 320), ["mel"])
    assert clip.picture(0).shape == (520, 400, 3)
    # The same face at twice the size: pixel centres lie at integers.
    np.testing.assert_allclose(clip.crop_points(frames), 2 * small + 0.5, atol=0.05)
    with pytest.raises(TrainingError, match="was changed while it was in use"):
        before.picture(0)


def _damaged_clips_are_made_again(output: Path, arguments: list[str]) -> None:
    path = output / "anna-first.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert CliRunner().invoke(app, [*arguments, "-y"]).exit_code == 0
    assert _rows(output)["anna-first"]["dropped"] == ""
    assert len(load_clip(path)) == 30


def _can_be_trained_on(prepared: Path, folder: Path) -> None:
    (clip,) = load_clips(prepared)
    assert clip.identity == "Anna"
    config = TrainConfig(
        model="iptalker",
        data=prepared,
        output=folder / "run",
        preset="tiny",
        device="cpu",
        steps=1,
        batch_clips=1,
        frames_per_clip=2,
    )
    assert train(config).name == "step-000001"


def test_sound_that_is_not_the_mouths_own_is_left_out(clips: Path, tmp_path: Path) -> None:
    catalogue = tmp_path / "people.csv"
    catalogue.write_text("file,audio_is_own\nfirst.mp4,no\n")
    config = PrepareConfig(clips=clips, output=tmp_path / "set", catalogue=catalogue)
    own = {source.path.name: source.has_own_audio for source in list_sources(config)}
    assert own == {"first.mp4": False, "notes.mp4": True}


def test_folders_and_catalogues_that_cannot_be_used_are_named(clips: Path, tmp_path: Path) -> None:
    def refused(folder: Path, catalogue: Path | None = None) -> str:
        config = PrepareConfig(clips=folder, output=tmp_path / "set", catalogue=catalogue)
        with pytest.raises(ConfigError) as raised:
            prepare(config)
        assert raised.value.next_step
        return str(raised.value)

    assert "no folder" in refused(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "no video" in refused(tmp_path / "empty")
    catalogue = tmp_path / "people.csv"
    catalogue.write_text("name,identity\nfirst.mp4,Anna\n")
    message = refused(clips, catalogue)
    assert "no column 'file'" in message
    assert "name, identity" in message
    assert "cannot be read" in refused(clips, tmp_path / "nowhere.csv")
    assert not (tmp_path / "set").exists()


def test_a_folder_without_one_usable_clip_says_where_the_reasons_are(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "notes.mp4").write_text("This is no video.\n")
    with pytest.raises(TrainingError) as raised:
        prepare(PrepareConfig(clips=tmp_path / "clips", output=tmp_path / "set"))
    assert "index.csv" in raised.value.next_step
    assert _rows(tmp_path / "set")["notes"]["dropped"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_jobs_end_with_the_command(number: signal.Signals, clips: Path, tmp_path: Path) -> None:
    many, output = tmp_path / "many", tmp_path / "set"
    many.mkdir()
    for index in range(40):
        shutil.copy(clips / "anna" / "first.mp4", many / f"{index:02}.mp4")
    command = [sys.executable, "-m", "dubcli", "prepare", str(many), "-o", str(output), "--jobs=2"]
    # Each of its processes holds this pipe: it ends when the last of them does.
    running = subprocess.Popen(
        [*command, "--progress", "jsonl"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert running.stdout is not None
    for line in running.stdout:
        if json.loads(line)["done"] >= 1:
            break
    running.send_signal(number)
    running.communicate(timeout=TIMEOUT_S)
    made = list(output.glob("*.npz"))
    assert 1 <= len(made) < 20
    assert [load_clip(path).valid.sum() for path in made] == [30] * len(made)
    if number == signal.SIGTERM:
        assert running.returncode == 143
        assert sorted(output.iterdir()) == sorted(made)
