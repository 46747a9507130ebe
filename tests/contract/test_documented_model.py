"""The model of docs/adding_a_model.md: trained, resumed, assembled, dubbed with."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loudness_model.config import NAMED_CONFIGS
from loudness_model.network import Loudness
from made_clips import made_clip, write_set
from studio import OTHER_PERSON, dub_here, face_clip, pictures, speech
from train_runs import interrupt_at, same_bits
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.config import DubConfig, TrainConfig
from dubcli.core.errors import ConfigError, TrainingError
from dubcli.core.reports import DubReport
from dubcli.models.api import AudioSpec
from dubcli.models.iptalker.network import IPTalker
from dubcli.models.registry import ARCHITECTURES
from dubcli.pipeline.run import dub
from dubcli.training.checkpoint import read_state
from dubcli.training.export import export_weights
from dubcli.training.run import train
from dubcli.weights import manifest as manifests

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs" / "adding_a_model.md"


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, "loudness", "loudness_model")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    return write_set(folder, {"anna": made_clip(0), "ben": made_clip(1)}, {})


def _config(data: Path, output: Path, stage: str) -> TrainConfig:
    return TrainConfig(
        model="loudness",
        data=data,
        output=output,
        stage=stage,
        preset="tiny",
        steps=2,
        batch_clips=2,
        frames_per_clip=4,
        checkpoint_every=1,
        device="cpu",
    )


@pytest.fixture
def shipped(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Both stages trained and assembled, and named by the manifest of this installation."""
    runs = [train(_config(prepared, tmp_path / stage, stage)) for stage in ("motion", "picture")]
    path = tmp_path / "loudness.v1.safetensors"
    file = export_weights(runs, path)
    content = json.loads(manifests.manifest_path().read_text(encoding="utf-8"))
    content["default"]["loudness"] = "v1"
    for tag in ("v1", "v2"):
        content["weights"][f"loudness.{tag}"] = {
            "architecture": "loudness",
            "package": str(path),
            "sha256": file.sha256,
            "bytes": file.num_bytes,
            "config": file.config,
            "license": "CC0-1.0",
            "source": "drawn faces",
        }
    manifest = tmp_path / "weights_manifest.json"
    manifest.write_text(json.dumps(content), encoding="utf-8")
    monkeypatch.setattr(manifests, "manifest_path", lambda: manifest)
    return path


@pytest.mark.parametrize("stage", ["motion", "picture"])
def test_a_stage_that_was_interrupted_ends_the_same(
    stage: str, prepared: Path, tmp_path: Path
) -> None:
    whole = train(_config(prepared, tmp_path / "whole", stage))
    with pytest.raises(KeyboardInterrupt):
        train(_config(prepared, tmp_path / "parts", stage), interrupt_at(2))
    parts = train(_config(prepared, tmp_path / "parts", stage))
    assert read_state(parts).stage == stage
    assert read_state(parts).model_config == asdict(NAMED_CONFIGS["tiny"])
    assert same_bits(whole, parts)


def test_the_parts_of_a_model_must_be_complete(prepared: Path, tmp_path: Path) -> None:
    run = train(_config(prepared, tmp_path / "motion", "motion"))
    with pytest.raises(TrainingError, match="Two stages"):
        export_weights([run], tmp_path / "half.safetensors")


@pytest.fixture
def dubbed(shipped: Path, tmp_path: Path) -> Callable[..., tuple[DubReport, Path]]:
    """A dub of a small clip with the trained model."""
    source, audio = face_clip(tmp_path / "in.mp4"), speech(tmp_path / "speech.wav", 0.6)

    def run(name: str, **settings: Any) -> tuple[DubReport, Path]:
        output = tmp_path / f"{name}.mkv"
        chosen = {"model": "loudness", **settings}
        return dub_here(source, audio, output, lossless=True, **chosen), output

    return run


def _frames(path: Path) -> list[np.ndarray]:
    return [shown.frame.to_ndarray(format="rgb24") for shown in pictures(path)]


def test_it_dubs_and_reports_its_facts_and_ranges(dubbed: Callable[..., Any]) -> None:
    report, output = dubbed("out")
    assert report.model == "loudness.v1"
    assert report.model_facts["loudness.v1"]["liveliness"] > 0
    (told,) = report.model_ranges
    assert told["figure"] == "opening"
    assert told["end_s"] > told["start_s"] == 0
    assert told["is_low"] == (told["mean"] < 0.01)
    _, untouched = dubbed("same", model="passthrough")
    pairs = zip(_frames(output), _frames(untouched), strict=True)
    assert any(not np.array_equal(a, b) for a, b in pairs)


def test_options_and_the_other_video_arrive(dubbed: Callable[..., Any], tmp_path: Path) -> None:
    still = tmp_path / "still.mp4"
    face_clip(still)
    plain, _ = dubbed("plain")
    wide, _ = dubbed("wide", model_options={"reach": 3.0})
    other, _ = dubbed("other", model_options={"manner_from": still})
    assert wide.model_ranges[0]["mean"] == pytest.approx(
        3 * plain.model_ranges[0]["mean"], rel=0.02
    )
    assert wide.config["model_options"] == {"reach": 3.0}
    assert other.model_facts["loudness.v1"]["liveliness"] > 0
    assert other.config["model_options"] == {"manner_from": str(still)}
    assert not any("is it the same person" in line for line in other.warnings)
    stranger = face_clip(tmp_path / "stranger.mp4", OTHER_PERSON)
    foreign, _ = dubbed("foreign", model_options={"manner_from": stranger})
    assert any("'stranger.mp4' does not look like" in line for line in foreign.warnings)
    with pytest.raises(ConfigError, match="'--reach' is an option of loudness, not of passthrough"):
        dubbed("refused", model="passthrough", model_options={"reach": 3.0})


