"""A dub reads and loads each thing once; an engine's next dub loads nothing again."""

from __future__ import annotations

import importlib
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any, cast

import pytest
import torch
from studio import face_clip, packets, speech

from dubcli import DubConfig, Engine
from dubcli.audio.speech_encoder import SpeechEncoder
from dubcli.config import EvaluateConfig, FinetuneConfig, PlanConfig, PrepareConfig
from dubcli.core.onnx_session import open_session
from dubcli.media.container.probe import probe
from dubcli.personalize.run import finetune
from dubcli.training.data.prepare import prepare
from dubcli.weights.load import load_state
from dubcli.weights.manifest import load_manifest

DOCS = Path(__file__).parents[2] / "docs"


class Calls:
    """Counts calls of functions by what they are called with, wherever they were imported.

    Args:
        patch: Undoes it.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self.of: dict[str, Counter[str]] = {}

    def count(self, function: Callable[..., Any], key: Callable[..., object]) -> None:
        """Count a module's function by `key` of its arguments."""
        found = self.of.setdefault(function.__name__, Counter())

        def counted(*args: Any, **kwargs: Any) -> Any:
            found[str(key(*args))] += 1
            return function(*args, **kwargs)

        name = cast(FunctionType, function).__name__
        for module in [m for n, m in sys.modules.items() if n.startswith("dubcli")]:
            if getattr(module, name, None) is function:
                self._patch.setattr(module, name, counted)

    def clear(self) -> None:
        """Begin anew."""
        for counter in self.of.values():
            counter.clear()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """All that a dub should do once."""
    for name in ("pipeline.run", "preview.plan_report", "evaluation.run", "face.onnx_detector"):
        importlib.import_module(f"dubcli.{name}")
    waveform = importlib.import_module("dubcli.media.sound.waveform")
    recording = importlib.import_module("dubcli.media.sound.recording")
    made = Calls(monkeypatch)
    made.count(probe, lambda path: path)
    made.count(load_manifest, lambda *_: "manifest")
    made.count(load_state, lambda entry: entry.name)
    made.count(waveform.read_waveform, lambda path, *_: path)
    made.count(recording.read_recording, lambda path, *_: path)
    made.count(waveform.audio_duration, lambda path: path)
    made.count(open_session, lambda path, *_: path)
    sessions = made.of.setdefault("sessions", Counter())
    begin = SpeechEncoder.__init__

    def counted(self: SpeechEncoder, path: Path) -> None:
        sessions[path.name] += 1
        begin(self, path)

    monkeypatch.setattr(SpeechEncoder, "__init__", counted)
    return made


def _job(folder: Path, model: str) -> DubConfig:
    """Half a second that speaks, with its own sound, so that its offset is looked for."""
    video = face_clip(folder / "in.mkv", "scale=320:-2", "-map", "0:v", "-map", "0:a", frames=20)
    audio = speech(folder / "new.wav", 0.8)
    return DubConfig(
        video=video, audio=audio, output=folder / "out.mkv", model=model, device="cpu", threads=1
    )


@pytest.mark.parametrize("model", ["passthrough", "iptalker"])
def test_one_dub_reads_each_file_once(model: str, calls: Calls, tmp_path: Path) -> None:
    config = _job(tmp_path, model)
    with Engine() as engine:
        engine.dub(config)
    _each_once(calls)
    assert set(calls.of["probe"]) == {str(config.video), str(config.audio)}
    assert set(calls.of["read_waveform"]) == {str(config.video)}
    assert set(calls.of["read_recording"]) == {str(config.audio)}
    assert not calls.of["audio_duration"]
    assert any(name.startswith("sync-train") for name in calls.of["load_state"])
    assert any(name.startswith("iptalker") for name in calls.of["load_state"]) == (
        model == "iptalker"
    )
    assert calls.of["sessions"].total() == 1


