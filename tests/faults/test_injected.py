"""Faults while the command runs: signals, full disks, lost files, no memory, no ffmpeg."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from runner import (
    OPTIONS,
    WATCHDOG_S,
    Bench,
    Done,
    Fault,
    check_line,
    check_output,
    fingerprints,
    give_up,
    leftovers,
    verify,
)

from dubcli.media.container.ffmpeg import ffmpeg_binary

STAGES = [("begin", 0), ("analyse", 1), ("analyse", 12), ("dub", 1), ("dub", 20), ("join", 0)]
# 16 frames are a window of the model, here also a segment: from now on there is something to keep.
LATE = [("dub", 20), ("join", 0)]


@pytest.fixture
def job(bench: Bench, tiny: Path) -> list[str]:
    """Arguments of a run that would succeed: 12 frames, played to and fro for 40."""
    return bench.command(bench.take(tiny / "mute.mp4"), bench.take(tiny / "long.wav"))


def _verified(bench: Bench, done: Done, code: int, named: str = "") -> None:
    verify(bench, done, {code}, fingerprints(bench.inputs), named)


def _run(bench: Bench, job: list[str], code: int, *faults: Fault, named: str = "") -> Done:
    """Run with faults and verify how it ended; quietly where one line is all that is expected."""
    before = fingerprints(bench.inputs)
    done = bench.run(["-q", *job] if code else job, *faults)
    verify(bench, done, {code}, before, named)
    return done


def _goes_on(bench: Bench, job: list[str]) -> None:
    """The same command again succeeds and leaves nothing but the result."""
    _run(bench, job, 0, ("short segments",))


def test_a_run_without_a_fault(bench: Bench, job: list[str]) -> None:
    _run(bench, job, 0)


@pytest.mark.parametrize(("stage", "done"), STAGES)
def test_interrupted(stage: str, done: int, bench: Bench, job: list[str]) -> None:
    number, code = (signal.SIGINT, 130) if done % 2 == 0 else (signal.SIGTERM, 143)
    ended = _run(bench, job, code, ("signal", number, stage, done), named="interrupted")
    is_kept = bench.job_folder.exists()
    assert ("run the same command again" in ended.stderr) == is_kept
    assert is_kept == ((stage, done) in LATE)
    if is_kept:
        _goes_on(bench, job)


@pytest.mark.parametrize(("stage", "done"), STAGES)
def test_killed(stage: str, done: int, bench: Bench, job: list[str]) -> None:
    before = fingerprints(bench.inputs)
    ended = bench.run(job, ("signal", signal.SIGKILL, stage, done))
    assert ended.code == 128 + signal.SIGKILL
    assert fingerprints(bench.inputs) == before
    # Nobody could announce it: what is left is the job's folder alone.
    assert {path.name for path in bench.outputs.iterdir()} <= {bench.job_folder.name}
    assert list(bench.temporary.iterdir()) == []
    _goes_on(bench, job)


def test_a_signal_from_outside(bench: Bench, job: list[str]) -> None:
    with bench.running(job) as running:
        running.wait_for("analyse")
        os.kill(running.pid, signal.SIGTERM)
    assert running.done is not None
    if running.done.code == 0:  # it was faster
        check_output(bench.output)
    else:
        assert running.done.code == 143, running.done.stderr
        assert "interrupted" in running.done.lines[-1]
        assert leftovers(bench, running.done) == []


def test_two_interrupts_in_a_row(bench: Bench, job: list[str]) -> None:
    with bench.running(job, ("wait", str(_pipe(bench)), "dub", 2)) as running:
        running.wait_for("waiting")
        os.kill(running.pid, signal.SIGINT)
        os.kill(running.pid, signal.SIGINT)
    assert running.done is not None
    assert running.done.code == 130, running.done.stderr
    assert not bench.output.exists()


def test_a_run_that_hangs_is_ended_with_its_stacks(bench: Bench, job: list[str]) -> None:
    # At the join no other thread of the run is active: stacks of running threads may come out torn.
    with bench.running(job, ("wait", str(_pipe(bench)), "join", 1)) as running:
        running.wait_for("waiting")
        said = give_up(running.pid, bench.root / "stacks")
    assert "most recent call first" in said
    assert "hooks.py" in said
    assert running.done is not None
    assert running.done.code == 128 + signal.SIGUSR1


def test_two_runs_on_one_output(bench: Bench, job: list[str]) -> None:
    pipe = _pipe(bench)
    with bench.running(job, ("wait", str(pipe), "dub", 2)) as first:
        first.wait_for("waiting")
        second = bench.run(["-q", *job])
        pipe.open("wb").close()
    assert first.done is not None
    assert second.code == 3, second.stderr
    check_line(second, "Another run is writing")
    _verified(bench, first.done, 0)


def _pipe(bench: Bench) -> Path:
    path = bench.root / "go on"
    os.mkfifo(path)
    return path


def test_an_existing_result_stays_when_the_next_run_fails(bench: Bench, job: list[str]) -> None:
    _run(bench, job, 0)
    before = fingerprints(bench.outputs)
    done = bench.run(["-q", "-y", *job], ("no memory", "dub", 2))
    assert done.code == 6, done.stderr
    check_line(done, "Memory ran out")
    assert fingerprints(bench.outputs) == before


# Memory


@pytest.mark.parametrize("kind", ["torch", "python"])
def test_the_model_runs_out_of_memory(kind: str, bench: Bench, job: list[str]) -> None:
    _run(bench, job, 6, ("memory", kind, 1), named="memory")


@pytest.mark.parametrize("kind", ["torch", "python"])
def test_less_at_once_where_memory_is_short(kind: str, bench: Bench, job: list[str]) -> None:
    done = _run(bench, job, 0, ("memory", kind, 3))
    assert "too little memory" in done.stderr


@pytest.mark.parametrize(("stage", "done"), [("begin", 0), ("analyse", 3), ("join", 0)])
def test_memory_runs_out_anywhere(stage: str, done: int, bench: Bench, job: list[str]) -> None:
    _run(bench, job, 6, ("no memory", stage, done), named="Memory ran out")


# Disks and files


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
def test_the_system_refuses_a_file(number: int, bench: Bench, job: list[str]) -> None:
    _run(bench, job, 3, ("disk error", number, "dub", 2), named=os.strerror(number))


@pytest.mark.parametrize("limit", [1_000, 20_000])
def test_files_may_not_grow(limit: int, bench: Bench, job: list[str]) -> None:
    before = fingerprints(bench.inputs)
    done = bench.run(["-q", *job], limits={"RLIMIT_FSIZE": limit})
    verify(bench, done, {3}, before)


@pytest.fixture
def disk(bench: Bench) -> Iterator[Path]:
    """A small file system of its own; the output's folder lies in it."""
    target = bench.root / "disk"
    target.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(target)]
    if shutil.which("mount") is None or subprocess.run(argv, capture_output=True).returncode:
        pytest.skip("mounting is not permitted here; the limits of single files are tested")
    try:
        bench.outputs.rmdir()
        (target / "out").mkdir()
        bench.outputs.symlink_to(target / "out")
        yield target
    finally:
        subprocess.run(["umount", str(target)], check=True)


