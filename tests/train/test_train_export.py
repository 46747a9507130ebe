"""A checkpoint becomes the weight file that users load."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from dubcli.core.errors import ConfigError, TrainingError
from dubcli.models.common.stage_parts import half_size
from dubcli.models.iptalker.network import NAMED_CONFIGS, IPTalker
from dubcli.training.checkpoint import TrainState, save_checkpoint
from dubcli.training.export import export_weights, main
from dubcli.weights import load
from dubcli.weights import manifest as manifests

TINY = NAMED_CONFIGS["tiny"]
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Checkpoints whose average is `value` everywhere but in the mouth basis."""

    def checkpoint(
        stage: str = "render",
        value: float = 0.5,
        basis: float = 0.25,
        architecture: str = "iptalker",
        **config: Any,
    ) -> Path:
        model = IPTalker(TINY)
        average = {key: torch.full_like(x, value) for key, x in model.state_dict().items()}
        average["alignment.basis"] = torch.full_like(average["alignment.basis"], basis)
        sizes = half_size(TINY) if stage == "render" else TINY
        return save_checkpoint(
            tmp_path / f"{stage}-{value}-{basis}",
            state=TrainState(
                step=7,
                architecture=architecture,
                stage=stage,
                model_config={**asdict(sizes), **config},
            ),
            modules={"model": model},
            average=average,
            optimizers={"model": torch.optim.AdamW(model.parameters())},
            run_config={},
        )

    return checkpoint


def _values(tensors: dict[str, Tensor], prefix: str) -> set[float]:
    return {
        float(x)
        for key, value in tensors.items()
        if key.startswith(prefix) and key != "alignment.basis"
        for x in (value.min(), value.max())
    }


def test_the_file_holds_the_average_in_half_precision(make: Make, tmp_path: Path) -> None:
    output = tmp_path / "out" / "iptalker.test.safetensors"
    file = export_weights([make()], output)
    content = output.read_bytes()
    assert (file.sha256, file.num_bytes) == (hashlib.sha256(content).hexdigest(), len(content))
    assert file.config == asdict(half_size(TINY))
    tensors = load_file(output)
    assert {value.dtype for value in tensors.values()} == {torch.float16}
    assert tensors.keys() == IPTalker(TINY).state_dict().keys()
    assert _values(tensors, "") == {0.5}
    assert [path.name for path in output.parent.iterdir()] == [output.name]


def test_the_last_step_can_be_taken(make: Make, tmp_path: Path) -> None:
    checkpoint, output = make(), tmp_path / "last.safetensors"
    export_weights([checkpoint], output, averaged=False)
    trained = load_file(checkpoint / "model.safetensors")
    assert all(torch.equal(load_file(output)[key], trained[key].half()) for key in trained)


def test_the_alignment_module_comes_from_the_geometry_stage(make: Make, tmp_path: Path) -> None:
    output = tmp_path / "both.safetensors"
    geometry = make("geometry", 0.125, basis=0.25 + 5e-7)
    file = export_weights([make(), geometry], output)
    # Crops of another size are no other model: the file has the render stage's.
    assert file.config["height"] == TINY.height // 2
    tensors = load_file(output)
    assert _values(tensors, "alignment.") == {0.125}
    assert _values(tensors, "decoder.") == _values(tensors, "warping.") == {0.5}


def test_parts_of_different_models_are_refused(make: Make, tmp_path: Path) -> None:
    output = tmp_path / "no.safetensors"
    cases = {
        "mouth bases": make("geometry", basis=0.2501),
        "differ in num_heads": make("geometry", value=1.0, num_heads=4),
        "'other'": make("geometry", value=2.0, architecture="other"),
        "stage render": make("render", value=3.0),
        "is no checkpoint": tmp_path,
    }
    for message, geometry in cases.items():
        with pytest.raises(TrainingError, match=message):
            export_weights([make(), geometry], output)
    assert not output.exists()


def test_what_cannot_be_loaded_is_not_written(make: Make, tmp_path: Path) -> None:
    output = tmp_path / "no.safetensors"
    with pytest.raises(TrainingError, match="half precision"):
        export_weights([make(value=1e6)], output)
    with pytest.raises(TrainingError, match="does not fit"):
        export_weights([make(value=1.0, embedding=64)], output)
    with pytest.raises(TrainingError, match="does not fit"):
        export_weights([make(value=2.0, unknown_field=1)], output)
    assert not output.exists()


def test_an_unwritable_place_is_named(make: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="cannot be written"):
        export_weights([make()], tmp_path / "file" / "x.safetensors")


def test_the_program_prints_an_entry_that_loads(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [str(make()), str(make("geometry")), "--tag", "test"]
    arguments += ["--license", "CC0-1.0", "--source", "drawn faces"]
    assert main(arguments, tmp_path) == 0
    entries = json.loads(capsys.readouterr().out)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({"format": 2, "default": {"iptalker": "test"}, "weights": entries}))
    monkeypatch.setattr(manifests, "manifest_path", lambda: path)
    monkeypatch.setattr(manifests, "PACKAGE_DIR", tmp_path)
    model, sha256 = load.load_model("iptalker", "cpu")
    assert sha256 == entries["iptalker.test"]["sha256"]
    assert model.spec.crop.size == (TINY.height // 2, TINY.width // 2)


def test_a_published_tag_is_not_changed(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(make()), "--tag", "test"]
    assert main(arguments, tmp_path) == 0
    before = (tmp_path / "assets" / "iptalker.test.safetensors").read_bytes()
    capsys.readouterr()
    assert main([str(make(value=1.0)), "--tag", "test"], tmp_path) == ConfigError.exit_code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("dub: ")
    assert captured.err.count("\n") == 1
    assert (tmp_path / "assets" / "iptalker.test.safetensors").read_bytes() == before


def test_several_motion_parts_become_their_mean(make: Make, tmp_path: Path) -> None:
    output = tmp_path / "iptalker.mean.safetensors"
    parts = [make("geometry", 0.75), make("geometry", 0.25)]
    export_weights([make(), *parts], output)
    saved = load_file(output)
    saved.pop("alignment.basis")
    assert _values(saved, "alignment.") == {0.5}
    assert _values(saved, "decoder.") == {0.5}
    export_weights([make(), *parts[:1]], output)
    saved = load_file(output)
    saved.pop("alignment.basis")
    assert _values(saved, "alignment.") == {0.75}
