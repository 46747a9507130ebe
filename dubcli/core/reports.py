"""What commands report: values that are written as JSON and shown. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class SpeakerReport:
    """One person who was dubbed: number of the face by size, why it was this one, what they say."""

    face: int
    reason: str
    audio: str
    frames_dubbed: int
    references: list[int]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Something on a result that tells that its lips were dubbed.

    Attributes:
        kind: `tag`, `content-credentials` or `visible`.
        where: In which tags, in which file, or where in the picture.
        signer: Who signed; None for marks without a signature.
        is_development: The signer's certificate was made by this tool and vouches for nobody.
    """

    kind: str
    where: str
    signer: str | None = None
    is_development: bool = False


@dataclass(kw_only=True)
class DubReport:
    """What was done, as written beside the result.

    `frames_passed_through` counts the frames that show the source's own picture by reason,
    `passed_through` lists them as ranges: start_s, end_s, frames, reason.
    `copied_packets` counts frames that were copied from the source as encoded packets,
    `encoded_ranges` lists the others: start_s, end_s, frames; where nothing was copied,
    `encoded_whole_because` says why.
    `shot_ranges` lists the shots that the result shows, in its order: start_s, end_s, shot.
    `face` is the number of the dubbed face by size, `face_reason` why it was this one, `faces` how
    many there are; `speakers` tells it of each where several were dubbed, the first one first.
    `audio_offset_s` is how much later the audio starts than it would by itself, `audio_gain_db` how
    much louder it was made, `original_mixed_db` how loud the source's own sound was left below it,
    None where it was not.
    `motion_model` predicted the mouth where it is another than `model`, which painted it;
    `model_facts` is what the models themselves report of the job, by name of the weights as in
    `model` and `motion_model`, `model_ranges` what `model` reports of ranges of time: figure,
    start_s, end_s, mean, and is_low where a low mean asks for a look.
    `source_offset_ms` is how much later the source's own picture comes than its own sound, None
    where that is not sure.
    """

    output: str
    frames: int = 0
    frames_dubbed: int = 0
    frames_passed_through: dict[str, int] = field(default_factory=dict[str, int])
    passed_through: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    copied_packets: int = 0
    encoded_ranges: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    encoded_whole_because: str | None = None
    width: int = 0
    height: int = 0
    model: str = ""
    weights_sha256: str | None = None
    motion_model: str | None = None
    model_facts: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    model_ranges: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    identity: str | None = None
    device: str = ""
    sync_mode: str = ""
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    config: dict[str, Any] = field(default_factory=dict[str, Any])
    warnings: list[str] = field(default_factory=list[str])
    references: list[int] = field(default_factory=list[int])
    shots: int = 0
    shot_ranges: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    faces: int = 0
    face: int = 0
    face_reason: str = ""
    speakers: list[SpeakerReport] = field(default_factory=list[SpeakerReport])
    duration_s: float = 0.0
    source_offset_ms: int | None = None
    audio_offset_s: float = 0.0
    audio_gain_db: float = 0.0
    original_mixed_db: float | None = None
    marks: list[Mark] = field(default_factory=list[Mark])
    version: str = ""


@dataclass(frozen=True, kw_only=True)
class FinetuneReport:
    """What was learned.

    Attributes:
        name: Of the identity.
        path: Where it lies.
        kept_step: The step that was kept.
        last_step: The last one that was made.
        stopped: Why there were no more.
        before: Scores on the footage kept apart without anything learned.
        after: The same at the kept step.
        checks: All looks at it.
        footage: Seconds, frames, faces and what else is known of the footage.
        left_out: Files and faces that were not used, and why.
        notes: What else is to be told.
        seconds: Time spent, by stage.
        config: What was asked for.
        megabytes: Size of the adapter.
    """

    name: str
    path: str
    kept_step: int
    last_step: int
    stopped: str
    before: dict[str, float | None]
    after: dict[str, float | None]
    checks: list[dict[str, float | None]]
    footage: dict[str, Any]
    left_out: dict[str, str]
    notes: list[str]
    seconds: dict[str, float]
    config: dict[str, Any]
    megabytes: float
