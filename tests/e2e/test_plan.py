"""The plan tells what the dub then does, writes nothing but a picture, and costs no leave."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from studio import FACE_PX, face_clip, ffmpeg, speech
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.config import DubConfig
from dubcli.core.errors import EncodeError
from dubcli.core.reports import DubReport
from dubcli.media.container.probe import probe
from dubcli.pipeline.run import dub
from dubcli.preview import estimate
from dubcli.preview.plan_types import LIPS

FRAMES = 60
# The face stands still on a larger picture, then the picture shows none.
LEAVES = "scale=240:240,drawbox=enable='gte(n,40)':c=gray:t=fill"


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One face that leaves, two faces side by side, no face, a recording."""
    folder = tmp_path_factory.mktemp("plan")
    face_clip(folder / "leaves.mp4", LEAVES, frames=FRAMES)
    beside = (
        f"split[a][b];[a]scale={FACE_PX}:{FACE_PX}[l];[b]hflip,scale=160:160,"
        f"pad={FACE_PX}:{FACE_PX}:0:80[r];[l][r]hstack"
    )
    face_clip(folder / "two.mkv", beside, frames=16)
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=160x120:r=25:d=0.6", folder / "none.mp4")
    speech(folder / "new.wav", 2.0)
    speech(folder / "other.wav", 1.0)
    return folder


@pytest.fixture
def here(kitchen: Path, tmp_path: Path) -> Path:
    """Copies of the clips in the folder of the test, which is the working folder."""
    for path in kitchen.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path


def _run(*words: str) -> Any:
    return CliRunner().invoke(app, [*words, "--model", "passthrough", "--device", "cpu"])


