"""Training on bad data, with losses that explode, onto a full disk: said, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_clips import made_clip, write_set
from train_runs import interrupt_at, same_bits
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.config import TrainConfig
from dubcli.core.errors import TrainingError
from dubcli.models.iptalker import render_task
from dubcli.training import checkpoint as checkpoints
from dubcli.training.losses import discriminators
from dubcli.training.run import train

resource = pytest.importorskip("resource", reason="limits of file size are a Unix feature")


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_last_checkpoint(
    configured: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(checkpoint_every=1, steps=3)
    good = render_task.RenderTask.losses

    def spoiled(
        self: render_task.RenderTask, batch: Any, optimizer: str, step: int
    ) -> dict[str, torch.Tensor]:
        losses = good(self, batch, optimizer, step)
        return {**losses, "loss": losses["loss"] * (float("nan") if step == 1 else 1.0)}

    monkeypatch.setattr(render_task.RenderTask, "losses", spoiled)
    with pytest.raises(TrainingError, match="nan at step 2") as raised:
        train(config)
    assert "step-000001" in raised.value.next_step
    assert [path.name for path in checkpoints.list_checkpoints(config.output)] == ["step-000001"]
    monkeypatch.undo()
    assert same_bits(train(config), train(configured("whole", steps=3)))


def test_a_gradient_that_is_not_finite_spoils_no_weights(
    configured: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = render_task.RenderTask.losses

    def steep(
        self: render_task.RenderTask, batch: Any, optimizer: str, step: int
    ) -> dict[str, torch.Tensor]:
        losses = good(self, batch, optimizer, step)
        # A root at zero: the value is finite, its slope is not.
        root = (losses["loss"] - losses["loss"].detach()).sqrt()
        return {**losses, "loss": losses["loss"] + root}

    monkeypatch.setattr(render_task.RenderTask, "losses", steep)
    with pytest.raises(TrainingError, match=r"gradient is (nan|inf) at step 1") as raised:
        train(configured())
    assert "no checkpoint yet" in raised.value.next_step


def test_a_discriminator_that_is_not_finite_stops_the_run_too(
    configured: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(checkpoint_every=1, steps=3)
    good, calls = discriminators.discriminator_loss, []

    def spoiled(*scores: Any) -> torch.Tensor:
        calls.append(scores)
        return good(*scores) * (float("nan") if len(calls) == 2 else 1.0)

    monkeypatch.setattr(discriminators, "discriminator_loss", spoiled)
    with pytest.raises(TrainingError, match=r"critic's loss .* at step 2") as raised:
        train(config)
    assert "step-000001" in raised.value.next_step
    monkeypatch.undo()
    assert same_bits(train(config), train(configured("whole", steps=3)))


def test_a_full_disk_is_said_and_earlier_checkpoints_stay(
    configured: Callable[..., TrainConfig],
) -> None:
    config = configured(checkpoint_every=1)
    with pytest.raises(KeyboardInterrupt):
        train(config, progress=interrupt_at(2))
    with _no_file_beyond(50_000), pytest.raises(TrainingError, match="cannot be written") as raised:
        train(config)
    assert "intact" in raised.value.next_step
    assert [path.name for path in config.output.glob("*step*")] == ["step-000001"]
    assert same_bits(train(config), train(configured("whole")))


@contextmanager
def _no_file_beyond(num_bytes: int) -> Iterator[None]:
    """The system refuses to write more into any file, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_missing_and_empty_data_name_the_next_step(
    configured: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    with pytest.raises(TrainingError) as raised:
        train(configured(data=tmp_path / "nowhere"))
    assert "dub prepare" in raised.value.next_step
    empty = write_set(tmp_path / "empty", {}, {"cat": "no usable face"})
    with pytest.raises(TrainingError) as raised:
        train(configured(data=empty))
    assert "dropped" in raised.value.next_step
    silent = write_set(tmp_path / "silent", {"mute": made_clip(0, with_sound=False)}, {})
    for stage in ("geometry", "joint"):
        with pytest.raises(TrainingError, match="sound") as raised:
            train(configured(data=silent, stage=stage))
        assert "--stage render" in raised.value.next_step
    assert train(configured(data=silent)).is_dir()


def _spoil(path: Path, how: str) -> None:
    """Damage a prepared clip."""
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "bits":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes(64) + content[middle + 64 :])
    elif how == "fields":
        np.savez(path, jpeg=np.zeros(3, np.uint8))
    elif how == "array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif how == "lengths":
        with np.load(path) as data:
            fields = dict(data)
        np.savez(path, **{**fields, "scale": fields["scale"][:5]})
    elif how == "pictures":
        with np.load(path) as data:
            fields = dict(data)
        np.savez(path, **{**fields, "jpeg": fields["jpeg"][:5000]})
    else:
        path.write_bytes(content[: int(how)])


@pytest.mark.parametrize(
    "how", ["missing", "0", "2", "9000", "bits", "fields", "array", "lengths", "pictures"]
)
def test_a_damaged_clip_is_named_and_the_others_go_on(
    configured: Callable[..., TrainConfig],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    how: str,
) -> None:
    folder = write_set(tmp_path / "set", {"anna": made_clip(0), "ben": made_clip(1)}, {})
    _spoil(folder / "anna.npz", how)
    last = train(configured(data=folder, stage="geometry"))
    assert last.name == "step-000002"
    for text in (caplog.text, (last.parent / "notes.txt").read_text()):
        assert "anna.npz" in text
        assert "left out" in text
        assert "ben.npz" not in text
    # Told again by a run that goes on, written once.
    caplog.clear()
    again = train(configured(data=folder, stage="geometry", steps=3))
    assert "anna.npz" in caplog.text
    assert (again.parent / "notes.txt").read_text().count("anna.npz") == 1
    _spoil(folder / "ben.npz", how)
    with pytest.raises(TrainingError, match=r"anna\.npz"):
        train(configured("none", data=folder, stage="geometry"))
    assert not (tmp_path / "none").exists()


def test_a_damaged_clip_is_told_on_the_terminal(data: Path, tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", {"anna": made_clip(0), "ben": made_clip(1)}, {})
    _spoil(folder / "anna.npz", "missing")
    arguments = [
        *("train", "iptalker", "--data", str(folder), "--output", "run", "--preset", "tiny"),
        *("--device", "cpu", "--steps", "1", "--batch-clips", "1", "--frames-per-clip", "2"),
    ]
    result = CliRunner().invoke(app, [*arguments, "--stage", "geometry"])
    assert result.exit_code == 0
    assert "anna.npz" in result.stderr
    assert result.stdout == ""


def test_damaged_data_is_named(configured: Callable[..., TrainConfig], tmp_path: Path) -> None:
    folder = write_set(tmp_path / "damaged", {"anna": made_clip(0)}, {})
    (folder / "anna.npz").write_bytes(b"PK")
    with pytest.raises(TrainingError, match=r"anna\.npz"):
        train(configured(data=folder))
    (folder / "index.csv").write_text("clip,identity\nanna,anna\n")
    with pytest.raises(TrainingError, match=r"index\.csv"):
        train(configured(data=folder))
