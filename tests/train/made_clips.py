"""A training set of drawn faces whose mouths follow their sound, as `dub prepare` would store."""

from __future__ import annotations

import csv
from dataclasses import fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dubcli.audio.speech_encoder import NUM_SPEECH, NUM_TOKENS
from dubcli.core.types import F32, F64, U8
from dubcli.face.landmarks import CHEEKS, JAW, LIPS_INNER, LIPS_OUTER, face_oval
from dubcli.face.pose import mean_face
from dubcli.training.data.clip_file import save_clip
from dubcli.training.data.prepared_clip import (
    DEFAULT_SIZE,
    INDEX_NAME,
    ClipSound,
    PreparedClip,
    encode_picture,
    margin_of,
    stored_size,
)

NUM_FRAMES = 40
STEPS_PER_FRAME = 3
_FIELDS = ("clip", "identity", "frames", "usable", "has_audio", "dropped", "source")


def speaking_face(opening: float) -> F32:
    """The mean face with its lower lip and jaw lower, canonical units. (K, 3)."""
    face = mean_face().copy()
    middle = face[LIPS_INNER, 1].mean()
    for group, share in ((LIPS_OUTER, 1.0), (LIPS_INNER, 1.0), (JAW, 0.8), (CHEEKS, 0.5)):
        below = np.clip((face[group][:, 1] - middle) / 0.02, 0, 1)
        face[group, 1] += opening * share * below
    return face


def drawn(landmarks: F32, skin: tuple[int, int, int], size: tuple[int, int] = DEFAULT_SIZE) -> U8:
    """A face with red lips and a dark mouth on a grey wall, with the margin of a crop."""
    image = np.full((*stored_size(size), 3), 110, np.uint8)
    points = landmarks[:, :2].round().astype(np.int32)
    cv2.fillPoly(image, [points[face_oval()]], skin)
    cv2.fillPoly(image, [points[LIPS_OUTER]], (170, 60, 70))
    cv2.fillPoly(image, [points[LIPS_INNER]], (40, 10, 15))
    return image


def made_clip(
    person: int,
    *,
    lag_frames: int = 0,
    with_sound: bool = True,
    size: tuple[int, int] = DEFAULT_SIZE,
) -> PreparedClip:
    """Half the mel bands are as loud as the mouth is open; the picture comes `lag_frames` late."""
    rng = np.random.default_rng(person)
    opening = _babble(rng)
    canonical = np.stack([speaking_face(0.2 * value) for value in opening])
    rows, columns = margin_of(size)
    scale = 0.28 * size[0]
    origin = np.array([0.5 * size[1] - 0.5 + columns, 0.25 * size[0] - 0.5 + rows, 0])
    landmarks = (canonical * scale + origin).astype(np.float32)
    skin = (220 - 60 * (person % 3), 180 - 40 * (person % 3), 150)
    jpeg = [encode_picture(drawn(points, skin, size)) for points in landmarks]
    heard = np.repeat(np.roll(opening, -lag_frames), STEPS_PER_FRAME)
    mel = rng.uniform(-0.1, 0.1, (len(heard), 80))
    mel[:, ::2] += 0.8 * heard[:, None] - 0.4
    return PreparedClip(
        jpeg=np.concatenate(jpeg),
        jpeg_ends=np.cumsum([len(data) for data in jpeg]),
        landmarks=landmarks,
        canonical=canonical,
        scale=np.full(NUM_FRAMES, scale),
        rotation=np.repeat(np.eye(3)[None], NUM_FRAMES, 0),
        translation=np.repeat(origin[None], NUM_FRAMES, 0),
        valid=np.ones(NUM_FRAMES, bool),
        shot=np.zeros(NUM_FRAMES, np.int64),
        steps=np.arange(NUM_FRAMES) * STEPS_PER_FRAME,
        size=size,
        **sound_of(mel if with_sound else None),
    )


def same_clip(one: PreparedClip, other: PreparedClip) -> bool:
    """Whether two clips hold the same pictures, points, pose, sound and form."""
    kinds = [*one.sounds]
    if kinds != [*other.sounds] or (one.size, one.template) != (other.size, other.template):
        return False
    arrays = [item.name for item in fields(one) if item.name not in ("sounds", "size", "template")]
    pairs = [(getattr(one, name)[:], getattr(other, name)[:]) for name in arrays]
    for mine, others in ((one.sounds[kind], other.sounds[kind]) for kind in kinds):
        pairs.append((mine.fill, others.fill))
        numbers = range(one.num_versions)
        pairs += [(mine.version(number), others.version(number)) for number in numbers]
    return all(np.array_equal(a, b) for a, b in pairs)


def sound_of(mel: F64 | None) -> dict[str, Any]:
    """Fields of a clip's sound: log-mel (A, 80), and speech whose tokens say the same."""
    if mel is None:
        values, heard = np.zeros((0, 0, NUM_SPEECH), np.float16), np.zeros((0, 0), np.float16)
    else:
        tokens = np.repeat(mel[:, :1], NUM_TOKENS, 1)
        values = np.stack(2 * [np.concatenate([tokens, mel], 1).astype(np.float16)])
        heard = np.ones(values.shape[:2], np.float16)
    fill = np.full(NUM_SPEECH, -0.6, np.float32)
    sounds = {
        "speech": ClipSound(versions=values, fill=fill),
        "mel": ClipSound(versions=values[..., NUM_TOKENS:], fill=fill[NUM_TOKENS:]),
    }
    return {"sounds": sounds, "heard": heard}


def _babble(rng: np.random.Generator) -> F64:
    """Mouth openings in [0, 1] that never repeat. (NUM_FRAMES,)."""
    smooth = np.convolve(rng.standard_normal(NUM_FRAMES + 4), np.ones(3) / 3, "same")[2:-2]
    return (smooth - smooth.min()) / np.ptp(smooth)


def write_set(folder: Path, clips: dict[str, PreparedClip], dropped: dict[str, str]) -> Path:
    """A prepared folder with clips by name, and rows of clips that could not be used."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / INDEX_NAME).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_FIELDS)
        for name, clip in clips.items():
            save_clip(clip, folder / f"{name}.npz")
            writer.writerow([name, name, len(clip), len(clip), "yes", "", f"{name}.mp4"])
        for name, reason in dropped.items():
            writer.writerow([name, name, "", "", "no", reason, f"{name}.mp4"])
    return folder
