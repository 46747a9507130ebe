"""A prepared clip: aligned pictures, landmarks, pose and sound of one face track."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

from dubcli.core.choices import feature_parts
from dubcli.core.errors import TrainingError
from dubcli.core.types import DETECTORS, F32, F64, U8, AudioFeatures, Bool, Int
from dubcli.face.landmarks import SPEAKING
from dubcli.sync.scorer import MouthClip
from dubcli.training.data.mapped_array import ClipArray, opened

F16 = NDArray[np.float16]
# First frame and end of each.
FrameRanges = tuple[tuple[int, int], ...]

# Height and width of crops where nothing else is asked for, px.
DEFAULT_SIZE = (208, 160)
# An eighth of a crop's size stands around it on every side, for random shifts and turns.
_MARGIN_PARTS = 8
INDEX_NAME = "index.csv"
# Audio steps a second, of every kind of features.
STEPS_HZ = Fraction(80)
_JPEG_QUALITY = 95


@dataclass(frozen=True, kw_only=True)
class ClipSound:
    """One kind of features of a clip's own sound and of changed copies.

    Attributes:
        versions: Shape (V, A, D), float16; the first is the recording itself. V and A are 0
            without sound.
        fill: Features of silence. Shape (D,).
        first: Column of `versions` with which the kind begins.
    """

    versions: ClipArray
    fill: F32
    first: int = 0

    def version(self, number: int) -> F16:
        """Features of one version; of a file only what is indexed is read. Shape (A, D)."""
        return opened(self.versions)[number][:, self.first :]


@dataclass(frozen=True, kw_only=True)
class PreparedClip:
    """One face track in the order of its video, ready for training.

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
        sounds: Features by kind, a key of `core.types.FEATURE_SIZES`.
        heard: Share of the words that a version leaves in, at each step. Shape (V, A), float16.
        size: Height and width of its crops without their margin, px.
        template: How crops are aligned, as `models.api.CropSpec` names it.
        detector: What found the faces, one of `core.types.DETECTORS`.
    """

    jpeg: ClipArray
    jpeg_ends: Int
    landmarks: ClipArray
    canonical: ClipArray
    scale: F64
    rotation: F64
    translation: F64
    valid: Bool
    shot: Int
    steps: Int
    sounds: Mapping[str, ClipSound]
    heard: F16
    size: tuple[int, int] = DEFAULT_SIZE
    template: str = "head"
    detector: str = DETECTORS[0]

    def __len__(self) -> int:
        return len(self.valid)

    @property
    def has_sound(self) -> bool:
        """Whether there is sound of its own."""
        return len(self.heard) > 0

    @property
    def num_versions(self) -> int:
        """How many versions of its sound there are."""
        return len(self.heard)

    @property
    def margin(self) -> tuple[int, int]:
        """Rows and columns of the stored crop around the crop, on each side."""
        return margin_of(self.size)

    @property
    def runs(self) -> Int:
        """Usable frames of one shot in a row: first frame and end. Shape (R, 2)."""
        return runs_of(self.valid, self.shot)

    def sound(self, kind: str) -> ClipSound:
        """Features of a kind; those of several kinds are joined where the set has each.

        Raises:
            TrainingError: The set was prepared without them.
        """
        parts = feature_parts(kind)
        if kind not in self.sounds and all(part in self.sounds for part in parts):
            found = [self.sounds[part] for part in parts]
            versions = [
                np.concatenate([one.version(number) for one in found], 1)
                for number in range(self.num_versions)
            ]
            return ClipSound(
                versions=np.stack(versions) if versions else np.zeros((0, 0, 0), np.float16),
                fill=np.concatenate([one.fill for one in found]),
            )
        if kind not in self.sounds:
            raise TrainingError(
                f"The prepared set has no sound features '{kind}'.",
                f"Run 'dub prepare --features {','.join([*self.sounds, kind])} -y' again.",
            )
        return self.sounds[kind]

    def without_sound(self) -> PreparedClip:
        """The clip as one whose sound is not its own."""
        return self.with_versions(np.zeros(0, np.int64))

    def without_frames(self, ranges: FrameRanges) -> PreparedClip:
        """The clip with the frames of some ranges unusable."""
        valid = self.valid.copy()
        for first, end in ranges:
            valid[first:end] = False
        return replace(self, valid=valid)

    def with_versions(self, numbers: Int) -> PreparedClip:
        """The clip with some versions of its sound, in memory."""
        sounds = {
            kind: replace(sound, versions=sound.versions[numbers])
            for kind, sound in self.sounds.items()
        }
        return replace(self, sounds=sounds, heard=self.heard[numbers])

    def picture(self, index: int) -> U8:
        """Stored crop of a frame with its margin, RGB. Shape (H + 2 h, W + 2 w, 3), uint8.

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

    def crop(self, index: int) -> U8:
        """Crop of a frame without its margin, RGB. Shape (H, W, 3), uint8."""
        return without_margin(self.picture(index))

    def crop_points(self, frames: Int) -> F32:
        """Kept points of frames, crop px, xy. Shape (T, K, 2)."""
        return self.landmarks[frames][..., :2] - np.array(self.margin[::-1], np.float32)


def margin_of(size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns around a crop of a size, on each side, px."""
    return size[0] // _MARGIN_PARTS, size[1] // _MARGIN_PARTS


def stored_size(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a crop of a size with its margin, px."""
    rows, columns = margin_of(size)
    return size[0] + 2 * rows, size[1] + 2 * columns


def without_margin(stored: U8) -> U8:
    """The crop within a stored one, a view. (H + 2 h, W + 2 w, 3) to (H, W, 3)."""
    rows, columns = (side // (_MARGIN_PARTS + 2) for side in stored.shape[:2])
    return stored[rows:-rows, columns:-columns]


def runs_of(valid: Bool, shot: Int) -> Int:
    """Usable frames of one shot in a row: first frame and end. Shape (R, 2)."""
    frames = np.flatnonzero(valid)
    if not len(frames):
        return np.zeros((0, 2), np.int64)
    breaks = (np.diff(frames) != 1) | (np.diff(shot[frames]) != 0)
    first = frames[np.concatenate([[True], breaks])]
    last = frames[np.concatenate([breaks, [True]])]
    return np.stack([first, last + 1], 1)


def ranges_as_text(ranges: FrameRanges) -> str:
    """Ranges of frames for people: first and last frame of each, such as `10-24 60-71`."""
    return " ".join(f"{first}-{end - 1}" for first, end in ranges)


def ranges_from_text(text: str) -> FrameRanges:
    """What `ranges_as_text` made.

    Raises:
        ValueError: It is something else.
    """
    words = (word.partition("-") for word in text.split())
    return tuple((int(first), int(last) + 1) for first, _, last in words)


def encode_picture(image: U8) -> U8:
    """JPEG bytes (B,) of an RGB picture (H, W, 3), uint8."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    return np.asarray(jpeg, np.uint8)


def mouth_of(clip: PreparedClip) -> MouthClip:
    """A prepared clip's mouth on the clock of its sound."""
    return MouthClip(
        points=clip.canonical[:, SPEAKING],
        times=clip.steps / float(STEPS_HZ),
        usable=clip.valid,
        shot=clip.shot,
    )


def features_of(clip: PreparedClip, version: int = 0, *, kind: str = "speech") -> AudioFeatures:
    """A prepared clip's sound as heard in one of its versions; 0 is the recording itself."""
    sound = clip.sound(kind)
    return AudioFeatures(
        values=sound.version(version),
        rate_hz=STEPS_HZ,
        kind=kind,
        start_s=Fraction(0),
        fill=sound.fill,
    )
