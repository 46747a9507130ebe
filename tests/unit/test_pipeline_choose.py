"""Which of several made faces is dubbed, by every way to say so."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from made_faces import BlotchRecogniser, face_at, made_embedding, made_track
from made_identities import made_identity

from dubcli.config import DubConfig
from dubcli.core.errors import ConfigError, NoFaceError, ProbeError
from dubcli.core.types import F32, FaceTrack
from dubcli.media.video.timeline import FrameTimes
from dubcli.pipeline.analysis import Analysis
from dubcli.pipeline.face_choice import Choice, Known, choose, known_person
from dubcli.sync.scorer import SyncScore

SIZE = (640, 360)
RECOGNISER = BlotchRecogniser()
NUM = 6
Place = tuple[float, float]


def _face(centre: Place, embedding: F32 | None = None, usable: bool = True) -> FaceTrack:
    track = made_track(np.repeat(face_at(centre)[None], NUM, 0), valid=[usable] * NUM)
    return track if embedding is None else replace(track, embedding=embedding)


def _found(*tracks: FaceTrack) -> Analysis:
    times = FrameTimes(pts=list(range(NUM)), end_pts=NUM, time_base=Fraction(1, 25))
    return Analysis(times=times, tracks=list(tracks), num_corrupt=0)


def _at(*centres: Place) -> Analysis:
    return _found(*(_face(centre) for centre in centres))


def _score(confidence: float, windows: int = 200, offset: float = 0.0) -> SyncScore:
    return SyncScore(confidence=confidence, distance=0.5, offset_frames=offset, num_windows=windows)


def _deaf(tracks: Sequence[FaceTrack]) -> list[SyncScore | None]:
    raise AssertionError("nobody had to listen")


def _choose(
    found: Analysis,
    face: str | int,
    known: Known | None = None,
    scores: Sequence[SyncScore | None] | None = None,
) -> Choice:
    """Chosen with these answers to how well each face's lips follow the sound."""
    return choose(found, face, SIZE, known, _deaf if scores is None else lambda tracks: scores)


LEFT, MIDDLE, RIGHT = (120.0, 180.0), (320.0, 180.0), (520.0, 180.0)


@pytest.mark.parametrize("face", ["auto", "left", "centre", "bottom"])
def test_the_only_face_is_taken_without_listening(face: str) -> None:
    found = _at(RIGHT)
    choice = _choose(found, face)
    assert choice.track is found.tracks[0]
    assert (choice.number, choice.reason) == (1, "the only face")


def test_faces_that_cannot_be_used_do_not_count() -> None:
    choice = _choose(_found(_face(LEFT), _face(RIGHT, usable=False)), "auto")
    assert (choice.number, choice.reason) == (1, "the only usable one of 2")
    with pytest.raises(NoFaceError):
        _choose(_found(_face(RIGHT, usable=False)), "auto")


@pytest.mark.parametrize("face", [2, "2"])
def test_a_number_counts_by_size(face: str | int) -> None:
    found = _at(LEFT, RIGHT, MIDDLE)
    choice = _choose(found, face)
    assert choice.track is found.tracks[1]
    assert (choice.number, choice.reason) == (2, "number 2 was asked for")


def test_a_number_beyond_the_faces_names_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"Face 4 .* shows 3\. Use --face 1 to 3"):
        _choose(_at(LEFT, RIGHT, MIDDLE), 4)


@pytest.mark.parametrize(
    ("face", "number", "reason"),
    [
        ("left", 3, "leftmost"),
        ("right", 1, "rightmost"),
        ("centre", 2, "nearest to the centre"),
        ("center", 2, "nearest to the centre"),
    ],
)
def test_a_place_beside_others(face: str, number: int, reason: str) -> None:
    choice = _choose(_at(RIGHT, MIDDLE, LEFT), face)
    assert (choice.number, choice.reason) == (number, reason)


@pytest.mark.parametrize(("face", "number"), [("top", 2), ("bottom", 1)])
def test_a_place_above_others(face: str, number: int) -> None:
    assert _choose(_at((320, 280), (320, 90)), face).number == number


def test_a_place_is_where_the_face_is_mostly_seen_and_usable() -> None:
    moving = np.stack([face_at(RIGHT if index < 3 else (20.0, 180.0)) for index in range(NUM)])
    wanderer = made_track(moving, valid=[True] * 3 + [False] * 3)
    assert _choose(_found(_face(MIDDLE), wanderer), "left").number == 1


