"""`dub finetune` and `dub --finetune` on the command line: what is asked, told and passed on."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.config import DubConfig, FinetuneConfig
from dubcli.core.errors import ConfigError
from dubcli.core.reports import DubReport
from dubcli.identities.store import locate


@dataclass
class Report:
    """As `FinetuneReport`."""

    name: str = "anna"
    path: str = "/people/anna"
    kept_step: int = 150
    last_step: int = 200
    stopped: str = "all steps were made"
    before: dict[str, float | None] = field(
        default_factory=lambda: {"psnr": 25.0, "texture": 0.5, "sync": None}
    )
    after: dict[str, float | None] = field(
        default_factory=lambda: {"psnr": 27.5, "texture": 0.9, "sync": None}
    )
    left_out: dict[str, str] = field(default_factory=lambda: {"b.mp4": "shows another person"})
    notes: list[str] = field(default_factory=lambda: ["The footage has no sound."])


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What reached learning and dubbing."""
    caught: dict[str, Any] = {}

    def finetune(
        config: FinetuneConfig, progress: Any, *, announce: Any, asked: bool, engine: Any
    ) -> Report:
        caught["finetune"], caught["asked"], caught["engine"] = config, asked, engine
        announce("step 25: loss 0.100")
        return Report()

    def dub(config: DubConfig, progress: Any, *, announce: Any, engine: Any) -> DubReport:
        caught["dub"] = config
        assert engine is caught.get("engine")
        return DubReport(output="out.mp4")

    def check(config: DubConfig) -> None:
        caught["check"] = config
        if config.video.name == "broken.mp4":
            raise ConfigError("The video is broken.", "Use another.")

    for name, functions in (
        ("dubcli.personalize.run", {"finetune": finetune}),
        ("dubcli.pipeline.run", {"dub": dub}),
        ("dubcli.pipeline.job", {"check": check}),
    ):
        stand_in = ModuleType(name)
        for function, call in functions.items():
            setattr(stand_in, function, call)
        monkeypatch.setitem(sys.modules, name, stand_in)
    return caught


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run at a terminal where somebody answers."""
    monkeypatch.setattr("dubcli.cli.finetune_command.is_asked_by_a_person", lambda: True)
    return lambda text, *arguments: CliRunner().invoke(app, list(arguments), input=f"{text}\n")


def _run(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def test_every_option_arrives(seen: dict[str, Any]) -> None:
    result = _run(
        *("finetune", "a.mp4", "b.mp4", "--name", "anna", "--model", "iptalker.v3", "--consent"),
        *("--steps", "50", "--minutes", "2.5", "--half", "--face", "2", "--learn-sound", "-y"),
        *("--seed", "3", "--device", "cpu", "--precision", "float32", "--threads", "1"),
        *("--detector", "mediapipe"),
    )
    assert result.exit_code == 0, result.output
    assert seen["finetune"] == FinetuneConfig(
        videos=(Path("a.mp4"), Path("b.mp4")),
        name="anna",
        model="iptalker.v3",
        consent=True,
        steps=50,
        minutes=2.5,
        half=True,
        face=2,
        detector="mediapipe",
        learn_sound=True,
        overwrite=True,
        seed=3,
        device="cpu",
        precision="float32",
        threads=1,
    )
    assert not seen["asked"]


def test_defaults_come_from_the_configuration(seen: dict[str, Any]) -> None:
    _run("finetune", "a.mp4", "--name", "anna")
    assert seen["finetune"] == FinetuneConfig(videos=(Path("a.mp4"),), name="anna")


def test_what_was_learned_is_told(seen: dict[str, Any]) -> None:
    result = _run("finetune", "a.mp4", "--name", "anna", "--consent")
    told = result.stderr
    assert "kept step 150 of 200 (all steps were made)" in told
    assert "texture 0.50 -> 0.90" in told
    assert "lips follow ? -> ?" in told
    assert "left out: b.mp4: shows another person" in told
    assert "no sound" in told
    assert "step 25: loss 0.100" in told
    assert "/people/anna" in told
    assert result.stdout == ""


def test_json_is_alone_on_stdout(seen: dict[str, Any]) -> None:
    result = _run("finetune", "a.mp4", "--name", "anna", "--consent", "--json")
    assert json.loads(result.stdout)["kept_step"] == 150


def test_quiet_says_nothing(seen: dict[str, Any]) -> None:
    assert _run("finetune", "a.mp4", "--name", "anna", "--consent", "-q").stderr == ""


def test_a_person_is_asked_and_the_answer_counts(
    seen: dict[str, Any], answer: Callable[..., Any]
) -> None:
    result = answer("y", "finetune", "a.mp4", "--name", "anna")
    assert result.exit_code == 0, result.output
    assert "agree" in result.stderr
    assert seen["finetune"].consent
    assert seen["asked"]


@pytest.mark.parametrize("text", ["n", ""])
def test_without_a_yes_nothing_is_learned(
    text: str, seen: dict[str, Any], answer: Callable[..., Any]
) -> None:
    result = answer(text, "finetune", "a.mp4", "--name", "anna")
    assert result.exit_code == 2
    assert "finetune" not in seen


def test_with_consent_given_nobody_is_asked(
    seen: dict[str, Any], answer: Callable[..., Any]
) -> None:
    result = answer("n", "finetune", "a.mp4", "--name", "anna", "--consent")
    assert result.exit_code == 0
    assert not seen["asked"]


def test_the_real_learning_refuses_without_consent(tmp_path: Path) -> None:
    result = _run("finetune", str(tmp_path / "a.mp4"), "--name", "anna")
    assert result.exit_code == 2
    assert "--consent" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--name", " "], "no name"),
        (["--name", "anna", "--steps", "0"], "0 steps"),
        (["--name", "anna", "--minutes", "-1"], "minutes"),
        (["--name", "anna", "--face", "-1"], "Face -1"),
        (["--name", "anna", "--device", "abacus"], "abacus"),
        (["--name", "anna", "--precision", "float8"], "float8"),
        (["--name", "anna", "--detector", "eyes"], "Unknown detector 'eyes'"),
        ([], "--name"),
    ],
)
def test_a_wrong_value_is_one_line_and_exit_2(words: list[str], told: str) -> None:
    result = _run("finetune", "a.mp4", *words)
    assert result.exit_code == 2
    assert told in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_learning_and_dubbing_in_one_go(seen: dict[str, Any]) -> None:
    result = _run(
        *("talk.mp4", "--audio", "a.wav", "--finetune", "--consent", "--face", "2", "--seed", "4"),
        *("--detector", "mediapipe"),
    )
    assert result.exit_code == 0, result.output
    learned = FinetuneConfig(videos=(Path("talk.mp4"),), name="talk", consent=True, face=2, seed=4)
    learned = replace(learned, detector="mediapipe")
    assert seen["finetune"] == learned
    expected = DubConfig(
        video=Path("talk.mp4"),
        audio=Path("a.wav"),
        face="2",
        seed=4,
        identity="/people/anna",
        detector="mediapipe",
    )
    assert seen["dub"] == expected
    # What can be wrong with the dub is known before the minutes of learning.
    assert seen["check"] == replace(expected, identity=None, finetune=True, consent=True)


def test_one_go_leaves_the_face_to_both_where_none_is_named(seen: dict[str, Any]) -> None:
    _run("talk.mp4", "--audio", "a.wav", "--finetune", "--consent")
    assert (seen["finetune"].face, seen["dub"].face) == (0, "auto")


@pytest.mark.parametrize("face", ["left", "anna.png"])
def test_one_go_refuses_a_face_that_learning_cannot_find(face: str, seen: dict[str, Any]) -> None:
    result = _run("talk.mp4", "--audio", "a.wav", "--finetune", "--consent", "--face", face)
    assert result.exit_code == 2
    assert "dub finetune" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not seen


def test_the_identity_of_one_go_may_be_named(seen: dict[str, Any]) -> None:
    _run("talk.mp4", "--audio", "a.wav", "--finetune", "--consent", "--identity", "ben")
    assert seen["finetune"].name == "ben"


def test_one_go_does_not_learn_for_a_dub_that_cannot_be_made(seen: dict[str, Any]) -> None:
    result = _run("broken.mp4", "--audio", "a.wav", "--finetune", "--consent")
    assert result.exit_code == 2
    assert "finetune" not in seen


def test_one_go_does_not_replace_an_identity(seen: dict[str, Any]) -> None:
    locate("talk").mkdir(parents=True)
    result = _run("talk.mp4", "--audio", "a.wav", "--finetune", "--consent", "-y")
    assert result.exit_code == 2
    assert "exists" in result.stderr
    assert "finetune" not in seen


def test_consent_alone_is_a_mistake(seen: dict[str, Any]) -> None:
    result = _run("talk.mp4", "--audio", "a.wav", "--consent")
    assert result.exit_code == 2
    assert "--finetune" in result.stderr
