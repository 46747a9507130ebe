"""Options that models declare: typed, in the help, checked, refused with other models."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.config import DubConfig
from dubcli.core.errors import ConfigError
from dubcli.models.architecture import Architecture
from dubcli.models.model_options import (
    declared_options,
    model_option,
    options_for,
    refuse_foreign_options,
    second_subject,
)
from dubcli.models.registry import ARCHITECTURES


@dataclass(frozen=True, kw_only=True)
class Options:
    gain: float = model_option(1.0, "How loud.", least=0, most=2)
    tries: int = model_option(3, "How often.")
    style_from: Path | None = model_option(None, "Another recording.", is_subject=True)


ARCHITECTURE = Architecture(name="made", network="", config="", options=f"{__name__}:Options")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, "made", __name__)


@pytest.mark.usefixtures("made")
def test_each_model_takes_its_own_and_keeps_the_other_defaults() -> None:
    options = options_for("made", {"gain": 2, "articulation": 1.5})
    assert options == Options(gain=2.0)
    assert isinstance(options.gain, float)
    assert options_for("iptalker", {"gain": 2, "articulation": 1.5}).articulation == 1.5
    assert options_for("passthrough", {"gain": 2}) is None


@pytest.mark.usefixtures("made")
def test_an_option_of_one_model_alone_wins() -> None:
    words = ("tries=5", "style-from = b=c.mp4")
    options = options_for("made", {"gain": 2, "tries": 1}, words, "--motion-option")
    assert options == Options(gain=2.0, tries=5, style_from=Path("b=c.mp4"))
    assert not options_for("iptalker", {}, ("speaker-style=false",)).speaker_style


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize(
    ("model", "word", "message"),
    [
        ("made", "volume=1", r"'volume=1' sets no option of made. Use gain=VALUE, tries=VALUE"),
        ("made", "gain", r"'gain' sets no option of made"),
        ("made", "gain=loud", r"--render-option gain is 'loud'. Use a value of type float"),
        ("made", "gain=3", r"--render-option gain is 3.0. Use 2 or less"),
        ("iptalker", "speaker-style=perhaps", r"--render-option speaker-style is 'perhaps'"),
        ("passthrough", "gain=1", r"no option of passthrough. Leave it out"),
    ],
)
def test_words_for_one_model_are_checked(model: str, word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        options_for(model, {}, (word,), "--render-option")


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"gain": 2.5}, r"--gain is 2.5. Use 2 or less"),
        ({"gain": float("nan")}, r"--gain is nan"),
        ({"tries": "often"}, r"--tries is 'often'.*int"),
        ({"tries": 1.5}, r"--tries is 1.5.*int"),
    ],
)
def test_values_are_checked(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        options_for("made", given)


@pytest.mark.usefixtures("made")
def test_an_option_of_another_model_is_refused_with_its_owner() -> None:
    refuse_foreign_options({"gain": 1}, ["iptalker", "made"])
    with pytest.raises(ConfigError, match="'--gain' is an option of made, not of iptalker"):
        refuse_foreign_options({"gain": 1}, ["iptalker"])
    with pytest.raises(ConfigError, match="Unknown option '--volume'"):
        refuse_foreign_options({"volume": 1}, ["made"])


@pytest.mark.usefixtures("made")
def test_the_video_of_a_second_subject_is_found() -> None:
    assert second_subject("made", options_for("made", {"style_from": "b.mp4"})) == Path("b.mp4")
    assert second_subject("made", Options()) is None
    assert second_subject("iptalker", options_for("iptalker", {})) is None


def test_the_help_shows_every_option_under_its_model() -> None:
    text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).stdout
    for option in declared_options():
        owners = [one.model for one in declared_options() if one.name == option.name]
        panel = text[text.index(f"Options of {', '.join(owners)}") :]
        assert option.flag in panel
        assert option.range.help.split()[0] in panel


@pytest.mark.parametrize("command", [[], ["plan"]])
def test_the_command_line_hands_them_on(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caught: list[DubConfig] = []
    module = "dubcli.preview.plan_report" if command else "dubcli.pipeline.run"
    stand_in = ModuleType(module)

    def take(config: DubConfig, *_: Any, **__: Any) -> Any:
        caught.append(config)
        raise ConfigError("Seen.", "Go on.")

    for name in ("dub", "make_plan"):
        setattr(stand_in, name, take)
    monkeypatch.setitem(sys.modules, module, stand_in)
    words = [*command, "a.mp4", "--audio", "b.wav", "--articulation", "1.5"]
    done = CliRunner().invoke(app, words)
    assert "Seen." in done.stderr, done.stderr
    assert caught[0].model_options == {"articulation": 1.5}
    assert caught[0].as_json()["model_options"] == {"articulation": 1.5}


def test_a_value_of_another_type_is_a_usage_error() -> None:
    done = CliRunner().invoke(app, ["a.mp4", "--audio", "b.wav", "--articulation", "wide"])
    assert done.exit_code == 2
    assert "--articulation" in done.stderr
