"""Which of several faces is dubbed, and why.

Who a picture or an identity shows is found by the recognition network; docs/faces.md has how often
it errs.

The speaker is found by the motion of landmarks alone. Measured on six people, each beside each of
the others under the own sound of the one: over 3, 6 and 20 s the speaker is found in 25, 29 and 30
of 30 pairs, nobody in the rest. A voice that belongs to neither is given to one of them in 4, 4 and
0 of 60 draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from dubcli.config.option_parsing import FACE_PLACES, face_number
from dubcli.core.errors import ConfigError, NoFaceError
from dubcli.core.types import F32, F64, U8, FaceTrack, Frame
from dubcli.face.detect import MAX_SIDE, FaceDetector, open_detector
from dubcli.face.recognition import SAME_PERSON, FaceEmbedder, cut_face, similarity
from dubcli.face.track import smooth_pose
from dubcli.identities.identity import Identity
from dubcli.identities.matching import embedding_of
from dubcli.media.video.timeline import FrameTimes
from dubcli.pipeline.analysis import choose_face, usable_faces
from dubcli.pipeline.analysis_cache import Analysis
from dubcli.pipeline.engine import Engine
from dubcli.pipeline.picture_file import read_picture
from dubcli.sync.lip_motion import lips_move
from dubcli.sync.scorer import SyncScore, mouth_of_track

# How much less similar than the face that is taken for somebody the next one must be.
_LEAD_ALIKE = 0.01
# How much more confidently the speaker's lips follow the sound than anyone else's.
_LEAD_SOUND = 0.1
# Faces that are nearer to each other than this share of their height are at one place.
_SAME_PLACE = 0.25
_IN_WORDS = {
    "left": "leftmost",
    "right": "rightmost",
    "top": "topmost",
    "bottom": "lowest",
    "centre": "nearest to the centre",
    "center": "nearest to the centre",
}

OpenDetector = Callable[[], AbstractContextManager[FaceDetector]]
ScoreTracks = Callable[[Sequence[FaceTrack]], Sequence[SyncScore | None]]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The face that is dubbed.

    Attributes:
        track: The face.
        number: By size, from 1.
        reason: Why this one.
    """

    track: FaceTrack
    number: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Known:
    """Somebody of whom there are pictures.

    Attributes:
        name: What the user calls them, as a sentence goes on with it.
        embedding: Mean of the pictures' embeddings. Shape (128,), float32.
    """

    name: str
    embedding: F32


def known_people(
    engine: Engine, faces: Sequence[str | int], identity: Identity | None, detector: str
) -> list[Known | None]:
    """`known_person` for the face of each recording; `detector` as `DubConfig` has it."""
    open_detector = partial(engine.detector, detector)
    return [known_person(face, identity, engine.recogniser(), open_detector) for face in faces]


def known_person(
    face: str | int,
    identity: Identity | None,
    recogniser: FaceEmbedder,
    detector: OpenDetector = open_detector,
) -> Known | None:
    """Whom `choose` is to look for: whoever a picture shows, or with `auto` an identity.

    Args:
        face: As `DubConfig.face` has it.
        identity: The one that the dub uses.
        recogniser: Embeds pictures.
        detector: Opens a face detector.

    Raises:
        ProbeError: The picture is missing or damaged.
        NoFaceError: It shows no face.
    """
    if face == "auto":
        if identity is None:
            return None
        return Known(
            name=f"the identity '{identity.name}'", embedding=embedding_of(identity, recogniser)
        )
    if face_number(face) is not None or face in FACE_PLACES:
        return None
    path = Path(str(face))
    return Known(name=path.name, embedding=_embedding_in(path, recogniser, detector))


def choose(
    found: Analysis,
    face: str | int,
    size: tuple[int, int],
    known: Known | None,
    score_tracks: ScoreTracks,
) -> Choice:
    """The face that the user asked for.

    With `auto`: the identity's, else the speaker's, else the largest whose lips move.

    Args:
        found: Result of pass 1.
        face: As `DubConfig.face` has it.
        size: Width and height of the video, display px.
        known: As `known_person` gives it.
        score_tracks: Tells how well lips follow the video's own sound; asked at most once.

    Raises:
        NoFaceError: No face, or none that can be dubbed.
        ConfigError: No such face, or several that fit equally well.
    """
    usable = usable_faces(found)
    number = face_number(face)
    if number is not None:
        reason = f"number {number} was asked for"
        return Choice(track=choose_face(found, number), number=number, reason=reason)
    if face not in ("auto", *FACE_PLACES):
        assert known is not None
        return _pictured(usable, known)
    if len(usable) == 1:
        alone = len(found.tracks) == 1
        reason = "the only face" if alone else f"the only usable one of {len(found.tracks)}"
        return Choice(track=usable[0], number=1, reason=reason)
    if face == "auto":
        return _automatic(usable, known, score_tracks, found.times)
    return _placed(usable, str(face), size)


