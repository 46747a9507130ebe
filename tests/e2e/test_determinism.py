"""Same inputs, seed and threads: the same bytes. Otherwise computed: the same mouth."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from mouth_agreement import agreement_db, read_mouths
from safetensors.torch import save
from studio import dub_here, face_clip, speech
from untrained_model import untrained_model

from dubcli.models.g4g.config import NAMED_CONFIGS as G4G
from dubcli.models.iptalker.network import NAMED_CONFIGS as IPTALKER
from dubcli.models.lip_identity.config import NAMED_CONFIGS as LIP_IDENTITY
from dubcli.models.personatalk.config import NAMED_CONFIGS as PERSONATALK
from dubcli.pipeline import device
from dubcli.pipeline.generator import Generator

FRAMES = 20
LEAST_DB = 60.0
LEAST_BFLOAT16_DB = 45.0
TINY: dict[str, Any] = {
    "iptalker": IPTALKER["tiny"],
    "lip-identity": LIP_IDENTITY["tiny"],
    "personatalk": PERSONATALK["tiny"],
    "g4g": G4G["tiny"],
}


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A face of more than one window of frames, and as much speech."""
    folder = tmp_path_factory.mktemp("media")
    face_clip(folder / "face.mp4", frames=FRAMES)
    speech(folder / "speech.wav", FRAMES / 25)
    return folder


@pytest.fixture(scope="module", params=list(TINY))
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small untrained network of each architecture, all of whose layers matter."""
    name, config = request.param, asdict(TINY[request.param])
    torch.manual_seed(3)
    model = untrained_model(name, config)
    folder = tmp_path_factory.mktemp(name)
    (folder / "model.safetensors").write_bytes(save(model.state_dict()))
    about = {"dubcli": 1, "architecture": name, "config": config, "file": "model.safetensors"}
    (folder / "config.json").write_text(json.dumps({**about, "license": "CC BY 4.0"}))
    return folder


def _dub(media: Path, folder: Path, model: str, **settings: Any) -> Path:
    folder.mkdir()
    output = folder / "out.mp4"
    chosen: dict[str, Any] = {"threads": 1, "seed": 5, "no_mark": True, **settings}
    dub_here(media / "face.mp4", media / "speech.wav", output, model=model, **chosen)
    return output


@pytest.fixture
def _threads() -> Iterator[None]:
    """Torch as it was: a dub sets its number of threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_threads")
def test_the_same_bytes_of_every_model(media: Path, weights: Path, tmp_path: Path) -> None:
    results = [_dub(media, tmp_path / name, str(weights)) for name in ("one", "two")]
    first, second = (path.read_bytes() for path in results)
    assert first == second


@pytest.mark.usefixtures("_threads")
def test_the_same_bytes_without_a_model(media: Path, tmp_path: Path) -> None:
    first, second = (_dub(media, tmp_path / name, "passthrough").read_bytes() for name in "ab")
    assert first == second


@pytest.mark.usefixtures("_threads")
def test_the_same_mouth_with_other_threads_and_batches(
    media: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = tmp_path / "points.json"
    one = _dub(media, tmp_path / "1", str(weights), lossless=True, landmarks_out=points)
    two = _dub(media, tmp_path / "2", str(weights), lossless=True, threads=2)
    begin = Generator.__init__

    def smaller(self: Generator, *arguments: Any, **more: Any) -> None:
        begin(self, *arguments, **more)
        self._most = 3

    monkeypatch.setattr(Generator, "__init__", smaller)
    parts = _dub(media, tmp_path / "3", str(weights), lossless=True)
    mouths = read_mouths(points)
    assert len(mouths) > FRAMES // 2
    found = [agreement_db(one, other, mouths) for other in (two, parts)]
    print(f"{weights.name}: {found[0]:.1f} dB with two threads, {found[1]:.1f} dB in threes")
    assert min(found) >= LEAST_DB, found


@pytest.mark.usefixtures("_threads")
def test_nearly_the_same_mouth_in_bfloat16(
    media: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = tmp_path / "points.json"
    monkeypatch.setattr(device, "has_fast_bfloat16", lambda _: False)
    one = _dub(media, tmp_path / "1", str(weights), lossless=True, landmarks_out=points)
    asked: list[torch.device] = []
    monkeypatch.setattr(device, "has_fast_bfloat16", lambda chosen: asked.append(chosen) or True)
    other = _dub(media, tmp_path / "2", str(weights), lossless=True)
    assert asked
    found = agreement_db(one, other, read_mouths(points))
    print(f"{weights.name}: {found:.1f} dB in bfloat16")
    # Equal pictures would mean that bfloat16 was never used.
    assert LEAST_BFLOAT16_DB <= found < 100.0
