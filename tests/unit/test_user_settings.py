"""Settings in layers: a user's file, ./dub.toml, variables, the command line; the later wins."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.config import DubConfig, FinetuneConfig, TrainConfig
from dubcli.config.commands import COMMANDS
from dubcli.core.paths import settings_home
from dubcli.core.reports import DubReport
from dubcli.user_settings.setting import settings_of
from dubcli.user_settings.variables import known_variables, variable_name

JOB = ["clip.mp4", "--audio", "new.wav"]
# What a file or a variable must never switch on or off.
NEVER = {
    "dub": ("consent", "no_mark", "visible_mark", "c2pa_cert", "c2pa_key"),
    "demo": ("consent", "no_mark", "visible_mark", "c2pa_cert", "c2pa_key"),
    "plan": ("consent", "no_mark", "visible_mark", "c2pa_cert", "c2pa_key"),
    "finetune": ("consent",),
    "models-pull": ("accept_licence",),
}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Configurations that reached the pipeline and the training."""
    caught: dict[str, Any] = {}
    for module, function, result in (
        ("dubcli.pipeline.run", "dub", DubReport(output="out.mp4")),
        ("dubcli.training.run", "train", None),
    ):

        def call(
            config: Any, *_: Any, function: str = function, result: Any = result, **__: Any
        ) -> Any:
            caught[function] = config
            return result

        stand_in = ModuleType(module)
        setattr(stand_in, function, call)
        monkeypatch.setitem(sys.modules, module, stand_in)
    return caught


@pytest.fixture
def user_file() -> Path:
    home = settings_home()
    home.mkdir(parents=True, exist_ok=True)
    return home / "dub.toml"


def _invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def _refused(*arguments: str) -> str:
    """The one line of a command that is refused, before anything runs."""
    result = _invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def test_a_later_layer_wins(
    seen: dict[str, Any], user_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[Callable[[], Any], int]] = [
        (lambda: None, DubConfig.crf),
        (lambda: user_file.write_text("crf = 21"), 21),
        (lambda: Path("dub.toml").write_text("crf = 22"), 22),
        (lambda: monkeypatch.setenv("DUB_CRF", "23"), 23),
    ]
    for set_it, expected in steps:
        set_it()
        assert _invoke(*JOB).exit_code == 0
        assert seen["dub"].crf == expected
    assert _invoke(*JOB, "--crf", "24").exit_code == 0
    assert seen["dub"].crf == 24


