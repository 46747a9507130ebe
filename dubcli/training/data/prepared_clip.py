"""The file format of a prepared clip: aligned pictures, landmarks, pose and sound of one track."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dubcli.core.errors import TrainingError
from dubcli.core.types import DETECTORS, F32, F64, U8, AudioFeatures, Bool, Int
from dubcli.face.landmarks import SPEAKING
from dubcli.sync.scorer import MouthClip

F16 = NDArray[np.float16]

# Prepared crops keep this margin around the model's crop, for random shifts and turns.
CROP_SIZE = (208, 160)
MARGIN = (26, 20)
STORED_SIZE = (CROP_SIZE[0] + 2 * MARGIN[0], CROP_SIZE[1] + 2 * MARGIN[1])
INDEX_NAME = "index.csv"
# Audio steps a second.
STEPS_HZ = Fraction(80)
_JPEG_QUALITY = 95


@dataclass(frozen=True, kw_only=True)
class PreparedClip:
    """One face track, ready for training.

    Attributes:
        jpeg: Crops as JPEG, one after the other. Shape (bytes,), uint8.
        jpeg_ends: End of each crop in `jpeg`. Shape (T,).
        landmarks: Kept points, xyz, stored-crop px. Shape (T, K, 3), float32.
        canonical: The same without pose, canonical units. Shape (T, K, 3), float32.
        scale: Stored-crop px per canonical unit. Shape (T,), float64.
        rotation: Of the head. Shape (T, 3, 3), float64.
        translation: Stored-crop px. Shape (T, 3), float64.
        valid: The frame may be used. Shape (T,).
        shot: Shot of each frame. Shape (T,).
        steps: Audio step of each frame. Shape (T,).
        voices: Speech features of the clip's own sound and of changed copies, float16. Shape
            (V, A, 368); (0, 0, 368) without sound.
        heard: Share of the words that a copy leaves in, at each step. Shape (V, A), float16.
        fill: Features of silence. Shape (368,).
    """

    jpeg: U8
    jpeg_ends: Int
    landmarks: F32
    canonical: F32
    scale: F64
    rotation: F64
    translation: F64
    valid: Bool
    shot: Int
    steps: Int
    voices: F16
    heard: F16
    fill: F32

    def __len__(self) -> int:
        return len(self.valid)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of its crops without their margin, px."""
        return CROP_SIZE

    def picture(self, index: int) -> U8:
        """Stored crop of a frame, RGB. Shape (*STORED_SIZE, 3), uint8.

        Raises:
            TrainingError: The picture is damaged.
        """
        begin = int(self.jpeg_ends[index - 1]) if index else 0
        data = self.jpeg[begin : int(self.jpeg_ends[index])]
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
        if bgr is None:
            raise TrainingError(
                f"Picture {index} of a prepared clip is damaged.",
                "Delete the training set and run 'dub prepare' again.",
            )
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def encode_picture(image: U8) -> U8:
    """JPEG bytes (B,) of an RGB picture (H, W, 3), uint8."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    return np.asarray(jpeg, np.uint8)


def save_clip(clip: PreparedClip, path: Path) -> None:
    """Write a clip under a temporary name, then rename.

    Raises:
        OSError: The disk is full or the folder cannot be written.
    """
    partial = path.with_suffix(".part.npz")
    try:
        arrays = {item.name: getattr(clip, item.name) for item in fields(clip)}
        np.savez(partial, detector=np.array(DETECTORS[0]), **arrays)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load_clip(path: Path) -> PreparedClip:
    """Read a prepared clip.

    Raises:
        TrainingError: The file is missing, damaged or of another format.
    """
    try:
        # Opened here: numpy does not close what is no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            clip = PreparedClip(**{item.name: data[item.name] for item in fields(PreparedClip)})
        _check_lengths(clip)
        return clip
    # A TypeError where a single array was stored under the name.
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise TrainingError(
            f"Prepared clip '{path}' cannot be read: {reason}.",
            "Delete it and run 'dub prepare' again.",
        ) from error


def detector_of(path: Path) -> str:
    """What found the faces of a prepared clip that can be read; empty where it does not say."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
        return str(data["detector"]) if "detector" in data.files else ""


def _check_lengths(clip: PreparedClip) -> None:
    """Everything must speak of the same frames and of the same audio steps."""
    per_frame = ("jpeg_ends", "landmarks", "canonical", "scale", "rotation", "translation")
    for name in (*per_frame, "shot", "steps"):
        if len(getattr(clip, name)) != len(clip):
            raise ValueError(f"{name} is not of {len(clip)} frames")
    ends = clip.jpeg_ends
    if len(ends) and (ends[-1] != len(clip.jpeg) or (np.diff(ends, prepend=0) <= 0).any()):
        raise ValueError("its pictures are cut off")
    if clip.voices.ndim != 3 or clip.heard.shape != clip.voices.shape[:2]:
        raise ValueError("its sound is of another format")
    if clip.fill.shape != clip.voices.shape[2:]:
        raise ValueError("its sound is of another format")


def mouth_of(clip: PreparedClip) -> MouthClip:
    """A prepared clip's mouth on the clock of its sound."""
    return MouthClip(
        points=clip.canonical[:, SPEAKING],
        times=clip.steps / float(STEPS_HZ),
        usable=clip.valid,
        shot=clip.shot,
    )


def features_of(clip: PreparedClip, version: int = 0) -> AudioFeatures:
    """A prepared clip's sound as heard in one of its versions; 0 is the recording itself."""
    return AudioFeatures(
        values=clip.voices[version],
        rate_hz=STEPS_HZ,
        kind="speech",
        start_s=Fraction(0),
        fill=clip.fill,
    )
