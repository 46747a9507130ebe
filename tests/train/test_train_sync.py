"""The sync expert: what it learns from, what generators pay, and the run that trains it."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from made_clips import made_clip, write_set
from made_sync import CONFIG
from torch.nn import functional
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.config import SyncTrainConfig
from dubcli.core.errors import ConfigError, TrainingError
from dubcli.sync import training as sync_run
from dubcli.sync.losses import mouth_windows, relative_sync_loss, sync_loss
from dubcli.sync.network import SyncExpert
from dubcli.sync.scorer import MAX_OFFSET, SyncScore, SyncScorer
from dubcli.sync.training import OFFSETS_NAME, held_out, train_sync
from dubcli.sync.training_data import (
    SyncBatch,
    SyncBatches,
    SyncClip,
    SyncTask,
    contrast_losses,
    fit_expert,
    sync_clips,
)
from dubcli.training.checkpoint import list_checkpoints, load_weights, read_state
from dubcli.training.data.train_clips import load_clips
from dubcli.training.export import main as export
from dubcli.weights import manifest as manifests

PEOPLE = ("anna", "ben", "cleo", "dan", "eva", "finn")


@pytest.fixture
def clips(tmp_path: Path) -> list[SyncClip]:
    return sync_clips(load_clips(_set(tmp_path / "set")), CONFIG.window)


def _set(folder: Path) -> Path:
    return write_set(folder, {name: made_clip(i) for i, name in enumerate(PEOPLE)}, {})


def _batch(clips: list[SyncClip], number: int) -> SyncBatch:
    batches = SyncBatches(CONFIG, clips, num_clips=4, num_moments=12, seed=5)
    return SyncBatch(**batches[number])


def _fitted(clips: list[SyncClip]) -> SyncExpert:
    expert = SyncExpert(CONFIG)
    fit_expert(expert, clips)
    return expert


def _tensors(batch: SyncBatch) -> list[torch.Tensor]:
    return [getattr(batch, entry.name) for entry in fields(batch)]


def test_a_batch_depends_on_the_seed_and_its_number_alone(clips: list[SyncClip]) -> None:
    first, again, other = (_batch(clips, number) for number in (7, 7, 8))
    assert all(map(torch.equal, _tensors(first), _tensors(again)))
    assert not torch.equal(first.mouth_offsets, other.mouth_offsets)


def test_components_have_unit_variance_and_sound_is_centred(clips: list[SyncClip]) -> None:
    expert = _fitted(clips)
    known = np.concatenate([clip.mouth.mouth_offsets for clip in clips])
    components = expert.mouth.components.numpy()
    # A drawn mouth only opens: the other components are rounding errors.
    spread = np.einsum("nsc,psc->pn", known[:, : components.shape[1]], components)[0]
    assert np.sqrt((spread**2).mean()) == pytest.approx(1, abs=0.1)
    heard = np.concatenate([clip.clip.clip.sound("mel").version(0) for clip in clips])
    assert torch.allclose(
        expert.sound.mean, torch.from_numpy(heard.astype(np.float32).mean(0)), atol=0.02
    )


def test_moments_without_words_or_mouth_do_not_count(clips: list[SyncClip]) -> None:
    clip = clips[0]
    assert _batch([clip] * 4, 0).counted.all()
    prepared = clip.clip.clip
    mute = replace(clip.clip, clip=replace(prepared, heard=0 * prepared.heard))
    assert not _batch([replace(clip, clip=mute)] * 4, 0).counted.any()
    usable = np.arange(len(clip.mouth.usable)) < CONFIG.window
    hidden = replace(clip, mouth=replace(clip.mouth, usable=usable))
    # One window of each clip is left, which not every run holds.
    assert _batch([hidden] * 4, 0).counted.sum() <= 4


@torch.no_grad()
def _plain_losses(expert: SyncExpert, batch: SyncBatch) -> tuple[float, float]:
    """InfoNCE of moments and of runs, written out one by one."""
    seen, heard = expert.see(batch.mouth_offsets), expert.listen(batch.audio)
    num_clips, num = batch.counted.shape
    target = {-1: 0.2, 0: 0.6, 1: 0.2}
    offsets = range(-MAX_OFFSET, MAX_OFFSET + 1)
    at = torch.stack([heard[b][batch.places[b]] for b in range(num_clips)])

    def cosine(b: int, t: int, c: int, offset: int) -> torch.Tensor:
        return seen[b, t] @ at[c, MAX_OFFSET + t + offset]

    moments, runs = [], []
    for b in range(num_clips):
        counted = [t for t in range(num) if batch.counted[b, t]]
        for t in counted:
            own = {o: cosine(b, t, b, o) for o in offsets}
            others = [
                seen[b, t] @ at[c, MAX_OFFSET + u]
                for c in range(num_clips)
                for u in range(0, num, 4)
                if c != b
            ]
            moments.append(_entropy(own, others, expert.scale.exp(), target))
        own = {o: torch.stack([cosine(b, t, b, o) for t in counted]).mean() for o in offsets}
        others = [
            torch.stack([cosine(b, t, c, 0) for t in counted]).mean()
            for c in range(num_clips)
            if c != b
        ]
        runs.append(_entropy(own, others, expert.run_scale.exp(), target))
    return float(torch.stack(moments).mean()), float(torch.stack(runs).mean())


def _entropy(own: Any, others: Any, scale: torch.Tensor, target: dict[int, float]) -> torch.Tensor:
    total = torch.logsumexp(scale * torch.stack([*own.values(), *others]), 0)
    return sum((share * (total - scale * own[o]) for o, share in target.items()), torch.zeros(()))


def test_the_loss_is_infonce_over_offsets_and_other_clips(clips: list[SyncClip]) -> None:
    expert, batch = _fitted(clips).eval(), _batch(clips, 3)
    batch.counted[0, 2:4] = False
    losses = contrast_losses(expert, batch)
    moment, run = _plain_losses(expert, batch)
    assert losses["moment"].item() == pytest.approx(moment, rel=1e-4)
    assert losses["run"].item() == pytest.approx(run, rel=1e-4)
    assert losses["loss"].item() == pytest.approx(moment + run, rel=1e-4)
    losses["loss"].backward()
    grads = [value.grad for value in expert.parameters()]
    assert all(grad is not None and torch.isfinite(grad).all() for grad in grads)


def test_the_expert_learns_which_moment_belongs_to_which_sound(clips: list[SyncClip]) -> None:
    expert = _fitted(clips)
    optimizer = torch.optim.AdamW(expert.parameters(), 1e-2)
    right = []
    for step in range(60):
        losses = contrast_losses(expert, _batch(clips, step))
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        right.append(losses["right"].item())
    # Three of 31 offsets would be right by chance.
    assert np.mean(right[:5]) < 0.2
    assert np.mean(right[-15:]) > 0.3


# What a generator pays


def _windows(num: int = 5) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    made, real = (0.1 * torch.randn(num, CONFIG.window, 102, 3) for _ in range(2))
    return made.requires_grad_(), real.requires_grad_(), torch.randn(num, CONFIG.audio_width, 80)


def _frozen() -> SyncExpert:
    expert = SyncExpert(CONFIG)
    expert.mouth.components.normal_()
    return expert.eval().requires_grad_(False)


def test_relative_loss_is_the_hinge_of_how_much_worse_than_real() -> None:
    expert, (made, real, audio) = _frozen(), _windows()
    worse = expert(real, audio) - expert(made, audio)
    assert bool((worse > 0.02).any() and (worse < 0).any())
    loss = relative_sync_loss(expert, made, real, audio)
    assert torch.allclose(loss, worse.clamp(min=0).mean(), atol=1e-6)
    with_margin = relative_sync_loss(expert, made, real, audio, margin=0.02)
    assert torch.allclose(with_margin, (worse - 0.02).clamp(min=0).mean(), atol=1e-6)
    loss.backward()
    assert real.grad is None
    assert made.grad is not None
    # Only mouths that are worse than real are moved.
    moved = made.grad.flatten(1).abs().sum(1) > 0
    assert torch.equal(moved, worse > 0)


def test_a_real_mouth_pays_nothing() -> None:
    expert, (_, real, audio) = _frozen(), _windows()
    assert relative_sync_loss(expert, real, real, audio).item() == 0


def test_plain_loss_is_equation_12() -> None:
    expert, (made, _, audio) = _frozen(), _windows()
    seen, heard = expert.see(made)[:, 0], expert.listen(audio)[:, 0]
    cosine = functional.cosine_similarity(seen, heard)
    loss = sync_loss(expert, made, audio)
    assert torch.allclose(loss, ((cosine - 1) ** 2).mean(), atol=1e-6)
    loss.backward()
    assert made.grad is not None
    assert bool((made.grad.flatten(1).abs().sum(1) > 0).all())


@pytest.mark.parametrize("rate", [25.0, 30.0, 50.0])
def test_generated_frames_of_any_rate_become_windows_at_25_hz(rate: float) -> None:
    times = (2 + torch.arange(round(rate) + 1) / rate).repeat(2, 1)
    points = (times[..., None, None] * torch.ones(102, 3)).requires_grad_()
    windows, middles = mouth_windows(points, times, CONFIG.window)
    assert windows.shape == (2, 26 - CONFIG.window + 1, CONFIG.window, 102, 3)
    # Every point tells its own time.
    inside = middles[..., None] + (torch.arange(CONFIG.window) - CONFIG.window // 2) / 25
    assert torch.allclose(windows[..., 0, 0], inside, atol=1e-4)
    windows.sum().backward()
    assert points.grad is not None


def test_a_run_shorter_than_a_window_has_none() -> None:
    times = torch.arange(5)[None] / 25
    windows, middles = mouth_windows(torch.zeros(1, 5, 102, 3), times, CONFIG.window)
    assert windows.shape[:3] == (1, 0, CONFIG.window)
    assert middles.shape == (1, 0)


# The run


def _config(data: Path, output: Path, **changes: Any) -> SyncTrainConfig:
    values = {"preset": "tiny", "steps": 3, "batch_clips": 4, "moments_per_clip": 8, "threads": 1}
    return SyncTrainConfig(data=data, output=output, **{**values, "device": "cpu", **changes})


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_offsets_log_and_weights_that_ship(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, output = _set(tmp_path / "set"), tmp_path / "run"
    saved = train_sync(_config(data, output))
    assert {path.name for path in output.iterdir()} == {OFFSETS_NAME, "log.csv", saved.name}
    rows = _rows(output / OFFSETS_NAME)
    assert {row["clip"] for row in rows} == set(PEOPLE)
    assert {row["identity"] for row in rows if row["held_out"] == "yes"} == held_out(
        set(PEOPLE), "tiny"
    )
    assert all(abs(float(row["offset_ms"])) <= 600 for row in rows)
    assert [row["step"] for row in _rows(output / "log.csv")] == ["1", "2", "3"]
    # The checkpoint becomes a file of the package, which the judge loads.
    assert export([str(saved), "--tag", "test"], tmp_path) == 0
    entries = json.loads(capsys.readouterr().out)
    assert entries["sync-train.test"]["role"] == "part"
    manifest = {"format": 2, "default": {"sync-train": "test"}, "weights": entries}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(manifests, "manifest_path", lambda: tmp_path / "manifest.json")
    monkeypatch.setattr(manifests, "PACKAGE_DIR", tmp_path)
    loaded = SyncScorer.load("train", torch.device("cpu"))
    assert loaded is not None
    assert SyncScorer.load("judge", torch.device("cpu")) is None
    average = load_weights(saved, averaged=True)
    kept = loaded.expert.state_dict()
    assert all(torch.allclose(kept[key], average[key], rtol=1e-3, atol=1e-3) for key in average)


def test_a_resumed_run_ends_as_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = _set(tmp_path / "set")
    whole = train_sync(_config(data, tmp_path / "whole", steps=4))

    class Stop(Exception):
        pass

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "train" and done == 3:
            raise Stop

    parts = _config(data, tmp_path / "parts", steps=4, checkpoint_every=2)
    with pytest.raises(Stop):
        train_sync(parts, stop)
    monkeypatch.setattr(sync_run._SyncRun, "cross_fit", _must_not_run)
    resumed = train_sync(parts)
    assert resumed.name == whole.name == "step-000004"
    for averaged in (False, True):
        one, other = load_weights(whole, averaged), load_weights(resumed, averaged)
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert len(_rows(tmp_path / "parts" / "log.csv")) == 4


def _must_not_run(*arguments: Any) -> Any:
    raise AssertionError("offsets were found already")


def test_people_are_judged_by_experts_that_never_saw_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []
    begin, offset_of = sync_run._SyncRun._begin, sync_run.offset_of

    def noting(self: Any, clips: list[SyncClip], settings: Any, seed: int) -> Any:
        seen.append({clip.clip.identity for clip in clips})
        return begin(self, clips, settings, seed)

    def checked(judge: SyncScorer, clip: SyncClip) -> SyncScore:
        assert clip.clip.identity not in seen[-1]
        return offset_of(judge, clip)

    monkeypatch.setattr(sync_run._SyncRun, "_begin", noting)
    monkeypatch.setattr(sync_run, "offset_of", checked)
    train_sync(_config(_set(tmp_path / "set"), tmp_path / "run", steps=1))
    strangers = held_out(set(PEOPLE), "tiny")
    assert len(strangers) == 1
    assert seen[-1] == set(PEOPLE) - strangers
    assert all(fold < seen[-1] for fold in seen[:-1])


def test_sure_offsets_move_the_clips(clips: list[SyncClip]) -> None:
    sure = SyncScore(confidence=0.5, distance=0.3, offset_frames=4.0, num_windows=80)
    found = {
        "anna": sure,
        "ben": replace(sure, confidence=0.1),
        "cleo": replace(sure, num_windows=9),
    }
    moved = {clip.clip.clip_id: clip.offset_frames for clip in sync_run._in_step(clips, found)}
    assert moved == {**dict.fromkeys(PEOPLE, 0.0), "anna": 4.0}


def test_minutes_become_steps_that_a_later_start_keeps(tmp_path: Path) -> None:
    data, output = _set(tmp_path / "set"), tmp_path / "run"
    saved = train_sync(_config(data, output, minutes=1e-6))
    assert saved.name == "step-000001"
    (output / "plan.json").write_text('{"steps": 2}')
    assert train_sync(_config(data, output, minutes=1e-6)).name == "step-000002"


@pytest.mark.parametrize(("preset", "changes"), [("expert", {"steps": 1}), ("judge", {"steps": 1})])
def test_another_presets_folder_is_refused(
    preset: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    data, output = _set(tmp_path / "set"), tmp_path / "run"
    saved = train_sync(_config(data, output, steps=1))
    with pytest.raises(TrainingError, match=r"another preset or size|belongs to sync-train"):
        train_sync(_config(data, output, preset=preset, **changes))
    assert list_checkpoints(output) == [saved]


def test_mistakes_are_named_before_anything_is_written(tmp_path: Path) -> None:
    data, output = _set(tmp_path / "set"), tmp_path / "run"
    with pytest.raises(ConfigError, match="expert, judge"):
        train_sync(_config(data, output, preset="referee"))
    alone = write_set(tmp_path / "alone", {"one": made_clip(1)}, {})
    with pytest.raises(TrainingError, match="two people"):
        train_sync(_config(alone, output))
    silent = {name: made_clip(1, with_sound=False) for name in PEOPLE}
    with pytest.raises(TrainingError, match="sound"):
        train_sync(_config(write_set(tmp_path / "silent", silent, {}), output))
    assert not output.exists()
    for changes in ({"steps": 0}, {"batch_clips": 1}, {"learning_rate": 0}, {"device": "tpu"}):
        with pytest.raises(ConfigError):
            _config(data, output, **changes)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, output = _set(tmp_path / "set"), tmp_path / "run"
    saved = train_sync(_config(data, output, steps=2))
    losses = SyncTask.losses

    def broken(self: SyncTask, batch: Any, optimizer: str, step: int) -> Any:
        found = losses(self, batch, optimizer, step)
        return {name: value * float("nan") for name, value in found.items()}

    monkeypatch.setattr(SyncTask, "losses", broken)
    with pytest.raises(TrainingError, match="step 3") as failed:
        train_sync(_config(data, output, steps=4))
    assert str(saved) in str(failed.value)
    assert read_state(list_checkpoints(output)[-1]).step == 2


# The command


def test_every_flag_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    caught: list[SyncTrainConfig] = []

    def fake(config: SyncTrainConfig, progress: Any) -> None:
        caught.append(config)

    stand_in = ModuleType("dubcli.sync.training")
    stand_in.train_sync = fake  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "dubcli.sync.training", stand_in)
    values: dict[str, Any] = {"data": Path("set"), "output": Path("run")}
    plain = CliRunner().invoke(app, ["train", "sync", "-d", "set", "-o", "run"])
    assert plain.exit_code == 0, plain.output
    words = ["train", "sync", "-d", "set", "-o", "run"]
    for entry in fields(SyncTrainConfig):
        if entry.name in (*values, "model"):
            continue
        other = {"preset": "judge", "device": "cpu"}.get(entry.name)
        default: Any = entry.default
        values[entry.name] = default + 1 if other is None else other
        words += [f"--{entry.name.replace('_', '-')}", str(values[entry.name])]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert caught == [
        SyncTrainConfig(data=Path("set"), output=Path("run")),
        SyncTrainConfig(**values),
    ]


@pytest.mark.parametrize(
    ("what", "module", "function"),
    [
        ("sync", "dubcli.sync.training", "train_sync"),
        ("occluder", "dubcli.occlusion.training", "train_occluder"),
    ],
)
def test_an_interrupted_training_says_that_it_goes_on(
    what: str, module: str, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(config: Any, progress: Any) -> None:
        raise KeyboardInterrupt

    stand_in = ModuleType(module)
    setattr(stand_in, function, interrupted)
    monkeypatch.setitem(sys.modules, module, stand_in)
    done = CliRunner().invoke(app, ["train", what, "-d", "set", "-o", "run"])
    assert done.exit_code == 130
    assert done.stderr.endswith("dub: interrupted; run the same command again to go on.\n")


def test_every_option_is_explained() -> None:
    text = CliRunner().invoke(app, ["train", "sync", "--help"], env={"COLUMNS": "400"}).stdout
    for entry in fields(SyncTrainConfig)[1:]:
        flag = f"--{entry.name.replace('_', '-')}"
        line = next((line for line in text.splitlines() if flag in line.split()), "")
        assert len([word for word in line.split() if word.isalpha()]) >= 2, f"{flag}: {line!r}"


def test_a_user_reads_one_line_when_data_is_missing(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["train", "sync", "-d", str(tmp_path), "-o", "run"])
    assert done.exit_code == TrainingError.exit_code
    assert done.stderr.count("\n") == 1
    assert "dub prepare" in done.stderr
