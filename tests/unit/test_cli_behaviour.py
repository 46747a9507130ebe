"""What users see: streams, exit codes, one line for each mistake."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from dubcli.cli import progress_view
from dubcli.cli.app import app
from dubcli.cli.view import say
from dubcli.core import errors
from dubcli.core.reports import DubReport
from dubcli.doctor import Check, exit_code, library_error
from dubcli.weights.entry import WeightEntry
from dubcli.weights.manifest import Manifest

JOB = ["clip.mp4", "--audio", "new.wav"]
Dub = Callable[..., DubReport]


@pytest.fixture
def run_job(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run the main job with a stand-in for the pipeline."""

    def run(dub: Dub, *arguments: str) -> Any:
        def call(
            config: Any, progress: Any, *, announce: Callable[[str], None], engine: Any
        ) -> DubReport:
            return dub(config, progress)

        stand_in = ModuleType("dubcli.pipeline.run")
        stand_in.dub = call  # pyright: ignore[reportAttributeAccessIssue]
        monkeypatch.setitem(sys.modules, "dubcli.pipeline.run", stand_in)
        return CliRunner().invoke(app, [*JOB, *arguments])

    return run


def _finished(config: Any, progress: Any) -> DubReport:
    for done in range(1, 4):
        progress("encode", done, 3)
    return DubReport(
        output="clip.dubbed.mp4",
        frames=3,
        frames_dubbed=2,
        frames_passed_through={"no_face": 1},
        warnings=["the audio is quiet"],
        config=config.as_json(),
    )


def _raising(error: BaseException) -> Dub:
    def dub(config: Any, progress: Any) -> DubReport:
        raise error

    return dub


def test_messages_go_to_stderr_and_nothing_to_stdout(run_job: Callable[..., Any]) -> None:
    result = run_job(_finished)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "encode 3/3 frames" in result.stderr
    assert "fps" in result.stderr
    assert (
        "clip.dubbed.mp4: 3 frames, 2 dubbed, 1 passed through (face not seen: 1)" in result.stderr
    )
    assert "warning: the audio is quiet" in result.stderr


def test_what_is_about_to_be_done_is_told_on_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    def dub(
        config: Any, progress: Any, *, announce: Callable[[str], None], engine: Any
    ) -> DubReport:
        announce("3 of 3 frames will be dubbed")
        return DubReport(output="x.mp4")

    stand_in = ModuleType("dubcli.pipeline.run")
    stand_in.dub = dub  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "dubcli.pipeline.run", stand_in)
    result = CliRunner().invoke(app, JOB)
    assert result.stderr.startswith("dub: 3 of 3 frames will be dubbed\n")
    assert result.stdout == ""
    assert CliRunner().invoke(app, [*JOB, "-q"]).output == ""


def test_json_is_alone_on_stdout(run_job: Callable[..., Any]) -> None:
    report = json.loads(run_job(_finished, "--json").stdout)
    assert report["frames_passed_through"] == {"no_face": 1}
    assert report["config"]["video"] == "clip.mp4"


def test_quiet_says_nothing(run_job: Callable[..., Any]) -> None:
    assert run_job(_finished, "--quiet").output == ""


def test_progress_lines_are_few(run_job: Callable[..., Any]) -> None:
    def dub(config: Any, progress: Any) -> DubReport:
        for done in range(1, 1001):
            progress("encode", done, 1000)
        return DubReport(output="x.mp4")

    assert run_job(dub).stderr.count("encode") < 20


