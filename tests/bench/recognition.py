"""How well people are told apart: pairs of clips of one person and of strangers, and footage.

    python -m tests.bench.recognition DATA [--threshold 0.94] [--sweep]

DATA holds `catalogue.csv` (columns file, split, identity) and the clips; of each person the first
six are taken. Of each clip sixteen evenly spread pictures of its largest face are cut out, and the
best of each of eight runs averaged, as `face.face_gallery` does while a face is followed. Two clips
are compared by these means, and one picture of the first clip, the middle one, with the second, as
for `--face PICTURE`. The split `train` chooses the threshold: the largest, in steps of 0.005, at
which neither comparison refuses more than 2.5 % of own pairs; `dev` and `finetune` together only
report. Each pair of people weighs the same, however many clips they have. Light is the mean colour
of cheeks and brow: alike where no channel differs by more than 0.3 stops.

Footage: three clips of one person and one of somebody else, drawn at random, are put together as
`dub finetune` does (average linkage).
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import av
import cv2
import numpy as np

from dubcli.core.types import F32, F64, U8, Bool, FaceObservation, FaceTrack, Frame
from dubcli.face.detect import MAX_SIDE, open_detector
from dubcli.face.face_descriptor import sharpness
from dubcli.face.face_gallery import FacePicture, picture_quality
from dubcli.face.landmarks import NUM_KEPT, position
from dubcli.face.recognition import (
    SAME_PERSON,
    FaceRecogniser,
    cut_face,
    mean_embedding,
    similarity,
)
from dubcli.personalize.footage.face_clustering import SAME_GROUP, Appearance, group_people
from dubcli.weights.resolve import part_path

PICTURES, RUNS, LEAST_PX, MOST_CLIPS, DRAWS = 16, 8, 40, 6, 2000
LIKE_LIGHT_STOPS = 0.3
# Recordings of many people in one studio, by how their names begin.
STUDIOS = {"mead": "mead", "dreamtalk": "mead", "grid": "grid", "tmsv": "tmsv"}
# Where the catalogue errs; the pictures leave no doubt. One person under two names, and a clip
# under another's name.
ALIASES = {
    "grid_u_swwv9a": "grid_s1",
    "grid_s02": "grid_s2",
    "lrs3_trf_fren_demo2": "lrs3_ZJNESMhIxQ0",
}
CORRECTED = {"eamm_surprised.mp4": "eamm_87"}
_BARE = [position(index) for index in (50, 280, 9, 151)]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What is known of one clip: whose, from where, by all pictures and by one, in which light."""

    person: str
    split: str
    studio: str
    embedding: F32
    one_picture: F32
    light: F64


def pictures_of(path: Path) -> list[U8]:
    """Evenly spread frames of the first 400, RGB, at the size in which faces are searched."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        last = min(stream.frames or 150, 400) - 3
        wanted = set(np.linspace(min(5, last), max(last, 0), PICTURES).astype(int).tolist())
        found: list[U8] = []
        for index, frame in enumerate(container.decode(stream)):
            if index in wanted:
                image = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
                shrink = min(1.0, MAX_SIDE / max(image.shape[:2]))
                small = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
                found.append(np.asarray(small, np.uint8))
            if index >= max(wanted):
                break
    return found


def person_of(row: dict[str, str]) -> str:
    """Whose clip a row of the catalogue is."""
    own = CORRECTED.get(Path(row["file"]).name, row["identity"])
    return ALIASES.get(own, own)


def look(row: dict[str, str], root: Path, recogniser: FaceRecogniser) -> Seen | None:
    """One clip; None where no face is seen."""
    faces: list[tuple[U8, FaceObservation]] = []
    with open_detector() as detector:
        for index, image in enumerate(pictures_of(root / row["file"])):
            found = detector.detect(Frame(index=index, pts=index, image=image))
            largest = max(found, key=lambda one: one.box[3] - one.box[1], default=None)
            if largest is not None and largest.box[3] - largest.box[1] >= LEAST_PX:
                faces.append((image, largest))
    if not faces:
        return None
    pictures = [_picture(image, seen) for image, seen in faces]
    return seen_clip(
        row, pictures, [_light(image, seen.landmarks) for image, seen in faces], recogniser
    )


def _picture(image: U8, seen: FaceObservation) -> FacePicture:
    face = cut_face(image, seen.landmarks)
    height = float(seen.box[3] - seen.box[1])
    sharp = sharpness(image, seen.box)
    return FacePicture(face, picture_quality(face, seen.landmarks, sharp, height))


def seen_clip(
    row: dict[str, str],
    pictures: Sequence[FacePicture],
    light: list[F64],
    recogniser: FaceRecogniser,
) -> Seen:
    """One clip by its pictures in the order of time."""
    runs = np.array_split(np.arange(len(pictures)), min(RUNS, len(pictures)))
    best = [max((pictures[i] for i in run), key=lambda one: one.quality) for run in runs]
    embeddings = recogniser.embed(np.stack([one.face for one in best]))
    name = Path(row["file"]).name
    return Seen(
        person=person_of(row),
        split="train" if row["split"] == "train" else "dev",
        studio=next((studio for start, studio in STUDIOS.items() if name.startswith(start)), ""),
        embedding=mean_embedding(list(embeddings), [one.quality for one in best]),
        one_picture=embeddings[len(best) // 2],
        light=np.mean(light, axis=0),
    )


def _light(image: U8, landmarks: F32) -> F64:
    """Stops of each channel on cheeks and brow. Shape (3,)."""
    side = max(2, int(np.ptp(landmarks[:, 0]) / 20))
    colours = []
    for x, y in landmarks[_BARE, :2].round().astype(int):
        part = image[max(y - side, 0) : y + side + 1, max(x - side, 0) : x + side + 1]
        if part.size:
            colours.append(part.reshape(-1, 3).mean(0))
    return np.log2(np.mean(colours, axis=0) + 1)


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """All pairs of clips of one split, each array over the pairs."""

    people: list[tuple[str, str]]
    is_own: Bool
    is_like_light: Bool
    is_one_studio: Bool
    scores: dict[str, F64]

    def share(self, which: Bool, hit: Bool) -> str:
        """Mean over pairs of people of the share of their clips' pairs that are hit."""
        of: dict[tuple[str, str], list[bool]] = {}
        for index in np.flatnonzero(which):
            of.setdefault(self.people[index], []).append(bool(hit[index]))
        if not of:
            return "none"
        mean = np.mean([np.mean(values) for values in of.values()])
        return f"{100 * mean:.1f} % of {len(of)} ({int(which.sum())})"


