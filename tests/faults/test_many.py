"""Many processes at one place at once, clocks that jump, a home of somebody else."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from other_tests import module_of
from privileges import give_away
from runner import Bench, ForkServer, check_line, fingerprints, verify

MANY = 8
DAY_S = 86_400


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two identities of one name, as exported files."""
    from dubcli.identities.archive import export_identity
    from dubcli.identities.store import save_identity

    made_identity = module_of("made_identities", "unit").made_identity
    folder, files = tmp_path_factory.mktemp("exported"), []
    for seed in range(2):
        save_identity(made_identity(seed=seed), folder / str(seed) / "anna")
        files.append(export_identity(folder / str(seed) / "anna", folder / f"{seed}.dubid"))
    return files


def _start(server: ForkServer, bench: Bench, home: Path, argv: list[str]) -> int:
    bench.environment = {"DUB_HOME": str(home)}
    return server.start(bench.request(argv, (), {}, bench.root / "stderr"))


def test_many_processes_on_one_identity_store(
    server: ForkServer, make_bench: Callable[[str], Bench], exported: list[Path], tmp_path: Path
) -> None:
    from dubcli.identities.store import load_identity, save_identity

    home = tmp_path / "home"
    place = home / "identities" / "anna"
    whole = [load_identity(file.with_suffix("") / "anna") for file in exported]
    save_identity(whole[0], place)
    argvs = [["identities", "import", str(exported[n % 2]), "-y"] for n in range(MANY // 2)]
    argvs += [["identities", "show", "anna", "--json"]] * (MANY // 4)
    argvs += [["identities", "list", "--json"]] * (MANY // 4)
    benches = [make_bench(f"process {number}") for number in range(MANY)]
    pids = [_start(server, *case) for case in zip(benches, [home] * MANY, argvs, strict=True)]
    ends = [bench.finish(pid) for bench, pid in zip(benches, pids, strict=True)]
    assert [done.code for done in ends] == [0] * MANY, [done.stderr for done in ends]
    assert all('"problem": ""' in done.stdout for done in ends[-MANY // 4 :])
    found = load_identity(place)
    assert any((found.neutral == one.neutral).all() for one in whole)
    assert [path.name for path in place.parent.iterdir()] == ["anna"]


def test_many_processes_that_make_one_identity(
    server: ForkServer, make_bench: Callable[[str], Bench], exported: list[Path], tmp_path: Path
) -> None:
    argv = ["identities", "import", str(exported[0])]
    benches = [make_bench(f"process {number}") for number in range(MANY)]
    pids = [_start(server, bench, tmp_path / "home", argv) for bench in benches]
    ends = [bench.finish(pid) for bench, pid in zip(benches, pids, strict=True)]
    assert sorted(done.code for done in ends) == [0, *[2] * (MANY - 1)]
    for done in ends:
        if done.code:
            check_line(done, "exists already")
    people = tmp_path / "home" / "identities"
    assert [path.name for path in people.iterdir()] == ["anna"]


def test_many_first_dubs_make_one_certificate(
    server: ForkServer, make_bench: Callable[[str], Bench], tiny: Path, tmp_path: Path
) -> None:
    from dubcli.provenance.certificate import development_path

    home, benches = tmp_path / "home", [make_bench(f"process {n}") for n in range(MANY // 2)]
    pids = []
    for bench in benches:
        job = bench.command(bench.take(tiny / "mute.mp4"), bench.take(tiny / "speech.wav"), "-q")
        pids.append(_start(server, bench, home, job))
    before = [fingerprints(bench.inputs) for bench in benches]
    for bench, pid, files in zip(benches, pids, before, strict=True):
        verify(bench, bench.finish(pid), {0}, files)
    folder = home / "c2pa"
    assert [path.name for path in folder.iterdir()] == [development_path().name]


@pytest.mark.parametrize("jump_s", [DAY_S, -DAY_S], ids=["forward", "back"])
def test_the_clock_jumps_by_a_day(jump_s: int, bench: Bench, tiny: Path) -> None:
    job = bench.command(bench.take(tiny / "mute.mp4"), bench.take(tiny / "long.wav"))
    before = fingerprints(bench.inputs)
    jump, stop = ("clock jump", jump_s, "dub", 2), ("signal", signal.SIGINT, "dub", 20)
    verify(bench, bench.run(["-q", *job], jump, stop), {130}, before, "again to go on")
    for path in bench.job_folder.iterdir():
        times = path.stat().st_mtime
        os.utime(path, (times + jump_s, times + jump_s))
    done = bench.run(job, ("short segments",), ("clock jump", -jump_s, "dub", 30))
    verify(bench, done, {0}, before)


@pytest.mark.parametrize("zones", [("CET-1", "CEST-2"), ("CEST-2", "CET-1")], ids=["on", "off"])
def test_summer_time_in_the_middle_of_a_job(
    zones: tuple[str, str], bench: Bench, tiny: Path
) -> None:
    video, audio = bench.take(tiny / "mute.mp4"), bench.take(tiny / "long.wav")
    job = bench.command(video, audio, "--no-mark")
    before = fingerprints(bench.inputs)
    bench.environment["TZ"] = zones[0]
    stop = ("signal", signal.SIGINT, "dub", 20)
    verify(bench, bench.run(["-q", *job], stop), {130}, before, "again to go on")
    kept = fingerprints(bench.job_folder)
    bench.environment["TZ"] = zones[1]
    verify(bench, bench.run(["-q", *job], stop), {130}, before, "again to go on")
    assert kept.items() <= fingerprints(bench.job_folder).items(), "parts were made anew"
    verify(bench, bench.run(job, ("short segments",)), {0}, before)
    resumed = bench.output.read_bytes()
    verify(bench, bench.run(["-y", *job], ("short segments",)), {0}, before)
    assert bench.output.read_bytes() == resumed


def test_a_home_of_somebody_else_is_only_read(bench: Bench, tiny: Path) -> None:
    home = bench.root / "home"
    (home / "identities").mkdir(parents=True)
    for path in (home / "identities", home):
        give_away(path)
    bench.environment = {"DUB_HOME": str(home)}
    job = bench.command(bench.take(tiny / "mute.mp4"), bench.take(tiny / "speech.wav"))
    before = fingerprints(bench.inputs)
    verify(bench, bench.run(job, ("no overrides",)), {0}, before)
    archive = bench.root / "nothing.dubid"
    done = bench.run(["identities", "import", str(archive)], ("no overrides",))
    assert done.code == 4, done.stderr
    check_line(done, "nothing.dubid")
    assert [path.name for path in home.rglob("*")] == ["identities"]


def test_an_identity_for_a_home_of_somebody_else_is_one_line(
    bench: Bench, exported: list[Path]
) -> None:
    home = bench.root / "home"
    (home / "identities").mkdir(parents=True)
    give_away(home / "identities")
    bench.environment = {"DUB_HOME": str(home)}
    done = bench.run(["identities", "import", str(exported[0])], ("no overrides",))
    assert done.code != 0
    check_line(done, "Permission denied")
    assert list((home / "identities").iterdir()) == []
