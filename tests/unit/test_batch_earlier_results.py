"""What a killed run has left of a row: it is taken for done, or gone on with, never in the way."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from batch_jobs import batch_here, done_in, errors, job_list, statuses, tiny_media
from made_identities import made_identity

import dubcli.pipeline.run as dub_run
from dubcli import __version__
from dubcli.batches.row_result import DONE, FAILED, SKIPPED
from dubcli.config import FinetuneConfig
from dubcli.identities.store import save_identity
from dubcli.pipeline.resume import JobFolder

HERE = ("device=cpu", "threads=1")


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_media(tmp_path_factory.mktemp("media"))


def _forget(jobs: Path) -> None:
    """Remove the results, as if the run had been killed before it could write them down."""
    for path in jobs.parent.glob("*.results*.jsonl"):
        path.unlink()


@pytest.fixture
def finetune_row(media: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "command": "finetune",
        "videos": [str(media / "face.mp4")],
        "name": str(tmp_path / "anna"),
        "consent": True,
    }


def _store(row: dict[str, Any], **changes: Any) -> None:
    """The identity that the row would learn."""
    path = Path(row["name"])
    config = FinetuneConfig(
        videos=(Path(row["videos"][0]),), name=row["name"], consent=True, device="cpu", threads=1
    )
    values = {"report": {"config": config.as_json()}, "version": __version__, **changes}
    save_identity(made_identity(path.name, **values), path, replace=True)


def test_an_identity_that_was_not_written_down_is_done(
    finetune_row: dict[str, Any], tmp_path: Path
) -> None:
    jobs = job_list(tmp_path / "jobs.jsonl", [finetune_row])
    _store(finetune_row)
    report = batch_here(jobs, set=HERE)
    assert statuses(report) == [DONE]
    assert statuses(batch_here(jobs, set=HERE)) == [SKIPPED]
    assert len(done_in(Path(report.path))) == 1


def test_an_identity_whose_worker_was_killed_at_its_end_is_done(
    finetune_row: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory that runs out after it was stored stands for the kill: the row is tried again."""
    import dubcli.personalize.run as module

    calls: list[int] = []

    def learn(*words: Any, **named: Any) -> None:
        calls.append(1)
        _store(finetune_row)
        raise MemoryError

    monkeypatch.setattr(module, "finetune", learn)
    report = batch_here(job_list(tmp_path / "jobs.jsonl", [finetune_row]), set=HERE)
    assert [(one.status, one.attempts) for one in report.results] == [(DONE, 2)]
    assert calls == [1]


@pytest.mark.parametrize(
    "changes", [{"version": "0.0.1"}, {"report": {}}, {"report": {"config": {"steps": 1}}}]
)
def test_an_identity_of_other_options_stays_in_the_way(
    finetune_row: dict[str, Any], tmp_path: Path, changes: dict[str, Any]
) -> None:
    _store(finetune_row, **changes)
    report = batch_here(job_list(tmp_path / "jobs.jsonl", [finetune_row]), set=HERE)
    assert statuses(report) == [FAILED]
    assert "exists already" in errors(report)[1]


def test_a_dub_that_was_killed_while_it_put_files_in_place_is_finished(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"video": str(media / "face.mp4"), "audio": str(media / "speech.wav"), "output": "o.mp4"}
    jobs = job_list(tmp_path / "jobs.jsonl", [row])
    place = JobFolder.place

    def killed(folder: JobFolder, results: Any) -> None:
        place(folder, results[:1])
        (tmp_path / "kept").mkdir()
        shutil.copytree(folder.path, tmp_path / "kept", dirs_exist_ok=True)
        raise MemoryError

    monkeypatch.setattr(JobFolder, "place", killed)
    assert statuses(batch_here(jobs, retries=0)) == [FAILED]
    monkeypatch.setattr(JobFolder, "place", place)
    shutil.rmtree(tmp_path / "o.mp4.dubjob", ignore_errors=True)
    (tmp_path / "kept").rename(tmp_path / "o.mp4.dubjob")  # a kill leaves the folder as it is
    assert (tmp_path / "o.json").exists()
    assert statuses(batch_here(jobs)) == [DONE]
    assert (tmp_path / "o.mp4").is_file()
    assert not (tmp_path / "o.mp4.dubjob").exists()


def test_a_comparison_that_a_killed_run_did_not_write_is_written(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"video": str(media / "face.mp4"), "audio": str(media / "speech.wav"), "output": "o.mp4"}
    jobs = job_list(tmp_path / "jobs.jsonl", [{**row, "compare": "both.mp4"}])

    def no_comparison(*words: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(dub_run, "compare", no_comparison)
        assert statuses(batch_here(jobs)) == [FAILED]
    before = (tmp_path / "o.mp4").stat().st_mtime_ns
    assert statuses(batch_here(jobs)) == [DONE]
    assert (tmp_path / "both.mp4").is_file()
    assert (tmp_path / "o.mp4").stat().st_mtime_ns == before


def test_two_rows_with_one_comparison_or_picture_are_refused(media: Path, tmp_path: Path) -> None:
    own = {"video": str(media / "face.mp4"), "audio": str(media / "speech.wav")}
    rows = [
        {**own, "output": "a.mp4", "compare": "both.mp4"},
        {**own, "output": "b.mp4", "compare": "both.mp4"},
        {"command": "plan", "video": own["video"], "faces": "one.png"},
        {"command": "plan", **own, "output": "c.mp4", "faces": "./one.png"},
        {"command": "plan", "video": own["video"], "faces": "faces.jpg"},
    ]
    told = errors(batch_here(job_list(tmp_path / "jobs.jsonl", rows)))
    assert ["so does row" in told[row] for row in (1, 2, 3, 4)] == [True] * 4
    assert "no name for a PNG" in told[5]
    assert not list(tmp_path.glob("*.mp4"))


def test_a_plan_that_was_killed_after_its_picture_is_made_again(
    media: Path, tmp_path: Path
) -> None:
    row = {"command": "plan", "video": str(media / "face.mp4"), "faces": "faces.png"}
    jobs = job_list(tmp_path / "jobs.jsonl", [row])
    assert statuses(batch_here(jobs)) == [DONE]
    told = json.loads(Path("faces.plan.json").read_text())
    assert (told["picture"], told["config"]["faces"]) == ("faces.png", "faces.png")
    _forget(jobs)
    assert statuses(batch_here(jobs)) == [DONE]  # known by its report
    Path("faces.png").unlink()
    _forget(jobs)
    assert statuses(batch_here(jobs)) == [DONE]
    assert Path("faces.png").is_file()
    Path("faces.plan.json").unlink()
    _forget(jobs)
    report = batch_here(jobs)  # a picture of anybody, as far as is known
    assert "'faces.png' exists" in errors(report)[1]


def test_a_plan_of_a_dub_that_would_fail_tells_the_same_each_time(
    media: Path, tmp_path: Path
) -> None:
    own = {"video": str(media / "face.mp4"), "audio": str(media / "speech.wav")}
    row = {"command": "plan", **own, "output": "o.mp4", "face": "7", "faces": "faces.png"}
    jobs = job_list(tmp_path / "jobs.jsonl", [row])
    first, again = (errors(batch_here(jobs))[1] for _ in range(2))
    assert "exists" not in first or "does not exist" in first
    assert first == again
    assert Path("faces.png").is_file()
