"""`dub plan` and `--dry-run`: what reaches the planner, and how a plan is shown."""

from __future__ import annotations

import json
import sys
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from test_cli_options import DUB_FLAGS
from typer.testing import CliRunner

from dubcli.cli import plan_command as cli_plan
from dubcli.cli.app import app
from dubcli.config import DubConfig, PlanConfig, Voice
from dubcli.core.errors import ConfigError
from dubcli.preview.plan_types import (
    Estimate,
    FaceFacts,
    PlannedRange,
    PlannedSpeaker,
    PlanReport,
    ResultFacts,
    ShotFacts,
    SourceFacts,
)

FACE = FaceFacts(
    face=1,
    frames=75,
    usable=70,
    height_px=(90, 100, 110),
    yaw_deg=(-12, 8),
    pitch_deg=(-3, 4),
    lips="speaks",
    confidence=0.52,
    reasons={"turned_away": 5},
)
REPORT = PlanReport(
    source=SourceFacts(
        path="a [b] clip.mp4",
        container="mov",
        codec="h264",
        pix_fmt="yuv420p",
        colour="BT.709",
        width=640,
        height=360,
        display_size=(640, 360),
        rotation_deg=0,
        is_interlaced=False,
        frames=75,
        duration_s=3.0,
        frame_rate=25.0,
        is_variable=False,
        sound=None,
        others=("subtitle (subrip)",),
    ),
    faces=(FACE, replace(FACE, face=2, lips="still", confidence=None)),
    shots=(
        ShotFacts(number=1, start_s=0.0, end_s=2.0, frames=50, faces=(FACE,)),
        ShotFacts(number=2, start_s=2.0, end_s=3.0, frames=25, faces=()),
    ),
    speakers=(PlannedSpeaker(face=1, reason="leftmost", audio="new.wav", frames_dubbed=70),),
    result=ResultFacts(
        path="clip.dubbed.mp4",
        exists=True,
        container="mp4",
        encoder="libx264",
        pix_fmt="yuv420p",
        sound="copy",
        frames=75,
        frames_dubbed=70,
        frames_copied=0,
        encoded_whole_because="--reencode was given",
        duration_s=3.0,
        sync_mode="bounce",
        timeline="Lengths match (audio 3.00 s, video 3.00 s).",
        begins_s=0.0,
        notes=("The subtitle stream 2 (subrip) was converted.",),
        marks="tag (comment, XMP)",
    ),
    passed=(PlannedRange(start_s=1.0, end_s=1.2, frames=5, reason="turned_away"),),
    estimate=Estimate(
        seconds=100.0,
        dubbed_frame_s=0.05,
        passed_frame_s=0.01,
        trial_frames=48,
        result_bytes=3_000_000,
        disk_bytes=9_000_000,
        free_bytes=5_000_000_000,
    ),
    picture="clip.faces.png",
    seconds={"prepare": 1.0, "analyse": 20.0, "trial": 7.0},
)


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """`config` that reached the planner; it answers with `report`."""
    caught: dict[str, Any] = {"report": REPORT}

    def make_plan(config: PlanConfig, progress: Any) -> PlanReport:
        caught["config"] = config
        progress("analyse", 75, 75)
        return caught["report"]

    stand_in = ModuleType("dubcli.preview.plan_report")
    stand_in.make_plan = make_plan  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "dubcli.preview.plan_report", stand_in)
    return caught


def _invoke(*words: str) -> Any:
    return CliRunner().invoke(app, list(words))


def test_a_plan_takes_all_that_a_dub_takes_and_the_pictures_name(planned: dict[str, Any]) -> None:
    names = {entry.name for entry in fields(PlanConfig)}
    assert {"faces", "picture"} == names - {entry.name for entry in fields(DubConfig)}
    words = [word for flag, _ in DUB_FLAGS.values() for word in flag]
    done = _invoke("plan", "clip.mp4", *words, "--faces", "f.png", "--no-picture")
    assert done.exit_code == 0, done.output
    values: dict[str, Any] = {name: value for name, (_, value) in DUB_FLAGS.items()}
    expected = PlanConfig(video=Path("clip.mp4"), faces=Path("f.png"), picture=False, **values)
    assert planned["config"] == expected