def test_what_an_earlier_run_has_done_does_not_make_a_stage_look_faster(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = iter([0.0, 10.0])
    monkeypatch.setattr(progress_view.time, "monotonic", lambda: next(now))
    with progress_view.lines("frames", say) as progress:
        progress("dub", 901, 1000)
        progress("dub", 910, 1000)
    assert capsys.readouterr().err == "dub: dub 910/1000 frames, 1.0 fps, 90 s left\n"


def test_bars_on_a_terminal_count_each_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    console = progress_view._StderrConsole(record=True, force_terminal=True, stderr=True)
    monkeypatch.setattr(progress_view, "_StderrConsole", lambda stderr: console)
    with progress_view.bars("frames") as progress:
        progress("track", 5, 5)
        progress("encode", 1, 0)
    text = console.export_text()
    assert "track" in text
    assert "5/5" in text
    assert "1/?" in text


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError("Face 7 does not exist.", "Faces count from 1 to 2."), 2),
        (errors.ProbeError("clip.mp4 is no video.", "Give a video."), 3),
        (errors.ChecksumError("a.safetensors is damaged.", "Install again."), 4),
        (errors.NoFaceError("No face in\nclip.mp4.", "Try another."), 5),
        (errors.DeviceError("No CUDA device.", "Use --device cpu."), 6),
        (errors.TrainingError("No clips.", "Run dub prepare."), 7),
    ],
)
def test_an_error_is_one_line_with_its_code(
    error: errors.DubError, code: int, run_job: Callable[..., Any]
) -> None:
    result = run_job(_raising(error))
    assert result.exit_code == code
    assert result.stderr == f"dub: {error.cause} {error.next_step}\n"
    assert result.stdout == ""


def test_a_bug_shows_its_traceback(run_job: Callable[..., Any]) -> None:
    result = run_job(_raising(RuntimeError("a bug")))
    assert result.exit_code == 1
    assert isinstance(result.exception, RuntimeError)


def test_a_missing_system_library_names_the_package(run_job: Callable[..., Any]) -> None:
    error = ImportError("libGL.so.1: cannot open shared object file: No such file or directory")
    result = run_job(_raising(error))
    assert result.exit_code == 6
    assert "libGL.so.1 is missing" in result.stderr
    assert "libgl1" in result.stderr
    assert result.stderr.count("\n") == 1


def test_another_import_error_is_a_bug(run_job: Callable[..., Any]) -> None:
    assert run_job(_raising(ImportError("No module named 'x'"))).exit_code == 1
    assert library_error(ImportError("No module named 'x'")) is None


def test_interrupt(run_job: Callable[..., Any]) -> None:
    result = run_job(_raising(KeyboardInterrupt()))
    assert result.exit_code == 130
    assert result.stderr == "dub: interrupted; nothing was written.\n"


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_termination_unwinds_like_an_interrupt(run_job: Callable[..., Any]) -> None:
    cleaned: list[bool] = []

    def dub(config: Any, progress: Any) -> DubReport:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            cleaned.append(True)
        return DubReport(output="never")

    before = signal.getsignal(signal.SIGTERM)
    result = run_job(dub)
    assert result.exit_code == 143
    assert result.stderr == "dub: interrupted; nothing was written.\n"
    assert cleaned == [True]
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["clip.mp4"], "--audio"),
        ([*JOB, "--crf", "high"], "--crf"),
        ([*JOB, "--crf", "52"], "0 to 51"),
        ([*JOB, "--face", "0"], "from 1"),
        ([*JOB, "--face", "anna"], "picture"),
        ([*JOB, "--sync-mode", "stretch"], "bounce"),
        ([*JOB, "--device", "tpu"], "cuda"),
        ([*JOB, "--num-references", "0"], "reference"),
        ([*JOB, "--threads", "-1"], "all cores"),
        ([*JOB, "--colour"], "--colour"),
        ([*JOB, "--copy-untouched"], "copied by default; --reencode"),
        ([*JOB, "second.mp4"], "second.mp4"),
        (["docter"], "doctor"),
        (["models"], "command"),
        (["models", "lost"], "lost"),
        (["train"], "MODEL"),
        (["train", "iptalker", "--data", "d", "-o", "r", "--steps", "0"], "steps"),
    ],
)
def test_a_wrong_option_is_one_line_and_exit_2(
    arguments: list[str], named: str, run_job: Callable[..., Any]
) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("dub: ")
    assert result.stderr.count("\n") == 1
    assert named in result.stderr


