"""The real command: where the result lies and what the report says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from studio import NUM_FRAMES, dub_here, face_clip, pictures, speech
from typer.testing import CliRunner

from dubcli import __version__
from dubcli.cli.app import app
from dubcli.weights.manifest import load_manifest

FIELDS: dict[str, type | tuple[type, ...]] = {
    "output": str,
    "frames": int,
    "frames_dubbed": int,
    "frames_passed_through": dict,
    "passed_through": list,
    "copied_packets": int,
    "encoded_ranges": list,
    "encoded_whole_because": (str, type(None)),
    "width": int,
    "height": int,
    "model": str,
    "weights_sha256": (str, type(None)),
    "motion_model": type(None),
    "model_facts": dict,
    "model_ranges": list,
    "identity": (str, type(None)),
    "device": str,
    "sync_mode": str,
    "seconds": dict,
    "config": dict,
    "warnings": list,
    "references": list,
    "shots": int,
    "shot_ranges": list,
    "faces": int,
    "face": int,
    "face_reason": str,
    "speakers": list,
    "duration_s": float,
    "source_offset_ms": (int, type(None)),
    "audio_offset_s": float,
    "audio_gain_db": float,
    "original_mixed_db": (float, type(None)),
    "marks": list,
    "version": str,
}
STAGES = {
    *("prepare", "analyse", "references"),
    *("decode_wait", "crop", "model", "paste", "encode_wait", "join"),
}


def command(*words: str) -> Any:
    return CliRunner().invoke(app, [*words, "--model", "passthrough", "--device", "cpu"])


@pytest.mark.parametrize("file_name", ["clip.mp4", "clip.mkv", "clip.mov"])
def test_the_result_lies_beside_the_video(file_name: str, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    source = face_clip(tmp_path / "videos" / file_name)
    speech(tmp_path / "speech.wav", 0.6)
    done = command(f"videos/{file_name}", "--audio", "speech.wav", "--quiet")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == done.stderr == ""
    names = {path.name for path in source.parent.iterdir()}
    # Matroska has no place for credentials inside.
    beside = {"clip.dubbed.c2pa"} if source.suffix == ".mkv" else set()
    assert names == {file_name, f"clip.dubbed{source.suffix}", "clip.dubbed.json"} | beside


def test_the_report_is_whole_and_the_same_on_stdout(tmp_path: Path) -> None:
    face_clip(tmp_path / "clip.mp4")
    speech(tmp_path / "speech.wav", 0.5)
    done = command("clip.mp4", "--audio", "speech.wav", "--json", "--sync-mode", "pad")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert report == json.loads((tmp_path / "clip.dubbed.json").read_text(encoding="utf-8"))
    assert set(report) == set(FIELDS)
    assert all(isinstance(report[name], kind) for name, kind in FIELDS.items())
    assert Path(report["output"]).name == "clip.dubbed.mp4"
    assert report["frames"] == len(pictures(tmp_path / "clip.dubbed.mp4")) == NUM_FRAMES
    assert report["frames_dubbed"] + sum(report["frames_passed_through"].values()) == NUM_FRAMES
    assert (report["width"], report["height"]) == (240, 240)
    assert (report["model"], report["weights_sha256"]) == ("passthrough", None)
    assert (report["device"], report["sync_mode"]) == ("cpu", "pad")
    assert report["version"] == __version__
    assert set(report["seconds"]) == STAGES | {"sign"}
    assert all(seconds >= 0 for seconds in report["seconds"].values())
    assert report["config"]["sync_mode"] == "pad"
    assert report["config"]["video"] == "clip.mp4"
    assert (report["shots"], report["faces"]) == (1, 1)
    assert all(0 <= index < NUM_FRAMES for index in report["references"])
    assert any("silence" in warning for warning in report["warnings"])


def test_progress_counts_every_stage_to_its_end(tmp_path: Path) -> None:
    face_clip(tmp_path / "clip.mp4")
    speech(tmp_path / "speech.wav", 0.6)
    done = command("clip.mp4", "--audio", "speech.wav")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == ""
    for stage in ("analyse", "dub"):
        assert f"{stage} {NUM_FRAMES}/{NUM_FRAMES} frames" in done.stderr
    assert "clip.dubbed.mp4" in done.stderr


@pytest.mark.parametrize("name", ["out.avi", "out", "out.json"])
def test_a_name_that_cannot_be_written_is_refused_before_the_slow_part(
    name: str, tmp_path: Path
) -> None:
    face_clip(tmp_path / "clip.mp4", frames=1)
    speech(tmp_path / "speech.wav", 0.5)
    done = command("clip.mp4", "--audio", "speech.wav", "-o", name)
    assert done.exit_code == 3
    assert name in done.stderr
    assert ".mp4" in done.stderr
    assert "analyse" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"clip.mp4", "speech.wav"}


def test_the_same_command_twice_makes_the_same_picture(tmp_path: Path) -> None:
    source, audio = face_clip(tmp_path / "in.mkv"), speech(tmp_path / "speech.wav", 0.6)
    for name in ("one.mkv", "two.mkv"):
        dub_here(source, audio, tmp_path / name)
    both = [pictures(tmp_path / name) for name in ("one.mkv", "two.mkv")]
    for one, two in zip(*both, strict=True):
        assert (one.frame.to_ndarray() == two.frame.to_ndarray()).all()


def test_iptalker_moves_the_lips_of_the_bundled_clip(tmp_path: Path) -> None:
    manifest = load_manifest()
    tag = manifest.default.get("iptalker")
    if tag is None:
        pytest.skip("the manifest names no default weights of iptalker yet")
    source, audio = face_clip(tmp_path / "in.mkv"), speech(tmp_path / "speech.wav", 0.6)
    output = tmp_path / "out.mkv"
    report = dub_here(source, audio, output, model="iptalker", lossless=True)
    assert report.frames_dubbed == NUM_FRAMES
    assert report.model == f"iptalker.{tag}"
    assert report.weights_sha256 == manifest.weights[report.model].sha256
    plain = tmp_path / "plain.mkv"
    dub_here(source, audio, plain, lossless=True)
    pairs = zip(pictures(output), pictures(plain), strict=True)
    changes = [abs(a.frame.to_ndarray().astype(int) - b.frame.to_ndarray()) for a, b in pairs]
    assert max(change.max() for change in changes) > 20
    assert all(change.mean() < 20 for change in changes)


def test_source_and_result_beside_each_other(tmp_path: Path) -> None:
    clip = face_clip(tmp_path / "clip.mp4")
    words = ("clip.mp4", "--audio", str(speech(tmp_path / "new.wav", 0.6)), "--compare")
    refused = command(*words, "clip.mp4")
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (2, 1)
    (tmp_path / "both.mp4").write_text("kept")
    refused = command(*words, "both.mp4")
    assert refused.exit_code == 2
    assert (tmp_path / "both.mp4").read_text() == "kept"
    done = command(*words, "both.mp4", "-y")
    assert done.exit_code == 0, done.output
    first, both = pictures(clip)[0].frame, pictures(tmp_path / "both.mp4")[0].frame
    assert both.width == 2 * both.height == 1080
    assert first.width == first.height
    report = json.loads((tmp_path / "clip.dubbed.json").read_text())
    assert report["shot_ranges"] == [{"start_s": 0.0, "end_s": 0.64, "shot": 1}]