def test_audio_may_be_left_out_and_several_voices_arrive(planned: dict[str, Any]) -> None:
    assert _invoke("plan", "clip.mp4").exit_code == 0
    assert planned["config"] == PlanConfig(video=Path("clip.mp4"))
    assert planned["config"].voices == ()
    _invoke("plan", "clip.mp4", "--audio", "1=a.wav", "--audio", "left=b.wav")
    assert planned["config"].voices == (Voice(1, Path("a.wav")), Voice("left", Path("b.wav")))


@pytest.mark.parametrize("command", [["clip.mp4", "--audio", "new.wav"], ["demo"]])
def test_a_dry_run_is_a_plan_without_a_picture(
    command: list[str], planned: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def dub(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("nothing may be dubbed")

    stand_in = ModuleType("dubcli.pipeline.run")
    stand_in.dub = dub  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "dubcli.pipeline.run", stand_in)
    done = _invoke(*command, "--dry-run", "--crf", "20")
    assert done.exit_code == 0, done.output
    assert (planned["config"].picture, planned["config"].crf) == (False, 20)
    assert done.stdout == _invoke("plan", "clip.mp4").stdout


def test_the_plan_is_on_stdout_in_words(planned: dict[str, Any]) -> None:
    done = _invoke("plan", "clip.mp4", "--audio", "new.wav")
    told = " ".join(done.stdout.split())
    for part in (
        "a [b] clip.mp4: 640x360, 25 frames/s, 3.0 s, h264 yuv420p (BT.709); sound: none",
        "also subtitle (subrip)",
        "dubbed face 1: leftmost, says new.wav",
        "70 of 75 will be dubbed",
        "marks tag (comment, XMP)",
        "Lengths match (audio 3.00 s, video 3.00 s).",
        "the new sound as it is; exists: the dub needs -y",
        "numbered in clip.faces.png",
        "about 2 min 1 s: 21 s to look at it, then 1 min 40 s",
        "about 9.0 MB, 3.0 MB in the end; 5.0 GB are free",
        "100 (90 to 110)",
        "-12 to 8°",
        "speaks (0.52)",
        "turned away: 5",
        "- The subtitle stream 2 (subrip) was converted.",
    ):
        assert part in told
    assert "analyse" not in done.stdout
    assert "analyse 75/75" in done.stderr


def test_a_result_that_may_be_replaced_is_told_so(planned: dict[str, Any]) -> None:
    planned["report"] = replace(REPORT, config={"overwrite": True})
    assert "exists, and would be replaced" in _invoke("plan", "clip.mp4", "-y").stdout


def test_json_is_alone_on_stdout(planned: dict[str, Any]) -> None:
    content = json.loads(_invoke("plan", "clip.mp4", "--json").stdout)
    assert content["shots"][0]["faces"][0]["height_px"] == [90, 100, 110]
    assert content["passed"] == [
        {"start_s": 1.0, "end_s": 1.2, "frames": 5, "reason": "turned_away"}
    ]
    assert set(content) == {entry.name for entry in fields(PlanReport)}


def test_quiet_leaves_the_plan_and_drops_the_progress(planned: dict[str, Any]) -> None:
    done = _invoke("plan", "clip.mp4", "-q")
    assert done.stderr == ""
    assert "leftmost" in done.stdout


def test_what_a_dub_would_fail_with_is_the_last_line_and_the_exit_code(
    planned: dict[str, Any],
) -> None:
    error = ConfigError("Face 7 does not exist.", "Use --face 1.")
    planned["report"] = replace(REPORT, error=str(error), exit_code=error.exit_code)
    done = _invoke("plan", "clip.mp4")
    assert done.exit_code == 2
    assert done.stderr.endswith("dub: Face 7 does not exist. Use --face 1.\n")
    assert "speaks (0.52)" in done.stdout


def test_a_long_table_is_cut_and_says_so(
    planned: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_plan, "MOST_ROWS", 3)
    planned["report"] = replace(REPORT, passed=REPORT.passed * 5)
    assert "and 2 more rows: --json has all" in _invoke("plan", "clip.mp4").stdout
