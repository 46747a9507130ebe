"""Two processes under torchrun train as one: the same batches, losses, checkpoints and weights."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.core.errors import DeviceError
from dubcli.training import batches, parallel
from dubcli.training.batches import BatchNumbers
from dubcli.training.parallel import average_statistics, mean_values, process_group

# A guard against hangs, not a measure.
_LIMIT_S = 900
_SCRIPT = Path(__file__).with_name("losses_of_processes.py")
_TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def _trained(words: list[str], losses: Path, *launcher: str) -> list[dict[str, float]]:
    """Losses of each update of a run in processes of its own."""
    argv = [sys.executable, *launcher, str(_SCRIPT), str(losses), "train", "iptalker", *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(losses.read_text())


def _words(data: Path, output: Path, steps: int, stage: str, *more: str) -> list[str]:
    words = ["--data", str(data), "--output", str(output), "--stage", stage, "--preset", "tiny"]
    words += ["--device", "cpu", "--precision", "float32", "--batch-clips", "1"]
    words += ["--frames-per-clip", "4", "--steps", str(steps), "--threads", "1", *more]
    return words


@pytest.mark.parametrize("stage", ["geometry", "render"])
def test_two_processes_make_the_steps_of_one_that_accumulates(
    stage: str, data: Path, tmp_path: Path
) -> None:
    alone = _words(data, tmp_path / "alone", 20, stage, "--accumulate", "2")
    # Dropout and the discriminator are among what must not differ; the second run is interrupted.
    both = _words(data, tmp_path / "both", 20, stage)
    expected = _trained(alone, tmp_path / "alone.json")
    first = _trained([*both, "--checkpoint-every", "12"], tmp_path / "both.json", *_TWO)
    assert len(expected) == len(first) == 20
    for one, other in zip(expected, first, strict=True):
        assert one.keys() == other.keys()
        assert other == pytest.approx(one, abs=1e-5)
    checkpoints = [path.name for path in sorted((tmp_path / "both").glob("step-*"))]
    assert checkpoints == ["step-000012", "step-000020"]
    left, right = (
        load_file(tmp_path / name / "step-000020/model.safetensors") for name in ("alone", "both")
    )
    for name, value in left.items():
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            torch.testing.assert_close(right[name], value, rtol=1e-3, atol=1e-4)


def test_a_run_of_two_processes_goes_on_where_it_was(data: Path, tmp_path: Path) -> None:
    words = _words(data, tmp_path / "run", 6, "geometry", "--checkpoint-every", "3")
    whole = _trained(words, tmp_path / "whole.json", *_TWO)
    last = load_file(tmp_path / "run/step-000006/model.safetensors")
    for path in (tmp_path / "run/step-000006").iterdir():
        path.unlink()
    (tmp_path / "run/step-000006").rmdir()
    rest = _trained(words, tmp_path / "rest.json", *_TWO)
    assert rest == whole[3:]
    again = load_file(tmp_path / "run/step-000006/model.safetensors")
    assert all(torch.equal(again[name], value) for name, value in last.items())


def test_processes_see_each_batch_once_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(rank: int, processes: int, accumulate: int) -> list[int]:
        monkeypatch.setattr(batches, "rank", lambda: rank)
        monkeypatch.setattr(batches, "world_size", lambda: processes)
        return list(BatchNumbers(3, 8, accumulate))

    alone = of(0, 1, 4)
    two = [of(rank, 2, 2) for rank in (0, 1)]
    assert sorted(two[0] + two[1]) == alone == list(range(12, 32))
    updates = zip(*[iter(alone)] * 4, strict=True)
    shared = zip(*[iter(two[0])] * 2, *[iter(two[1])] * 2, strict=True)
    assert [sorted(one) for one in shared] == [list(one) for one in updates]


def test_losses_are_means_over_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    other = {"loss": 3.0, "sync": 1.0}
    monkeypatch.setattr(parallel, "gathered", lambda value: [value, other])
    assert mean_values({"loss": 1.0}) == {"loss": 2.0, "sync": 0.5}


def test_a_process_alone_keeps_its_statistics() -> None:
    layer = nn.BatchNorm1d(2)
    layer(torch.randn(4, 2))
    assert layer.running_mean is not None
    before = layer.running_mean.clone()
    average_statistics([layer])
    assert torch.equal(layer.running_mean, before)


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `torchrun` sets up the second of two processes, with nobody to join."""
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_ADDR", raising=False)


@pytest.mark.usefixtures("launched")
@pytest.mark.parametrize(
    ("device", "said"), [("mps", "cannot train on mps"), ("cuda", "has no GPU of its own")]
)
def test_devices_that_cannot_be_shared_are_refused(
    device: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(DeviceError, match=said), process_group(torch.device(device)):
        pass


@pytest.mark.usefixtures("launched")
def test_processes_that_do_not_find_each_other_are_one_line() -> None:
    with (
        pytest.raises(DeviceError, match="do not find each other") as caught,
        process_group(torch.device("cpu")),
    ):
        pass
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("launched")
@pytest.mark.parametrize(
    "words",
    [
        ["train", "sync", "--data", "data", "-o", "out"],
        ["train", "occluder", "--data", "data", "-o", "out"],
        ["prepare", "clips", "-o", "out"],
        ["finetune", "clip.mp4", "--name", "anna", "--consent"],
    ],
)
def test_what_is_not_shared_is_refused_in_one_line(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("data", "clips"):
        (tmp_path / name).mkdir()
    (tmp_path / "clip.mp4").touch()
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2, result.output
    assert "runs in one process, and torchrun started 2" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_changed_number_of_batches_is_told(
    configured: Callable[..., object], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    from dubcli.training.run import train

    train(configured(stage="geometry", steps=1))  # pyright: ignore[reportArgumentType]
    with caplog.at_level("WARNING"):
        train(configured(stage="geometry", steps=2, accumulate=3))  # pyright: ignore[reportArgumentType]
    said = "An update took 1 batches up to 'step-000001' and takes 3 from now on"
    assert said in (tmp_path / "run/notes.txt").read_text()
