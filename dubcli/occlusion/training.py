"""`dub train occluder`: a network that segments what lies in front of a face.

Things are drawn in front of prepared crops, so the truth is known. Half of each batch stays
uncovered. Scores are of people who were not learnt from, and of kinds of things that were not.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from dubcli.config import OccluderTrainConfig
from dubcli.core.atomic_io import write_whole
from dubcli.core.errors import TrainingError
from dubcli.core.progress import Progress
from dubcli.core.types import F32, F64, U8
from dubcli.occlusion.network import OccluderConfig, OccluderNet
from dubcli.occlusion.ranges import (
    COVERED_SHARE,
    PARTIALLY_OCCLUDED_SHARE,
    SEEN_SIZE,
    cover_shares,
    lower_region,
)
from dubcli.occlusion.synthetic import (
    HELD_OUT,
    LEARNT,
    FaceScene,
    Painter,
    cover,
    disturb,
    worn_out,
)
from dubcli.sync.training import held_out
from dubcli.training.checkpoint import TrainState, checkpoint_to_resume
from dubcli.training.data.clip_file import load_clip
from dubcli.training.data.prepared_clip import INDEX_NAME, margin_of, stored_size
from dubcli.training.loop import Loop, LoopSettings
from dubcli.training.parallel import require_one_process
from dubcli.training.schedule import CosineSchedule
from dubcli.training.stage import MODEL, Batch, Optimization

WEIGHTS_NAME, SCORES_NAME = "occluder.safetensors", "scores.json"
_SALT = "occluder"
_WARM_UP_STEPS, _LEAST_RATE = 50, 0.01
_SAVE_EVERY = 100
# Pixels outside the lower face count this much: whether a hand beside a face is in front of it
# cannot always be told.
_OUTSIDE_WEIGHT = 0.2
_MOST_TURN_DEG, _MOST_SHIFT, _MOST_SCALE = 12.0, 5.0, 0.12
# Frames of a clip, and of a kind of things, that scores are made of.
_SCORED_FRAMES, _SCORED_OF_KIND = 60, 120


@dataclass(frozen=True, kw_only=True)
class Faces:
    """Pictures of one person's face, `SEEN_SIZE` with its margin.

    Attributes:
        name: Of the person.
        pictures: RGB. Shape (N, h, w, 3), uint8.
        points: Kept points, px of them. Shape (N, K, 2), float32.
        clip: Clip that each comes from.
    """

    name: str
    pictures: U8
    points: F32
    clip: tuple[str, ...]


def train_occluder(config: OccluderTrainConfig, progress: Progress | None = None) -> Path:
    """Train the network; returns the weight file, half precision, beside which scores lie.

    Raises:
        ConfigError: `torchrun` started several processes.
        TrainingError: No prepared clips, too few people, NaN, or the folder cannot be written.
    """
    require_one_process("dub train occluder")
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    people = load_faces(config.data, config.faces)
    strangers = held_out({person.name for person in people}, _SALT)
    learnt = [person for person in people if person.name not in strangers]
    if len(learnt) < 2:
        raise TrainingError("Clips of two people are needed.", "Add clips to the data.")
    model = OccluderNet(OccluderConfig()).train()
    loop = _loop(model, learnt, config)
    loop.run(progress)
    path = config.output / WEIGHTS_NAME
    write_whole(path, _packed(model))
    scores = score(model.eval(), [person for person in people if person.name in strangers], learnt)
    scores |= {"steps": loop.step, "held_out": sorted(strangers), "config": asdict(model.config)}
    write_whole(config.output / SCORES_NAME, (json.dumps(scores, indent=2) + "\n").encode())
    return path


def _loop(model: OccluderNet, people: list[Faces], config: OccluderTrainConfig) -> Loop:
    """The training loop, where an interrupted run of the same options stands."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=1e-3)
    schedule = CosineSchedule(
        peak=config.learning_rate, warm_up_steps=_WARM_UP_STEPS, least=_LEAST_RATE
    )
    batches = OccluderBatches(people, size=config.batch, seed=config.seed)
    task = OccluderTask(model, batches, Optimization(optimizer=optimizer, schedule=schedule))
    state = TrainState(
        step=0,
        architecture="occluder",
        stage="occluder",
        model_config=asdict(model.config),
        settings={"batch": str(config.batch), "faces": str(config.faces), "seed": str(config.seed)},
    )
    settings = LoopSettings(
        steps=config.steps,
        folder=config.output,
        minutes=config.minutes,
        is_time_course=True,
        checkpoint_every=_SAVE_EVERY,
        label="occluder",
        run_config={key: str(value) for key, value in asdict(config).items()},
    )
    loop = Loop(task, state, settings)
    resumed = checkpoint_to_resume(config.output, state, resume=True)
    if resumed is not None:
        loop.resume(resumed)
    return loop


