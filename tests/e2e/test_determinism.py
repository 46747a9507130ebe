"""Same inputs, seed and threads: the same bytes. Other threads or batches: the same mouth."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save
from studio import dub_here, face_clip, pictures, speech
from untrained_model import untrained_model

from dubcli.core.types import U8
from dubcli.metrics.mouth_fidelity import psnr
from dubcli.models.g4g.config import NAMED_CONFIGS as G4G
from dubcli.models.iptalker.network import NAMED_CONFIGS as IPTALKER
from dubcli.models.lip_identity.config import NAMED_CONFIGS as LIP_IDENTITY
from dubcli.models.personatalk.config import NAMED_CONFIGS as PERSONATALK
from dubcli.pipeline.generator import Generator

FRAMES = 20
LEAST_DB = 60.0
TINY: dict[str, Any] = {
    "iptalker": IPTALKER["tiny"],
    "lip-identity": LIP_IDENTITY["tiny"],
    "personatalk": PERSONATALK["tiny"],
    "g4g": G4G["tiny"],
}
LIPS = slice(0, 20)


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
    mouths = _mouths(points)
    assert all(right > left and low > top for left, top, right, low in mouths.values())
    assert len(mouths) > FRAMES // 2
    found = [_psnr_db(one, other, mouths) for other in (two, parts)]
    print(f"{weights.name}: {found[0]:.1f} dB with two threads, {found[1]:.1f} dB in threes")
    assert min(found) >= LEAST_DB, found


def _mouths(path: Path) -> dict[int, tuple[int, int, int, int]]:
    """Left, top, right and bottom of the lips by position."""
    boxes: dict[int, tuple[int, int, int, int]] = {}
    for frame in json.loads(path.read_text())["faces"][0]["frames"]:
        lips = np.array(frame["points"])[LIPS, :2].round().astype(int)
        (left, top), (right, bottom) = lips.min(0).tolist(), lips.max(0).tolist()
        boxes[frame["position"]] = (left, top, right, bottom)
    return boxes


def _psnr_db(one: Path, other: Path, mouths: dict[int, tuple[int, int, int, int]]) -> float:
    """The PSNR of all mouths together, dB."""
    return psnr(_cut(one, mouths), _cut(other, mouths))


def _cut(path: Path, mouths: dict[int, tuple[int, int, int, int]]) -> U8:
    """All pixels of all mouths."""
    frames = [shown.frame.to_ndarray(format="rgb24") for shown in pictures(path)]
    cut = [frames[n][top:low, left:right] for n, (left, top, right, low) in mouths.items()]
    return np.concatenate([picture.ravel() for picture in cut]).astype(np.uint8)
