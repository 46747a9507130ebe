"""`--model hf:ORG/REPO` and `--model PATH`: any checkpoint of this project's format."""

from __future__ import annotations

import hashlib
import importlib
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from checkpoints import CONFIG, config_of, published, trained, weights_of, write
from safetensors.torch import load, save
from server import Fault, Hub
from typer.testing import CliRunner

import dubcli
from dubcli.cli.app import app
from dubcli.core.errors import ChecksumError, ConfigError, WeightsError
from dubcli.evaluation.results import item_path
from dubcli.identities.adapter import fits_installed
from dubcli.identities.identity import Base
from dubcli.media.container.ffmpeg import ffmpeg_binary
from dubcli.pipeline.stored_identity import read_identity
from dubcli.weights import resolve as weights
from dubcli.weights.external import describe, is_external
from dubcli.weights.load import load_model
from dubcli.weights.lock import accept
from dubcli.weights.manifest import load_manifest

ASSETS = Path(dubcli.__file__).parent / "assets"
ACCEPT = "--accept-licence"


@pytest.fixture(scope="module")
def content() -> bytes:
    """A checkpoint's weights."""
    return weights_of()


def _is_loaded(name: str, content: bytes) -> bool:
    model: Any = load_model(name, "cpu")[0]
    state = model.state_dict()
    return all(torch.equal(state[key], value) for key, value in load(content).items())


# The hub -----------------------------------------------------------------------------------------


def test_a_dub_with_a_checkpoint_of_the_hub_names_repository_and_commit(
    hub: Hub, content: bytes, tmp_path: Path
) -> None:
    commit = hub.repo("org/lips").commit(published(content))
    for name, words in {
        "clip.mp4": ("-i", str(ASSETS / "demo.mp4"), "-vf", "scale=240:240", "-frames:v", "8"),
        "new.wav": ("-i", str(ASSETS / "demo_speech.wav"), "-t", "0.3"),
    }.items():
        argv = [ffmpeg_binary(), "-nostdin", "-loglevel", "error", "-y", *words]
        subprocess.run([*argv, str(tmp_path / name)], check=True)
    words = ["clip.mp4", "--audio", "new.wav", "--json", "-q", "--model", "hf:org/lips"]
    done = CliRunner().invoke(app, [*words, "--threads", "1"])
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["model"] == f"hf:org/lips@{commit}:model.safetensors"
    assert report["weights_sha256"] == hashlib.sha256(content).hexdigest()
    assert len(hub.asked("GET", "/cdn/")) == 1


def test_revision_and_file_are_chosen(hub: Hub, content: bytes) -> None:
    repo, other = hub.repo("org/lips"), weights_of(seed=1)
    first = repo.commit(published(content))
    repo.commit(published(other), "refs/pr/2")
    own = json.dumps(config_of(other, file=None)).encode()
    repo.commit({"big/net.safetensors": other, "big/net.json": own})
    assert _is_loaded("hf:org/lips", content)
    assert _is_loaded(f"hf:org/lips@{first}", content)
    assert _is_loaded("hf:org/lips@refs/pr/2", other)
    assert _is_loaded("hf:org/lips:big/net.safetensors", other)
    assert _is_loaded(describe("hf:org/lips:big/net.safetensors").name, other)


def test_what_was_used_once_works_offline(
    hub: Hub, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repo("org/lips", published(content))
    name = weights.resolve("hf:org/lips").name
    load_model(name, "cpu")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for wanted in ("hf:org/lips", name):
        assert _is_loaded(wanted, content)
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE"):
        load_model("hf:org/other", "cpu")


@pytest.mark.parametrize(
    "name",
    [
        *("hf:", "hf:lips", "hf:a/b/c", "hf:org/lips@", "hf:org/lips:", "hf:org/lips:net.pth"),
        *("hf:org/lips:../net.safetensors", "hf:org/lips:/net.safetensors", "hf:org/li ps"),
    ],
)
def test_another_form_of_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="Write hf:ORG/REPO"):
        weights.resolve(name)


def test_an_unfree_checkpoint_must_be_accepted_once_for_all_its_commits(
    hub: Hub, content: bytes
) -> None:
    repo = hub.repo("org/lips", published(content, commercial=None, license="mine"))
    with pytest.raises(ConfigError, match=r"mine.*dub models pull hf:org/lips --accept-licence"):
        load_model("hf:org/lips", "cpu")
    assert hub.asked("GET", "/cdn/") == []
    done = CliRunner().invoke(app, ["models", "pull", "hf:org/lips", ACCEPT])
    assert done.exit_code == 0, done.stderr
    repo.commit(published(weights_of(seed=1), commercial=None, license="mine"))
    assert _is_loaded("hf:org/lips", weights_of(seed=1))
    repo.commit(published(content, commercial=None, license="another"))
    with pytest.raises(ConfigError, match="another"):
        load_model("hf:org/lips", "cpu")