def _plan(*words: str) -> dict[str, Any]:
    done = _run("plan", *words, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_dub_does_what_the_plan_tells(here: Path) -> None:
    words = ("leaves.mp4", "--audio", "new.wav", "--sync-mode", "pad")
    before = _names(here)
    plan = _plan(*words)
    assert _names(here) - before == {"leaves.faces.png"}
    done = _run(*words, "--json")
    assert done.exit_code == 0, done.stderr
    report, result = json.loads(done.stdout), plan["result"]
    assert Path(result["path"]).name == Path(report["output"]).name == "leaves.dubbed.mp4"
    for name in ("frames", "frames_dubbed", "sync_mode"):
        assert result[name] == report[name]
    assert result["duration_s"] == pytest.approx(report["duration_s"], abs=1e-3)
    passed = report["frames_passed_through"]
    assert 0 < sum(passed.values()) < FRAMES
    told = {one["reason"]: one["frames"] for one in plan["passed"]}
    assert told == passed
    assert plan["speakers"] == [
        {
            "face": report["face"],
            "reason": report["face_reason"],
            "audio": "new.wav",
            "frames_dubbed": report["frames_dubbed"],
        }
    ]
    assert result["timeline"] in report["warnings"]
    written = probe(here / "leaves.dubbed.mp4")
    assert written.video is not None
    assert (written.video.codec, written.video.pix_fmt) == ("h264", result["pix_fmt"])
    assert result["encoder"] == "libx264"
    size = (here / "leaves.dubbed.mp4").stat().st_size
    assert size / 2 < plan["estimate"]["result_bytes"] < size * 2


def test_what_is_told_of_the_source_and_of_each_face(here: Path) -> None:
    plan = _plan("two.mkv", "--audio", "new.wav")
    source = plan["source"]
    assert (source["width"], source["height"], source["frames"]) == (480, 240, 16)
    assert (source["frame_rate"], source["is_variable"], source["sound"]) == (25.0, False, None)
    assert [shot["frames"] for shot in plan["shots"]] == [16]
    large, small = plan["faces"]
    assert [face["face"] for face in plan["shots"][0]["faces"]] == [1, 2]
    assert small["height_px"][1] == pytest.approx(large["height_px"][1] * 160 / 240, rel=0.05)
    for face in (large, small):
        assert face["frames"] == face["usable"] == 16
        low, high = face["yaw_deg"]
        assert -15 < low <= high < 15
        assert face["lips"] in LIPS
    assert plan["speakers"][0]["face"] == 1
    assert plan["estimate"]["free_bytes"] > plan["estimate"]["disk_bytes"] > 0
    assert plan["estimate"]["trial_frames"] == 48
    assert plan["error"] is None


def test_the_picture_shows_each_face_once_and_the_chosen_one_in_green(here: Path) -> None:
    _plan("two.mkv", "--audio", "new.wav", "--face", "right", "--faces", "who.png")
    image = np.asarray(cv2.imread(str(here / "who.png")), np.int64)
    assert image.shape[1] <= 1600
    is_green = np.asarray((np.abs(image - (60, 200, 40)) < 12).all(-1))
    is_amber = np.asarray((np.abs(image - (40, 190, 250)) < 12).all(-1))
    middle = image.shape[1] // 2
    assert is_green[:, middle:].sum() > 300
    assert is_green[:, :middle].sum() == 0
    assert is_amber[:, :middle].sum() > 300


def test_several_voices_are_planned_each_with_its_face(here: Path) -> None:
    plan = _plan("two.mkv", "--audio", "right=new.wav", "--audio", "left=other.wav", "--no-picture")
    assert [speaker["face"] for speaker in plan["speakers"]] == [2, 1]
    assert plan["picture"] is None
    assert not list(here.glob("*.png"))


def test_without_audio_the_faces_are_shown(here: Path) -> None:
    plan = _plan("two.mkv", "--face", "left")
    assert (plan["result"], plan["estimate"], plan["passed"]) == (None, None, [])
    assert plan["speakers"] == [
        {"face": 1, "reason": "leftmost", "audio": None, "frames_dubbed": None}
    ]
    assert (here / "two.faces.png").is_file()


def test_a_video_without_a_face_ends_as_the_dub_would(here: Path) -> None:
    words = ("none.mp4", "--audio", "new.wav")
    before = _names(here)
    planned, dubbed = _run("plan", *words, "-q"), _run(*words, "-q")
    assert planned.exit_code == dubbed.exit_code == 5
    assert planned.stderr == dubbed.stderr
    assert "none.mp4: 160x120" in planned.stdout
    assert _names(here) == before


def test_a_face_that_does_not_exist_still_shows_those_that_do(here: Path) -> None:
    done = _run("plan", "two.mkv", "--audio", "new.wav", "--face", "7", "--json", "-q")
    assert done.exit_code == 2
    assert done.stderr == "dub: Face 7 does not exist: the video shows 2. Use --face 1 to 2.\n"
    content = json.loads(done.stdout)
    assert content["error"] == done.stderr.strip().removeprefix("dub: ")
    assert (len(content["faces"]), content["speakers"]) == (2, [])
    assert (here / "two.faces.png").is_file()


def test_a_part_is_planned_as_it_is_dubbed(here: Path) -> None:
    words = ("leaves.mp4", "--audio", "new.wav", "--start", "0.4", "--end", "1.2")
    plan = _plan(*words, "--no-picture")
    assert plan["result"]["frames_dubbed"] == 20
    assert [(one["reason"], one["frames"]) for one in plan["passed"]] == [
        ("outside", 10),
        ("outside", 30),
    ]


def test_learning_is_left_out_and_said(here: Path) -> None:
    plan = _plan("two.mkv", "--audio", "new.wav", "--finetune", "--consent", "--identity", "anna")
    assert any("learned first" in note for note in plan["notes"])
    assert not Path(os.environ["DUB_HOME"]).exists()


def test_a_dry_run_leaves_no_file(here: Path) -> None:
    before = _names(here)
    done = _run("two.mkv", "--audio", "new.wav", "--dry-run")
    assert done.exit_code == 0, done.stderr
    assert "50 of 50 will be dubbed" in " ".join(done.stdout.split())
    assert _names(here) == before


def test_a_picture_is_not_replaced_without_leave(here: Path) -> None:
    (here / "two.faces.png").write_bytes(b"mine")
    done = _run("plan", "two.mkv")
    assert done.exit_code == 2
    assert "-y" in done.stderr
    assert "analyse" not in done.stderr  # not after the long pass
    assert (here / "two.faces.png").read_bytes() == b"mine"
    assert _run("plan", "two.mkv", "-y").exit_code == 0
    assert (here / "two.faces.png").read_bytes().startswith(b"\x89PNG")
    assert _run("plan", "two.mkv", "--faces", "two.jpg").exit_code == 2
    assert _run("plan", "two.mkv", "--faces", "nowhere/two.png").exit_code == 3


Dub = Callable[..., DubReport]


@pytest.fixture
def dub_two(here: Path) -> Dub:
    def call(no_mark: bool = False, **options: Any) -> DubReport:
        config = DubConfig(
            video=here / "two.mkv",
            audio=here / "new.wav",
            output=here / "out.mp4",
            model="passthrough",
            device="cpu",
            sync_mode="pad",
            overwrite=True,
            no_mark=no_mark,
        )
        return dub(config, **options)

    return call


def test_a_dub_tells_what_it_will_do_before_the_slow_part(dub_two: Dub) -> None:
    told: list[str] = []
    dub_two(progress=lambda stage, done, total: told.append(stage), announce=told.append)
    stages = ("analyse", "dub", "join", "sign")
    order = [entry if entry in stages else "told" for entry in told]
    assert [a for a, b in zip(order, ["", *order], strict=False) if a != b] == [
        *("analyse", "told", "dub", "join", "sign")
    ]
    lines = [line for line in told if line not in stages]
    assert lines[0].startswith("face 1 of 2: ")
    assert lines[1] == "16 of 16 frames will be dubbed"
    assert "audio is longer" in lines[2]
    assert "libx264" in lines[3]
    assert lines[4].startswith("marks: tag (comment, XMP), Content Credentials (in the file")
    assert not any("of disk" in line for line in lines)  # too short to be tried


def test_progress_of_the_first_pass_ends_once_and_never_says_too_little(dub_two: Dub) -> None:
    """Matroska does not say how many frames it holds."""
    seen: list[tuple[int, int]] = []

    def tell(stage: str, done: int, total: int) -> None:
        if stage == "analyse":
            seen.append((done, total))

    dub_two(progress=tell)
    assert [done for done, _ in seen] == list(range(1, 17))
    assert all(total in (0, 16) for _, total in seen)
    assert [entry for entry in seen if entry[0] == entry[1]] == seen[-1:]
    assert seen[0] == (1, 16)


def test_a_long_job_is_tried_and_ends_the_same(
    dub_two: Dub, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dub_two(no_mark=True)  # two signatures are never the same bytes
    untried = (here / "out.mp4").read_bytes()
    monkeypatch.setattr(estimate, "LEAST_FRAMES", 1)
    told: list[str] = []
    report = dub_two(no_mark=True, announce=told.append)
    assert "it will take about" in told[-1]
    assert "trial" in report.seconds
    assert (here / "out.mp4").read_bytes() == untried


def test_a_full_disk_is_refused_before_the_slow_part(
    dub_two: Dub, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _names(here)
    monkeypatch.setattr(estimate.shutil, "disk_usage", lambda path: Usage(10**9, 10**9, 1000))
    stages: list[str] = []
    with pytest.raises(EncodeError, match=r"needs about .* 1 kB are free"):
        dub_two(progress=lambda stage, done, total: stages.append(stage))
    assert "dub" not in stages
    assert _names(here) == before


@pytest.mark.parametrize("usage", [Usage(0, 0, 0), Usage(10**9, 0, 10**9), None])
def test_a_disk_that_is_roomy_or_does_not_say_is_not_refused(
    usage: Usage | None, dub_two: Dub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(path: Path) -> Usage:
        if usage is None:
            raise OSError(38, "Function not implemented")
        return usage

    monkeypatch.setattr(estimate.shutil, "disk_usage", asked)
    assert dub_two().frames == 16
