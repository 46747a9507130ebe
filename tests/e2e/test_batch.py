"""`dub batch`: every row gets a result, exactly once, whatever happens to the others."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from batch_jobs import (
    TINY,
    as_line,
    batch_here,
    done_in,
    errors,
    job_list,
    statuses,
    tiny_jobs,
    tiny_media,
)
from typer.testing import CliRunner

from dubcli.batches.row_result import CANCELLED, DONE, FAILED, SKIPPED, RowResult, read_results
from dubcli.batches.run import batch
from dubcli.cli.app import app
from dubcli.config import BatchConfig
from dubcli.core.errors import DubError, MediaError

JOBS, KILLS = 24, 2


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_media(tmp_path_factory.mktemp("batch"))


def _own(media: Path) -> dict[str, str]:
    return {"video": str(media / "face.mp4"), "audio": str(media / "speech.wav")}


def test_every_mistake_is_told_with_its_row_and_the_others_go_on(
    media: Path, tmp_path: Path
) -> None:
    (tmp_path / "taken.mp4").write_bytes(b"mine")
    rows: list[dict[str, Any]] = [
        {**_own(media), "output": "one.mp4"},
        {**_own(media), "output": "two.mp4", "crff": 3},
        {**_own(media), "video": "missing.mp4", "output": "three.mp4"},
        {**_own(media), "output": "same.mp4"},
        {**_own(media), "output": "./same.mp4"},
        {"video": str(media / "speech.wav"), "audio": str(media / "speech.wav")},
        {**_own(media), "output": "taken.mp4"},
        {**_own(media), "output": "next.mkv"},
        {"command": "plan", "video": "next.mkv"},
        {**_own(media), "output": "nine.mp4", "finetune": True},
    ]
    seen: list[RowResult] = []
    report = batch(
        BatchConfig(jobs=job_list(tmp_path / "jobs.jsonl", rows), set=TINY),
        on_result=seen.append,
        in_process=True,
    )
    told = errors(report)
    assert statuses(report) == [DONE, *[FAILED] * 6, DONE, FAILED, FAILED]
    for row, words in (
        (2, "crff"),
        (3, "'missing.mp4' does not exist"),
        (4, "so does row 5"),
        (5, "so does row 4"),
        (7, "exists"),
        (9, "does not exist"),
        (10, "finetune"),
    ):
        assert words in told[row], told[row]
    assert {result.row for result in seen[:-2]} == set(told)  # before the first one begins
    assert (tmp_path / "taken.mp4").read_bytes() == b"mine"
    assert not (tmp_path / "same.mp4").exists()
    assert read_results(Path(report.path)) == seen


def test_an_output_is_no_input_of_another_row(media: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes((media / "face.mp4").read_bytes())
    rows = [
        {**_own(media), "output": "a.mp4", "overwrite": True},
        {**_own(media), "video": "a.mp4", "output": "b.mp4"},
    ]
    report = batch_here(job_list(tmp_path / "jobs.jsonl", rows))
    assert statuses(report) == [FAILED, DONE]
    assert "which row 2 reads" in errors(report)[1]


def test_a_row_that_is_done_is_skipped_until_its_files_change(media: Path, tmp_path: Path) -> None:
    jobs = tiny_jobs(tmp_path / "jobs.jsonl", media, ["one.mp4", "two.mp4"])
    assert statuses(batch_here(jobs)) == [DONE, DONE]
    before = (tmp_path / "one.mp4").stat().st_mtime_ns
    assert statuses(batch_here(jobs)) == [SKIPPED, SKIPPED]
    # A row in front of them changes their numbers and nothing else.
    jobs.write_text('{"video": "none"}\n' + jobs.read_text())
    assert statuses(batch_here(jobs)) == [FAILED, SKIPPED, SKIPPED]
    assert (tmp_path / "one.mp4").stat().st_mtime_ns == before
    (tmp_path / "two.json").write_text("{}")
    (tmp_path / "one.mp4").unlink()
    (tmp_path / "one.json").unlink()
    report = batch_here(jobs)
    assert statuses(report) == [FAILED, DONE, FAILED]
    assert "exists" in errors(report)[3]  # of somebody else, as far as its report says
    assert len(done_in(Path(report.path))) == 3


def test_files_from_the_future_are_done_once(media: Path, tmp_path: Path) -> None:
    for name in ("face.mp4", "speech.wav"):
        os.utime(shutil.copy(media / name, tmp_path), (4e9, 4e9))
    jobs = tiny_jobs(tmp_path / "jobs.jsonl", tmp_path, ["one.mp4"])
    assert statuses(batch_here(jobs)) == [DONE]
    assert statuses(batch_here(jobs)) == [SKIPPED]


def test_a_result_that_was_not_written_down_is_not_made_again(media: Path, tmp_path: Path) -> None:
    jobs = tiny_jobs(tmp_path / "jobs.jsonl", media, ["one.mp4"])
    report = batch_here(jobs)
    before = (tmp_path / "one.mp4").stat().st_mtime_ns
    path = Path(report.path)
    line = as_line(report.results[0])
    text = path.read_text()
    assert text.endswith(line)
    path.write_text(text.removesuffix(line) + line[:40])  # torn by a power cut
    assert statuses(batch_here(jobs)) == [DONE]
    assert (tmp_path / "one.mp4").stat().st_mtime_ns == before
    assert [result.row for result in read_results(path)] == [1]
    assert json.loads(path.read_text().splitlines()[0])["dub_batch"] == 1


@pytest.mark.parametrize("is_written_down", [True, False], ids=["known", "found"])
def test_what_a_killed_run_leaves_of_a_row_that_is_done_is_removed(
    is_written_down: bool, media: Path, tmp_path: Path
) -> None:
    jobs = tiny_jobs(tmp_path / "jobs.jsonl", media, ["one.mp4", "two.mp4", "three.mp4"])
    report = batch_here(jobs)
    left = {name: tmp_path / f"{name}.mp4.dubjob" for name in ("one", "two", "three")}
    for name, files in {
        "one": ("job.json", "segment-00000.mov", "finishing", "lock"),  # it was being removed
        "two": ("lock",),
        "three": ("job.json", "segment-00000.mov"),  # of a dub with other options: it can go on
    }.items():
        left[name].mkdir()
        for file in files:
            (left[name] / file).touch()
    if not is_written_down:
        Path(report.path).unlink()
    assert set(statuses(batch_here(jobs))) == {SKIPPED if is_written_down else DONE}
    assert [name for name, path in left.items() if path.exists()] == ["three"]
    assert len(list(left["three"].iterdir())) == 2


def test_shards_do_each_row_once_and_know_each_other_s_results(media: Path, tmp_path: Path) -> None:
    jobs = tiny_jobs(tmp_path / "jobs.jsonl", media, ["1.mp4", "2.mp4", "3.mp4"])
    first, second = (batch_here(jobs, shard=f"{number}/2") for number in (1, 2))
    assert [result.row for result in first.results] == [1, 3]
    assert [result.row for result in second.results] == [2]
    assert first.path != second.path
    assert statuses(batch_here(jobs)) == [SKIPPED] * 3


def test_fail_fast_begins_nothing_after_a_row_that_failed(media: Path, tmp_path: Path) -> None:
    good = {**_own(media), "output": "good.mp4"}
    # Headers do not tell that there is no face in it.
    from studio import face_clip

    face_clip(tmp_path / "blank.mp4", "scale=96:96,geq=lum=90:cb=128:cr=128", frames=5)
    blank = {**_own(media), "video": "blank.mp4", "output": "blank-out.mp4"}
    jobs = job_list(tmp_path / "jobs.jsonl", [blank, good])
    report = batch_here(jobs, fail_fast=True)
    assert statuses(report) == [FAILED, CANCELLED]
    assert report.results[0].exit_code == 5
    assert report.results[0].attempts == 1  # a mistake of a file is not tried again
    assert statuses(batch_here(jobs)) == [FAILED, DONE]
    jobs = job_list(tmp_path / "other.jsonl", [{"video": "none"}, {**good, "output": "x.mp4"}])
    assert statuses(batch_here(jobs, fail_fast=True)) == [FAILED, CANCELLED]
    assert not (tmp_path / "x.mp4").exists()


@pytest.mark.parametrize(
    ("error", "said"),
    [(MemoryError(), "Memory ran out"), (OSError(errno.ENOSPC, "No space left"), "No space left")],
)
def test_memory_or_disk_that_ran_out_is_tried_again(
    error: Exception, said: str, media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dubcli.pipeline.run as run

    kept, calls = run.dub, []

    def short_of_memory(*words: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) in (1, 3, 4):
            raise error
        return kept(*words, **named)

    monkeypatch.setattr(run, "dub", short_of_memory)
    jobs = tiny_jobs(tmp_path / "jobs.jsonl", media, ["one.mp4", "two.mp4"])
    report = batch_here(jobs, retries=1)
    assert [(one.status, one.attempts) for one in report.results] == [(DONE, 2), (FAILED, 2)]
    assert said in errors(report)[2]


def test_a_fault_of_the_program_is_one_row_s(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dubcli.pipeline.run as run

    def broken(*words: Any, **named: Any) -> Any:
        raise KeyError("face")

    monkeypatch.setattr(run, "dub", broken)
    jobs = tiny_jobs(tmp_path / "jobs.jsonl", media, ["one.mp4"])
    (result,) = batch_here(jobs).results
    assert (result.status, result.exit_code) == (FAILED, 1)
    assert "KeyError" in (result.error or "")
    assert "broken" in (result.traceback or "")


def test_results_that_cannot_be_written_end_the_batch(media: Path, tmp_path: Path) -> None:
    jobs = tiny_jobs(tmp_path / "jobs.jsonl", media, ["one.mp4"])
    with pytest.raises(MediaError, match="results"):
        batch_here(jobs, results=tmp_path / "none" / "results.jsonl")
    assert not (tmp_path / "one.mp4").exists()


def test_two_folders_need_no_list(media: Path, tmp_path: Path) -> None:
    for folder, name in (("videos", "face.mp4"), ("sounds", "speech.wav")):
        (tmp_path / folder).mkdir()
        made = (tmp_path / folder / "anna").with_suffix(Path(name).suffix)
        made.write_bytes((media / name).read_bytes())
    report = batch_here(Path("videos"), audio=Path("sounds"), output=Path("new/results"))
    assert statuses(report) == [DONE]
    assert Path("new/results/anna.dubbed.mp4").is_file()
    assert report.path == "videos.results.jsonl"


def test_names_and_messages_are_shown_as_text(media: Path, tmp_path: Path) -> None:
    names = ["=1+1.mp4", "[red]x[/red].mp4", "\x1b[31m\x07.mp4", "<script>alert(1)</script>.mp4"]
    rows = [{**_own(media), "output": name, "crf": 99} for name in names]
    jobs = job_list(tmp_path / "jobs.jsonl", rows)
    shown = CliRunner().invoke(app, ["batch", str(jobs)])
    assert shown.exit_code == 10
    for text in (shown.stdout, shown.stderr):
        assert not {"\x1b", "\x07"} & set(text)
    for name in ("=1+1.mp4", "[red]x[/red].mp4", r"\x1b[31m\x07.mp4"):
        assert name in shown.stdout
    told = json.loads(CliRunner().invoke(app, ["batch", str(jobs), "--json"]).stdout)
    assert [result["output"] for result in told["results"]] == names
    assert told["counts"]["failed"] == len(names)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_killed_workers_lose_nothing_and_do_nothing_twice(media: Path, tmp_path: Path) -> None:
    """Workers are killed at random moments; each row is done exactly once."""
    names = [f"{number}.mp4" for number in range(JOBS)]
    jobs = tiny_jobs(tmp_path / "jobs.jsonl", media, names)
    rng = random.Random(20)
    moments = set(rng.sample(range(1, JOBS - 1), KILLS))
    seen: list[RowResult] = []

    def kill_one(result: RowResult) -> None:
        seen.append(result)
        alive = multiprocessing.active_children()
        if len(seen) in moments and alive:
            victim = rng.choice(alive)
            assert victim.pid is not None
            # Through the process object, whose pid is its own until it is joined.
            victim.kill()

    config = BatchConfig(jobs=jobs, workers=2, retries=KILLS, set=TINY)
    report = batch(config, on_result=kill_one)
    assert statuses(report) == [DONE] * JOBS
    assert sorted(result.row for result in done_in(Path(report.path))) == list(range(1, JOBS + 1))
    assert not list(tmp_path.glob("*.dubjob"))
    first = (tmp_path / names[0]).read_bytes()
    assert all((tmp_path / name).read_bytes() == first for name in names)
    assert multiprocessing.active_children() == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_row_that_kills_its_worker_is_given_up(media: Path, tmp_path: Path) -> None:
    """The rows beside it are done all the same."""
    from dubcli.batches.batch_schedule import BatchSchedule, SchedulePolicy
    from dubcli.batches.local_workers import LocalWorkers

    class Deadly(LocalWorkers):
        """Kills the process that has row 1."""

        def next_done(self) -> Any:
            if any(task.row.number == 1 for _, task in self._running.values()):
                for child in multiprocessing.active_children():
                    child.kill()
            return super().next_done()

    jobs = tiny_jobs(tmp_path / "jobs.jsonl", media, ["1.mp4", "2.mp4"])
    rows = checked_rows(jobs)
    found: list[RowResult] = []
    workers = Deadly(["cpu"], 1)
    try:
        BatchSchedule(rows, SchedulePolicy(retries=1), found.append).run(workers)
    finally:
        workers.close()
    assert [(one.row, one.status, one.attempts) for one in found] == [
        (1, FAILED, 2),
        (2, DONE, 1),
    ]
    assert "killed" in (found[0].error or "")


def checked_rows(jobs: Path) -> list[Any]:
    """The rows of a list that may begin."""
    from dubcli import Engine
    from dubcli.batches.batch_row import options_in
    from dubcli.batches.job_list import read_jobs
    from dubcli.batches.row_checks import check_rows
    from dubcli.core.progress import no_progress

    written = read_jobs(BatchConfig(jobs=jobs))
    with Engine("cpu", 1) as engine:
        return check_rows(written, {}, options_in(TINY), None, engine, no_progress)[0]


def test_errors_of_checks_are_the_user_s(tmp_path: Path) -> None:
    with pytest.raises(DubError, match="no rows"):
        batch_here(job_list(tmp_path / "jobs.jsonl", []))
