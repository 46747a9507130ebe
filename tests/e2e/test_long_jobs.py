"""A job that is interrupted or killed goes on, and ends as if it had never been."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from studio import TIMEOUT_S, face_clip, speech

from dubcli.config import DubConfig
from dubcli.core.errors import ConfigError, EncodeError
from dubcli.core.reports import DubReport
from dubcli.pipeline.resume import job_folder
from dubcli.pipeline.run import dub

# Without marks: a signature holds a random number, so no two runs sign with the same bytes.
FRAMES, SEGMENT = 48, 16
Run = Callable[..., DubReport]

# Tells of every frame, so that a test can kill it where it likes.
_SCRIPT = """
import sys
from pathlib import Path
from dubcli.config import DubConfig
from dubcli.pipeline.run import dub
video, audio, output = map(Path, sys.argv[1:4])
config = DubConfig(
    video=video, audio=audio, output=output, model="passthrough", sync_mode="pad", no_mark=True
)
def tell(stage, done, total):
    print(stage, done, flush=True)
dub(config, tell, segment_frames=16)
"""


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("long")
    face_clip(folder / "clip.mp4", frames=FRAMES)
    speech(folder / "speech.wav", 1.5)
    return folder


def _config(kitchen: Path, output: Path, crf: int = 16) -> DubConfig:
    return DubConfig(
        video=kitchen / "clip.mp4",
        audio=kitchen / "speech.wav",
        output=output,
        model="passthrough",
        sync_mode="pad",
        crf=crf,
        no_mark=True,
    )


@pytest.fixture
def run(kitchen: Path) -> Run:
    def call(output: Path, progress: Callable[[str, int, int], None] | None = None) -> DubReport:
        return dub(_config(kitchen, output), progress, segment_frames=SEGMENT)

    return call


@pytest.fixture(scope="module")
def whole(kitchen: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What a run gives that nobody disturbs."""
    output = tmp_path_factory.mktemp("whole") / "out.mp4"
    dub(_config(kitchen, output), segment_frames=SEGMENT)
    return output.read_bytes()


def _stop_at(stage: str, frame: int) -> Callable[[str, int, int], None]:
    def tell(now: str, done: int, total: int) -> None:
        if (now, done) == (stage, frame):
            raise KeyboardInterrupt

    return tell


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("frame", "first"), [(17, 17), (32, 17), (33, 33), (48, 33)])
def test_an_interrupted_run_goes_on_after_its_last_whole_segment(
    frame: int, first: int, run: Run, whole: bytes, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"
    with pytest.raises(KeyboardInterrupt) as stopped:
        run(output, _stop_at("dub", frame))
    assert _names(tmp_path) == ["out.mp4.dubjob"]
    assert "out.mp4.dubjob" in stopped.value.__notes__[0]
    seen: list[tuple[str, int]] = []
    report = run(output, lambda stage, done, total: seen.append((stage, done)))
    assert seen[0] == ("dub", first)  # nor was any frame looked at again in pass 1
    assert any("interrupted run" in warning for warning in report.warnings)
    assert output.read_bytes() == whole
    assert _names(tmp_path) == ["out.json", "out.mp4"]


def test_an_interrupt_before_the_first_segment_leaves_nothing(run: Run, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as stopped:
        run(tmp_path / "out.mp4", _stop_at("dub", 16))
    assert _names(tmp_path) == []
    assert not hasattr(stopped.value, "__notes__")


def test_parts_of_another_job_are_not_used(run: Run, kitchen: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    with pytest.raises(KeyboardInterrupt):
        run(output, _stop_at("dub", 40))
    other = _config(kitchen, output, crf=30)
    seen: list[tuple[str, int]] = []
    dub(other, lambda stage, done, total: seen.append((stage, done)), segment_frames=SEGMENT)
    assert seen[0] == ("analyse", 1)
    assert _names(tmp_path) == ["out.json", "out.mp4"]


def test_an_interrupted_job_leaves_no_thread_at_work(run: Run, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as interrupted:
        run(tmp_path / "out.mp4", _stop_at("dub", 20))
    names = [thread.name for thread in threading.enumerate()]
    # The error still holds every frame of the calls: what they left open was not collected yet.
    assert interrupted.tb is not None
    assert [name for name in names if name.startswith("dub-")] == []


def test_a_damaged_part_is_made_again(run: Run, whole: bytes, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    with pytest.raises(KeyboardInterrupt):
        run(output, _stop_at("dub", 48))
    part = tmp_path / "out.mp4.dubjob" / "segment-00001.mov"
    part.write_bytes(part.read_bytes()[:200])
    (tmp_path / "out.mp4.dubjob" / "analysis.npz").write_bytes(b"not an archive")
    run(output)
    assert output.read_bytes() == whole


def test_an_interrupt_while_files_are_put_in_place_needs_no_leave_to_replace(
    run: Run, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.mp4"
    replace = Path.replace

    def interrupted(self: Path, target: Path) -> Path:
        if Path(target) == output:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(output)
    monkeypatch.undo()
    assert _names(tmp_path) == ["out.json", "out.mp4.dubjob"]
    run(output)
    assert output.read_bytes() == whole
    assert _names(tmp_path) == ["out.json", "out.mp4"]


def test_unfinished_parts_are_no_leave_to_replace_a_file(run: Run, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    with pytest.raises(KeyboardInterrupt):
        run(output, _stop_at("dub", 40))
    output.write_bytes(b"mine")
    with pytest.raises(ConfigError, match="exists"):
        run(output)
    assert output.read_bytes() == b"mine"


def test_two_runs_do_not_write_one_output(run: Run, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    with (
        job_folder(output, "another run"),
        pytest.raises(EncodeError, match="Another run is writing"),
    ):
        run(output)
    assert _names(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("seed", range(4))
def test_a_killed_job_resumes_to_the_same_bytes(
    seed: int, kitchen: Path, whole: bytes, run: Run, tmp_path: Path
) -> None:
    """Killed at random moments, up to three times, then left alone."""
    output = tmp_path / "out.mp4"
    rng = random.Random(seed)
    words = [kitchen / "clip.mp4", kitchen / "speech.wav", output]
    argv = [sys.executable, "-c", _SCRIPT, *map(str, words)]
    for _ in range(rng.randint(1, 2)):
        lines = rng.randint(1, FRAMES + FRAMES + 1)
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            for _ in range(lines):
                if not process.stdout.readline():
                    break
            process.send_signal(signal.SIGKILL)
            process.stdout.read()
            assert process.wait(TIMEOUT_S) in (-signal.SIGKILL, 0)
        if not (tmp_path / "out.mp4.dubjob").exists():
            break
    if (tmp_path / "out.mp4.dubjob").exists():
        run(output)
    assert output.read_bytes() == whole
    assert _names(tmp_path) == ["out.json", "out.mp4"]
    assert json.loads((tmp_path / "out.json").read_text())["frames"] == FRAMES
