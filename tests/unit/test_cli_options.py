"""The flags are the configurations' fields: none is missing, each arrives."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.config import DubConfig, FinetuneConfig, PrepareConfig, TrainConfig
from dubcli.core.reports import DubReport

# Field -> words on the command line, value in the configuration; none is the default.
DUB_FLAGS: dict[str, tuple[list[str], Any]] = {
    "audio": (["--audio", "new.wav"], Path("new.wav")),
    "output": (["--output", "out.mkv"], Path("out.mkv")),
    "overwrite": (["--overwrite"], True),
    "model": (["--model", "passthrough"], "passthrough"),
    "motion": (["--motion", "passthrough"], "passthrough"),
    "render": (["--render", "passthrough"], "passthrough"),
    "motion_option": (["--motion-option", "gain=2", "--motion-option", "a=b"], ("gain=2", "a=b")),
    "render_option": (["--render-option", "gain=1"], ("gain=1",)),
    "landmarks": (["--landmarks", "mouths.json"], Path("mouths.json")),
    "compare": (["--compare", "both.mp4"], Path("both.mp4")),
    "landmarks_out": (["--landmarks-out", "new.json"], Path("new.json")),
    "device": (["--device", "cuda:1"], "cuda:1"),
    "face": (["--face", "2"], "2"),
    "detector": (["--detector", "mediapipe"], "mediapipe"),
    "sync_mode": (["--sync-mode", "pad"], "pad"),
    "crf": (["--crf", "30"], 30),
    "reencode": (["--reencode"], True),
    "seed": (["--seed", "9"], 9),
    "threads": (["--threads", "3"], 3),
    "allow_silence": (["--allow-silence"], True),
    "identity": (["--identity", "anna"], "anna"),
    "audio_stream": (["--audio-stream", "2"], 2),
    "audio_offset": (["--audio-offset", "-0.25"], -0.25),
    "match_loudness": (["--match-loudness"], True),
    "mix_original": (["--mix-original", "-20dB"], "-20dB"),
    "keep_silent_frames": (["--keep-silent-frames"], True),
    "lips_follow": (["--lips-follow", "sound"], "sound"),
    "start": (["--start", "1:30"], "1:30"),
    "end": (["--end", "100.5"], "100.5"),
    "deinterlace": (["--deinterlace"], True),
    "visible_mark": (["--visible-mark"], True),
}
# What is done before the dub: see test_cli_finetune.py.
BEFORE_THE_DUB = {"finetune", "consent"}
# Of those some go together, some not: see test_flags_of_marks.
OF_MARKS = {"no_mark", "c2pa_cert", "c2pa_key"}
# Flags of their own, which models declare: see test_model_options.py.
OF_MODELS = {"model_options"}
Run = Callable[..., Any]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Configurations that reached the pipeline and the training functions."""
    caught: dict[str, Any] = {}

    def fake(module: str, function: str, result: Any) -> None:
        def call(config: Any, progress: Any, announce: Any = None, engine: Any = None) -> Any:
            caught[function] = config
            progress("stage", 1, 2)
            return result

        stand_in = ModuleType(module)
        setattr(stand_in, function, call)
        monkeypatch.setitem(sys.modules, module, stand_in)

    fake("dubcli.pipeline.run", "dub", DubReport(output="out.mp4"))
    fake("dubcli.training.data.prepare", "prepare", None)
    fake("dubcli.training.run", "train", None)
    return caught


def _invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def test_every_field_of_the_main_job_has_a_flag_that_arrives(seen: dict[str, Any]) -> None:
    names = {entry.name for entry in fields(DubConfig)}
    assert set(DUB_FLAGS) | {"video"} == names - BEFORE_THE_DUB - OF_MARKS - OF_MODELS
    words = [word for flag, _ in DUB_FLAGS.values() for word in flag]
    result = _invoke("clip.mp4", *words)
    assert result.exit_code == 0, result.output
    values = {name: value for name, (_, value) in DUB_FLAGS.items()}
    assert seen["dub"] == DubConfig(video=Path("clip.mp4"), **values)


@pytest.mark.parametrize("name", sorted(set(DUB_FLAGS) - {"audio"}))
def test_each_flag_changes_its_own_field_only(name: str, seen: dict[str, Any]) -> None:
    words, value = DUB_FLAGS[name]
    result = _invoke("clip.mp4", "--audio", "new.wav", *words)
    assert result.exit_code == 0, result.output
    values: dict[str, Any] = {name: value}
    assert seen["dub"] == DubConfig(video=Path("clip.mp4"), audio=Path("new.wav"), **values)