@pytest.mark.parametrize(("stage", "done"), [("begin", 0), ("dub", 2), ("join", 0)])
def test_the_disk_becomes_full(
    stage: str, done: int, disk: Path, bench: Bench, job: list[str]
) -> None:
    _run(bench, job, 3, ("fill", str(disk / "filler"), stage, done))
    (disk / "filler").unlink()
    _goes_on(bench, job)


def test_a_batch_goes_on_when_the_disk_is_emptied(disk: Path, bench: Bench, tiny: Path) -> None:
    video, audio = bench.take(tiny / "mute.mp4"), bench.take(tiny / "long.wav")
    outputs = [bench.outputs / f"{number}.mp4" for number in range(2)]
    rows = [{"video": str(video), "audio": str(audio), "output": str(path)} for path in outputs]
    jobs = bench.root / "jobs.jsonl"
    jobs.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    sets = [word for one in ("model=passthrough", "threads=1") for word in ("--set", one)]
    argv = ["batch", str(jobs), "-q", "--devices", "cpu", "--workers", "1", *sets]
    full = bench.run(argv, ("fill", str(disk / "filler"), "dub", 2), ("in process",))
    assert full.code == 10, full.stderr
    assert [path for path in outputs if path.exists()] == []
    (disk / "filler").unlink()
    done = bench.run(argv, ("in process",))
    assert done.code == 0, done.stderr
    for path in outputs:
        check_output(path)
    assert len(list(bench.outputs.iterdir())) == 2 * len(outputs)  # and their reports


def test_a_disk_that_cannot_be_written(disk: Path, bench: Bench, job: list[str]) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    _run(bench, job, 3, named="cannot be written")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere; a read-only disk is tested")
def test_a_folder_that_cannot_be_written(bench: Bench, job: list[str]) -> None:
    bench.outputs.chmod(0o500)
    _run(bench, job, 3, named="cannot be written")


