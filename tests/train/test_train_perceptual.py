"""Which features perceptual losses compare, that the run says which, and that it keeps to them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from train_runs import interrupt_at, rows, same_bits

from dubcli.config import TrainConfig
from dubcli.core.errors import ChecksumError, ConfigError, TrainingError, WeightsError
from dubcli.metrics.vgg19 import VGG19
from dubcli.models.iptalker.losses import LOSS_PRESETS
from dubcli.models.lip_identity.losses import LOSS_PRESETS as LIP_PRESETS
from dubcli.training.losses import perceptual_features as vgg
from dubcli.training.run import train
from dubcli.weights import manifest as manifests

REVISION = "5" * 40
Configured = Callable[..., TrainConfig]
PAPERS = {"iptalker": LOSS_PRESETS["paper"], "lip-identity": LIP_PRESETS["paper"]}


@pytest.fixture(scope="module")
def weight_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random convolutions under the published names, beside a classifier that is not used."""
    torch.manual_seed(1)
    state = {name: value.half() for name, value in VGG19().state_dict().items()}
    path = tmp_path_factory.mktemp("vgg") / "model.safetensors"
    save_file({**state, "head.fc.bias": torch.zeros(1000)}, path)
    return path


class Hub:
    """The hub's cache on this machine, and a manifest that names one file of the hub."""

    def __init__(self, folder: Path, file: Path) -> None:
        self._file, self._snapshot = file, folder / "models--org--vgg" / "snapshots" / REVISION
        self.manifest = folder / "weights_manifest.json"
        entry = {
            "architecture": "vgg19",
            "role": "part",
            "sources": [{"repo": "org/vgg", "revision": REVISION, "file": "model.safetensors"}],
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "bytes": file.stat().st_size,
            "config": {},
            "license": "BSD-3-Clause",
            "commercial": True,
            "source": "a test",
        }
        content = {"format": 2, "default": {"vgg19": "a"}, "weights": {"vgg19.a": entry}}
        self.manifest.write_text(json.dumps(content))

    @property
    def path(self) -> Path:
        """Where the file is kept."""
        return self._snapshot / "model.safetensors"

    def fetch(self) -> None:
        """As after a download."""
        self._snapshot.mkdir(parents=True)
        self.path.write_bytes(self._file.read_bytes())


@pytest.fixture
def hub(tmp_path: Path, weight_file: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    folder = tmp_path / "cache"
    folder.mkdir()
    made = Hub(folder, weight_file)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(manifests, "manifest_path", lambda: made.manifest)
    return made


def _notes(run: Path) -> str:
    return (run.parent / "notes.txt").read_text()


def _features_of(run: Path) -> str:
    return json.loads((run / "state.json").read_text())["settings"]["perceptual"]


@pytest.mark.parametrize("model", PAPERS)
def test_auto_takes_what_is_there_and_says_which(
    configured: Configured, hub: Hub, model: str, caplog: pytest.LogCaptureFixture
) -> None:
    without = train(configured("without", model=model, losses="paper", steps=1))
    assert "substitute" in _notes(without)
    assert "--perceptual vgg19" in caplog.text
    hub.fetch()
    caplog.clear()
    beside = train(configured("with", model=model, losses="paper", steps=1))
    assert "vgg19" in _notes(beside)
    assert "substitute" not in _notes(beside)
    assert "vgg19" in caplog.text
    assert (_features_of(without), _features_of(beside)) == ("substitute", "vgg19")
    before, after = rows(without.parent)[0], rows(beside.parent)[0]
    # Only the losses that are named after features differ.
    named = {"perceptual", "warp", "style"} & {
        name for name, value in vars(PAPERS[model]).items() if value
    }
    assert all(before[name] != after[name] for name in named)
    assert before["gan"] == after["gan"]


def test_losses_on_pixels_do_not_depend_on_what_was_downloaded_once(
    configured: Configured, hub: Hub
) -> None:
    hub.fetch()
    run = train(configured(losses="no-gan", steps=1))
    assert _features_of(run) == "substitute"
    assert not (run.parent / "notes.txt").exists()
    asked = train(configured("asked", losses="no-gan", steps=1, perceptual="vgg19"))
    assert "vgg19" in _notes(asked)
    pixels, features = rows(run.parent)[0], rows(asked.parent)[0]
    assert pixels["picture"] == features["picture"]
    assert pixels["warp"] != features["warp"]


def test_a_run_keeps_to_its_features(configured: Configured, hub: Hub) -> None:
    hub.fetch()
    options: dict[str, Any] = {"losses": "paper", "checkpoint_every": 1}
    whole = train(configured("whole", **options))
    with pytest.raises(KeyboardInterrupt):
        train(configured("broken", **options), progress=interrupt_at(2))
    with pytest.raises(TrainingError, match="trained with --perceptual vgg19"):
        train(configured("broken", perceptual="substitute", **options))
    hub.path.rename(hub.path.with_suffix(".away"))
    with pytest.raises(TrainingError, match="not in the hub's cache") as raised:
        train(configured("broken", **options))
    assert "--perceptual vgg19" in raised.value.next_step
    hub.path.with_suffix(".away").rename(hub.path)
    resumed = train(configured("broken", **options))
    assert same_bits(whole, resumed)
    assert _notes(resumed).count("vgg19") == 1


def test_a_run_on_substitutes_goes_on_with_them_after_a_download(
    configured: Configured, hub: Hub
) -> None:
    train(configured(losses="paper", steps=1))
    hub.fetch()
    assert _features_of(train(configured(losses="paper", steps=2))) == "substitute"
    with pytest.raises(TrainingError, match="trained with --perceptual substitute"):
        train(configured(losses="paper", steps=3, perceptual="vgg19"))


def test_a_download_that_fails_names_the_way_without(configured: Configured, hub: Hub) -> None:
    config = configured(losses="paper", perceptual="vgg19")
    with pytest.raises(WeightsError, match="cannot be downloaded") as raised:
        train(config)
    assert "--perceptual substitute" in raised.value.next_step
    assert not config.output.exists()
    with pytest.raises(ConfigError, match="auto, vgg19 or substitute"):
        configured(perceptual="resnet")


def test_a_damaged_or_foreign_file_is_refused(
    configured: Configured, hub: Hub, tmp_path: Path
) -> None:
    hub.fetch()
    content = hub.path.read_bytes()
    hub.path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ChecksumError, match="sha256"):
        train(configured(losses="paper"))
    save_file({"features.0.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    other = Hub(hub.manifest.parent, tmp_path / "other.safetensors")
    hub.path.write_bytes((tmp_path / "other.safetensors").read_bytes())
    assert other.manifest == hub.manifest
    with pytest.raises(WeightsError, match="is not VGG-19"):
        train(configured(losses="paper"))


def test_loading_it_draws_no_random_numbers_of_the_run(hub: Hub) -> None:
    cpu = torch.device("cpu")
    assert vgg.load_vgg19(cpu) is None
    hub.fetch()
    before = torch.get_rng_state()
    net = vgg.load_vgg19(cpu)
    assert net is not None
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(value.requires_grad for value in net.parameters())
