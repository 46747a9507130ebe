"""Lip-and-Identity learns a person, and dubs with what it learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_clips import made_clip, write_set
from studio import DEMO, dub_here, face_clip, ffmpeg, speech
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.config import TrainConfig
from dubcli.identities.store import load_identity
from dubcli.training.run import train


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network that has learned nothing but the basis of mouths."""
    folder = tmp_path_factory.mktemp("base")
    data = write_set(folder / "set", {"anna": made_clip(0), "ben": made_clip(1)}, {})
    return train(
        TrainConfig(
            model="lip-identity", data=data, output=folder / "run", preset="tiny", steps=1,
            batch_clips=1, frames_per_clip=2, device="cpu",
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def learned(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An identity of the bundled face after two steps, from 1.6 seconds."""
    folder = tmp_path_factory.mktemp("people")
    ffmpeg("-i", DEMO, "-t", "3.2", "-vf", "scale=240:240", "-c:v", "libx264", folder / "talk.mp4")
    words = ["--half", "--steps", "2", "--consent", "--device", "cpu", "--threads", "1", "--json"]
    argv = ["finetune", str(folder / "talk.mp4"), "--name", str(folder / "lee"), *words]
    done = CliRunner().invoke(app, [*argv, "--model", str(base)])
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["last_step"] == 2
    assert np.isfinite([check["psnr"] for check in report["checks"]]).all()
    return folder / "lee"


def test_the_persons_mouths_and_looks_are_learned(learned: Path) -> None:
    identity = load_identity(learned)
    assert identity.architecture == "lip-identity"
    changed = {name for name, delta in identity.adapter.items() if bool(delta.any())}
    assert "person_sets" in changed
    openings = identity.state["sets"]
    # Different mouths of the person, not the mouth at rest.
    assert len(openings.unique(dim=0)) == len(openings) > 1


def test_a_dub_moves_the_mouth_as_the_identity_does(
    base: Path, learned: Path, tmp_path: Path
) -> None:
    source, audio = face_clip(tmp_path / "in.mp4", frames=8), speech(tmp_path / "speech.wav", 0.3)

    def mouths(name: str, **settings: Any) -> tuple[Any, np.ndarray]:
        file = tmp_path / f"{name}-mouths.json"
        report = dub_here(
            source, audio, tmp_path / f"{name}.mkv", model=str(base), landmarks_out=file, **settings
        )
        (face,) = json.loads(file.read_text())["faces"]
        return report, np.array([frame["points"] for frame in face["frames"]])

    general, without = mouths("general")
    own, with_identity = mouths("own", identity=str(learned))
    assert (general.identity, own.identity) == (None, "lee")
    assert own.frames_dubbed == general.frames_dubbed == 8
    assert not np.allclose(without, with_identity, atol=0.1)
    (facts,) = own.model_facts.values()
    assert facts["reference_landmarks"] == len(load_identity(learned).state["sets"])