def test_layers_of_different_options_add_up(
    seen: dict[str, Any], user_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_file.write_text('device = "cpu"\n[dub]\narticulation = 1.5\nmatch-loudness = true\n')
    Path("dub.toml").write_text('[dub]\nface = 2\noutput = "a b.mp4"\naudio = ["1=a.wav"]\n')
    monkeypatch.setenv("DUB_SEED", "5")
    monkeypatch.setenv("DUB_DUB_FACE", "left")
    assert _invoke("clip.mp4", "--audio", "new.wav", "--no-mark").exit_code == 0
    assert seen["dub"] == DubConfig(
        **{"video": Path("clip.mp4"), "audio": Path("new.wav"), "output": Path("a b.mp4")},
        **{"device": "cpu", "face": "left", "seed": 5, "match_loudness": True, "no_mark": True},
        model_options={"articulation": 1.5},
    )


def test_a_required_option_may_come_from_a_file(seen: dict[str, Any]) -> None:
    Path("dub.toml").write_text('[train]\ndata = "set"\noutput = "run"\nresume = false\n')
    assert _invoke("train", "iptalker").exit_code == 0
    expected = TrainConfig(model="iptalker", data=Path("set"), output=Path("run"), resume=False)
    assert seen["train"] == expected
    assert _invoke("train", "iptalker", "--resume").exit_code == 0
    assert seen["train"].resume


def test_a_command_takes_its_own_table_before_what_counts_for_all(seen: dict[str, Any]) -> None:
    Path("dub.toml").write_text("threads = 1\n[train]\nthreads = 2\n[plan]\ncrf = 3\n")
    assert _invoke("train", "iptalker", "--data", "d", "-o", "r").exit_code == 0
    assert seen["train"].threads == 2
    assert _invoke(*JOB).exit_code == 0
    assert (seen["dub"].threads, seen["dub"].crf) == (1, DubConfig.crf)


def test_a_plan_is_that_of_the_dub_which_the_file_describes() -> None:
    Path("dub.toml").write_text("[dub]\ncrf = 30\nseed = 1\n[plan]\nseed = 2\n")
    rows = json.loads(_invoke("config", "show", "plan", "--json").stdout)["options"]
    values = {row["option"]: row["value"] for row in rows}
    assert (values["--crf"], values["--seed"]) == (30, 2)


def test_nothing_is_read_from_the_folder_of_the_video(seen: dict[str, Any]) -> None:
    folder = Path("elsewhere")
    folder.mkdir()
    (folder / "dub.toml").write_text("this is no TOML")
    assert _invoke(f"{folder}/clip.mp4", "--audio", f"{folder}/new.wav").exit_code == 0
    assert seen["dub"] == DubConfig(video=folder / "clip.mp4", audio=folder / "new.wav")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("crff = 3", ("dub.toml", "'crff'", "'crf'")),
        ("copy-untouched = true", ("dub.toml", "'copy-untouched'", "by default", "--reencode")),
        ("[dub]\nsync = 'pad'", ("dub.toml", "'sync'", "[dub]")),
        ("[trian]\nsteps = 3", ("dub.toml", "[trian]", "'train'")),
        ("[train]\nstpes = 3", ("dub.toml", "'stpes'", "[train]", "'steps'")),
        ("[train.sync]\nsteps = 3", ("dub.toml", "'sync'")),
        ("crf = 'high'", ("dub.toml", "'crf'", "'high'", "whole number")),
        ("crf = 1.5", ("dub.toml", "'crf'", "1.5", "whole number")),
        ("crf = true", ("dub.toml", "'crf'", "true", "whole number")),
        ("overwrite = 1", ("dub.toml", "'overwrite'", "1", "true or false")),
        ("model = 3", ("dub.toml", "'model'", "3", "text")),
        ("model = ['a', 'b']", ("dub.toml", "'model'", "text")),
        ("[dub]\naudio = [3]", ("dub.toml", "'audio'", "3", "text")),
        ("sync-mode = 'bounc'", ("dub.toml", "'sync-mode'", "'bounc'", "'bounce'")),
        ("progress = 'loud'", ("dub.toml", "'progress'", "'loud'", "jsonl")),
        ("seed = 1\nse-ed = 2", ("dub.toml", "'se-ed'", "'seed'")),
        ("sync-mode = 'pad'\nsync_mode = 'pad'", ("dub.toml", "'sync_mode'", "twice")),
        ("face = 2", ("dub.toml", "'face'", "[dub]", "[finetune]")),
        ("crf = 99", ("CRF 99", "0 to 51", "'crf' comes from dub.toml")),
        ("articulation = 9", ("dub.toml", "'articulation' is 9", "2 or less")),
        ("[dub]\narticulation = 0.1", ("dub.toml", "'articulation' is 0.1", "0.5 or more")),
        ('[dub]\noutput = "a\\u0000b"', ("dub.toml", "'output'", "zero byte")),
        ("[dub\ncrf = 1", ("dub.toml", "no TOML", "line 1")),
        ("video = 'a.mp4'", ("dub.toml", "'video'")),
    ],
)
def test_a_wrong_file_is_one_line_with_file_key_and_the_right_name(
    content: str, words: tuple[str, ...], seen: dict[str, Any]
) -> None:
    Path("dub.toml").write_text(content)
    line = _refused(*JOB)
    assert [word for word in words if word not in line] == [], line
    assert seen == {}


def test_what_is_wrong_for_another_command_is_told_all_the_same() -> None:
    Path("dub.toml").write_text("[evaluate]\nmodels = 3")
    assert "'models'" in _refused(*JOB)


