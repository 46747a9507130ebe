"""The examples run as they stand, on a tiny video and with the model that needs no weights."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from batch_jobs import tiny_jobs, tiny_media

FOLDER = Path(__file__).resolve().parents[2] / "examples"
NOTEBOOK = FOLDER / "first_dub.ipynb"


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_media(tmp_path_factory.mktemp("examples"))


def _main(name: str) -> Callable[..., int]:
    return runpy.run_path(str(FOLDER / name))["main"]


def test_one_dub(media: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main = _main("one_dub.py")
    words = (str(media / "face.mp4"), str(media / "speech.wav"), "out.mp4", "passthrough")
    assert main(*words) == 0
    told = json.loads(Path("out.json").read_text(encoding="utf-8"))
    assert told["frames_dubbed"] > 0
    assert f"{told['frames_dubbed']} of 5 frames dubbed" in capsys.readouterr().out
    assert main(*words) == 2  # the output exists
    assert "exists" in capsys.readouterr().err


def test_many_dubs(media: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recordings = [str(media / "speech.wav")]
    assert _main("many_dubs.py")(str(media / "face.mp4"), ".", "passthrough", *recordings) == 0
    assert "1 faces; the dub can begin\nspeech.mp4: " in capsys.readouterr().out
    assert Path("speech.mp4").is_file()


def test_a_batch(media: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = tiny_jobs(Path("jobs.jsonl"), media, ["one.mp4"])
    assert _main("batch_of_jobs.py")(str(jobs), "passthrough") == 0
    assert "row 1: done one.mp4" in capsys.readouterr().out


def test_the_notebook(media: Path) -> None:
    """Its cells, one after the other; the last line of each is a value, as a notebook shows it."""
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    names: dict[str, Any] = {}
    for cell in content["cells"]:
        assert cell["id"]
        if cell["cell_type"] != "code":
            continue
        assert not cell["outputs"]  # results of another machine are not published
        exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
        if cell["id"] == "settings":
            small = {"video": media / "face.mp4", "audio": media / "speech.wav"}
            names.update(model="passthrough", **small)
    assert names["report"].frames == 5
    assert names["report"].frames_dubbed > 0


def test_every_example_is_tested_and_listed() -> None:
    page = (FOLDER.parent / "docs" / "api.md").read_text(encoding="utf-8")
    tests = Path(__file__).read_text(encoding="utf-8")
    for path in FOLDER.iterdir():
        if path.suffix in (".py", ".ipynb"):
            assert path.name in page
            assert path.name in tests
