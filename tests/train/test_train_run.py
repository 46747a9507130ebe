"""`dub train` on drawn faces: what it leaves, how it goes on, and what it refuses."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from made_clips import made_clip, write_set
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from dubcli.cli import app
from dubcli.config import TrainConfig
from dubcli.errors import ConfigError, TrainingError
from dubcli.models import iptalker
from dubcli.training import checkpoints, discriminators, render_task, start, tasks
from dubcli.training.data import load_clips
from dubcli.training.losses import LOSS_PRESETS
from dubcli.training.train import train

resource = pytest.importorskip("resource", reason="limits of file size are a Unix feature")

CHECKPOINT_FILES = {
    *("model.safetensors", "average.safetensors", "optimizer.pt", "state.json", "config.json"),
}
STAGES = ("geometry", "render", "joint")
TINY_PAPER = replace(
    iptalker.NAMED_CONFIGS["tiny"], box_top=0.0, mask="hull", geometry_map=False, fusion="plain"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    return write_set(folder, {"anna": made_clip(0), "ben": made_clip(1)}, {"cat": "no usable face"})


@pytest.fixture
def configured(data: Path, tmp_path: Path) -> Callable[..., TrainConfig]:
    """A run of the tiny network on the CPU, into a folder of the test."""

    def make(output: str = "run", **changes: Any) -> TrainConfig:
        defaults: dict[str, Any] = {
            "model": "iptalker",
            "data": data,
            "output": tmp_path / output,
            "preset": "tiny",
            "device": "cpu",
            "batch_clips": 1,
            "frames_per_clip": 2,
            "steps": 2,
        }
        return TrainConfig(**{**defaults, **changes})

    return make


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _same_bits(a: Path, b: Path) -> bool:
    """Whether two checkpoints hold the same weights, averages, moments and random state."""
    for name in ("model.safetensors", "average.safetensors"):
        left, right = load_file(a / name), load_file(b / name)
        if left.keys() != right.keys():
            return False
        if not all(torch.equal(left[key], right[key]) for key in left):
            return False
    left, right = (torch.load(x / "optimizer.pt", weights_only=True) for x in (a, b))
    pairs = [(left["rng"], right["rng"])]
    ours, theirs = [left["optimizer"]], [right["optimizer"]]
    if left["adversary"] is not None:
        ours.append(left["adversary"]["optimizer"])
        theirs.append(right["adversary"]["optimizer"])
        net = left["adversary"]["net"]
        pairs += [(value, right["adversary"]["net"][name]) for name, value in net.items()]
    for mine, others in zip(ours, theirs, strict=True):
        for key, moments in mine["state"].items():
            pairs += [(value, others["state"][key][name]) for name, value in moments.items()]
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.mark.parametrize(
    ("stage", "half_size"),
    [("geometry", False), ("render", False), ("render", True), ("joint", False)],
)
def test_a_run_leaves_a_checkpoint_a_log_and_a_picture(
    configured: Callable[..., TrainConfig], stage: str, half_size: bool
) -> None:
    config = configured(stage=stage, half_size=half_size)
    seen: list[tuple[str, int, int]] = []
    last = train(config, progress=lambda *values: seen.append(values))
    assert seen == [("train", 1, 2), ("train", 2, 2)]
    assert last == config.output / "step-000002"
    assert {path.name for path in last.iterdir()} == CHECKPOINT_FILES
    has_picture = stage != "geometry"
    expected = {"log.csv", "step-000002", *(["sample-000002.jpg"] if has_picture else [])}
    assert {path.name for path in config.output.iterdir()} == expected
    rows = _rows(config.output)
    assert [row["step"] for row in rows] == ["1", "2"]
    assert all(float(row["loss"]) > 0 for row in rows)
    stored = json.loads((last / "config.json").read_text())["model"]
    size = (52, 40) if half_size else (104, 80)
    assert (stored["height"], stored["width"]) == size
    if has_picture:
        picture = cv2.imread(str(config.output / "sample-000002.jpg"))
        assert picture is not None
        assert picture.shape == (4 * size[0], 8 * size[1], 3)


@pytest.mark.parametrize("stage", STAGES)
def test_half_precision_learns_too(configured: Callable[..., TrainConfig], stage: str) -> None:
    runs = [
        train(configured(precision, stage=stage, precision=precision))
        for precision in ("float32", "bfloat16")
    ]
    whole, half = ([float(row["loss"]) for row in _rows(run.parent)] for run in runs)
    assert half == pytest.approx(whole, rel=0.1)
    assert half != whole


def test_a_log_without_a_checkpoint_is_begun_again(
    configured: Callable[..., TrainConfig],
) -> None:
    config = configured()
    with pytest.raises(KeyboardInterrupt):
        train(config, progress=_interrupt_at(1))
    assert [path.name for path in config.output.iterdir()] == ["log.csv"]
    train(config)
    assert [row["step"] for row in _rows(config.output)] == ["1", "2"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    configured: Callable[..., TrainConfig], stage: str
) -> None:
    # Pictures are drawn between the steps: looking must not change what follows.
    whole = train(configured("whole", stage=stage, sample_every=1, checkpoint_every=1))
    broken = configured("broken", stage=stage, checkpoint_every=1)
    with pytest.raises(KeyboardInterrupt):
        train(broken, progress=_interrupt_at(2))
    assert [path.name for path in checkpoints.list_checkpoints(broken.output)] == ["step-000001"]
    resumed = train(broken)
    assert _same_bits(whole, resumed)
    assert [row["step"] for row in _rows(broken.output)] == ["1", "2"]


@pytest.mark.parametrize("losses", list(LOSS_PRESETS))
def test_every_named_set_of_losses_trains_and_resumes_exactly(
    configured: Callable[..., TrainConfig], losses: str
) -> None:
    whole = train(configured("whole", losses=losses, checkpoint_every=1))
    broken = configured("broken", losses=losses, checkpoint_every=1)
    with pytest.raises(KeyboardInterrupt):
        train(broken, progress=_interrupt_at(2))
    assert _same_bits(whole, train(broken))
    weights = asdict(LOSS_PRESETS[losses])
    row = _rows(broken.output)[-1]
    logged = {name for name in weights if name in row}
    assert logged >= {name for name in ("picture", "perceptual", "gan") if weights[name]}
    assert ("critic" in row) == (weights["gan"] > 0)


def _interrupt_at(step: int) -> Callable[[str, int, int], None]:
    def progress(stage: str, done: int, total: int) -> None:
        if done == step:
            raise KeyboardInterrupt

    return progress


def test_an_interrupt_while_saving_leaves_no_half_checkpoint(
    configured: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(checkpoint_every=1)
    write, calls = Path.write_bytes, []

    def interrupted(self: Path, content: bytes) -> int:
        calls.append(self)
        if len(calls) == 5:
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


@pytest.mark.parametrize(("stage", "share"), [("geometry", 0.6), ("render", 0.75), ("joint", 0.75)])
def test_one_batch_can_be_learned_by_heart(
    data: Path, configured: Callable[..., TrainConfig], stage: str, share: float
) -> None:
    config = configured(stage=stage)
    clips = load_clips(data)
    model = iptalker.IPTalker(iptalker.NAMED_CONFIGS["tiny"])
    task = (
        tasks.GeometryTask(model, clips, config)
        if stage == "geometry"
        else render_task.RenderTask(model, clips, config, joint=stage == "joint")
    )
    optimizer = torch.optim.Adam(task.parameters(), lr=2e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = task.losses(0)["loss"]
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert min(losses[-3:]) < share * losses[0]


def test_the_papers_variant_trains(
    configured: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(iptalker.NAMED_CONFIGS, "tiny-paper", TINY_PAPER)
    last = train(configured(stage="joint", preset="tiny-paper"))
    stored = json.loads((last / "config.json").read_text())["model"]
    assert (stored["mask"], stored["geometry_map"], stored["fusion"]) == ("hull", False, "plain")
    assert [row["step"] for row in _rows(last.parent)] == ["1", "2"]
    with pytest.raises(ConfigError, match="joint"):
        train(configured("other", stage="render", preset="tiny-paper"))


def test_a_run_starts_from_another_ones_average(configured: Callable[..., TrainConfig]) -> None:
    geometry = train(configured("geometry", stage="geometry"))
    # The checkpoint or its run's folder, both name the same weights.
    starts = [
        train(configured(f"joint{i}", stage="joint", init=init, learning_rate=1e-12, steps=1))
        for i, init in enumerate((geometry, geometry.parent))
    ]
    assert _same_bits(*starts)
    average, started = (load_file(x / "average.safetensors") for x in (geometry, starts[0]))
    for key in ("alignment.basis", "alignment.to_coefficients.3.weight"):
        torch.testing.assert_close(started[key], average[key], atol=1e-6, rtol=0)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_last_checkpoint(
    configured: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(checkpoint_every=1, steps=3)
    good = render_task.RenderTask.losses

    def spoiled(self: render_task.RenderTask, step: int) -> dict[str, torch.Tensor]:
        losses = good(self, step)
        return {**losses, "loss": losses["loss"] * (float("nan") if step == 1 else 1.0)}

    monkeypatch.setattr(render_task.RenderTask, "losses", spoiled)
    with pytest.raises(TrainingError, match="nan at step 2") as raised:
        train(config)
    assert "step-000001" in raised.value.next_step
    assert [path.name for path in checkpoints.list_checkpoints(config.output)] == ["step-000001"]
    monkeypatch.undo()
    assert _same_bits(train(config), train(configured("whole", steps=3)))


def test_a_gradient_that_is_not_finite_spoils_no_weights(
    configured: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = render_task.RenderTask.losses

    def steep(self: render_task.RenderTask, step: int) -> dict[str, torch.Tensor]:
        losses = good(self, step)
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
    with pytest.raises(TrainingError, match=r"discriminator's loss .* at step 2") as raised:
        train(config)
    assert "step-000001" in raised.value.next_step
    monkeypatch.undo()
    assert _same_bits(train(config), train(configured("whole", steps=3)))


def test_a_full_disk_is_said_and_earlier_checkpoints_stay(
    configured: Callable[..., TrainConfig],
) -> None:
    config = configured(checkpoint_every=1)
    with pytest.raises(KeyboardInterrupt):
        train(config, progress=_interrupt_at(2))
    with _no_file_beyond(50_000), pytest.raises(TrainingError, match="cannot be written") as raised:
        train(config)
    assert "intact" in raised.value.next_step
    assert [path.name for path in config.output.glob("*step*")] == ["step-000001"]
    assert _same_bits(train(config), train(configured("whole")))


@contextmanager
def _no_file_beyond(num_bytes: int) -> Iterator[None]:
    """The system refuses to write more into any file, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


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
    """The picture half of an older model is of use to one that hears otherwise."""
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
    before, after, fresh = (
        torch.load(run / "optimizer.pt", weights_only=True)["adversary"]["net"]
        for run in (first, second, third)
    )
    trained = "sizes.0.score.parametrizations.weight.original"
    torch.testing.assert_close(after[trained], before[trained])
    assert not torch.allclose(fresh[trained], before[trained])


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