def test_flags_of_marks(seen: dict[str, Any]) -> None:
    words = ("--c2pa-cert", "chain.pem", "--c2pa-key", "key.pem")
    signed: dict[str, Any] = {"c2pa_cert": Path("chain.pem"), "c2pa_key": Path("key.pem")}
    unmarked: dict[str, Any] = {"no_mark": True}
    for flags, values in ((words, signed), (("--no-mark",), unmarked)):
        result = _invoke("clip.mp4", "--audio", "new.wav", *flags)
        assert result.exit_code == 0, result.output
        assert seen["dub"] == DubConfig(video=Path("clip.mp4"), audio=Path("new.wav"), **values)
    for wrong in (words[:2], words[2:], ("--no-mark", *words), ("--no-mark", "--visible-mark")):
        result = _invoke("clip.mp4", "--audio", "new.wav", *wrong)
        assert result.exit_code == 2, wrong
        assert len(result.stderr.splitlines()) == 1


def test_defaults_come_from_the_configuration(seen: dict[str, Any]) -> None:
    _invoke("clip.mp4", "--audio", "new.wav")
    assert seen["dub"] == DubConfig(video=Path("clip.mp4"), audio=Path("new.wav"))


def test_short_flags(seen: dict[str, Any]) -> None:
    result = _invoke("clip.mp4", "--audio", "new.wav", "-o", "a.mp4", "-y", "-q")
    assert result.exit_code == 0, result.output
    assert seen["dub"].output == Path("a.mp4")
    assert seen["dub"].overwrite


@pytest.mark.parametrize("config_class", [DubConfig, PrepareConfig, TrainConfig, FinetuneConfig])
def test_every_option_is_explained(config_class: type) -> None:
    command = {
        DubConfig: [],
        PrepareConfig: ["prepare"],
        TrainConfig: ["train"],
        FinetuneConfig: ["finetune"],
    }[config_class]
    text = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "400"}).stdout
    for entry in fields(config_class)[1:]:
        if entry.name in OF_MODELS:
            continue
        flag = f"--{entry.name.replace('_', '-')}"
        line = next((line for line in text.splitlines() if flag in line.split()), "")
        without_flags = [word for word in line.split() if word.isalpha() and len(word) > 1]
        assert len(without_flags) >= 2, f"{flag} has no help: {line!r}"


def test_prepare_flags_arrive(seen: dict[str, Any]) -> None:
    result = _invoke(
        "prepare",
        "clips",
        "-o",
        "set",
        "--jobs",
        "2",
        "--catalogue",
        "list.csv",
        "-y",
        "--detector",
        "mediapipe",
    )
    assert result.exit_code == 0, result.output
    assert seen["prepare"] == PrepareConfig(
        clips=Path("clips"),
        output=Path("set"),
        jobs=2,
        catalogue=Path("list.csv"),
        detector="mediapipe",
        overwrite=True,
    )


def test_every_field_of_train_has_a_flag_that_arrives(seen: dict[str, Any]) -> None:
    values: dict[str, Any] = {"model": "iptalker", "data": Path("set"), "output": Path("run")}
    words = ["train", "iptalker", "--data", "set", "-o", "run"]
    chosen = {
        **{"stage": "joint", "precision": "bfloat16", "device": "cpu", "resume": False},
        "perceptual": "vgg19",
    }
    for entry in fields(TrainConfig):
        if entry.name in values:
            continue
        flag = entry.name.replace("_", "-")
        value = chosen.get(entry.name, _other_value(entry.type, entry.default))
        values[entry.name] = value
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", str(value)]
    result = _invoke(*words)
    assert result.exit_code == 0, result.output
    assert seen["train"] == TrainConfig(**values)


def _other_value(annotation: object, default: Any) -> Any:
    """A valid value that is not the default."""
    if isinstance(default, bool):
        return not default
    if isinstance(default, (int, float)):
        return default + 1
    return Path("file") if "Path" in str(annotation) else "text"


@pytest.mark.parametrize(
    ("arguments", "video"),
    [
        (["--audio", "a.wav", "clip.mp4"], "clip.mp4"),
        (["--model", "passthrough", "--audio", "a.wav", "clip.mp4"], "clip.mp4"),
        (["--audio", "a.wav", "--", "-odd name.mp4"], "-odd name.mp4"),
        (["--audio", "a.wav", "--", "demo"], "demo"),
        (["./demo", "--audio", "a.wav"], "demo"),
        (['it\'s "quoted" ü.mp4', "--audio", "a.wav"], 'it\'s "quoted" ü.mp4'),
    ],
)
def test_a_first_word_that_is_no_command_is_the_video(
    arguments: list[str], video: str, seen: dict[str, Any]
) -> None:
    result = _invoke(*arguments)
    assert result.exit_code == 0, result.output
    assert seen["dub"].video == Path(video)


def test_demo_dubs_the_bundled_clip_here(seen: dict[str, Any]) -> None:
    result = _invoke("demo", "-y")
    assert result.exit_code == 0, result.output
    config = seen["dub"]
    assert (config.output, config.overwrite) == (Path("dub-demo.mp4"), True)
    assert config.video.is_file()
    assert config.audio.is_file()
    assert config.video.stat().st_size + config.audio.stat().st_size < 1_000_000
