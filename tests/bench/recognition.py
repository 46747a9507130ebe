"""How well faces are told apart: pairs of clips of one person, and of strangers.

    python -m tests.bench.recognition DATA [--threshold 0.935] [--sweep]

DATA holds `catalogue.csv` (columns file, split, identity) and the clips. Of each clip up to eight
evenly spread pictures of its largest face are embedded; two clips are compared by their closest
pair, as `face.recognition.closest_cosine` does, and one picture of the first clip with all of the
second, as for `--face PICTURE`. Beside it stands the descriptor of hair and skin
(`face.face_descriptor`, at its 0.75). The split `train` chooses the threshold; `dev` and `finetune`
together only report. Each pair of people weighs the same, however many clips they have. Light is
the mean colour of cheeks and brow: alike where no channel differs by more than 0.3 stops.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import av
import cv2
import numpy as np

from dubcli.core.types import F32, F64, U8, Bool, FaceObservation, Frame
from dubcli.face.detect import MAX_SIDE, open_detector
from dubcli.face.face_descriptor import closest_likeness, describe
from dubcli.face.landmarks import position
from dubcli.face.recognition import SAME_PERSON, FaceRecogniser, closest_cosine, cut_face
from dubcli.weights.resolve import part_path

PICTURES, LEAST_PX, MOST_CLIPS = 8, 40, 12
LIKE_LIGHT_STOPS = 0.3
OLD_THRESHOLD = 0.75
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
    """What is known of one clip: whose, from where, by both descriptors, in which light."""

    person: str
    split: str
    studio: str
    embeddings: F32
    descriptors: F32
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
    name = Path(row["file"]).name
    return Seen(
        person=person_of(row),
        split="train" if row["split"] == "train" else "dev",
        studio=next((studio for start, studio in STUDIOS.items() if name.startswith(start)), ""),
        embeddings=recogniser.embed(np.stack([cut_face(im, one.landmarks) for im, one in faces])),
        descriptors=np.stack([describe(im, one.landmarks) for im, one in faces]),
        light=np.mean([_light(im, one.landmarks) for im, one in faces], axis=0),
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
    "recogniser, clips": lambda one, other: closest_cosine(one.embeddings, other.embeddings),
    "recogniser, one picture": lambda one, other: closest_cosine(
        one.embeddings[len(one.embeddings) // 2][None], other.embeddings
    ),
    "hair and skin, one picture": lambda one, other: closest_likeness(
        one.descriptors[len(one.descriptors) // 2][None], other.descriptors
    ),
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
        taken = scores >= (OLD_THRESHOLD if name.startswith("hair") else threshold)
        cells = [pairs.share(which, ~taken) for which in (own, own & like, own & ~like)]
        cells += [pairs.share(which, taken) for which in (~own, ~own & like, ~own & studio)]
        lines.append(f"| {split}, {name} | {' | '.join(cells)} |")
    return lines


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
    for split in ("train", "dev"):
        pairs = compare([clip for clip in clips if clip.split == split], list(SCORES))
        print("\n".join(table(split, pairs, chosen.threshold)))
        if chosen.sweep and split == "train":
            for threshold in np.arange(0.9, 0.96, 0.005):
                print(f"at {threshold:.3f}:", *table(split, pairs, float(threshold))[2:4])


if __name__ == "__main__":
    main()