@pytest.mark.parametrize(("stage", "done"), [("analyse", 12), ("dub", 2), ("join", 0)])
def test_the_output_folder_goes(stage: str, done: int, bench: Bench, job: list[str]) -> None:
    done_so_far = bench.run(["-q", *job], ("remove", str(bench.outputs), stage, done))
    assert done_so_far.code == 3, done_so_far.stderr
    check_line(done_so_far)
    assert not bench.outputs.exists()


@pytest.mark.parametrize(("stage", "done"), [("begin", 0), ("analyse", 12), ("join", 0)])
@pytest.mark.parametrize("name", ["mute.mp4", "long.wav"])
def test_an_input_goes(name: str, stage: str, done: int, bench: Bench, job: list[str]) -> None:
    ended = bench.run(["-q", *job], ("remove", str(bench.inputs / name), stage, done))
    assert ended.code in (0, 3), ended.stderr
    assert leftovers(bench, ended) == []
    if ended.code == 0:
        check_output(bench.output)
    else:
        check_line(ended, name)


@pytest.mark.parametrize("name", ["mute.mp4", "long.wav"])
def test_an_input_shrinks(name: str, bench: Bench, job: list[str]) -> None:
    ended = bench.run(["-q", *job], ("halve", str(bench.inputs / name), "analyse", 12))
    assert ended.code in (0, 3), ended.stderr
    assert leftovers(bench, ended) == []
    if ended.code == 0:
        check_output(bench.output)
    else:
        check_line(ended)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs /proc/self/mem")
def test_a_file_that_cannot_be_read(bench: Bench, tiny: Path) -> None:
    video = bench.inputs / "mem.mp4"
    video.symlink_to("/proc/self/mem")  # its first bytes are no memory: reading fails
    job = bench.command(video, bench.take(tiny / "speech.wav"))
    _run(bench, job, 3, named="cannot be read")


# ffmpeg


def _fake_ffmpeg(bench: Bench, body: str) -> None:
    """An ffmpeg on PATH that does something else."""
    folder = bench.root / "bin"
    folder.mkdir()
    script = folder / "ffmpeg"
    first = '#!/bin/sh\nif [ "$1" = -version ]; then echo "ffmpeg version 7.1"; exit; fi\n'
    script.write_text(first + body + "\n", encoding="utf-8")
    script.chmod(0o755)
    bench.environment["PATH"] = f"{folder}:/usr/bin:/bin"


def test_no_ffmpeg(bench: Bench, job: list[str]) -> None:
    bench.environment["PATH"] = str(bench.root)
    done = bench.run(job, ("no bundled ffmpeg",))
    assert done.code == 3, done.stderr
    check_line(done, "No usable ffmpeg")
    assert "analyse" not in done.stderr, "it is said before the slow part"


def test_an_ffmpeg_that_is_no_program(bench: Bench, job: list[str]) -> None:
    bench.environment["PATH"] = str(bench.root)
    bench.environment["IMAGEIO_FFMPEG_EXE"] = str(bench.root / "absent")
    _run(bench, job, 3, named="absent")


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ("echo 'out.mp4: Something is wrong' >&2; exit 1", "Something is wrong"),
        ("exit 9", "exit status 9"),
        ("kill -KILL $$", "ffmpeg"),
        ("kill -SEGV $$", "ffmpeg"),
        ("echo 'out.mp4: No space left on device' >&2; exit 1", "disk is full"),
    ],
)
def test_ffmpeg_fails(body: str, named: str, bench: Bench, job: list[str]) -> None:
    _fake_ffmpeg(bench, body)
    _run(bench, job, 3, named=named)


def test_ffmpeg_writes_half_and_dies(bench: Bench, job: list[str]) -> None:
    real = ffmpeg_binary()
    last = 'for last; do :; done; last="${last#file:}"'
    cut = 'head -c 9000 "$last" > "$last.half"; cat "$last.half" > "$last"; rm "$last.half"'
    _fake_ffmpeg(bench, f'"{real}" "$@"\n{last}\n{cut}\nkill -KILL $$')
    _run(bench, job, 3, named="ffmpeg")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ffmpeg_hangs_until_the_user_has_enough(
    number: int, code: int, bench: Bench, job: list[str]
) -> None:
    _fake_ffmpeg(bench, f"echo $$ > '{bench.root}/child'\nkill -{number:d} $PPID\nexec sleep 9999")
    _run(bench, job, code, named="interrupted")
    child = int((bench.root / "child").read_text("utf-8"))
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