def test_the_next_job_of_an_engine_loads_nothing(calls: Calls, tmp_path: Path) -> None:
    config = _job(tmp_path, "iptalker")
    with Engine() as engine:
        engine.dub(config)
        first = packets(tmp_path / "out.mkv", "video")
        calls.clear()
        plan = engine.plan(
            PlanConfig(
                video=config.video,
                audio=config.audio,
                output=tmp_path / "planned.mkv",
                device="cpu",
                threads=1,
                picture=False,
            )
        )
        assert plan.error is None
        config = DubConfig(
            video=config.video,
            audio=config.audio,
            output=tmp_path / "again.mkv",
            device="cpu",
            threads=1,
        )
        engine.dub(config)
    assert not calls.of["load_state"]
    assert not calls.of["load_manifest"]
    assert not calls.of["sessions"]
    assert packets(tmp_path / "again.mkv", "video") == first


def test_an_evaluation_loads_once_for_all_its_items(calls: Calls, tmp_path: Path) -> None:
    from dubcli.evaluation.run import evaluate

    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("a", "b"):
        face_clip(clips / f"{name}.mp4", "scale=320:-2", "-map", "0:v", "-map", "0:a", frames=40)
    evaluate(
        EvaluateConfig(
            clips=clips,
            output=tmp_path / "scores",
            settings="reconstruction",
            models="passthrough",
            baselines="",
            device="cpu",
            threads=1,
        )
    )
    assert calls.of["load_manifest"]["manifest"] == 1
    for name in ("load_state", "open_session", "sessions"):
        assert all(number == 1 for number in calls.of[name].values()), calls.of[name]


def test_a_finetune_loads_once_and_leaves_the_engine_as_it_was(
    calls: Calls, tmp_path: Path
) -> None:
    """Learning changes weights of its own: what the engine dubs with next is what shipped."""
    video = face_clip(
        tmp_path / "anna.mp4", "scale=320:-2", "-map", "0:v", "-map", "0:a", frames=60
    )
    with Engine("cpu", 1) as engine:
        base = cast(torch.nn.Module, engine.model(engine.resolve("iptalker"), engine.device()))
        before = {name: value.clone() for name, value in base.state_dict().items()}
        finetune(
            FinetuneConfig(
                videos=(video,),
                name=str(tmp_path / "people" / "anna"),
                consent=True,
                half=True,
                steps=1,
                device="cpu",
                threads=1,
            ),
            engine=engine,
        )
    assert all(value.equal(before[name]) for name, value in base.state_dict().items())
    _each_once(calls)
    assert calls.of["probe"] == {str(video): 1}
    assert calls.of["sessions"].total() == 1


def test_a_training_set_is_prepared_with_each_network_loaded_once(
    calls: Calls, tmp_path: Path
) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("a", "b"):
        face_clip(clips / f"{name}.mp4", "scale=320:-2", "-map", "0:v", "-map", "0:a", frames=30)
    prepare(PrepareConfig(clips=clips, output=tmp_path / "set"))
    _each_once(calls)
    assert calls.of["probe"].total() == 2
    assert calls.of["sessions"].total() == 1


def _each_once(calls: Calls) -> None:
    """Each file is opened, each weight file and the manifest read once."""
    for name, counter in calls.of.items():
        assert all(number == 1 for number in counter.values()), (name, counter)
    assert calls.of["load_manifest"].total() == 1
    assert {"face-far", "face-mesh", "face-near"} <= {
        Path(name).name.split(".")[0] for name in calls.of["open_session"]
    }


def test_the_documented_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = re.search(r"```python\n(.*?)```", (DOCS / "api.md").read_text("utf-8"), re.DOTALL)
    assert found is not None
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(face_clip(tmp_path / "clip.mp4", "scale=320:-2", frames=12), "video.mp4")
    for name in ("monday", "tuesday"):
        speech(tmp_path / f"{name}.wav", 0.4)
    exec(compile(found[1], "api.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["monday.mp4", "tuesday.mp4"]
    assert all(Path(f"{name}.json").is_file() for name in ("monday", "tuesday"))
