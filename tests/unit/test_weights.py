"""Weights are named by the manifest, proven by sha256, and fit their model exactly."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonschema import Draft202012Validator
from safetensors.torch import save
from torch import nn

from dubcli.core.errors import ChecksumError, ConfigError, ManifestError, WeightsError
from dubcli.models.architecture import Architecture
from dubcli.models.registry import ARCHITECTURES
from dubcli.weights import load
from dubcli.weights import manifest as manifests
from dubcli.weights import resolve as weights
from dubcli.weights.entry import UrlSource

FACE_NETWORKS = ("face-near", "face-far", "face-mesh")


class TinyNet(nn.Linear):
    """Stands for an architecture."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config["inputs"], 1)


ARCHITECTURE = Architecture(name="tiny", network=f"{__name__}:TinyNet", config="builtins:dict")


class Shop:
    """A manifest and weight files in a folder, in place of the installed ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries: dict[str, dict[str, Any]] = {}
        self.default: dict[str, str] = {}

    def add(self, name: str, content: bytes, **changes: Any) -> None:
        file = self.folder / f"{name}.safetensors"
        file.write_bytes(content)
        self.entries[name] = {
            "architecture": name.split(".")[0],
            "package": str(file),
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
            "config": {"inputs": 2},
            "license": "MIT",
            "source": "a test",
            **changes,
        }
        self.write()

    def write(self) -> Path:
        path = self.folder / "weights_manifest.json"
        content = {"format": 2, "default": self.default, "weights": self.entries}
        path.write_text(json.dumps(content), encoding="utf-8")
        return path


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    made = Shop(tmp_path)
    monkeypatch.setattr(manifests, "manifest_path", made.write)
    monkeypatch.setitem(ARCHITECTURES, "tiny", __name__)
    return made


def _state(dtype: torch.dtype = torch.float16) -> dict[str, torch.Tensor]:
    return {"weight": torch.tensor([[0.5, -2.0]], dtype=dtype), "bias": torch.ones(1, dtype=dtype)}


def test_the_shipped_manifest_is_whole() -> None:
    manifest = manifests.load_manifest()
    assert manifest.weights
    for entry in manifest.weights.values():
        assert entry.role == "part" or entry.architecture in ARCHITECTURES
        assert entry.license
        assert entry.source
        if entry.package is not None:
            weights.verify(entry)
            path = weights.weight_path(entry)
            assert path.stat().st_size == entry.num_bytes
            # Networks of others that ONNX Runtime runs; all else cannot hold code.
            onnx = dict.fromkeys(
                (*FACE_NETWORKS, "recogniser", "speech-activity", "whisper-layer"), ".onnx"
            )
            runs = {"speech-encoder": ".ort", **onnx}
            assert path.suffix == runs.get(entry.architecture, ".safetensors")
        for source in entry.sources:
            # A branch moves: the commit is recorded, and the hash or the record proves the file.
            assert isinstance(source, UrlSource) or source.is_pinned or source.revision == "main"


def test_the_shipped_manifest_keeps_to_its_schema() -> None:
    content = json.loads(manifests.manifest_path().read_text(encoding="utf-8"))
    validator = Draft202012Validator(_schema())
    assert [error.message for error in validator.iter_errors(content)] == []


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("iptalker.v3", {"sha256": None}),
        ("iptalker.v3", {"sources": [{"url": "https://example.org/a"}]}),
        ("iptalker.v3", {"bytes": -1}),
        ("syncnet.v2", {"commercial": "yes"}),
        ("syncnet.v2", {"needed_by": ["evaluation"]}),
        ("syncnet.v2", {"license": ""}),
        ("syncnet.v2", {"sources": [{"repo": "a/b", "revision": "dev", "file": "c"}]}),
        ("syncnet.v2", {"sources": [{"url": "http://example.org/a"}]}),
        ("syncnet.v2", {"hub": None}),
    ],
)
def test_the_schema_refuses(name: str, change: dict[str, Any]) -> None:
    content = json.loads(manifests.manifest_path().read_text(encoding="utf-8"))
    content["weights"][name] |= change
    assert not Draft202012Validator(_schema()).is_valid(content)


def _schema() -> dict[str, Any]:
    path = manifests.PACKAGE_DIR / "assets" / "weights_manifest.schema.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return schema


def test_what_is_not_known_is_said() -> None:
    for entry in manifests.load_manifest().weights.values():
        if entry.sha256 is None and entry.needs_weights:
            assert "sha256" in entry.source
        if entry.num_bytes is None:
            assert "size is not known" in entry.source
        if entry.commercial is None:
            assert "none stated" in entry.license


def test_what_a_command_needs() -> None:
    names = {entry.architecture for entry in weights.needed_by("evaluate")}
    assert names >= {"alexnet", "lpips-alex", "inception", "syncnet", "sface"}
    assert "vgg19" in {entry.architecture for entry in weights.needed_by("train")}
    assert "sync-train" in {entry.architecture for entry in weights.needed_by("dub")}
    with pytest.raises(ConfigError, match=r"'cooking'.*Known: dub, evaluate"):
        weights.needed_by("cooking")


def test_passthrough_needs_no_weights() -> None:
    model, sha256 = load.load_model("passthrough", "cpu")
    assert model.spec.name == "passthrough"
    assert sha256 is None


def test_half_precision_is_loaded_as_float32(shop: Shop) -> None:
    shop.add("tiny.a", save(_state()))
    state = load.load_state(weights.resolve("tiny.a"))
    assert {value.dtype for value in state.values()} == {torch.float32}
    assert state["weight"].tolist() == [[0.5, -2.0]]


def test_a_model_comes_with_its_weights_and_their_hash(shop: Shop) -> None:
    shop.add("tiny.a", save(_state()))
    shop.default["tiny"] = "a"
    model, sha256 = load.load_model("tiny", "cpu")
    assert isinstance(model, TinyNet)
    assert model.weight.tolist() == [[0.5, -2.0]]
    assert not model.training
    assert sha256 == shop.entries["tiny.a"]["sha256"]


def test_a_name_without_tag_is_the_default(shop: Shop) -> None:
    shop.add("tiny.a", b"1")
    shop.add("tiny.b", b"2")
    shop.default["tiny"] = "b"
    assert weights.resolve("tiny").name == "tiny.b"
    assert weights.resolve("tiny.a").name == "tiny.a"


def test_an_unknown_name_gets_the_nearest_and_the_list(shop: Shop) -> None:
    shop.add("tiny.a", b"1")
    with pytest.raises(ConfigError, match=r"'tiny.b'.*mean 'tiny.a'.*Known: tiny.a"):
        weights.resolve("tiny.b")


@pytest.mark.parametrize("damage", [b"", b"x"])
def test_a_damaged_file_is_refused_before_it_is_parsed(shop: Shop, damage: bytes) -> None:
    content = save(_state())
    shop.add("tiny.a", content)
    (shop.folder / "tiny.a.safetensors").write_bytes(content[: len(content) // 2] + damage)
    entry = weights.resolve("tiny.a")
    with pytest.raises(ChecksumError, match=r"tiny\.a.*sha256.*Install dubcli again"):
        weights.verify(entry)
    with pytest.raises(ChecksumError):
        load.load_model("tiny.a", "cpu")


def test_a_missing_file_is_named(shop: Shop) -> None:
    shop.add("tiny.a", b"1")
    (shop.folder / "tiny.a.safetensors").unlink()
    entry = weights.resolve("tiny.a")
    assert weights.local_path(entry) is None
    with pytest.raises(WeightsError, match=r"tiny\.a\.safetensors is not installed"):
        load.load_state(entry)


def test_a_file_of_another_format_is_refused(shop: Shop) -> None:
    shop.add("tiny.a", b"no safetensors at all")
    with pytest.raises(WeightsError, match="not a safetensors file"):
        load.load_state(weights.resolve("tiny.a"))


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_weights_must_fit_exactly(shop: Shop, change: str) -> None:
    state = _state()
    if change == "missing":
        del state["bias"]
    elif change == "extra":
        state["other"] = torch.ones(1)
    else:
        state["weight"] = torch.ones(1, 3)
    shop.add("tiny.a", save(state))
    with pytest.raises(WeightsError, match="does not fit the architecture tiny"):
        load.load_model("tiny.a", "cpu")


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"format": 1}', "format 1"),
        ('{"format": 2, "default": {}}', "weights"),
        ('{"format": 2, "default": {"a": "b"}, "weights": {}}', r"a\.b"),
        ('{"format": 2, "default": {}, "weights": {"a.b": {}}}', "architecture"),
    ],
)
def test_a_broken_manifest_is_named(tmp_path: Path, text: str, cause: str) -> None:
    path = tmp_path / "weights_manifest.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ManifestError, match=cause):
        manifests.load_manifest(path)


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": None},
        {"sha256": "abc"},
        {"architecture": "other"},
        {"sources": [{"repo": "a", "revision": "b", "file": "c"}]},
        {"sources": [{"repo": "a"}], "package": None},
        {"sources": [{"url": "https://a/b"}], "package": None, "sha256": "abc"},
    ],
)
def test_an_entry_that_proves_nothing_is_refused(shop: Shop, change: dict[str, Any]) -> None:
    shop.add("tiny.a", b"1", **change)
    with pytest.raises(ManifestError, match=r"tiny|HubSource"):
        manifests.load_manifest()


def test_no_manifest_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(manifests, "PACKAGE_DIR", tmp_path / "dubcli")
    with pytest.raises(ManifestError, match="missing"):
        manifests.load_manifest()
