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
from dubcli.audio.features import SAMPLE_RATE
from dubcli.config import DubConfig
from dubcli.errors import ConfigError, DecodeError, EncodeError, ProbeError
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
from dubcli.media.probe import probe, require_audio, require_video
from dubcli.media.read import FrameReader
from dubcli.media.remux import remux
from dubcli.media.timeline import FrameTimes, Timeline, plan_timeline
from dubcli.media.waveform import audio_duration, is_silent, read_waveform
from dubcli.media.write import EncodeOptions, FrameWriter
from dubcli.models.base import LipSyncModel
from dubcli.pipeline.analyse import Analysis, analyse, choose_face
from dubcli.pipeline.device import choose_device
from dubcli.pipeline.hearing import hear
from dubcli.pipeline.person import in_this_video, read_identity, remarks
from dubcli.pipeline.queues import Sink, prefetch
from dubcli.pipeline.render import Clock, Renderer, Subject
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
    model: LipSyncModel
    model_name: str
    identity: Identity | None
    weights_sha256: str | None
    device: torch.device
    encode: EncodeOptions

    @property
    def video(self) -> VideoStreamInfo:
        return require_video(self.info)


@dataclass(frozen=True, kw_only=True)
class _Schedule:
    """When which frame and which sound is there.

    Attributes:
        timeline: Frames of the result.
        origin_s: Where the driving audio begins on the video's clock, seconds.
        lead_s: How much of it comes before the first frame, seconds.
    """

    timeline: Timeline
    origin_s: Fraction
    lead_s: Fraction


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
    began = clock.add("prepare", began)
    with FrameReader(config.video, job.info, config.threads) as reader:
        with MediaPipeDetector() as detector:
            found = analyse(reader, detector, job.video.num_frames_from_header or 0, tell)
        began = clock.add("analyse", began)
        schedule = _schedule(job, found.times)
        track = choose_face(found, config.face)
        subject, looks = _subject(reader, job, track, reference_frames)
        features = hear(job.waveform, job.model.spec.audio_kind)
        own = source_offset(config.video, track, subject.pose, found.times, job.device)
        clock.add("references", began)
        timeline = schedule.timeline
        renderer = Renderer(
            job.model, subject, features, timeline, schedule.origin_s, job.device, clock
        )
        with tempfile.TemporaryDirectory(prefix=".dub-", dir=job.output.parent) as folder:
            picture = Path(folder) / "picture.mov"
            notes = remarks(looks, job.identity)
            notes += _render(reader, renderer, timeline, picture, job, clock, tell)
            notes += _join(picture, job, schedule, clock, tell)
    report = _report(job, found, subject, timeline, clock, own, notes)
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
    _read_audio(config)


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
    waveform, audio_s = _read_audio(config)
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


def _read_audio(config: DubConfig) -> tuple[Waveform, Fraction]:
    """The driving audio at the features' rate, and its exact length."""
    require_audio(probe(config.audio))
    waveform = read_waveform(config.audio, SAMPLE_RATE)
    if len(waveform.samples) == 0:
        raise DecodeError(f"'{config.audio}' holds no sound.", "Name another recording.")
    if is_silent(waveform) and not config.allow_silence:
        raise ProbeError(
            f"'{config.audio}' is silent throughout.",
            "Name another recording, or add --allow-silence for a resting mouth.",
        )
    return waveform, audio_duration(config.audio)


def _schedule(job: _Job, times: FrameTimes) -> _Schedule:
    origin_s = _audio_origin(job.info, times)
    lead_s = times.pts[0] * times.time_base - origin_s
    heard_s = max(Fraction(0), job.audio_s - lead_s)
    timeline = plan_timeline(times, heard_s, job.config.sync_mode)
    return _Schedule(timeline=timeline, origin_s=origin_s, lead_s=lead_s)


def _audio_origin(info: MediaInfo, times: FrameTimes) -> Fraction:
    """Where the driving audio begins on the video's clock, seconds.

    With the source's own sound or picture, whichever is first: a recording made over the source,
    or taken from it, then stays in step.
    """
    first_s = times.pts[0] * times.time_base
    if info.audio is None:
        return first_s
    return min(first_s, info.audio.start_pts * info.audio.time_base)


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


def _join(picture: Path, job: _Job, schedule: _Schedule, clock: Clock, tell: Progress) -> list[str]:
    """Put picture, driving audio and the source's other streams together; returns notes."""
    timeline = schedule.timeline
    began = time.perf_counter()
    tell("join", 0, 1)
    notes = remux(
        picture=picture,
        source=job.config.video,
        source_info=job.info,
        audio=job.config.audio,
        audio_s=min(job.audio_s, timeline.audio_s + schedule.lead_s),
        pad_s=timeline.pad_s,
        output=job.output,
        start_s=int(timeline.pts[0]) * timeline.time_base,
        audio_start_s=schedule.origin_s,
        metadata={"comment": f"Lips dubbed by dub {__version__} ({job.model_name})"},
    )
    tell("join", 1, 1)
    clock.add("join", began)
    return notes


def _report(
    job: _Job,
    found: Analysis,
    subject: Subject,
    timeline: Timeline,
    clock: Clock,
    own: SyncScore | None,
    notes: list[str],
) -> DubReport:
    strength = subject.strength[timeline.source_index]
    passed = timeline.source_index[strength <= 0].tolist()
    reasons = Counter(subject.track.reasons[index] or "fade" for index in passed)
    warnings = [timeline.description] if "match" not in timeline.description else []
    if found.num_corrupt:
        warnings.append(f"{found.num_corrupt} damaged packets of the source were left out.")
    if len(passed) * 2 > len(timeline):
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
        duration_s=round(float(timeline.duration_s), 6),
        source_offset_ms=round(own.offset_ms) if own is not None and own.is_sure else None,
        version=__version__,
    )


def _write_report(report: DubReport, path: Path) -> None:
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