@pytest.mark.parametrize(
    ("face", "numbers"), [("left", (1, 3)), ("centre", (1, 2)), ("top", (1, 2))]
)
def test_a_place_that_two_faces_share_is_refused(face: str, numbers: tuple[int, int]) -> None:
    found = _at(LEFT, RIGHT, (125.0, 360.0))
    use = f"faces {numbers[0]} and {numbers[1]} .*--face {numbers[0]} or --face {numbers[1]}"
    with pytest.raises(ConfigError, match=use) as raised:
        _choose(found, face)
    assert "\n" not in str(raised.value)


def test_the_speaker_is_the_one_whose_lips_follow_the_sound() -> None:
    choice = _choose(_at(LEFT, RIGHT), "auto", scores=[_score(0.11), _score(0.42)])
    assert choice.number == 2
    assert choice.reason == "its lips follow the video's own sound (0.42 against 0.11)"


def test_a_mouth_that_is_hardly_seen_speaks_less_than_one_that_is() -> None:
    unknown = _score(math.nan, windows=0)
    assert _choose(_at(LEFT, RIGHT), "auto", scores=[unknown, _score(0.5)]).number == 2
    assert _choose(_at(LEFT, RIGHT), "auto", scores=[None, _score(0.5)]).number == 2


@pytest.mark.parametrize(
    "scores",
    [
        [_score(0.45), _score(0.50)],
        [_score(0.02), _score(0.15)],
        [_score(0.02), _score(0.50, windows=20)],
        [_score(0.02), _score(0.50, offset=15.0)],
        [_score(math.nan, windows=0), _score(math.nan, windows=0)],
    ],
    ids=["both", "neither", "too short", "out of reach", "unknown"],
)
def test_where_nobody_clearly_speaks_it_is_the_largest(scores: list[SyncScore]) -> None:
    choice = _choose(_at(LEFT, RIGHT), "auto", scores=scores)
    assert choice.number == 1
    assert choice.reason.startswith("the largest of 2")
    assert "not clear" in choice.reason


def test_without_own_sound_it_is_the_largest() -> None:
    choice = _choose(_at(LEFT, RIGHT, MIDDLE), "auto", scores=[None, None, None])
    assert (choice.number, choice.reason) == (1, "the largest of 3")


def _speaking(centre: Place, scale: float, opening: float, num: int = 60) -> FaceTrack:
    """A mouth that opens this far twice a second; 0 is a picture on a wall."""
    gaps = opening * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(num) / 12))
    return made_track(np.stack([face_at(centre, scale, opening=float(gap)) for gap in gaps]))


@pytest.mark.parametrize(
    "scores", [[None, None], [_score(0.05), _score(0.15)]], ids=["mute", "unsure"]
)
def test_whose_lips_move_comes_before_a_larger_face_that_is_still(
    scores: list[SyncScore | None],
) -> None:
    times = FrameTimes(pts=list(range(60)), end_pts=60, time_base=Fraction(1, 25))
    portrait, speaker = _speaking(LEFT, 60, 0.0), _speaking(RIGHT, 30, 0.3)
    found = Analysis(times=times, tracks=[portrait, speaker], num_corrupt=0)
    choice = _choose(found, "auto", scores=scores)
    assert choice.number == 2
    assert choice.reason == "the largest whose lips move; face 1 is larger and still"
    # Nobody moves, or the largest does: the largest.
    for tracks in ([portrait, _speaking(RIGHT, 30, 0.0)], [_speaking(LEFT, 60, 0.3), speaker]):
        found = Analysis(times=times, tracks=tracks, num_corrupt=0)
        assert _choose(found, "auto", scores=scores).number == 1


def _three_people() -> Analysis:
    places = zip((LEFT, MIDDLE, RIGHT), (1, 2, 3), strict=True)
    return _found(*(_face(place, made_embedding(person)) for place, person in places))


def _some_of(person: int, name: str = "anna.png") -> Known:
    return Known(name=name, embedding=made_embedding(person))


def test_a_picture_finds_who_is_most_like_it() -> None:
    choice = _choose(_three_people(), "anna.png", _some_of(2))
    assert choice.number == 2
    assert re.fullmatch(r"most like anna\.png \(similarity 1\.000\)", choice.reason)


def test_a_picture_of_somebody_else_is_refused_with_the_numbers() -> None:
    with pytest.raises(ConfigError, match=r"'anna\.png' .*number 1: .*--face 3") as raised:
        _choose(_three_people(), "anna.png", _some_of(7))
    assert "\n" not in str(raised.value)
    # Also where there is only one face: it is not the one that was asked for.
    with pytest.raises(ConfigError, match="--face 1,"):
        _choose(_found(_face(LEFT, made_embedding(1))), "anna.png", _some_of(7))


