"""`dub`: check, analyse, choose, render, join, report."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn

from dubcli import __version__
from dubcli.config import DubConfig
from dubcli.errors import ConfigError, EncodeError
from dubcli.face.align import crop_alignment, to_canonical
from dubcli.face.appearance import describe
from dubcli.face.crop import cut_crop
from dubcli.face.detect import MediaPipeDetector
from dubcli.face.references import cut_references, select_references
from dubcli.face.rest import rest_shape
from dubcli.face.track import fade, smooth_pose
from dubcli.identities.adapter import apply_adapter
from dubcli.identities.identity import Identity
from dubcli.media.containers import container_of, default_output
from dubcli.media.native import NativeFrame
from dubcli.media.probe import probe, require_video
from dubcli.media.read import FrameReader
from dubcli.media.remux import remux
from dubcli.media.timeline import Timeline
from dubcli.media.write import EncodeOptions, FrameWriter
from dubcli.models.base import LipSyncModel
from dubcli.pipeline.analyse import Analysis, analyse
from dubcli.pipeline.choose import Choice, choose, known_person, own_sound
from dubcli.pipeline.device import choose_device
from dubcli.pipeline.hearing import hear
from dubcli.pipeline.person import in_this_video, read_identity, remarks
from dubcli.pipeline.queues import Sink, prefetch
from dubcli.pipeline.render import Clock, Renderer, Subject, picture_jumps
from dubcli.pipeline.sound import (
    Levels,
    Schedule,
    plan_levels,
    plan_sound,
    read_audio,
    sound_edit,
    sound_notes,
    speech_strength,
)
from dubcli.pipeline.spaces import coded_to_display
from dubcli.pipeline.sync_check import SyncScore, source_offset, source_warning
from dubcli.types import (
    F32,
    U8,
    Bool,
    DubReport,
    FaceTrack,
    MediaInfo,
    VideoStreamInfo,
    Waveform,
)
from dubcli.weights import load_model, resolve

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class _Job:
    """A run that was checked and may begin: nothing in it depends on what the frames show.

    Attributes:
        config: What the user asked for.
        info: Facts of the source.
        output: Where the result goes.
        waveform: Driving audio at the features' rate.
        audio_s: Its exact length, seconds.
        levels: How loud it and the source's own sound become.
        model: The lip-sync model, on `device`.
        model_name: Name and tag of its manifest entry.
        identity: The person that it was adapted to, None for the model as it ships.
        weights_sha256: None for a model without weights.
        device: Where the model runs.
        encode: How frames are encoded.
    """

    config: DubConfig
    info: MediaInfo
    output: Path
    waveform: Waveform
    audio_s: Fraction
    levels: Levels
    model: LipSyncModel
    model_name: str
    identity: Identity | None
    weights_sha256: str | None
    device: torch.device
    encode: EncodeOptions

    @property
    def video(self) -> VideoStreamInfo:
        return require_video(self.info)


def dub(
    config: DubConfig,
    progress: Progress | None = None,
    *,
    reference_frames: range | None = None,
    encode: EncodeOptions | None = None,
) -> DubReport:
    """Give the person in a video lips that speak other audio.

    Args:
        config: What to do.
        progress: Called as (stage, done, total).
        reference_frames: Source frames that may serve as references and tell how the person's
            mouth rests; all by default. For measurements that must not see the answer.
        encode: Encoder options in place of the configuration's.

    Returns:
        The report, which also lies beside the result.

    Raises:
        DubError: See `dubcli.errors`.
    """
    tell = progress or (lambda stage, done, total: None)
    clock = Clock()
    began = time.perf_counter()
    job = _prepare(config, encode)
    known = known_person(config.face, job.identity)
    began = clock.add("prepare", began)
    with FrameReader(config.video, job.info, config.threads) as reader:
        with MediaPipeDetector() as detector:
            found = analyse(reader, detector, job.video.num_frames_from_header or 0, tell)
        began = clock.add("analyse", began)
        schedule = plan_sound(config, job.info, job.audio_s, found.times)
        listen = own_sound(config.video, found.times, job.device)
        choice = choose(found, config.face, job.video.display_size, known, listen)
        track = choice.track
        subject, looks = _subject(reader, job, track, reference_frames)
        features = hear(job.waveform, job.model.spec.audio_kind)
        own = source_offset(config.video, track, subject.pose, found.times, job.device)
        clock.add("references", began)
        timeline = schedule.timeline
        strength = _strength(job, schedule, subject)
        renderer = Renderer(
            job.model, subject, features, timeline, schedule.begin_s, strength, job.device, clock
        )
        with tempfile.TemporaryDirectory(prefix=".dub-", dir=job.output.parent) as folder:
            picture = Path(folder) / "picture.mov"
            notes = remarks(looks, job.identity)
            notes += sound_notes(job.levels, schedule, found.times)
            notes += _render(reader, renderer, timeline, picture, job, clock, tell)
            notes += _join(picture, job, schedule, clock, tell)
    report = _report(job, found, choice, subject, timeline, strength, clock, own, notes)
    _write_report(report, report_path(job.output))
    return report


def check(config: DubConfig) -> None:
    """Look at files and options alone, before something slow that a dub will need.

    Raises:
        DubError: The dub could not begin.
    """
    info = probe(config.video)
    require_video(info)
    _check_output(config, info)
    read_audio(config)


def report_path(output: Path) -> Path:
    """Where the report of a result lies: the same name with `.json`."""
    return output.with_suffix(".json")


def _prepare(config: DubConfig, encode: EncodeOptions | None) -> _Job:
    """Look at everything that can be wrong before the slow part."""
    if config.finetune:
        raise ConfigError(
            "A dub does not learn the person by itself.",
            "Call dubcli.training.finetune first, and give the dub its identity.",
        )
    info = probe(config.video)
    require_video(info)
    output = _check_output(config, info)
    waveform, audio_s = read_audio(config)
    levels = plan_levels(config, info)
    identity, wanted = None, config.model
    if config.identity is not None:
        identity, wanted = read_identity(config.identity, config.model)
    entry = resolve(wanted)
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    device = choose_device(config.device)
    model, sha256 = load_model(entry.name, str(device))
    if identity is not None:
        apply_adapter(cast(nn.Module, model), identity, sha256)
    default = EncodeOptions(output=output, crf=config.crf, threads=config.threads)
    return _Job(
        config=config,
        info=info,
        output=output,
        waveform=waveform,
        audio_s=audio_s,
        levels=levels,
        model=model,
        model_name=entry.name,
        identity=identity,
        weights_sha256=sha256,
        device=device,
        encode=encode or default,
    )


def _check_output(config: DubConfig, info: MediaInfo) -> Path:
    """The output's path, when it may be written."""
    output = config.output or default_output(config.video, info)
    inputs = [path.resolve() for path in (config.video, config.audio)]
    if output.resolve() in inputs:
        raise ConfigError(
            f"The output '{output}' is an input.", "Choose another name with --output."
        )
    if output.is_dir():
        raise EncodeError(f"'{output}' is a folder.", "Name a file with --output.")
    container_of(output)
    if not output.parent.is_dir():
        raise EncodeError(
            f"The folder '{output.parent}' does not exist.", "Create it, or choose another."
        )
    if not os.access(output.parent, os.W_OK):
        raise EncodeError(f"'{output.parent}' cannot be written.", "Choose another with --output.")
    for path in (output, report_path(output)):
        if path.exists() and not config.overwrite:
            raise ConfigError(f"'{path}' exists.", "Use -y to replace it or -o for another name.")
    return output


