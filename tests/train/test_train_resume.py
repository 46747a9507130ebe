"""A run that was interrupted or ended goes on, exactly; one of another kind does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from train_runs import STAGES, interrupt_at, rows, same_bits

from dubcli.config import TrainConfig
from dubcli.core.errors import TrainingError
from dubcli.models.iptalker.losses import LOSS_PRESETS
from dubcli.training import checkpoint as checkpoints
from dubcli.training.run import train


def test_a_log_without_a_checkpoint_is_begun_again(
    configured: Callable[..., TrainConfig],
) -> None:
    config = configured()
    with pytest.raises(KeyboardInterrupt):
        train(config, progress=interrupt_at(1))
    assert [path.name for path in config.output.iterdir()] == ["log.csv"]
    train(config)
    assert [row["step"] for row in rows(config.output)] == ["1", "2"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    configured: Callable[..., TrainConfig], stage: str
) -> None:
    # Pictures are drawn between the steps: looking must not change what follows.
    whole = train(configured("whole", stage=stage, sample_every=1, checkpoint_every=1))
    broken = configured("broken", stage=stage, checkpoint_every=1)
    with pytest.raises(KeyboardInterrupt):
        train(broken, progress=interrupt_at(2))
    assert [path.name for path in checkpoints.list_checkpoints(broken.output)] == ["step-000001"]
    resumed = train(broken)
    assert same_bits(whole, resumed)
    assert [row["step"] for row in rows(broken.output)] == ["1", "2"]


@pytest.mark.parametrize("losses", list(LOSS_PRESETS))
def test_every_named_set_of_losses_trains_and_resumes_exactly(
    configured: Callable[..., TrainConfig], losses: str
) -> None:
    whole = train(configured("whole", losses=losses, checkpoint_every=1))
    broken = configured("broken", losses=losses, checkpoint_every=1)
    with pytest.raises(KeyboardInterrupt):
        train(broken, progress=interrupt_at(2))
    assert same_bits(whole, train(broken))
    weights = asdict(LOSS_PRESETS[losses])
    row = rows(broken.output)[-1]
    logged = {name for name in weights if name in row}
    assert logged >= {name for name in ("picture", "perceptual", "gan") if weights[name]}
    assert ("critic" in row) == (weights["gan"] > 0)


def _as_format_1(checkpoint: Path) -> None:
    """Rewrite a checkpoint as versions before several optimizers wrote it."""
    saved = torch.load(checkpoint / "optimizer.pt", weights_only=True)
    critic, adversary = checkpoint / "critic.safetensors", None
    if critic.exists():
        adversary = {"net": load_file(critic), "optimizer": saved["optimizers"]["critic"]}
        critic.unlink()
    content = {
        "optimizer": saved["optimizers"]["model"],
        "rng": saved["rng"][0],
        "device_rng": None,
        "adversary": adversary,
    }
    torch.save(content, checkpoint / "optimizer.pt")
    state = json.loads((checkpoint / "state.json").read_text())
    settings = state.pop("settings") or {"losses": "default", "perceptual": "substitute"}
    del state["modules"]
    (checkpoint / "state.json").write_text(json.dumps({**state, **settings, "format": 1}))


@pytest.mark.parametrize("stage", STAGES)
def test_a_checkpoint_of_format_1_is_gone_on_with_exactly(
    configured: Callable[..., TrainConfig], stage: str
) -> None:
    whole = train(configured("whole", stage=stage, checkpoint_every=1))
    old = train(configured("old", stage=stage, steps=2, minutes=1e-6))
    assert old.name == "step-000001"
    _as_format_1(old)
    assert checkpoints.read_state(old).step == 1
    assert same_bits(whole, train(configured("old", stage=stage)))


def test_an_interrupt_while_saving_leaves_no_half_checkpoint(
    configured: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(checkpoint_every=1)
    write, calls = Path.write_bytes, []

    def interrupted(self: Path, content: bytes) -> int:
        calls.append(self)
        # In the middle of the second checkpoint.
        if len(calls) == 9:
            raise KeyboardInterrupt
        return write(self, content)

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    assert {path.name for path in config.output.iterdir()} == {"log.csv", "step-000001"}
    monkeypatch.undo()
    assert train(config).name == "step-000002"


def test_minutes_end_a_run_with_a_checkpoint_that_can_be_gone_on_with(
    configured: Callable[..., TrainConfig],
) -> None:
    stopped = train(configured(steps=1000, minutes=1e-6))
    assert stopped.name == "step-000001"
    assert train(configured(steps=2)).name == "step-000002"


def test_a_finished_run_is_left_alone(configured: Callable[..., TrainConfig]) -> None:
    first = train(configured(steps=1))
    before = (first / "optimizer.pt").read_bytes()
    assert train(configured(steps=1)) == first
    assert (first / "optimizer.pt").read_bytes() == before


def test_runs_of_another_kind_are_refused(configured: Callable[..., TrainConfig]) -> None:
    run = train(configured()).parent
    with pytest.raises(TrainingError, match="stage render"):
        train(configured(stage="joint"))
    with pytest.raises(TrainingError, match="height, width"):
        train(configured(half_size=True))
    with pytest.raises(TrainingError, match="already holds"):
        train(configured(resume=False))
    with pytest.raises(TrainingError, match="other losses") as raised:
        train(configured(losses="no-gan"))
    assert "--losses default" in raised.value.next_step
    with pytest.raises(TrainingError, match="do not fit"):
        train(configured("bigger", preset="default", init=run))
    state = run / "step-000002" / "state.json"
    state.write_text(state.read_text().replace("iptalker", "other"))
    with pytest.raises(TrainingError, match="belongs to other"):
        train(configured())
    with pytest.raises(TrainingError, match="holds 'other'"):
        train(configured("third", init=run))


@pytest.mark.parametrize("name", ["model.safetensors", "average.safetensors", "optimizer.pt"])
def test_a_damaged_checkpoint_is_named(configured: Callable[..., TrainConfig], name: str) -> None:
    last = train(configured())
    (last / name).write_bytes(b"")
    with pytest.raises(TrainingError, match=name):
        train(configured(steps=3))