def test_two_tags_of_one_model_are_told_apart(dubbed: Callable[..., Any], tmp_path: Path) -> None:
    """Each has its own options, its own other video and its own facts."""
    longer = face_clip(tmp_path / "longer.mp4", frames=45)
    pair = {"motion": "loudness.v1", "render": "loudness.v2"}
    plain, _ = dubbed("plain", **pair)
    wide, _ = dubbed("wide", **pair, motion_option=("reach=3",), render_option=("reach=0",))
    assert (plain.motion_model, plain.model) == ("loudness.v1", "loudness.v2")
    assert set(plain.model_facts) == {"loudness.v1", "loudness.v2"}
    assert wide.model_ranges[0]["mean"] == pytest.approx(
        3 * plain.model_ranges[0]["mean"], rel=0.02
    )
    other, _ = dubbed("other", **pair, motion_option=(f"manner-from={longer}",))
    assert other.model_facts["loudness.v2"] == plain.model_facts["loudness.v2"]
    assert other.model_facts["loudness.v1"] != plain.model_facts["loudness.v1"]
    with pytest.raises(ConfigError, match=r"--render-option reach is 9.0. Use 3 or less"):
        dubbed("refused", **pair, render_option=("reach=9",))
    with pytest.raises(ConfigError, match=r"loudness.v1 plays both"):
        dubbed("alone", motion_option=("reach=2",))


def test_models_that_do_not_fit_together_are_refused(dubbed: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="'passthrough' cannot paint"):
        dubbed("unpaintable", render="passthrough")
    with pytest.raises(ConfigError, match="different sizes"):
        dubbed("sizes", render="iptalker")
    with pytest.raises(ConfigError, match="'passthrough' predicts no mouth"):
        dubbed("mouthless", motion="passthrough")


def test_its_mouth_is_painted_by_another_model(
    dubbed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each hears its own kind of sound, has its own references, context and facts."""
    crop, audio = IPTalker().spec.crop, AudioSpec(kind="speech", width=8)
    alike = replace(Loudness().spec, crop=crop, audio=audio)
    monkeypatch.setattr(Loudness, "spec", property(lambda self: alike))
    alone, own_output = dubbed("alone", model="iptalker")
    lent, lent_output = dubbed("lent", motion="loudness", render="iptalker")
    taken, _ = dubbed("taken", motion="iptalker", render="loudness")
    assert (lent.model, lent.motion_model) == (alone.model, "loudness.v1")
    assert (taken.model, taken.motion_model) == ("loudness.v1", alone.model)
    assert "loudness.v1" in lent.model_facts
    assert [told["figure"] for told in taken.model_ranges] == ["opening"]
    pairs = zip(_frames(own_output), _frames(lent_output), strict=True)
    assert any(not np.array_equal(a, b) for a, b in pairs)


@pytest.mark.usefixtures("shipped")
def test_an_interrupted_dub_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Context that lies before the place from which it goes on is there again."""
    wanted = replace(Loudness().spec, window=4)
    small = replace(wanted, crop=replace(wanted.crop, size=(104, 80)))
    monkeypatch.setattr(Loudness, "spec", property(lambda self: small))
    source, audio = face_clip(tmp_path / "in.mp4"), speech(tmp_path / "speech.wav", 0.6)

    def run(name: str, progress: Any = None) -> DubReport:
        config = DubConfig(
            video=source,
            audio=audio,
            output=tmp_path / name,
            model="loudness",
            device="cpu",
            sync_mode="pad",
        )
        return dub(config, progress, segment_frames=4)

    def interrupt(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("dub", 10):
            raise KeyboardInterrupt

    whole = run("whole.mkv")
    with pytest.raises(KeyboardInterrupt):
        run("parts.mkv", interrupt)
    parts = run("parts.mkv")
    assert any("8 of" in line for line in parts.warnings)
    assert parts.model_ranges == whole.model_ranges
    pairs = zip(_frames(tmp_path / "whole.mkv"), _frames(tmp_path / "parts.mkv"), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)


def test_its_stages_are_in_the_command(prepared: Path, tmp_path: Path) -> None:
    words = ["train", "loudness", "-d", str(prepared), "-o", str(tmp_path / "run")]
    done = CliRunner().invoke(app, [*words, "--stage", "sound"])
    assert done.exit_code == ConfigError.exit_code
    assert "motion or picture" in done.stderr
    done = CliRunner().invoke(app, [*words, "--preset", "tiny", "--steps", "1", "--device", "cpu"])
    assert done.exit_code == 0, done.stderr


def test_the_document_shows_this_very_code() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    files = {
        path.name: path.read_text(encoding="utf-8") for path in HERE.glob("loudness_model/*.py")
    }
    shown = re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```", text, re.M | re.S)
    assert {name for name, _ in shown} == set(files)
    for name, code in shown:
        for part in code.split("\n...\n"):
            assert part.strip("\n") in files[name], f"{name}: {part[:80]!r}"