def _subject(
    reader: FrameReader, job: _Job, track: FaceTrack, reference_frames: range | None
) -> tuple[Subject, F32]:
    """The person over the video's frames, and what the face looks like in a few of them (L, D)."""
    video, identity = job.video, job.identity
    pose = smooth_pose(track)
    alignment = crop_alignment(pose, job.model.spec.crop_size)
    allowed: Bool = np.ones(len(track), np.bool_)
    if reference_frames is not None:
        allowed = np.isin(np.arange(len(track)), list(reference_frames))
    chosen = select_references(track, pose, job.model.spec.num_references, allowed)
    to_display = coded_to_display(video)
    width, height = video.display_size
    looks: dict[int, F32] = {}

    def upright(native: NativeFrame) -> U8:
        whole = native.rgb_region(0, 0, native.width, native.height)
        picture = cut_crop(whole, to_display, (height, width))
        looks[native.index] = describe(picture, track.landmarks[native.index - track.start])
        return picture

    distinct = sorted(set(chosen))
    pictures = ((native.index, upright(native)) for native in reader.native_sequence(distinct))
    references = cut_references(pictures, chosen, track, alignment)
    if identity is None:
        neutral = rest_shape(to_canonical(track.landmarks, pose), track.valid & allowed)
        state = None
    else:
        neutral, own = identity.neutral, references
        references = in_this_video(identity.references, own, alignment, np.flatnonzero(track.valid))
        state = identity.state if references.crops is identity.references.crops else None
    subject = Subject(
        track=track,
        pose=pose,
        alignment=alignment,
        coded_to_display=to_display,
        strength=fade(track.valid, track.shot),
        neutral=neutral,
        references=references,
        state=state,
    )
    return subject, np.stack(list(looks.values()))