def test_a_file_that_cannot_be_read_is_named(
    seen: dict[str, Any], user_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_file.mkdir()
    assert str(user_file) in _refused(*JOB)
    user_file.rmdir()
    user_file.write_bytes(b"model = '\xff'")
    assert str(user_file) in _refused(*JOB)
    user_file.write_text("crf = 3")

    def deny(self: Path, *_: Any, **__: Any) -> str:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_text", deny)
    assert "Permission denied" in _refused(*JOB)
    assert seen == {}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("DUB_CRF", "high", ("DUB_CRF", "'high'", "whole number")),
        ("DUB_OVERWRITE", "maybe", ("DUB_OVERWRITE", "'maybe'", "true or false")),
        ("DUB_CRF", "99", ("CRF 99", "DUB_CRF")),
        ("DUB_CFR", "3", ("DUB_CFR", "DUB_CRF")),
        ("DUB_COPY_UNTOUCHED", "1", ("DUB_COPY_UNTOUCHED", "by default", "--reencode")),
        ("DUB_DUB_COPY_UNTOUCHED", "1", ("DUB_DUB_COPY_UNTOUCHED", "--reencode")),
        ("DUB_FACE", "left", ("DUB_FACE", "DUB_DUB_FACE", "DUB_FINETUNE_FACE")),
        ("DUB_SYNC_MODE", "stretch", ("DUB_SYNC_MODE", "'stretch'", "bounce")),
    ],
)
def test_a_wrong_variable_is_one_line_that_names_it(
    name: str, value: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    line = _refused(*JOB)
    assert [word for word in words if word not in line] == [], line


def test_variables_of_other_programs_and_empty_ones_set_nothing(
    seen: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUB_PACKAGE_DIR", "/elsewhere")
    monkeypatch.setenv("DUB_CRF", "")
    assert _invoke(*JOB).exit_code == 0
    assert seen["dub"] == DubConfig(video=Path("clip.mp4"), audio=Path("new.wav"))
    shown = json.loads(_invoke("config", "show", "--json").stdout)
    assert shown["ignored_variables"] == ["DUB_PACKAGE_DIR"]


@pytest.mark.parametrize(("text", "value"), [("1", True), ("Yes", True), ("off", False)])
def test_a_variable_switches_a_flag(
    text: str, value: bool, seen: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUB_MATCH_LOUDNESS", text)
    assert _invoke(*JOB).exit_code == 0
    assert seen["dub"].match_loudness is value


@pytest.mark.parametrize(
    ("command", "option"), [(command, option) for command in NEVER for option in NEVER[command]]
)
@pytest.mark.parametrize("place", ["user's file", "./dub.toml", "variable"])
def test_consent_licences_and_marks_are_taken_from_the_command_line_only(
    place: str,
    command: str,
    option: str,
    user_file: Path,
    seen: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = {
        "dub": JOB,
        "demo": ["demo"],
        "plan": ["plan", *JOB],
        "finetune": ["finetune", "a.mp4", "--name", "anna"],
        "models-pull": ["models", "pull", "vgg19"],
    }
    for value in ("true", "false", "'file.pem'"):
        for table in ("", f"[{command}]\n"):
            if place == "variable":
                name = variable_name(command if table else "", option)
                monkeypatch.setenv(name, value.strip("'"))
            else:
                path = user_file if place == "user's file" else Path("dub.toml")
                path.write_text(f"{table}{option} = {value}")
            line = _refused(*words[command])
            assert "command line only" in line
            if place == "variable":
                monkeypatch.delenv(name)  # pyright: ignore[reportPossiblyUnboundVariable]
    assert seen == {}


def test_no_option_of_consent_licences_or_marks_is_left_out_of_that_list() -> None:
    sensitive = ("consent", "mark", "c2pa", "licence", "agree")
    for command in COMMANDS:
        for name, setting in settings_of(command).items():
            # By the beginnings of its words: landmarks are no mark.
            if any(part.startswith(sensitive) for part in name.split("_")):
                assert name in NEVER.get(command, ()), f"{command}: {name}"
                assert setting.command_line_only


def test_help_is_shown_whatever_the_file_holds() -> None:
    Path("dub.toml").write_text("crff = 3")
    for arguments in (["--help"], ["clip.mp4", "--help"], ["train", "--help"]):
        result = _invoke(*arguments)
        assert (result.exit_code, result.stderr) == (0, "")


def test_config_show_tells_where_each_value_comes_from(
    user_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_file.write_text("crf = 20\nseed = 1\nthreads = 1\n")
    Path("dub.toml").write_text("seed = 2\nthreads = 2\n")
    monkeypatch.setenv("DUB_THREADS", "3")
    words = ["config", "show", "dub", "--json", "--device", "cpu"]
    shown = json.loads(_invoke(*words).stdout)
    found = {row["option"]: (row["value"], row["from"]) for row in shown["options"]}
    assert found["--model"] == ("iptalker", "default")
    assert found["--crf"] == (20, str(user_file))
    assert found["--seed"] == (2, "dub.toml")
    assert found["--threads"] == (3, "DUB_THREADS")
    assert found["--device"] == ("cpu", "command line")
    assert shown["files"] == [
        {"path": str(user_file), "read": True},
        {"path": "dub.toml", "read": True},
    ]
    table = _invoke("config", "show", "dub", "--device", "cpu")
    assert table.exit_code == 0
    (line,) = (line for line in table.stdout.splitlines() if "--threads" in line)
    assert "3" in line
    assert "DUB_THREADS" in line


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_config_show_knows_every_command_and_all_its_options(command: str) -> None:
    shown = json.loads(_invoke("config", "show", command, "--json").stdout)
    assert {row["option"] for row in shown["options"]} == {
        setting.flag for setting in settings_of(command).values()
    }
    assert {row["from"] for row in shown["options"]} == {"default"}


def test_config_show_of_no_command_names_the_nearest() -> None:
    assert "'train'" in _refused("config", "show", "trian")


def test_every_variable_means_one_thing() -> None:
    number = sum(len(settings_of(command)) for command in COMMANDS)
    # One for each option of each command, and those that count for all commands.
    assert len({name for name, named in known_variables().items() if named.command}) == number


def test_the_python_interface_reads_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("dub.toml").write_text("crf = 1")
    monkeypatch.setenv("DUB_CRF", "2")
    assert DubConfig(video=Path("a"), audio=Path("b")).crf == DubConfig.crf
    assert FinetuneConfig(videos=(Path("a"),), name="b").seed == FinetuneConfig.seed
    assert "DUB_CRF" in os.environ
