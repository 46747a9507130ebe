"""Mouths as a file of points: written, rendered from, edited, and refused where they do not fit."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_clips import made_clip, write_set
from studio import OTHER_PERSON, dub_here, face_clip, pictures, speech
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.config import DubConfig, TrainConfig, Voice
from dubcli.core.errors import ConfigError, EncodeError
from dubcli.pipeline.landmark_file import MouthLog
from dubcli.pipeline.run import dub
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


LONG, SEGMENT = 40, 16


@pytest.fixture(scope="module")
def two_people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two faces beside each other, for longer than one segment, and what each is to say."""
    folder = tmp_path_factory.mktemp("two")
    beside = f"scale=240:240,split[a][b];[b]{OTHER_PERSON},hflip[r];[a][r]hstack"
    face_clip(folder / "both.mkv", beside, frames=LONG)
    speech(folder / "left.wav", 1.5)
    speech(folder / "right.wav", 1.5, "-af", "adelay=300")
    return folder


def _dub_two(
    folder: Path, painter: Path, output: Path, stop: tuple[str, int] | None = None, **settings: Any
) -> None:
    def tell(stage: str, done: int, total: int) -> None:
        if (stage, done) == stop:
            raise KeyboardInterrupt

    config = DubConfig(
        video=folder / "both.mkv",
        audio=(Voice("left", folder / "left.wav"), Voice("right", folder / "right.wav")),
        output=output,
        model=str(painter),
        device="cpu",
        sync_mode="pad",
        no_mark=True,
        **settings,
    )
    dub(config, tell, segment_frames=SEGMENT)


@pytest.fixture(scope="module")
def undisturbed(two_people: Path, painter: Path) -> tuple[bytes, bytes]:
    """Landmark file and video of a job that nobody interrupts."""
    file, output = two_people / "mouths.json", two_people / "whole.mp4"
    _dub_two(two_people, painter, output, landmarks_out=file)
    return file.read_bytes(), output.read_bytes()


def test_two_voices_are_two_faces_of_the_file_and_are_painted_from_it(
    two_people: Path, painter: Path, undisturbed: tuple[bytes, bytes], tmp_path: Path
) -> None:
    left, right = json.loads(undisturbed[0])["faces"]
    assert len(left["frames"]) == len(right["frames"]) == LONG
    points = [np.array([frame["points"] for frame in one["frames"]]) for one in (left, right)]
    # The faces lie in the two halves of 480 px, and say different things.
    assert points[0][..., 0].max() < 240 < points[1][..., 0].min()
    # Lower lip beside the mouth's corner.
    one, other = (found[:, 25, 1] - found[:, 20, 1] for found in points)
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.99
    again = tmp_path / "again.mp4"
    _dub_two(two_people, painter, again, landmarks=two_people / "mouths.json")
    assert again.read_bytes() == undisturbed[1]


@pytest.mark.parametrize("moment", ["between segments", "while points are saved", "at the end"])
def test_a_job_that_was_interrupted_writes_the_same_file(
    two_people: Path,
    painter: Path,
    undisturbed: tuple[bytes, bytes],
    tmp_path: Path,
    moment: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file, output = tmp_path / "mouths.json", tmp_path / "out.mp4"
    stop = {"between segments": ("dub", SEGMENT + 3), "at the end": ("join", 1)}.get(moment)
    with monkeypatch.context() as patch:
        if stop is None:
            patch.setattr(MouthLog, "save", _interrupted_after(3))
        with pytest.raises(KeyboardInterrupt):
            _dub_two(two_people, painter, output, stop, landmarks_out=file)
    assert not file.exists()
    assert not output.exists()
    _dub_two(two_people, painter, output, landmarks_out=file, overwrite=False)
    assert (file.read_bytes(), output.read_bytes()) == undisturbed
    assert not list(tmp_path.glob("*.dubjob"))


def _interrupted_after(times: int) -> Callable[[MouthLog, Path], None]:
    save, saved = MouthLog.save, list[Path]()

    def once_more(self: MouthLog, path: Path) -> None:
        if len(saved) == times:
            raise KeyboardInterrupt
        saved.append(path)
        save(self, path)

    return once_more


def test_the_file_may_lie_on_another_disk(
    dubbed: Dub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere, replace = tmp_path / "other" / "mouths.json", Path.replace
    elsewhere.parent.mkdir()

    def across_disks(self: Path, target: Path) -> Path:
        if (self.parent == elsewhere.parent) != (Path(target).parent == elsewhere.parent):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", across_disks)
    dubbed("out", landmarks_out=elsewhere)
    assert json.loads(elsewhere.read_text())["faces"]
    assert [path.name for path in elsewhere.parent.iterdir()] == ["mouths.json"]


@pytest.fixture(scope="module")
def written(painter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a dub of the very video that `dubbed` dubs."""
    folder = tmp_path_factory.mktemp("written")
    source, audio = face_clip(folder / "in.mp4"), speech(folder / "speech.wav", 0.6)
    settings: dict[str, Any] = {"model": str(painter), "landmarks_out": folder / "mouths.json"}
    dub_here(source, audio, folder / "out.mkv", **settings)
    return folder / "mouths.json"


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
    dubbed: Dub,
    written: Path,
    tmp_path: Path,
    change: Callable[[dict[str, Any]], None],
    message: str,
) -> None:
    shutil.copy(written, tmp_path / "mouths.json")
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