def test_another_file_than_the_configuration_names_is_moved_aside(hub: Hub, content: bytes) -> None:
    hub.repo("org/lips", published(content))
    hub.faults = [Fault("/cdn/", body=weights_of(seed=1))]
    with pytest.raises(ChecksumError, match="moved to"):
        load_model("hf:org/lips", "cpu")
    assert _is_loaded("hf:org/lips", content)


# Configurations that do not fit ------------------------------------------------------------------

BAD: list[tuple[dict[str, Any], str]] = [
    ({"dubcli": None}, "not of this project"),
    ({"dubcli": 2}, "format 2"),
    ({"architecture": None}, "architecture cannot be used"),
    ({"architecture": "sync-train"}, "'sync-train', which is no model"),
    ({"architecture": "talker"}, "'talker', which is no model"),
    ({"config": None}, "config cannot be used"),
    ({"config": {**CONFIG, "colour": 1}}, "Config of 'iptalker' does not fit.*colour"),
    ({"config": {**CONFIG, "height": "high"}}, "no 'iptalker' can be built.*height is 'high'"),
    ({"config": {**CONFIG, "width": 0}}, "no 'iptalker' can be built.*width is 0"),
    ({"config": {**CONFIG, "geometry_map": 1}}, "no 'iptalker' can be built.*geometry_map is 1"),
    ({"config": {**CONFIG, "mask": "all"}}, "mask = 'all' is unknown"),
    ({"config": {**CONFIG, "channels": -4}}, "no 'iptalker' can be built"),
    ({"config": {**CONFIG, "audio_kind": "smell"}}, "audio_kind = 'smell' is unknown"),
    ({"file": "../model.safetensors"}, "file cannot be used"),
    ({"file": "model.pth"}, "file cannot be used"),
    ({"sha256": "abc"}, "sha256 cannot be used"),
    ({"bytes": "many"}, "num_bytes cannot be used"),
    ({"license": 3}, "license cannot be used"),
    ({"commercial": "no"}, "commercial cannot be used"),
    ({"metrics": []}, "metrics cannot be used"),
]


@pytest.mark.parametrize(("changes", "said"), BAD)
@pytest.mark.parametrize("kind", ["hub", "folder"])
def test_a_configuration_that_does_not_fit_is_refused_before_anything_large(
    kind: str, changes: dict[str, Any], said: str, hub: Hub, content: bytes, tmp_path: Path
) -> None:
    files = published(content, **changes)
    if kind == "hub":
        hub.repo("org/lips", files)
        name = "hf:org/lips"
    else:
        name = f"{write(tmp_path / 'lips', files)}/"
    with pytest.raises(WeightsError, match=said) as raised:
        load_model(name, "cpu")
    assert "\n" not in str(raised.value)
    assert hub.asked("GET", "/cdn/") == []


def test_a_repository_of_another_project_is_named_as_such(hub: Hub, content: bytes) -> None:
    hub.repo("org/bert", {"config.json": b'{"model_type": "bert"}', "model.safetensors": content})
    hub.repo("org/bare", {"model.safetensors": content})
    with pytest.raises(WeightsError, match="not of this project"):
        weights.resolve("hf:org/bert")
    with pytest.raises(WeightsError, match=r"config\.json cannot be downloaded.*no such file"):
        weights.resolve("hf:org/bare")
    hub.repo("org/nosum", published(content, sha256=None))
    with pytest.raises(WeightsError, match="states no sha256"):
        weights.resolve("hf:org/nosum")


