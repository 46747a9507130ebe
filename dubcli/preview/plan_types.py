"""What `dub plan` tells, as values: frozen, JSON-ready, standard library only.

Times are seconds on the video's clock, sizes of faces display px.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# What a face's lips do: they follow the video's own sound; they move, but no sound says that it is
# theirs; they rest; or too little is seen of them.
LIPS = ("speaks", "moves", "still", "unknown")


@dataclass(frozen=True, kw_only=True)
class SourceFacts:
    """What the video is.

    Attributes:
        path: The file.
        container: libav's name of it.
        codec: Of the picture.
        pix_fmt: libav's name of the pixel format.
        colour: Matrix, range and transfer in words.
        width: Coded px.
        height: Coded px.
        display_size: Width and height as shown, after rotation and pixel shape.
        rotation_deg: Clockwise turn that a player applies.
        is_interlaced: Frames hold two fields.
        frames: Frames that can be decoded; None where nobody counted.
        duration_s: From the first to the end of the last of them.
        frame_rate: Frames per second, the mean where it varies.
        is_variable: Frames last differently long.
        sound: The own sound, in words; None without.
        others: Further streams, in words.
    """

    path: str
    container: str
    codec: str
    pix_fmt: str
    colour: str
    width: int
    height: int
    display_size: tuple[int, int]
    rotation_deg: int
    is_interlaced: bool
    frames: int
    duration_s: float
    frame_rate: float
    is_variable: bool
    sound: str | None
    others: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FaceFacts:
    """One face, in a shot or in the whole video.

    Attributes:
        face: Its number by size, from 1, as `--face` takes it.
        frames: How many show it.
        usable: In how many of them it can be dubbed.
        height_px: Least, median and largest height.
        yaw_deg: Least and largest turn to the side.
        pitch_deg: Least and largest nod.
        lips: One of `LIPS`.
        confidence: How well they follow the video's own sound; None where that was not asked or
            not enough was seen.
        reasons: Frames in which it cannot be dubbed though it is seen, by reason.
    """

    face: int
    frames: int
    usable: int
    height_px: tuple[int, int, int]
    yaw_deg: tuple[int, int]
    pitch_deg: tuple[int, int]
    lips: str
    confidence: float | None
    reasons: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class ShotFacts:
    """From one cut to the next, and every face in it, the largest of the video first."""

    number: int
    start_s: float
    end_s: float
    frames: int
    faces: tuple[FaceFacts, ...]


@dataclass(frozen=True, kw_only=True)
class PlannedSpeaker:
    """A face that will be dubbed: which, why, with what; frames None where no audio was given."""

    face: int
    reason: str
    audio: str | None
    frames_dubbed: int | None


@dataclass(frozen=True, kw_only=True)
class PlannedRange:
    """Frames of the result that will show the source's own picture, and why."""

    start_s: float
    end_s: float
    frames: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class ResultFacts:
    """What the dub will be.

    Attributes:
        path: The file.
        exists: There is one under this name already, or its report.
        container: libav's name of it.
        encoder: Of the picture.
        pix_fmt: Its pixel format.
        sound: `copy`, or the sound's encoder.
        frames: How many.
        frames_dubbed: How many of them get new lips.
        frames_copied: How many are the source's own packets, not encoded anew.
        encoded_whole_because: Why none is; None where some are.
        duration_s: Its length.
        sync_mode: What was asked for when lengths differ.
        timeline: What that means here, in a sentence.
        begins_s: When the new audio's own start is heard.
        notes: What will not be kept, or changed.
        marks: What will tell that it was dubbed, in words.
    """

    path: str
    exists: bool
    container: str
    encoder: str
    pix_fmt: str
    sound: str
    frames: int
    frames_dubbed: int
    frames_copied: int
    encoded_whole_because: str | None
    duration_s: float
    sync_mode: str
    timeline: str
    begins_s: float
    notes: tuple[str, ...]
    marks: str


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What the slow part will take, by a short trial.

    Attributes:
        seconds: From now to the finished file.
        dubbed_frame_s: Seconds that a dubbed frame took.
        passed_frame_s: Seconds that another frame took.
        trial_frames: How many frames were tried.
        result_bytes: Size of the result.
        disk_bytes: Space that is needed while it is made, the result included.
        free_bytes: Space that there is; None where the file system does not say.
    """

    seconds: float
    dubbed_frame_s: float
    passed_frame_s: float
    trial_frames: int
    result_bytes: int
    disk_bytes: int
    free_bytes: int | None

    @property
    def is_enough(self) -> bool:
        """The disk holds it, as far as is known."""
        return self.free_bytes is None or self.disk_bytes <= self.free_bytes


@dataclass(frozen=True, kw_only=True)
class PlanReport:
    """What a dub would do, before the slow part.

    Attributes:
        source: The video.
        faces: Every face that was followed, by number.
        shots: From cut to cut.
        speakers: Who would be dubbed; empty where that cannot be.
        result: What would be written; None without audio, or where it cannot be.
        passed: Ranges of the result that stay as they are.
        estimate: Time and space; None where `result` is.
        source_offset_ms: How much later the video's own picture comes than its own sound; None
            where that is not sure.
        notes: What else to know.
        picture: The numbered picture of the faces; None where none was asked for or no face seen.
        error: What the dub would end with, in a line; None where it would not.
        exit_code: The dub's.
        model: Name and tag of the lip-sync model; None without audio.
        device: Where it runs.
        seconds: What planning took, by stage.
        config: What was asked for.
        version: Of dub.
    """

    source: SourceFacts
    faces: tuple[FaceFacts, ...]
    shots: tuple[ShotFacts, ...]
    speakers: tuple[PlannedSpeaker, ...] = ()
    result: ResultFacts | None = None
    passed: tuple[PlannedRange, ...] = ()
    estimate: Estimate | None = None
    source_offset_ms: int | None = None
    notes: tuple[str, ...] = ()
    picture: str | None = None
    error: str | None = None
    exit_code: int = 0
    model: str | None = None
    device: str = ""
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    config: dict[str, Any] = field(default_factory=dict[str, Any])
    version: str = ""
