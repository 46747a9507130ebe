"""`dub evaluate --results`: videos of another tool, of another rate, size and length."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from studio import DEMO, DEMO_SPEECH, FACE_PX, X264, ffmpeg
from typer.testing import CliRunner

from dubcli.cli.app import app

NUM_FRAMES = 30


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A tool that returns its sources: one smaller, slower and shorter, one as it is."""
    folder = tmp_path_factory.mktemp("set")
    clips, made = folder / "clips", folder / "made"
    (made / "silence").mkdir(parents=True)
    clips.mkdir()
    for name, start_s in (("one", "0"), ("two", "0.8")):
        ffmpeg(
            *("-i", DEMO, "-ss", start_s, "-i", DEMO_SPEECH, "-map", "0:v", "-map", "1:a"),
            *("-vf", f"scale={FACE_PX}:{FACE_PX}", "-frames:v", str(NUM_FRAMES)),
            *(*X264, "-pix_fmt", "yuv420p", "-c:a", "aac", "-shortest", clips / f"{name}.mp4"),
        )
    smaller = ("-vf", "fps=20,scale=200:180", "-t", "1", "-an", *X264, "-pix_fmt", "yuv420p")
    ffmpeg("-i", clips / "one.mp4", *smaller, made / "one.mkv")
    shutil.copyfile(clips / "two.mp4", made / "two.dubbed.mp4")
    shutil.copyfile(clips / "two.mp4", made / "silence/two.mp4")
    shutil.copyfile(clips / "two.mp4", made / "three.mp4")
    words = ["evaluate", clips, "-o", folder / "scores", "--results", f"tool={made}", "--keep"]
    words += ["--models", "", "--baselines", "ground-truth", "--device", "cpu", "--threads", "1"]
    result = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert result.exit_code == 0, result.output
    return folder, result


def _clip(result: Any, clip: str, run: str) -> dict[str, Any]:
    items = json.loads(result.stdout)["clips"]
    (found,) = [i for i in items if (i["clip"], i["run"], i["system"]) == (clip, run, "tool")]
    return found


def test_a_copy_of_the_source_scores_like_the_truth(scored: tuple[Path, Any]) -> None:
    scores = _clip(scored[1], "two", "reconstruction")["scores"]
    assert scores["psnr_mouth"] == 100
    assert scores["lmd"] < 0.005
    assert scores["csim"] > 0.999
    assert scores["r_best_lag"] > 0.99


def test_a_smaller_slower_and_shorter_result_is_compared_where_it_is(
    scored: tuple[Path, Any],
) -> None:
    found = _clip(scored[1], "one", "reconstruction")
    alignment = found["facts"]["alignment"]
    assert alignment["size"] == [200, 180]
    assert alignment["source_size"] == [FACE_PX, FACE_PX]
    assert 23 <= alignment["compared_frames"] <= 26
    assert alignment["source_frames"] == NUM_FRAMES
    assert found["scores"]["lmd"] < 0.05
    assert found["scores"]["csim"] > 0.9
    assert found["scores"]["psnr_mouth"] > 20
    assert len(found["scores"]) > 10


def test_tables_say_what_was_done_what_is_missing_and_what_belongs_to_no_clip(
    scored: tuple[Path, Any],
) -> None:
    folder, result = scored
    content = json.loads(result.stdout)
    assert content["failures"]["one, silence, tool"].endswith("holds no video of it.")
    text = (folder / "scores/scores.md").read_text()
    said = "1 of 2 had another size (scaled to the source's)"
    assert said in text
    assert said in result.stderr
    assert any("three.mp4" in note for note in content["notes"])
    assert "tool" in content["means"]["silence"]
    assert content["results"]["tool"]["videos"] == 3


def test_the_sounds_are_kept_and_the_videos_are_not_copied(scored: tuple[Path, Any]) -> None:
    output = scored[0] / "scores"
    sounds = {path.name for path in (output / "sounds").iterdir()}
    assert {"one.reconstruction.wav", "two.reconstruction.wav", "two.silence.wav"} <= sounds
    assert not list(output.glob("results/*tool*"))


def test_a_folder_that_is_not_there_is_one_line(scored: tuple[Path, Any], tmp_path: Path) -> None:
    words = ["evaluate", scored[0] / "clips", "-o", tmp_path / "o", "--results", "tool=nowhere"]
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == 2
    assert "there is no such folder" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "o").exists()