@pytest.mark.parametrize("change", ["missing", "extra", "shape", "text"])
def test_weights_that_do_not_fit_their_configuration_are_refused_before_a_frame_is_read(
    change: str, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = load(content)
    first = next(iter(state))
    if change == "missing":
        del state[first]
    elif change == "extra":
        state["more"] = torch.zeros(1)
    else:
        state[first] = torch.zeros(1, 2, 3)
    changed = b"no safetensors" if change == "text" else save(state)
    write(tmp_path / "lips", published(changed))

    def read(*_: Any, **__: Any) -> Any:
        raise AssertionError("a frame is read")

    # The package has a function of the module's name.
    monkeypatch.setattr(importlib.import_module("dubcli.pipeline.run"), "FrameReader", read)
    words = [str(ASSETS / "demo.mp4"), "--audio", str(ASSETS / "demo_speech.wav")]
    done = CliRunner().invoke(app, [*words, "-q", "-o", "out.mp4", "--model", "lips/"])
    assert done.exit_code == 4
    assert done.stderr.count("\n") == 1
    assert "not a safetensors file" in done.stderr or "does not fit" in done.stderr
    assert not Path("out.mp4").exists()


# The user's own ----------------------------------------------------------------------------------


def test_every_form_of_an_own_checkpoint_loads(content: bytes, tmp_path: Path) -> None:
    folder = write(tmp_path / "lips", published(content))
    write(tmp_path / "run" / "step-000010", trained(weights_of(seed=1)))
    write(tmp_path / "run" / "step-000020", trained(content))
    own = json.dumps(config_of(content, sha256=None, bytes=None, file=None)).encode()
    write(tmp_path, {"net.safetensors": content, "net.json": own})
    for name in (
        *(f"{folder}/", "./lips", "lips/model.safetensors", "net.safetensors"),
        *("run/", "run/step-000020/", "run/step-000020/average.safetensors"),
    ):
        assert is_external(name)
        assert _is_loaded(name, content), name
    assert load_model("net.safetensors", "cpu")[1] == hashlib.sha256(content).hexdigest()


def test_what_is_no_checkpoint_says_what_is_missing(content: bytes, tmp_path: Path) -> None:
    write(tmp_path / "lips", published(content))
    write(tmp_path, {"net.safetensors": content, "lips/other.safetensors": content})
    (tmp_path / "empty").mkdir()
    write(tmp_path / "step", {"state.json": b"{}", "config.json": b"{}"})
    write(tmp_path / "text", {"config.json": b"{"})
    for name, said in {
        "absent/": "does not exist",
        "net.safetensors": r"no config\.json beside it",
        "empty/": r"no config\.json beside it",
        "lips/other.safetensors": r"describes model\.safetensors, not other\.safetensors",
        "step/": "no training checkpoint",
        "text/": "is no JSON",
    }.items():
        with pytest.raises(WeightsError, match=said):
            weights.resolve(name)
    (tmp_path / "lips" / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"model\.safetensors' cannot be read"):
        weights.resolve("lips/")


def test_an_own_file_that_is_not_the_stated_one_is_refused_and_stays(
    content: bytes, tmp_path: Path
) -> None:
    folder = write(tmp_path / "lips", published(content))
    (folder / "model.safetensors").write_bytes(weights_of(seed=1))
    with pytest.raises(ChecksumError, match="damaged or not lips/model"):
        load_model("lips/", "cpu")
    assert (folder / "model.safetensors").is_file()


def test_a_plain_word_stays_a_name_of_the_manifest(content: bytes, tmp_path: Path) -> None:
    write(tmp_path / "iptalker", published(content))
    assert weights.resolve("iptalker").package is not None
    assert weights.resolve("./iptalker").path is not None
    with pytest.raises(ConfigError, match="Unknown model 'lips'"):
        weights.resolve("lips")


def test_a_model_without_weights_says_how_to_train_some() -> None:
    shipped = load_manifest()
    others = {name: entry for name, entry in shipped.weights.items() if entry.architecture != "g4g"}
    without = replace(shipped, weights=others, default={})
    with pytest.raises(ConfigError, match=r"No weights of 'g4g' ship.*dub train g4g") as refused:
        weights.resolve("g4g", without)
    assert refused.value.exit_code == 2
    with pytest.raises(ConfigError, match="Unknown model 'g4h'"):
        weights.resolve("g4h", without)


def test_an_identity_learned_on_such_a_checkpoint_finds_it_again(
    hub: Hub, content: bytes, tmp_path: Path
) -> None:
    hub.repo("org/lips", published(content))
    write(tmp_path / "lips", published(content))
    sha256 = hashlib.sha256(content).hexdigest()
    for name in (weights.resolve("hf:org/lips").name, "lips/model.safetensors"):
        assert fits_installed(Base(name=name, sha256=sha256))
        assert not fits_installed(Base(name=name, sha256="0" * 64))
    assert not fits_installed(Base(name="gone/model.safetensors", sha256=sha256))


def test_an_identity_brings_the_checkpoint_that_it_was_learned_on(
    hub: Hub, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repo("org/lips", published(content))
    name = weights.resolve("hf:org/lips").name
    base = Base(name=name, sha256=hashlib.sha256(content).hexdigest())
    person = SimpleNamespace(base=base, architecture="iptalker")
    monkeypatch.setattr("dubcli.pipeline.stored_identity.load_identity", lambda path: person)
    assert read_identity("anna", "iptalker") == (person, name)
    assert read_identity("anna", "iptalker.v3") == (person, "iptalker.v3")


def test_its_name_can_begin_a_file_of_an_evaluation() -> None:
    name = "hf:org/lips@c0ffee:model.safetensors"
    path = item_path(Path("scores"), "clip", "cross-speech", name)
    assert path.parent == Path("scores/items")
    assert path.name == "clip.cross-speech.hf_org_lips_c0ffee_model.safetensors.json"


def test_accepting_is_of_no_use_for_another_repository(hub: Hub, content: bytes) -> None:
    hub.repo("org/lips", published(content, commercial=False))
    accept("hf:org/other", "CC BY 4.0")
    with pytest.raises(ConfigError, match="hf:org/lips"):
        load_model("hf:org/lips", "cpu")