def test_a_picture_that_two_faces_are_like_is_refused_with_their_numbers() -> None:
    twins = _found(*(_face(place, made_embedding(who)) for place, who in ((LEFT, 1), (MIDDLE, 2))))
    twins.tracks.append(_face(RIGHT, made_embedding(1)))
    with pytest.raises(ConfigError, match=r"faces 1 and 3\. Use --face 1 or --face 3"):
        _choose(twins, "anna.png", _some_of(1))


def test_a_face_of_which_nothing_is_known_is_nobody() -> None:
    found = _three_people()
    found.tracks[0] = _face(LEFT)
    assert _choose(found, "anna.png", _some_of(3)).number == 3
    with pytest.raises(ConfigError, match="No face is the one"):
        _choose(_at(LEFT), "anna.png", _some_of(1))


@pytest.mark.parametrize(("alike", "is_taken"), [(0.95, True), (0.93, False)])
def test_a_picture_is_somebody_from_the_measured_similarity_on(
    alike: float, is_taken: bool
) -> None:
    anna, other = made_embedding(1), made_embedding(2)
    apart = other - (other @ anna) * anna
    near = alike * anna + math.sqrt(1 - alike**2) * apart / np.linalg.norm(apart)
    found = _found(_face(LEFT, near.astype(np.float32)), _face(RIGHT, made_embedding(3)))
    if is_taken:
        assert _choose(found, "anna.png", _some_of(1)).number == 1
        return
    with pytest.raises(ConfigError, match=r"number 1: 0\.930.*0\.940 is needed"):
        _choose(found, "anna.png", _some_of(1))


def test_the_identity_comes_before_the_speaker() -> None:
    anna = known_person("auto", made_identity("anna", embedding=made_embedding(3)), RECOGNISER)
    choice = _choose(_three_people(), "auto", anna)
    assert choice.number == 3
    assert choice.reason.startswith("most like the identity 'anna' (similarity ")


def test_an_identity_that_nobody_is_like_leaves_it_to_the_sound() -> None:
    anna = known_person("auto", made_identity("anna", embedding=made_embedding(9)), RECOGNISER)
    scores = [_score(0.1), _score(0.6), _score(0.05)]
    choice = _choose(_three_people(), "auto", anna, scores)
    assert choice.number == 2
    assert "own sound" in choice.reason


@pytest.mark.parametrize("face", [2, "2", "left", "center"])
def test_only_auto_asks_an_identity(face: str | int) -> None:
    assert known_person(face, made_identity("anna"), RECOGNISER) is None
    assert known_person("auto", None, RECOGNISER) is None


def _config(face: Any, **settings: Any) -> DubConfig:
    return DubConfig(video=Path("a.mp4"), audio=Path("a.wav"), face=face, **settings)


@pytest.mark.parametrize("face", [1, "1", "12", "auto", "centre", "anna.png", "./left", "d\\anna"])
def test_what_may_name_a_face(face: str | int) -> None:
    assert _config(face).face == face


@pytest.mark.parametrize("face", [0, -1, "0", "-3", "", "anna", "Left", "middle"])
def test_what_cannot_name_a_face(face: str | int) -> None:
    with pytest.raises(ConfigError):
        _config(face)


@pytest.mark.parametrize("face", ["left", "anna.png"])
def test_learning_takes_a_number_only(face: str) -> None:
    with pytest.raises(ConfigError, match=r"--finetune .*--face auto or a number"):
        _config(face, finetune=True)
    assert _config("2", finetune=True).face == "2"


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    text = _written(tmp_path / "text.png", b"Dear reader, this is no picture.\n" * 9)
    empty = _written(tmp_path / "empty.jpg", b"")
    for path in (tmp_path / "absent.png", text, empty, tmp_path / "."):
        with pytest.raises(ProbeError, match=re.escape(str(path))) as raised:
            known_person(f"{path}/" if path.is_dir() else str(path), None, RECOGNISER)
        assert "--face" in raised.value.next_step


def test_a_picture_without_a_face_is_named(tmp_path: Path) -> None:
    wall = np.full((300, 200, 3), 120, np.uint8)
    path = _written(tmp_path / "wall.png", cv2.imencode(".png", wall)[1].tobytes())
    with pytest.raises(NoFaceError, match=r"wall\.png"):
        known_person(str(path), None, RECOGNISER)