def _strength(job: _Job, schedule: Schedule, subject: Subject) -> F32:
    """Weight of the dub at each position of the timeline. Shape (N,)."""
    timeline = schedule.timeline
    strength = subject.strength[timeline.source_index]
    if not job.config.keep_silent_frames:
        return strength
    jumps = picture_jumps(subject.track, timeline)
    return np.minimum(strength, speech_strength(job.waveform, schedule, jumps))


def _render(
    reader: FrameReader,
    renderer: Renderer,
    timeline: Timeline,
    picture: Path,
    job: _Job,
    clock: Clock,
    tell: Progress,
) -> list[str]:
    """Write the dubbed picture; returns the encoder's notes."""
    total = len(timeline)
    with FrameWriter(picture, job.video, job.encode) as writer:
        sink = Sink[tuple[NativeFrame, int]](lambda item: writer.write(item[0].frame, item[1]))
        try:
            with prefetch(reader.native_sequence(timeline.source_index.tolist())) as source:
                for done, native in enumerate(renderer.frames(source)):
                    began = time.perf_counter()
                    sink.put((native, int(timeline.pts[done])))
                    clock.add("encode_wait", began)
                    tell("dub", done + 1, total)
            began = time.perf_counter()
            sink.finish()
            clock.add("encode_wait", began)
        finally:
            sink.stop()
    return writer.notes


def _join(picture: Path, job: _Job, schedule: Schedule, clock: Clock, tell: Progress) -> list[str]:
    """Put picture, driving audio and the source's other streams together; returns notes."""
    timeline = schedule.timeline
    began = time.perf_counter()
    tell("join", 0, 1)
    notes = remux(
        picture=picture,
        source=job.config.video,
        source_info=job.info,
        audio=job.config.audio,
        audio_s=schedule.audio_s,
        pad_s=schedule.pad_s,
        output=job.output,
        start_s=int(timeline.pts[0]) * timeline.time_base,
        audio_start_s=schedule.begin_s + schedule.skip_s,
        edit=sound_edit(job.config, job.info, job.levels, schedule),
        metadata={"comment": f"Lips dubbed by dub {__version__} ({job.model_name})"},
    )
    tell("join", 1, 1)
    clock.add("join", began)
    return notes


def _report(
    job: _Job,
    found: Analysis,
    choice: Choice,
    subject: Subject,
    timeline: Timeline,
    strength: F32,
    clock: Clock,
    own: SyncScore | None,
    notes: list[str],
) -> DubReport:
    passed = timeline.source_index[strength <= 0]
    unusable = passed[subject.strength[passed] <= 0].tolist()
    reasons = Counter(subject.track.reasons[index] or "fade" for index in unusable)
    if len(passed) > len(unusable):
        reasons["silence"] = len(passed) - len(unusable)
    warnings = [timeline.description] if "match" not in timeline.description else []
    if found.num_corrupt:
        warnings.append(f"{found.num_corrupt} damaged packets of the source were left out.")
    if len(unusable) * 2 > len(timeline):
        warnings.append("More than half of the frames were left as they are.")
    out_of_step = source_warning(own)
    warnings += [out_of_step] if out_of_step else []
    return DubReport(
        output=str(job.output),
        frames=len(timeline),
        frames_dubbed=len(timeline) - len(passed),
        frames_passed_through=dict(reasons),
        width=job.video.width,
        height=job.video.height,
        model=job.model_name,
        weights_sha256=job.weights_sha256,
        device=str(job.device),
        sync_mode=job.config.sync_mode,
        seconds={stage: round(value, 3) for stage, value in clock.seconds.items()},
        config=job.config.as_json(),
        warnings=warnings + notes,
        identity=job.identity.name if job.identity else None,
        references=[] if job.identity else subject.references.frame_indices.tolist(),
        shots=int(subject.track.shot.max()) + 1,
        faces=len(found.tracks),
        face=choice.number,
        face_reason=choice.reason,
        duration_s=round(float(timeline.duration_s), 6),
        source_offset_ms=round(own.offset_ms) if own is not None and own.is_sure else None,
        audio_offset_s=job.config.audio_offset,
        audio_gain_db=round(job.levels.gain_db, 2),
        original_mixed_db=None if job.levels.own_db is None else round(job.levels.own_db, 2),
        version=__version__,
    )


def _write_report(report: DubReport, path: Path) -> None:
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