# Surroundings


def test_the_clock_runs_backwards(bench: Bench, job: list[str]) -> None:
    os.utime(bench.inputs / "mute.mp4", (0, 0))
    os.utime(bench.inputs / "long.wav", (4e9, 4e9))
    _run(bench, job, 0, ("clock back",))


def test_without_a_network(bench: Bench, job: list[str], tiny: Path) -> None:
    job = bench.command(bench.take(tiny / "face.mp4"), bench.take(tiny / "speech.wav"))
    done = _run(bench, job, 0, ("no network",))
    assert "reached for the network" not in done.stderr


@pytest.mark.parametrize(
    "changes",
    [
        {"HOME": None, "XDG_CACHE_HOME": None, "XDG_DATA_HOME": None, "DUB_HOME": None},
        {"HOME": "/nonexistent", "TMPDIR": "/nonexistent", "COLUMNS": "1", "LC_ALL": "C"},
    ],
    ids=["unset", "nonsense"],
)
def test_odd_environments(changes: dict[str, str | None], bench: Bench, job: list[str]) -> None:
    bench.environment |= changes
    # Without HOME the home of whoever runs the tests is found: no certificate is kept there.
    _run(bench, ["--no-mark", *job] if changes["HOME"] is None else job, 0)


NAMES = [
    "with spaces and 'quotes' and \"more\".mp4",
    "new\nline.mp4",
    "-leading dash.mp4",
    "100%d.mp4",
    "a:b|c;d&e.mp4",
    "pipe:0.mp4",
    "concat:x.mp4",
    "ü 漢字 🙂.mp4",
    "$(rm -rf x) `id` *.mp4",
    "[0-9]?.mp4",
    "\udcff\udcfe.mp4",  # bytes that are no UTF-8
    "x" * 236 + ".mp4",
]


@pytest.mark.parametrize("number", range(0, len(NAMES), 2))
def test_names(number: int, bench: Bench, tiny: Path) -> None:
    name, other = NAMES[number : number + 2]
    video = bench.take(tiny / "mute.mp4", name)
    audio = bench.take(tiny / "speech.wav", other)
    bench.output_name = other
    done = _run(bench, bench.command(video, audio, "--json"), 0)
    assert json.loads(done.stdout)["frames"] > 0


def test_a_missing_file_of_any_name_is_one_line(bench: Bench) -> None:
    job = bench.command(bench.inputs / "\udcff\n\x1b[31m.mp4", bench.inputs / "a.wav")
    _run(bench, job, 3, named="does not exist")


# Whole processes: what only the interpreter's own start and end show.


def _process(bench: Bench, line: str, **environment: str) -> Done:
    """Run a line of shell in which "$@" is the command."""
    argv = ["sh", "-c", line, "sh", sys.executable, "-m", "dubcli"]
    changed = {**os.environ, "TMPDIR": str(bench.temporary), "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(
        argv, cwd=bench.root, env=changed, capture_output=True, timeout=WATCHDOG_S, check=False
    )
    stdout, stderr = (said.decode("utf-8", "replace") for said in (done.stdout, done.stderr))
    return Done(done.returncode, stdout, stderr, peak_mib=0)


@pytest.mark.parametrize(
    "ending",
    [
        "--json -q <&- >&- 2>&-",
        "--json | head -c 1 > /dev/null",
        "-q > /dev/full",
    ],
)
def test_closed_streams(ending: str, bench: Bench, tiny: Path) -> None:
    bench.take(tiny / "mute.mp4")
    bench.take(tiny / "speech.wav")
    words = " ".join(OPTIONS)
    before = fingerprints(bench.inputs)
    done = _process(
        bench, f'"$@" {words} in/mute.mp4 --audio in/speech.wav -o out/out.mp4 {ending}'
    )
    verify(bench, done, {0}, before)


def test_an_old_locale_and_a_name_that_is_no_text(bench: Bench, tiny: Path) -> None:
    bench.take(tiny / "mute.mp4", "\udcff ü.mp4")
    bench.take(tiny / "speech.wav")
    words = " ".join(OPTIONS)
    before = fingerprints(bench.inputs)
    done = _process(
        bench,
        f'"$@" {words} in/*.mp4 --audio in/speech.wav -o out/out.mp4 --json',
        LC_ALL="C",
        PYTHONUTF8="0",
        PYTHONCOERCECLOCALE="0",
    )
    verify(bench, done, {0}, before)
    assert json.loads(done.stdout)["frames"] > 0