def test_damaged_data_is_named(configured: Callable[..., TrainConfig], tmp_path: Path) -> None:
    folder = write_set(tmp_path / "damaged", {"anna": made_clip(0)}, {})
    (folder / "anna.npz").write_bytes(b"PK")
    with pytest.raises(TrainingError, match=r"anna\.npz"):
        train(configured(data=folder))
    (folder / "index.csv").write_text("clip,identity\nanna,anna\n")
    with pytest.raises(TrainingError, match=r"index\.csv"):
        train(configured(data=folder))


def test_the_command_trains_resumes_and_refuses(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    arguments = [
        *("train", "iptalker", "--data", str(data), "--output", str(output), "--preset", "tiny"),
        *("--device", "cpu", "--steps", "1", "--batch-clips", "1", "--frames-per-clip", "2"),
    ]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert (output / "step-000001").is_dir()
    refused = CliRunner().invoke(app, [*arguments, "--no-resume"])
    assert refused.exit_code == TrainingError.exit_code
    assert "already holds" in refused.output
    assert CliRunner().invoke(app, [*arguments, "--resume"]).exit_code == 0
    assert CliRunner().invoke(app, [*arguments, "--device", "tpu"]).exit_code == 2
    assert CliRunner().invoke(app, [*arguments, "--batch-clips", "0"]).exit_code == 2


@pytest.mark.needs_cuda
def test_a_gpu_learns_as_the_cpu_does(configured: Callable[..., TrainConfig]) -> None:
    for stage in STAGES:
        runs = [
            train(configured(f"{stage}-{name}", stage=stage, device=name, precision="float32"))
            for name in ("cpu", "cuda")
        ]
        cpu, cuda = ([float(row["loss"]) for row in _rows(run.parent)] for run in runs)
        assert cuda == pytest.approx(cpu, rel=0.02) or stage != "render"
        assert train(configured(f"{stage}-cuda", stage=stage, device="cuda", steps=3)).is_dir()
