"""Values that flow between stages: frozen, validated, numpy and standard library only.

Conventions, stated once:

* **Coded space**: pixels as the codec stores them. **Display space**: upright, square pixels
  (rotation and sample aspect ratio applied). Faces, landmarks and alignments live in display
  space; `display_to_coded` of the pipeline is the only bridge.
* RGB channel order, xy point order, pixel centres at integers, half-open ranges.
* uint8 images in numpy; float32 in [0, 1] only inside models.
* Time is `(pts, time_base)` or `Fraction` seconds; floats only for printing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dubcli.core.choices import DETECTORS as DETECTORS
from dubcli.core.choices import FEATURE_SIZES as FEATURE_SIZES

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]
Int = NDArray[np.int64]

# Numbers of a face's embedding.
NUM_EMBEDDING = 128


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True, kw_only=True)
class PictureForm:
    """Form of a video's pictures from some time on.

    Attributes:
        start_s: Seconds from the first frame.
        width: Coded px.
        height: Coded px.
        sar: Width over height of one sample.
        pix_fmt: libav's name.
        rotation_deg: Clockwise turn that a player applies: 0, 90, 180 or 270.
    """

    start_s: Fraction
    width: int
    height: int
    sar: Fraction
    pix_fmt: str
    rotation_deg: int


@dataclass(frozen=True, kw_only=True)
class VideoStreamInfo:
    """Facts of the video stream that is dubbed.

    `width` and `height` are coded pixels. `rotation_deg` is the clockwise turn that a player
    applies (0, 90, 180, 270). `num_frames_from_header` may be wrong or absent.

    Attributes:
        profile: The codec's, in libav's words; empty where it has none.
        field_order: libav's AVFieldOrder, as the stream says it; 0 unknown, 1 progressive.
        is_interlaced: Frames hold two fields of different times.
        mastering: Mastering display of SMPTE ST 2086: x, y of green, blue, red and white in
            1/50000, then the highest and the lowest luminance in 1/10000 cd/m².
        light_level: Highest brightness of a pixel, and of a frame's average, cd/m² (CTA-861.3).
        dynamic_hdr: Kinds of HDR metadata that change from frame to frame.
        crop: What a player cuts off at the left, right, top and bottom, coded px.
        forms: Forms that its pictures take, where they change midway; `width` and `height` are
            the largest's.
    """

    index: int
    codec: str
    width: int
    height: int
    frame_rate: Fraction
    time_base: Fraction
    start_pts: int
    num_frames_from_header: int | None
    sar: Fraction
    rotation_deg: int
    pix_fmt: str
    color_space: int
    color_range: int
    color_transfer: int
    color_primaries: int
    bit_rate: int | None = None
    profile: str = ""
    field_order: int = 0
    is_interlaced: bool = False
    mastering: tuple[int, ...] | None = None
    light_level: tuple[int, int] | None = None
    dynamic_hdr: tuple[str, ...] = ()
    crop: tuple[int, int, int, int] = (0, 0, 0, 0)
    forms: tuple[PictureForm, ...] = ()

    def __post_init__(self) -> None:
        _require(self.width > 0 and self.height > 0, "video size must be positive")
        _require(self.rotation_deg in (0, 90, 180, 270), f"rotation {self.rotation_deg}")

    @property
    def display_size(self) -> tuple[int, int]:
        """Width and height in display space, px."""
        width = max(1, round(self.width * self.sar))
        return (self.height, width) if self.rotation_deg in (90, 270) else (width, self.height)


@dataclass(frozen=True, kw_only=True)
class AudioStreamInfo:
    """Facts of one audio stream."""

    index: int
    codec: str
    sample_rate: int
    channels: int
    start_pts: int
    time_base: Fraction


@dataclass(frozen=True, kw_only=True)
class SourceStream:
    """One stream of the source. `kind` is PyAV's: video, audio, subtitle, attachment, data."""

    index: int
    kind: str
    codec: str
    disposition: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    duration_s: Fraction | None = None