def load_faces(folder: Path, most: int) -> list[Faces]:
    """Pictures of the people of a prepared set, about `most` in all, evenly spread over them.

    Raises:
        TrainingError: No index, a clip that is damaged, or crops of another shape.
    """
    clips: dict[str, list[str]] = {}
    for clip, identity in _index(folder):
        clips.setdefault(identity, []).append(clip)
    each = max(2, most // max(1, len(clips)))
    people = [_faces(folder, name, names, each) for name, names in sorted(clips.items())]
    return [person for person in people if len(person.pictures) >= 2]


def _index(folder: Path) -> list[tuple[str, str]]:
    try:
        with (folder / INDEX_NAME).open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if not row["dropped"]]
            return [(row["clip"], row["identity"]) for row in rows]
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(
            f"'{folder}' holds no prepared clips.", "Make them with 'dub prepare CLIPS -o DIR'."
        ) from error


def _faces(folder: Path, name: str, clips: list[str], most: int) -> Faces:
    pictures: list[U8] = []
    points: list[F32] = []
    origin: list[str] = []
    share = max(2, -(-most // len(clips)))
    size = stored_size(SEEN_SIZE)[::-1]
    for clip_id in clips[:most]:
        clip = load_clip(folder / f"{clip_id}.npz")
        if clip.size[0] * SEEN_SIZE[1] != clip.size[1] * SEEN_SIZE[0]:
            height, width = clip.size
            raise TrainingError(
                f"Crops of '{folder}' are of {height}x{width} px, which is another shape.",
                "Run 'dub prepare --size 208x160' into another folder.",
            )
        factor = np.array(size) / stored_size(clip.size)[::-1]
        frames = np.flatnonzero(clip.valid)
        chosen = np.unique(np.linspace(0, len(frames) - 1, min(share, len(frames))).astype(int))
        for frame in frames[chosen].tolist():
            small = cv2.resize(clip.picture(frame), size, interpolation=cv2.INTER_AREA)
            pictures.append(np.asarray(small, np.uint8))
            seen = (clip.landmarks[frame][:, :2] + 0.5) * factor - 0.5
            points.append(seen.astype(np.float32))
            origin.append(clip_id)
    empty = np.zeros((0, *size[::-1], 3), np.uint8)
    return Faces(
        name=name,
        pictures=np.stack(pictures) if pictures else empty,
        points=np.stack(points) if points else np.zeros((0, 1, 2), np.float32),
        clip=tuple(origin),
    )


def _packed(model: OccluderNet) -> bytes:
    """The weights in half precision, as a safetensors file."""
    halved = {
        name: value.half() if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    return save(halved)


class OccluderBatches(Dataset[Batch]):
    """Faces of which every other one is covered, see `_sample`.

    Args:
        people: Whose faces.
        size: Of a batch.
        seed: With the batch's number, all randomness.
    """

    def __init__(self, people: list[Faces], *, size: int, seed: int) -> None:
        self._people, self._size, self._seed = people, size, seed

    def __getitem__(self, index: int) -> Batch:
        """Pictures (B, H, W, 3), what is covered and weights of pixels, both (B, H, W)."""
        samples = [
            _sample(
                self._people, np.random.default_rng((self._seed, index, number)), not number % 2
            )
            for number in range(self._size)
        ]
        pictures, masks, weights = (np.stack(parts) for parts in zip(*samples, strict=True))
        return {"pictures": pictures, "masks": masks, "weights": weights}


class OccluderTask:
    """What the loop trains.

    Args:
        model: The network.
        batches: What it is shown.
        optimization: Of all its parameters.
    """

    def __init__(
        self, model: OccluderNet, batches: OccluderBatches, optimization: Optimization
    ) -> None:
        self.modules: Mapping[str, nn.Module] = {MODEL: model}
        self.optimizers: Mapping[str, Optimization] = {MODEL: optimization}
        self.batches: Dataset[Batch] = batches
        self._model = model

    def losses(self, batch: Batch, optimizer: str, step: int) -> dict[str, Tensor]:
        """Weighted cross-entropy of the pixels."""
        logits = self._model(_as_input(batch["pictures"]))[:, 0]
        each = functional.binary_cross_entropy_with_logits(logits, batch["masks"], reduction="none")
        return {"loss": (each * batch["weights"]).sum() / batch["weights"].sum()}

    def preview(self) -> None:
        """Nothing to look at."""


def _sample(people: list[Faces], rng: np.random.Generator, is_covered: bool) -> tuple[U8, F32, F32]:
    """A picture (H, W, 3), what is covered (H, W), and how much each pixel counts (H, W)."""
    scene, same = _scene(people, people, rng)
    mask = np.zeros(SEEN_SIZE, np.float32)
    image = scene.face
    if rng.random() < (0.2 if is_covered else 0.4):
        image = disturb(scene, same)
    if is_covered:
        names = list(LEARNT)
        odds = np.array([LEARNT[name][1] for name in names])
        for _ in range(1 + int(rng.random() < 0.15)):
            painter = LEARNT[names[rng.choice(len(names), p=odds / odds.sum())]][0]
            image, more = cover(_with(scene, image), painter)
            mask = np.maximum(mask, more)
    region = lower_region(scene.points, SEEN_SIZE).astype(np.uint8)
    region = np.asarray(cv2.dilate(region, np.ones((9, 9), np.uint8)), np.float32)
    weight = _OUTSIDE_WEIGHT + (1 - _OUTSIDE_WEIGHT) * region
    return worn_out(image, rng), mask, weight.astype(np.float32)


def _scene(
    people: list[Faces], lenders: list[Faces], rng: np.random.Generator
) -> tuple[FaceScene, F32]:
    """A face, who lends textures to what covers it, and another picture of the same person."""
    person = people[rng.integers(len(people))]
    other = lenders[rng.integers(len(lenders))]
    moved = _moved(rng)
    number = int(rng.integers(len(person.pictures)))
    near = int(np.clip(number + rng.integers(-3, 4), 0, len(person.pictures) - 1))
    face, points = _cut(person, number, moved)
    same, _ = _cut(person, near, moved)
    texture, other_points = _cut(other, int(rng.integers(len(other.pictures))), _moved(rng))
    scene = FaceScene(face=face, points=points, other=texture, other_points=other_points, rng=rng)
    return scene, same


def _with(scene: FaceScene, face: F32) -> FaceScene:
    return FaceScene(
        face=face,
        points=scene.points,
        other=scene.other,
        other_points=scene.other_points,
        rng=scene.rng,
    )


def _moved(rng: np.random.Generator | None) -> F64:
    """Stored picture to what is seen of it: turned, shifted, mirrored by chance. Shape (2, 3)."""
    height, width = SEEN_SIZE
    margin = np.array(margin_of(SEEN_SIZE)[::-1])
    if rng is None:
        return np.array([[1.0, 0, -margin[0]], [0, 1.0, -margin[1]]])
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    angle = np.radians(rng.normal(0, _MOST_TURN_DEG / 2))
    scale = math.exp(rng.normal(0, _MOST_SCALE / 2))
    flip = -1.0 if rng.random() < 0.5 else 1.0
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    linear = np.array([[cos * flip, -sin], [sin * flip, cos]])
    shift = middle + rng.normal(0, _MOST_SHIFT / 2, 2) - linear @ (middle + margin)
    return np.concatenate([linear, shift[:, None]], 1)


def _cut(person: Faces, number: int, matrix: F64) -> tuple[F32, F32]:
    picture = cv2.warpAffine(
        person.pictures[number],
        matrix,
        SEEN_SIZE[::-1],
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    points = person.points[number] @ matrix[:, :2].T + matrix[:, 2]
    return np.asarray(picture, np.float32), points.astype(np.float32)


def score(model: OccluderNet, people: list[Faces], lenders: list[Faces]) -> dict[str, object]:
    """How well things are found on people who were not learnt from.

    Args:
        model: In evaluation mode.
        people: Who is covered.
        lenders: Who lends textures.

    Returns:
        Per kind: IoU inside the lower face over all pictures, the share of pictures with hidden
        lips (half and more) that the gate would find, and the mean error of the hidden share.
        Per person without anything: the share of pictures that the gate would take for covered,
        or for touched.
    """
    painters: dict[str, Painter] = {name: item[0] for name, item in LEARNT.items()} | HELD_OUT
    kinds = {
        name: _score_kind(model, painter, people, lenders, seed)
        for seed, (name, painter) in enumerate(painters.items())
    }
    return {"kinds": kinds, "uncovered": {p.name: _score_uncovered(model, p) for p in people}}


def _score_kind(
    model: OccluderNet, painter: Painter, people: list[Faces], lenders: list[Faces], seed: int
) -> dict[str, float]:
    shared = joined = found = hidden_count = 0.0
    errors: list[float] = []
    for number in range(_SCORED_OF_KIND if people else 0):
        rng = np.random.default_rng((seed, number, 99))
        scene, _ = _scene(people, lenders, rng)
        image, mask = cover(scene, painter)
        probability = predict(model, worn_out(image, rng)[None])[0]
        region = lower_region(scene.points, SEEN_SIZE)
        said, true = probability[region] > 0.5, mask[region] > 0.5
        shared += float((said & true).sum())
        joined += float((said | true).sum())
        truth, seen = cover_shares(mask, scene.points)[0], cover_shares(probability, scene.points)
        errors.append(abs(truth - seen[0]))
        if truth >= 0.5:
            hidden_count += 1
            found += seen[0] >= COVERED_SHARE
    return {
        "iou": round(shared / max(joined, 1), 3),
        "hidden_found": round(found / max(hidden_count, 1), 3),
        "hidden": hidden_count,
        "share_error": round(float(np.mean(errors)) if errors else 0.0, 3),
    }


def _score_uncovered(model: OccluderNet, person: Faces) -> dict[str, float]:
    chosen = np.unique(np.linspace(0, len(person.pictures) - 1, _SCORED_FRAMES).astype(int))
    shares: list[tuple[float, float]] = []
    for number in chosen.tolist():
        picture, points = _cut(person, number, _moved(None))
        shares.append(cover_shares(predict(model, picture.astype(np.uint8)[None])[0], points))
    lips, lower = np.array(shares).T
    return {
        "covered": round(float((lips >= COVERED_SHARE).mean()), 4),
        "touched": round(float((lower >= PARTIALLY_OCCLUDED_SHARE).mean()), 4),
        "largest": round(float(lips.max()), 3),
    }


def predict(model: OccluderNet, pictures: U8) -> F32:
    """Probability (N, H, W) that something lies in front, of pictures (N, H, W, 3), uint8."""
    with torch.inference_mode():
        return torch.sigmoid(model(_as_input(torch.from_numpy(pictures)))[:, 0]).numpy()


def _as_input(pictures: Tensor) -> Tensor:
    """Pictures (N, H, W, 3), uint8, as the network takes them."""
    return pictures.permute(0, 3, 1, 2).float() / 255
