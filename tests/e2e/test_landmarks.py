"""Mouths as a file of points: written, rendered from, edited, and refused where they do not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_clips import made_clip, write_set
from studio import dub_here, face_clip, pictures, speech
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.config import TrainConfig
from dubcli.core.errors import ConfigError, EncodeError
from dubcli.training.run import train

Dub = Callable[..., Path]


@pytest.fixture(scope="module")
def painter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that reads nothing of a mouth but its points."""
    folder = tmp_path_factory.mktemp("painter")
    data = write_set(folder / "set", {"anna": made_clip(0), "ben": made_clip(1)}, {})
    return train(
        TrainConfig(
            model="lip-identity", data=data, output=folder / "run", preset="tiny", steps=1,
            batch_clips=1, frames_per_clip=2, device="cpu",
        )
    )  # fmt: skip


@pytest.fixture
def dubbed(painter: Path, tmp_path: Path) -> Dub:
    """Dub a small clip, lossless, into a file of a name."""
    source, audio = face_clip(tmp_path / "in.mp4"), speech(tmp_path / "speech.wav", 0.6)

    def run(name: str, **settings: Any) -> Path:
        output = tmp_path / f"{name}.mkv"
        chosen = {"model": str(painter), "video": source, **settings}
        dub_here(chosen.pop("video"), audio, output, lossless=True, **chosen)
        return output

    return run


def _frames(path: Path) -> list[np.ndarray]:
    return [shown.frame.to_ndarray(format="rgb24") for shown in pictures(path)]


def _changed(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    content = json.loads(path.read_text())
    change(content)
    edited = path.with_name("edited.json")
    edited.write_text(json.dumps(content))
    return edited


def test_a_round_trip_gives_the_same_pictures_and_an_edit_others(
    dubbed: Dub, tmp_path: Path
) -> None:
    file, again = tmp_path / "mouths.json", tmp_path / "again.json"
    first = _frames(dubbed("first", landmarks_out=file))
    second = _frames(dubbed("second", landmarks=file, landmarks_out=again))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert again.read_bytes() == file.read_bytes()
    content = json.loads(file.read_text())
    (face,) = content["faces"]
    assert sum(stop - start for start, stop in face["positions"]) == len(face["frames"])
    height, width = first[0].shape[:2]
    lips = np.array([frame["points"][:40] for frame in face["frames"]])
    assert lips.shape[1:] == (40, 3)
    assert (lips[..., :2] > 0).all()
    assert (lips[..., :2] < (width, height)).all()

    def lower_jaw(content: dict[str, Any]) -> None:
        for point in content["faces"][0]["frames"][5]["points"][20:61]:
            point[1] += 4 if point[1] > np.mean(lips[5, 20:40, 1]) else 0

    third = _frames(dubbed("third", landmarks=_changed(file, lower_jaw)))
    differing = [not np.array_equal(a, b) for a, b in zip(first, third, strict=True)]
    # The edited frame and those whose sketches show it.
    assert differing[5]
    assert not any(differing[8:])


def _frame(content: dict[str, Any]) -> dict[str, Any]:
    return content["faces"][0]["frames"][3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["faces"][0]["frames"].pop(3), r"frame at position 3 is missing"),
        (lambda c: _frame(c)["points"][7].__setitem__(0, float("nan")), r"no numbers"),
        (lambda c: _frame(c)["points"][7].__setitem__(0, None), r"no numbers"),
        (lambda c: _frame(c)["points"].pop(), r"does not hold 102 points"),
        (lambda c: _frame(c)["points"][35].__setitem__(1, 1e4), r"lips that cross"),
        (lambda c: c["video"].update(digest="0"), r"landmarks of another video"),
        (lambda c: c.update(dubcli_landmarks=2), r"has format 2"),
        (lambda c: c["faces"].append(c["faces"][0]), r"holds 2 faces, 1 are dubbed"),
        (lambda c: c.pop("faces"), r"is no landmark file"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_and_nothing_is_written(
    dubbed: Dub, tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    dubbed("first", landmarks_out=tmp_path / "mouths.json")
    edited = _changed(tmp_path / "mouths.json", change)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ConfigError, match=message):
        dubbed("second", landmarks=edited)
    assert sorted(tmp_path.iterdir()) == before


def test_a_model_without_mouths_has_no_landmarks(dubbed: Dub, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'passthrough' paints no mouth that it is given"):
        dubbed("out", model="passthrough", landmarks_out=tmp_path / "mouths.json")
    assert not (tmp_path / "mouths.json").exists()


def test_a_place_that_cannot_be_written_is_told_before_anything_begins(
    dubbed: Dub, tmp_path: Path
) -> None:
    with pytest.raises(EncodeError, match="--landmarks-out cannot be written"):
        dubbed("out", landmarks_out=tmp_path / "no-folder" / "mouths.json")
    with pytest.raises(ConfigError, match="is an input or the result"):
        dubbed("out", landmarks_out=tmp_path / "in.mp4")
    (tmp_path / "mouths.json").write_text("kept")
    with pytest.raises(ConfigError, match="exists"):
        dubbed("out", landmarks_out=tmp_path / "mouths.json", overwrite=False)
    assert (tmp_path / "mouths.json").read_text() == "kept"


def test_on_the_command_line_it_is_one_line(dubbed: Dub, tmp_path: Path) -> None:
    (tmp_path / "mouths.json").write_text("{")
    dubbed("first", landmarks_out=tmp_path / "good.json")
    found = CliRunner().invoke(
        app,
        ["in.mp4", "--audio", "speech.wav", "-o", "out.mkv", "--landmarks", "mouths.json"],
    )
    assert found.exit_code == 2
    assert "'mouths.json' is no landmark file" in " ".join(found.stderr.split())
    assert not (tmp_path / "out.mkv").exists()