def test_no_words_show_the_help() -> None:
    result = CliRunner().invoke(app, [])
    assert result.exit_code == 0
    for word in ("--audio", "demo", "prepare", "train", "models", "doctor", "--version"):
        assert word in result.stdout


def test_help_after_the_video_is_the_help() -> None:
    assert "--audio" in CliRunner().invoke(app, ["clip.mp4", "--help"]).stdout


def test_version_as_module() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "dubcli", "--version"], capture_output=True, text=True, check=True
    )
    assert run.stdout == "dub 0.1.0\n"


def test_a_reader_that_goes_away_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    run = subprocess.run(
        [sys.executable, "-m", "dubcli", "models", "list"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.parametrize(("verbose", "shown"), [(False, "dub: ours\n"), (True, "theirs")])
def test_native_libraries_do_not_speak_to_the_user(verbose: bool, shown: str) -> None:
    code = (
        "import os\n"
        "from dubcli.cli.view import View, say\n"
        f"with View(verbose={verbose}).logging():\n"
        "    os.write(2, b'theirs')\n"
        "    say('dub: ours')"
    )
    argv = [sys.executable, "-c", code]
    run = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert shown in run.stderr
    assert ("theirs" in run.stderr) == verbose


def test_a_traceback_is_shown_after_native_libraries_were_silenced() -> None:
    code = "from dubcli.cli.view import View\nwith View().logging(): raise RuntimeError('a bug')"
    argv = [sys.executable, "-c", code]
    run = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "RuntimeError: a bug" in run.stderr


@pytest.fixture
def _two_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A manifest with a damaged weight, an absent one and one that needs no file."""
    damaged = tmp_path / "a.safetensors"
    damaged.write_bytes(b"damaged")
    common: dict[str, Any] = {"architecture": "net", "sha256": "0" * 64, "license": "MIT"}
    entries = [
        WeightEntry(name="net.a", package=str(damaged), num_bytes=2_000_000, **common),
        WeightEntry(name="net.b", package=str(tmp_path / "absent"), **common),
        WeightEntry(name="plain", architecture="plain"),
    ]
    manifest = Manifest(
        path=tmp_path, weights={entry.name: entry for entry in entries}, default={"net": "a"}
    )
    for module in ("manifest", "resolve"):
        monkeypatch.setattr(f"dubcli.weights.{module}.load_manifest", lambda: manifest)


@pytest.mark.usefixtures("_two_weights")
def test_models_list_tells_what_is_here_and_whole() -> None:
    rows = json.loads(CliRunner().invoke(app, ["models", "list", "--json"]).stdout)
    facts = [(row["name"], row["present"], row["sha256_ok"], row["default"]) for row in rows]
    assert facts == [
        ("net.a", True, False, True),
        ("net.b", False, None, False),
        ("plain", None, None, False),
    ]
    assert rows[0]["megabytes"] == 2.0
    assert {row["role"] for row in rows} == {"model"}
    table = CliRunner().invoke(app, ["models", "list"]).stdout
    assert all(name in table for name in ("net.a", "net.b", "plain", "MIT"))


def test_doctor_names_everything_that_the_main_job_needs() -> None:
    result = CliRunner().invoke(app, ["doctor", "--json"])
    content = json.loads(result.stdout)
    names = {check["name"] for check in content["checks"]}
    assert names >= {"python", "torch", "opencv", "ffmpeg", "encoders", "weights", "disk"}
    assert content["ok"] == (result.exit_code == 0)
    found = {check["name"]: check for check in content["checks"]}
    assert "libx264" in found["encoders"]["value"]
    assert found["ffmpeg"]["exit_code"] == 0


def test_doctor_exits_with_the_code_of_the_worst_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = Check(name="weights", value="damaged", fix="Install again.", exit_code=4)
    library = Check(name="opencv", value="libGL", fix="Install libgl1.", exit_code=6)
    assert exit_code([Check(name="python", value="3.11")]) == 0
    assert exit_code([weights]) == 4
    monkeypatch.setattr("dubcli.doctor.examine", lambda: [weights, library])
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 6
    assert "Install libgl1." in result.stdout