@dataclass(frozen=True, kw_only=True)
class MediaInfo:
    """What a file holds. `duration_s` is the container's, None when unknown."""

    path: Path
    container: str
    duration_s: Fraction | None
    video: VideoStreamInfo | None
    audio: AudioStreamInfo | None
    num_audio: int = 0
    num_subtitles: int = 0
    num_video: int = 0
    streams: tuple[SourceStream, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A decoded picture for analysis.

    Attributes:
        index: Position in decode order, 0-based.
        pts: Presentation time in units of the stream's time base.
        image: RGB, upright, square pixels, possibly reduced. Shape (H, W, 3), uint8.
        scale: Display pixels per image pixel (1 when not reduced).
    """

    index: int
    pts: int
    image: U8
    scale: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Waveform:
    """Mono audio on the video clock.

    Attributes:
        samples: Shape (n,), float32 in [-1, 1].
        sample_rate: Hz.
        start_s: Time of the first sample, seconds on the video clock.
    """

    samples: F32
    sample_rate: int
    start_s: Fraction = Fraction(0)

    def __post_init__(self) -> None:
        _require(self.samples.ndim == 1, f"waveform shape {self.samples.shape}, expected (n,)")
        _require(self.sample_rate > 0, "sample rate must be positive")

    @property
    def duration_s(self) -> Fraction:
        """Length, seconds."""
        return Fraction(len(self.samples), self.sample_rate)


@dataclass(frozen=True, kw_only=True)
class AudioFeatures:
    """Feature sequence of a waveform.

    Attributes:
        values: Shape (A, D), float32 or, with a recogniser's, float16.
        rate_hz: Feature steps per second.
        kind: A key of `FEATURE_SIZES`.
        start_s: Time of the first step's centre, seconds on the video clock.
        fill: What stands before the first and after the last step. Shape (D,).
    """

    values: NDArray[np.floating[Any]]
    rate_hz: Fraction
    kind: str
    start_s: Fraction
    fill: F32


@dataclass(frozen=True, kw_only=True)
class FaceObservation:
    """One face in one frame.

    Attributes:
        frame_index: Frame it was seen in.
        box: x0, y0, x1, y1, half-open, display px. Shape (4,), float32.
        landmarks: Kept points of `face.landmarks`, xyz, display px (z in the same unit, away from
            the camera positive). Shape (K, 3), float32.
        score: Confidence in [0, 1].
    """

    frame_index: int
    box: F32
    landmarks: F32
    score: float


@dataclass(frozen=True, kw_only=True)
class FaceTrack:
    """One person's face over a range of frames, dense in time.

    Attributes:
        start: Frame index of the first entry.
        boxes: Shape (T, 4), float32, display px.
        landmarks: Shape (T, K, 3), float32, display px. Never NaN.
        valid: The face may be dubbed in this frame. Shape (T,).
        interpolated: Landmarks were filled from neighbours. Shape (T,).
        shot: Shot number of each frame. Shape (T,).
        reasons: Why a frame is not valid, '' where it is. Length T.
        sharpness: Variance of the Laplacian inside the face, grey levels squared. Shape (T,).
        embedding: Who it is: mean over a few good pictures by the recognition network
            (`face.recognition`), of unit length; 0 where that is not known. Shape (128,).
        occluded_share: Share of the lips' surroundings that something hides, 0 where nobody looked.
            Shape (T,).
        partially_occluded: Something may lie before the lower face: it is segmented
            and stays. Shape (T,).
        light: Mean colours of the aligned face, see `face.light`; no entries where nobody looked.
            Shape (T, 13, 10, 3), uint8.
    """

    start: int
    boxes: F32
    landmarks: F32
    valid: Bool
    interpolated: Bool
    shot: Int
    reasons: tuple[str, ...]
    sharpness: F32
    embedding: F32 = field(default_factory=lambda: np.zeros(NUM_EMBEDDING, np.float32))
    occluded_share: F32 = field(default_factory=lambda: np.zeros(0, np.float32))
    partially_occluded: Bool = field(default_factory=lambda: np.zeros(0, np.bool_))
    light: U8 = field(default_factory=lambda: np.zeros((0, 13, 10, 3), np.uint8))

    def __post_init__(self) -> None:
        num = len(self.boxes)
        for name, kind in (("occluded_share", np.float32), ("partially_occluded", np.bool_)):
            if len(getattr(self, name)) == 0:
                object.__setattr__(self, name, np.zeros(num, kind))
            _require(len(getattr(self, name)) == num, f"{name} is not of {num} frames")
        _require(len(self.light) in (0, num), f"light of {len(self.light)} frames, boxes {num}")
        _require(
            self.embedding.shape == (NUM_EMBEDDING,),
            f"embedding shape {self.embedding.shape}, expected ({NUM_EMBEDDING},)",
        )
        for name in ("landmarks", "valid", "interpolated", "shot", "reasons", "sharpness"):
            length = len(getattr(self, name))
            _require(length == num, f"{name} has {length} entries, boxes {num}")
        _require(bool(np.isfinite(self.landmarks).all()), "landmarks hold NaN or infinity")

    def __len__(self) -> int:
        return len(self.boxes)

    def until(self, stop: int) -> FaceTrack:
        """The track's first frames."""
        in_time = ("boxes", "landmarks", "valid", "interpolated", "shot", "reasons", "sharpness")
        in_time += ("occluded_share", "partially_occluded", "light")
        return replace(self, **{name: getattr(self, name)[:stop] for name in in_time})


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """Where the crop lies in each frame.

    Attributes:
        frame_to_crop: Homogeneous display px to crop px. Shape (T, 2, 3), float64.
        crop_size: Height, width of the crop, px.
    """

    frame_to_crop: F64
    crop_size: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class References:
    """Pictures of one identity that lend texture to the generated mouth.

    Attributes:
        crops: RGB crops at the model's crop size. Shape (N, H, W, 3), uint8.
        detail_crops: The same crops at the source's own resolution. Shape (N, h, w, 3), uint8.
        landmarks: Kept points, xyz, crop px of `crops`. Shape (N, K, 3), float32.
        frame_indices: Frames they come from. Shape (N,).
        mouth_open: Inner lip gap over inter-ocular distance. Shape (N,).
    """

    crops: U8
    detail_crops: U8
    landmarks: F32
    frame_indices: Int
    mouth_open: F32

    def __len__(self) -> int:
        return len(self.crops)

    def part(self, rows: slice) -> References:
        """Some of the pictures."""
        return References(
            crops=self.crops[rows],
            detail_crops=self.detail_crops[rows],
            landmarks=self.landmarks[rows],
            frame_indices=self.frame_indices[rows],
            mouth_open=self.mouth_open[rows],
        )


@dataclass(frozen=True)
class Window:
    """Half-open range of frames fed to a model together, and the part of it that is kept."""

    start: int
    stop: int
    emit_start: int
    emit_stop: int

    def __post_init__(self) -> None:
        ordered = self.start <= self.emit_start < self.emit_stop <= self.stop
        _require(ordered, f"window out of order: {self}")


@dataclass(frozen=True, kw_only=True)
class PasteMask:
    """Blend weight in crop space, exactly 0 outside its support. Shape (H, W), float32."""

    alpha: F32

    def __post_init__(self) -> None:
        _require(self.alpha.ndim == 2, f"mask shape {self.alpha.shape}, expected (H, W)")


@dataclass(frozen=True, kw_only=True)
class FramePatch:
    """A patch in place: what to blend into which part of a coded frame.

    Attributes:
        x: Left edge of the region, coded px.
        y: Top edge of the region, coded px.
        rgb: Picture to blend in. Shape (h, w, 3), float32 in [0, 1].
        alpha: Blend weight, exactly 0 outside the support. Shape (h, w), float32.
    """

    x: int
    y: int
    rgb: F32
    alpha: F32