SCORES: dict[str, Callable[[Seen, Seen], float]] = {
    "clips": lambda one, other: similarity(one.embedding, other.embedding),
    "one picture": lambda one, other: similarity(one.one_picture, other.embedding),
}


def compare(clips: Sequence[Seen], names: Sequence[str]) -> Pairs:
    """Every clip with every other by the named scores."""
    pairs = list(combinations(clips, 2))
    own = [one.person == other.person for one, other in pairs]
    light = [np.abs(one.light - other.light).max() < LIKE_LIGHT_STOPS for one, other in pairs]
    studio = [bool(one.studio) and one.studio == other.studio for one, other in pairs]
    return Pairs(
        people=[_in_order(one.person, other.person) for one, other in pairs],
        is_own=np.array(own, np.bool_),
        is_like_light=np.array(light, np.bool_),
        is_one_studio=np.array(studio, np.bool_),
        scores={n: np.array([SCORES[n](one, other) for one, other in pairs]) for n in names},
    )


def _in_order(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one <= other else (other, one)


def table(split: str, pairs: Pairs, threshold: float) -> list[str]:
    """Markdown: shares of people, with the numbers of pairs of people (and of clips)."""
    own, like, studio = pairs.is_own, pairs.is_like_light, pairs.is_one_studio
    lines = [
        "| split, compared by | own refused | like light | other light | strangers taken "
        "| like light | one studio |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, scores in pairs.scores.items():
        taken = scores >= threshold
        cells = [pairs.share(which, ~taken) for which in (own, own & like, own & ~like)]
        cells += [pairs.share(which, taken) for which in (~own, ~own & like, ~own & studio)]
        lines.append(f"| {split}, {name} | {' | '.join(cells)} |")
    return lines


def grouped(clips: Sequence[Seen], seed: int = 0) -> str:
    """How `dub finetune` sorts three clips of one person and one of somebody else."""
    rng = np.random.default_rng(seed)
    of: dict[str, list[Seen]] = {}
    for clip in clips:
        of.setdefault(clip.person, []).append(clip)
    many = sorted(person for person, own in of.items() if len(own) >= 3)
    if not many:
        return "nobody has three clips"
    left_out = joined = 0
    for _ in range(DRAWS):
        person = str(rng.choice(many))
        stranger = str(rng.choice([one for one in sorted(of) if one != person]))
        own = [of[person][i] for i in rng.choice(len(of[person]), 3, replace=False)]
        other = of[stranger][int(rng.integers(len(of[stranger])))]
        people = group_people([_appearance(i, one) for i, one in enumerate([*own, other])])
        mine = max(people, key=lambda found: sum(item.video < 3 for item in found))
        left_out += 3 - sum(item.video < 3 for item in mine)
        joined += any(item.video == 3 for item in mine)
    return (
        f"of {len(many)} people's own clips {100 * left_out / DRAWS / 3:.1f} % are left out, "
        f"the stranger joins in {100 * joined / DRAWS:.1f} % of {DRAWS} draws"
    )


def _appearance(number: int, clip: Seen) -> Appearance:
    track = FaceTrack(
        start=0,
        boxes=np.zeros((1, 4), np.float32),
        landmarks=np.zeros((1, NUM_KEPT, 3), np.float32),
        valid=np.ones(1, np.bool_),
        interpolated=np.zeros(1, np.bool_),
        shot=np.zeros(1, np.int64),
        reasons=("",),
        sharpness=np.zeros(1, np.float32),
        embedding=clip.embedding,
    )
    return Appearance(video=number, part=number, track=track, seconds=Fraction(1), height_px=100.0)


def report(clips: Sequence[Seen], threshold: float, sweep: bool) -> None:
    """Print the tables of both splits."""
    for split in ("train", "dev"):
        own = [clip for clip in clips if clip.split == split]
        pairs = compare(own, list(SCORES))
        print("\n".join(table(split, pairs, threshold)))
        print(f"footage, {split}, at {SAME_GROUP}: {grouped(own)}")
        if sweep and split == "train":
            for at in np.arange(0.9, 0.96, 0.005):
                print(f"at {at:.3f}:", *table(split, pairs, float(at))[2:], sep="\n")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of catalogue.csv")
    parser.add_argument("--threshold", type=float, default=SAME_PERSON)
    parser.add_argument("--sweep", action="store_true", help="also other thresholds, on train")
    chosen = parser.parse_args()
    recogniser = FaceRecogniser(part_path("recogniser"))
    clips: list[Seen] = []
    count: dict[str, int] = {}
    with (chosen.data / "catalogue.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            person = person_of(row)
            if count.get(person, 0) < MOST_CLIPS and (seen := look(row, chosen.data, recogniser)):
                count[person] = count.get(person, 0) + 1
                clips.append(seen)
    report(clips, chosen.threshold, chosen.sweep)


if __name__ == "__main__":
    main()
