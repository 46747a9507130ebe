"""The network that tells what lies in front of a face: made things, a short run, its files."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from made_clips import made_clip, write_set
from safetensors.torch import load_file, save
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.config import OccluderTrainConfig
from dubcli.core.errors import ConfigError, TrainingError, WeightsError
from dubcli.occlusion import training as occluder_run
from dubcli.occlusion.network import OccluderConfig, OccluderNet
from dubcli.occlusion.ranges import SEEN_SIZE
from dubcli.occlusion.segmenter import as_segmenter, load_segmenter
from dubcli.occlusion.synthetic import HELD_OUT, LEARNT, FaceScene, cover, disturb, worn_out
from dubcli.occlusion.training import SCORES_NAME, WEIGHTS_NAME, load_faces, train_occluder
from dubcli.weights import manifest as manifests
from dubcli.weights import resolve as weights


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clips = {f"person{number}": made_clip(number) for number in range(7)}
    return write_set(tmp_path_factory.mktemp("set") / "set", clips, {})


def config(data: Path, output: Path, **changes: Any) -> OccluderTrainConfig:
    values = {"steps": 2, "batch": 4, "faces": 28, **changes}
    return OccluderTrainConfig(data=data, output=output, **values)


def scene(data: Path, seed: int) -> FaceScene:
    people = load_faces(data, 28)
    return occluder_run._scene(people, people, np.random.default_rng(seed))[0]  # pyright: ignore[reportPrivateUsage]


PAINTERS = {name: item[0] for name, item in LEARNT.items()} | HELD_OUT


@pytest.mark.parametrize("name", PAINTERS)
def test_what_is_said_to_be_free_shows_the_face_itself(data: Path, name: str) -> None:
    num_covered = 0
    for seed in range(6):
        face = scene(data, seed)
        image, alpha = cover(face, PAINTERS[name])
        assert image.shape == (*SEEN_SIZE, 3)
        assert 0 <= alpha.min() <= alpha.max() <= 1 + 1e-5
        # A shadow darkens; nothing else may differ where nothing lies in front.
        free = alpha == 0
        assert (image[free] <= face.face[free] + 1e-3).all()
        num_covered += bool((alpha > 0.5).sum() > 20)
    assert num_covered >= 4


def test_disturbed_faces_stay_pictures(data: Path) -> None:
    for seed in range(20):
        face = scene(data, seed)
        image = worn_out(disturb(face, face.face), face.rng)
        assert image.shape == (*SEEN_SIZE, 3)
        assert image.dtype == np.uint8


@pytest.fixture(autouse=True)
def _few_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(occluder_run, "_SCORED_OF_KIND", 2)


def test_faces_are_seen_alike_whatever_the_size_of_the_prepared_crops(tmp_path: Path) -> None:
    found = [
        load_faces(write_set(tmp_path / str(size[0]), {"a": made_clip(0, size=size)}, {}), 2)[0]
        for size in ((208, 160), (416, 320))
    ]
    small, large = (person.pictures.astype(np.float32) for person in found)
    assert small.shape == large.shape
    assert np.abs(small - large).mean() < 4
    np.testing.assert_allclose(found[0].points, found[1].points, atol=0.2)
    square = write_set(tmp_path / "square", {"a": made_clip(0, size=(160, 160))}, {})
    with pytest.raises(TrainingError, match="160x160 px") as raised:
        load_faces(square, 2)
    assert "--size 208x160" in raised.value.next_step


def test_a_run_leaves_weights_and_scores_of_strangers(data: Path, tmp_path: Path) -> None:
    path = train_occluder(config(data, tmp_path / "run"))
    left = sorted(item.name for item in path.parent.iterdir())
    assert left == ["log.csv", WEIGHTS_NAME, SCORES_NAME, "step-000002"]
    scores = json.loads((path.parent / SCORES_NAME).read_text(encoding="utf-8"))
    assert scores["steps"] == 2
    assert set(scores["kinds"]) == set(PAINTERS)
    assert scores["held_out"] == list(scores["uncovered"])
    assert len(scores["held_out"]) == 1
    net = OccluderNet(OccluderConfig(**scores["config"]))
    net.load_state_dict(load_file(path), strict=True)
    assert path.stat().st_size < 1_000_000
    crops = np.random.default_rng(0).integers(0, 255, (2, *SEEN_SIZE, 3), np.uint8)
    said = as_segmenter(net)(crops)
    assert said.shape == (2, *SEEN_SIZE)
    assert 0 <= said.min() <= said.max() <= 1


def test_the_same_command_gives_the_same_weights(data: Path, tmp_path: Path) -> None:
    files = [train_occluder(config(data, tmp_path / name)) for name in ("one", "two")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_an_interrupted_run_goes_on_to_the_same_weights(data: Path, tmp_path: Path) -> None:
    whole = train_occluder(config(data, tmp_path / "whole", steps=4)).read_bytes()

    def interrupt(stage: str, done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(occluder_run, "_SAVE_EVERY", 2)
        with pytest.raises(KeyboardInterrupt):
            train_occluder(config(data, tmp_path / "parts", steps=4), interrupt)
    assert train_occluder(config(data, tmp_path / "parts", steps=4)).read_bytes() == whole
    with pytest.raises(TrainingError, match="was trained with other seed"):
        train_occluder(config(data, tmp_path / "parts", steps=4, seed=5))


def test_it_learns(data: Path, tmp_path: Path) -> None:
    """The loss over the last steps is well below that over the first."""
    losses: list[float] = []
    cost = occluder_run.OccluderTask.losses

    def noting(*args: Any) -> Any:
        found = cost(*args)
        losses.append(found["loss"].item())
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(occluder_run.OccluderTask, "losses", noting)
        train_occluder(config(data, tmp_path / "run", steps=50, learning_rate=1e-2))
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_minutes_end_a_run(data: Path, tmp_path: Path) -> None:
    path = train_occluder(config(data, tmp_path / "run", steps=100000, minutes=1e-6))
    assert json.loads((path.parent / SCORES_NAME).read_text(encoding="utf-8"))["steps"] < 100


def test_a_loss_that_is_no_number_is_told(data: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        cost = occluder_run.OccluderTask.losses
        broken = lambda *args: {"loss": cost(*args)["loss"] * float("nan")}  # noqa: E731
        patch.setattr(occluder_run.OccluderTask, "losses", broken)
        with pytest.raises(TrainingError, match=r"nan at step 1.*--learning-rate"):
            train_occluder(config(data, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_mistakes_are_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="dub prepare"):
        train_occluder(config(tmp_path, tmp_path / "run"))
    alone = write_set(tmp_path / "alone", {"anna": made_clip(1)}, {})
    with pytest.raises(TrainingError, match="two people"):
        train_occluder(config(alone, tmp_path / "run"))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TrainingError, match="cannot be written"):
        train_occluder(config(data, tmp_path / "file"))
    with pytest.raises(ConfigError, match="0 steps"):
        config(data, tmp_path, steps=0)


def test_every_flag_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    caught: list[OccluderTrainConfig] = []

    def fake(config: OccluderTrainConfig, progress: Any) -> Path:
        caught.append(config)
        return Path("run/occluder.safetensors")

    stand_in = ModuleType("dubcli.occlusion.training")
    stand_in.train_occluder = fake  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "dubcli.occlusion.training", stand_in)
    words = ["train", "occluder", "-d", "set", "-o", "run"]
    values: dict[str, Any] = {"data": Path("set"), "output": Path("run")}
    assert CliRunner().invoke(app, words).exit_code == 0
    for entry in fields(OccluderTrainConfig):
        if entry.name in (*values, "model"):
            continue
        default: Any = entry.default
        values[entry.name] = default + 1
        words += [f"--{entry.name.replace('_', '-')}", str(values[entry.name])]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert caught == [
        OccluderTrainConfig(data=Path("set"), output=Path("run")),
        OccluderTrainConfig(**values),
    ]


def _manifest(folder: Path, state: dict[str, torch.Tensor]) -> manifests.Manifest:
    content = save(state)
    (folder / "net.safetensors").write_bytes(content)
    entry = weights.WeightEntry(
        name="occluder.a",
        architecture="occluder",
        role="part",
        package=str(folder / "net.safetensors"),
        sha256=hashlib.sha256(content).hexdigest(),
        num_bytes=len(content),
    )
    return manifests.Manifest(
        path=folder / "m.json", weights={entry.name: entry}, default={"occluder": "a"}
    )


def test_a_manifest_without_the_network_looks_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = manifests.Manifest(path=Path("m.json"), weights={}, default={})
    monkeypatch.setattr("dubcli.occlusion.segmenter.load_manifest", lambda: bare)
    assert load_segmenter() is None


def test_weights_of_another_network_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = OccluderNet(OccluderConfig(channels=4)).state_dict()
    made = _manifest(tmp_path, state)
    for module in ("dubcli.occlusion.segmenter", "dubcli.weights.resolve"):
        monkeypatch.setattr(f"{module}.load_manifest", lambda: made)
    with pytest.raises(WeightsError, match="does not fit"):
        load_segmenter()
