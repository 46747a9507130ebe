"""What a run can start from: another run, a weight file, shipped weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from train_runs import same_bits

from dubcli.config import TrainConfig
from dubcli.core.errors import TrainingError
from dubcli.training import init_weights as start
from dubcli.training.run import train


def test_a_run_starts_from_another_ones_average(configured: Callable[..., TrainConfig]) -> None:
    geometry = train(configured("geometry", stage="geometry"))
    # The checkpoint or its run's folder, both name the same weights.
    starts = [
        train(configured(f"joint{i}", stage="joint", init=init, learning_rate=1e-12, steps=1))
        for i, init in enumerate((geometry, geometry.parent))
    ]
    assert same_bits(*starts)
    average, started = (load_file(x / "average.safetensors") for x in (geometry, starts[0]))
    for key in ("alignment.basis", "alignment.to_coefficients.3.weight"):
        torch.testing.assert_close(started[key], average[key], atol=1e-6, rtol=0)


def test_a_folder_that_is_no_checkpoint_is_refused_as_start(
    configured: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="is no checkpoint"):
        train(configured(init=tmp_path))


def test_a_start_that_is_neither_here_nor_known_names_the_ways(
    configured: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="There is no 'nowhere'") as raised:
        train(configured(init=Path("nowhere")))
    assert ".safetensors" in raised.value.next_step
    with pytest.raises(TrainingError, match="holds 'passthrough'"):
        train(configured(init=Path("passthrough")))
    text = tmp_path / "text.safetensors"
    text.write_text("no weights")
    with pytest.raises(TrainingError, match="is no weight file"):
        train(configured(init=text))
    assert not configured().output.exists()


def test_a_run_starts_from_a_weight_file(
    configured: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    first = train(configured("first"))
    file = tmp_path / "half.safetensors"
    average = load_file(first / "average.safetensors")
    save_file({key: value.half() for key, value in average.items()}, file)
    started = train(configured("second", init=file, learning_rate=1e-12, steps=1))
    for key, value in load_file(started / "average.safetensors").items():
        torch.testing.assert_close(value, average[key], atol=1e-3, rtol=1e-3)
    with pytest.raises(TrainingError, match="do not fit"):
        train(configured("third", init=file, preset="default"))


def test_shipped_weights_can_be_gone_on_with(
    configured: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(configured("first"))
    average = load_file(first / "average.safetensors")
    monkeypatch.setattr(start, "load_state", lambda entry: average)
    started = train(configured("second", init=Path("iptalker"), learning_rate=1e-12, steps=1))
    for key, value in load_file(started / "average.safetensors").items():
        torch.testing.assert_close(value, average[key], atol=1e-6, rtol=0)


def test_a_render_run_keeps_its_own_sound_encoder_where_the_other_does_not_fit(
    configured: Callable[..., TrainConfig], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The rendering part of an older model is of use to one that hears otherwise."""
    first = train(configured("first"))
    state = load_file(first / "average.safetensors")
    name = next(name for name in state if name.startswith("alignment.audio_encoder.layers"))
    state[name] = state[name][..., :1].contiguous()
    save_file(state, tmp_path / "old.safetensors")
    options = {"init": tmp_path / "old.safetensors", "learning_rate": 1e-12, "steps": 1}
    started = train(configured("render", **options))
    assert name in caplog.text
    found = load_file(started / "average.safetensors")
    torch.testing.assert_close(found["decoder.out.weight"], state["decoder.out.weight"])
    with pytest.raises(TrainingError, match="do not fit"):
        train(configured("joint", stage="joint", **options))


def test_a_discriminator_is_gone_on_with_by_a_new_run(
    configured: Callable[..., TrainConfig],
) -> None:
    first = train(configured("first"))
    second = train(configured("second", init=first, learning_rate=1e-12, steps=1))
    third = train(configured("third", learning_rate=1e-12, steps=1))
    before, after, fresh = (load_file(run / "critic.safetensors") for run in (first, second, third))
    trained = "sizes.0.score.parametrizations.weight.original"
    torch.testing.assert_close(after[trained], before[trained])
    assert not torch.allclose(fresh[trained], before[trained])