def _automatic(
    usable: list[FaceTrack], known: Known | None, score_tracks: ScoreTracks, times: FrameTimes
) -> Choice:
    if known is not None:
        alike = [similarity(track.embedding, known.embedding) for track in usable]
        best, lead = _first(alike)
        if alike[best] >= SAME_PERSON and lead >= _LEAD_ALIKE:
            return _chosen(usable, best, f"most like {known.name} (similarity {alike[best]:.3f})")
    scores = score_tracks(usable)
    sure = [score.confidence if score and score.num_windows else 0.0 for score in scores]
    best, lead = _first(sure)
    score = scores[best]
    if score is not None and score.is_sure and lead >= _LEAD_SOUND:
        figures = f"({sure[best]:.2f} against {sure[best] - lead:.2f})"
        return _chosen(usable, best, f"its lips follow the video's own sound {figures}")
    moves = [lips_move(mouth_of_track(track, smooth_pose(track), times)) for track in usable]
    if moves[0] is False and True in moves:
        # A picture on a wall or somebody who listens may well be larger than who speaks.
        best = moves.index(True)
        return _chosen(usable, best, "the largest whose lips move; face 1 is larger and still")
    heard = any(score is not None for score in scores)
    unsure = "; whose lips follow the video's own sound is not clear" if heard else ""
    return _chosen(usable, 0, f"the largest of {len(usable)}{unsure}")


def _pictured(usable: list[FaceTrack], known: Known) -> Choice:
    alike = [similarity(track.embedding, known.embedding) for track in usable]
    best, _ = _first(alike)
    if alike[best] < SAME_PERSON:
        figures = ", ".join(f"number {i}: {value:.3f}" for i, value in enumerate(alike, 1))
        raise ConfigError(
            f"No face is the one in '{known.name}' ({figures}; {SAME_PERSON:.3f} is needed).",
            _numbers(range(1, len(usable) + 1)),
        )
    near = [i for i, value in enumerate(alike, 1) if alike[best] - value < _LEAD_ALIKE]
    if len(near) > 1:
        raise ConfigError(f"'{known.name}' is about equally like {_several(near)}.", _numbers(near))
    return _chosen(usable, best, f"most like {known.name} (similarity {alike[best]:.3f})")


def _placed(usable: list[FaceTrack], place: str, size: tuple[int, int]) -> Choice:
    boxes = np.stack([np.median(track.boxes[track.valid], axis=0) for track in usable])
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    from_middle: F64 = np.hypot(*(centres - np.array(size) / 2).T)
    away = {
        "left": centres[:, 0],
        "right": -centres[:, 0],
        "top": centres[:, 1],
        "bottom": -centres[:, 1],
    }.get(place, from_middle)
    best = int(np.argmin(away))
    least = _SAME_PLACE * np.median(boxes[:, 3] - boxes[:, 1])
    near = [i for i, value in enumerate(away, 1) if value - away[best] < least]
    if len(near) > 1:
        raise ConfigError(f"--face {place} does not tell {_several(near)} apart.", _numbers(near))
    return _chosen(usable, best, _IN_WORDS[place])


def _chosen(usable: list[FaceTrack], index: int, reason: str) -> Choice:
    return Choice(track=usable[index], number=index + 1, reason=reason)


def _first(values: list[float]) -> tuple[int, float]:
    """Where the largest value is, and by how much it leads."""
    best = int(np.argmax(values))
    return best, values[best] - max(values[:best] + values[best + 1 :], default=-np.inf)


def _several(numbers: Sequence[int]) -> str:
    first, last = ", ".join(str(n) for n in numbers[:-1]), numbers[-1]
    return f"faces {first} and {last}"


def _numbers(numbers: Sequence[int]) -> str:
    return f"Use {' or '.join(f'--face {number}' for number in numbers)}, counted by size."


def _embedding_in(path: Path, recogniser: FaceEmbedder, open_detector: OpenDetector) -> F32:
    """Embedding of the largest face in a picture. Shape (128,)."""
    image = _read_picture(path)
    with open_detector() as detector:
        face = _largest_face(image, detector)
        if face is None:
            # A face that fills the picture is found with some room around it.
            room = max(image.shape[:2]) // 2
            wider = cv2.copyMakeBorder(image, room, room, room, room, cv2.BORDER_REPLICATE)
            face = _largest_face(np.asarray(wider, np.uint8), detector)
    if face is None:
        raise NoFaceError(f"'{path}' shows no face.", "Name another picture, or use --face 1.")
    return recogniser.embed(face[None])[0]


def _largest_face(image: U8, detector: FaceDetector) -> U8 | None:
    faces = detector.detect(Frame(index=0, pts=0, image=image))
    return cut_face(image, faces[0].landmarks) if faces else None


def _read_picture(path: Path) -> U8:
    """RGB, at most `MAX_SIDE` px wide and high."""
    found = read_picture(path, "Name a .png or .jpg of the person, or use --face 1.")
    shrink = MAX_SIDE / max(found.shape[:2])
    if shrink < 1:
        found = cv2.resize(found, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    return np.asarray(found, np.uint8)
