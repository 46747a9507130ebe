"""`dub`: check, analyse, choose, render, join, report."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from dubcli import __version__
from dubcli.audio.features import SAMPLE_RATE, extract_features
from dubcli.config import DubConfig
from dubcli.errors import ConfigError, DecodeError, EncodeError, ProbeError
from dubcli.face.align import crop_alignment
from dubcli.face.crop import cut_crop
from dubcli.face.detect import MediaPipeDetector
from dubcli.face.references import cut_references, select_references
from dubcli.face.rest import rest_shape
from dubcli.face.align import to_canonical
from dubcli.face.track import fade, smooth_pose
from dubcli.media.containers import default_output
from dubcli.media.probe import probe, require_audio, require_video
from dubcli.media.read import FrameReader
from dubcli.media.remux import remux
from dubcli.media.timeline import Timeline, plan_timeline
from dubcli.media.waveform import audio_duration, is_silent, read_waveform
from dubcli.media.write import EncodeOptions, FrameWriter
from dubcli.models.base import LipSyncModel
from dubcli.pipeline.analyse import Analysis, analyse, choose_face
from dubcli.pipeline.device import choose_device
from dubcli.pipeline.queues import Sink, prefetch
from dubcli.pipeline.render import Clock, Renderer, Subject
from dubcli.pipeline.spaces import coded_to_display
from dubcli.types import Bool, DubReport, FaceTrack, MediaInfo, Waveform
from dubcli.weights import load_model, resolve

Progress = Callable[[str, int, int], None]


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
    report_progress = progress or (lambda stage, done, total: None)
    clock = Clock()
    began = time.perf_counter()
    info = probe(config.video)
    video = require_video(info)
    output = _check_output(config, info)
    waveform, audio_s = _read_audio(config)
    entry = resolve(config.model)
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    device = choose_device(config.device)
    model, sha256 = load_model(config.model, str(device))
    began = clock.add("prepare", began)
    with FrameReader(config.video, info, config.threads) as reader:
        with MediaPipeDetector() as detector:
            expected = video.num_frames_from_header or 0
            found = analyse(reader, detector, expected, report_progress)
        began = clock.add("analyse", began)
        track = choose_face(found, config.face)
        timeline = plan_timeline(found.times, audio_s, config.sync_mode)
        subject = _subject(reader, info, track, model, config, reference_frames)
        features = extract_features(waveform, model.spec.audio_kind)
        clock.add("references", began)
        renderer = Renderer(model, subject, features, timeline, device, clock)
        options = encode or EncodeOptions(output=output, crf=config.crf, threads=config.threads)
        with tempfile.TemporaryDirectory(prefix=".dub-", dir=output.parent) as folder:
            picture = Path(folder) / "picture.nut"
            notes = _render(reader, renderer, timeline, picture, info, options, clock, report_progress)
            began = time.perf_counter()
            report_progress("join", 0, 1)
            notes += remux(
                picture=picture,
                source=config.video,
                source_info=info,
                audio=config.audio,
                audio_s=timeline.audio_s,
                pad_s=timeline.pad_s,
                output=output,
                start_s=int(timeline.pts[0]) * timeline.time_base,
                metadata={"comment": f"Lips dubbed by dub {__version__} ({entry.name})"},
            )
            report_progress("join", 1, 1)
            clock.add("join", began)
    report = _report(config, output, info, found, subject, timeline, clock, notes)
    report.model, report.weights_sha256, report.device = entry.name, sha256, str(device)
    _write_report(report, report_path(output))
    return report


def report_path(output: Path) -> Path:
    """Where the report of a result lies: the same name with `.json`."""
    return output.with_suffix(".json")


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


def _subject(
    reader: FrameReader,
    info: MediaInfo,
    track: FaceTrack,
    model: LipSyncModel,
    config: DubConfig,
    reference_frames: range | None,
) -> Subject:
    video = require_video(info)
    pose = smooth_pose(track)
    alignment = crop_alignment(pose, model.spec.crop_size)
    allowed: Bool = np.ones(len(track), np.bool_)
    if reference_frames is not None:
        allowed = np.isin(np.arange(len(track)), list(reference_frames))
    num = model.spec.num_references if config.num_references is None else config.num_references
    chosen = select_references(track, pose, num, allowed)
    to_display = coded_to_display(video)
    width, height = video.display_size
    distinct = sorted(set(chosen))
    pictures = (
        (native.index, cut_crop(native.rgb_region(0, 0, native.width, native.height), to_display, (height, width)))
        for native in reader.native_sequence(distinct)
    )
    return Subject(
        track=track,
        pose=pose,
        alignment=alignment,
        coded_to_display=to_display,
        strength=fade(track.valid, track.shot),
        neutral=rest_shape(to_canonical(track.landmarks, pose), track.valid & allowed),
        references=cut_references(pictures, chosen, track, alignment),
    )


def _render(
    reader: FrameReader,
    renderer: Renderer,
    timeline: Timeline,
    picture: Path,
    info: MediaInfo,
    options: EncodeOptions,
    clock: Clock,
    progress: Progress,
) -> list[str]:
    """Write the dubbed picture; returns the encoder's notes."""
    total = len(timeline)
    with FrameWriter(picture, require_video(info), options) as writer:
        sink = Sink(lambda item: writer.write(item[0].frame, item[1]))
        try:
            with prefetch(reader.native_sequence(timeline.source_index.tolist())) as source:
                for done, native in enumerate(renderer.frames(source)):
                    began = time.perf_counter()
                    sink.put((native, int(timeline.pts[done])))
                    clock.add("encode_wait", began)
                    progress("dub", done + 1, total)
            began = time.perf_counter()
            sink.finish()
        finally:
            sink.stop()
    clock.add("encode_wait", began)
    return writer.notes


def _report(
    config: DubConfig,
    output: Path,
    info: MediaInfo,
    found: Analysis,
    subject: Subject,
    timeline: Timeline,
    clock: Clock,
    notes: list[str],
) -> DubReport:
    video = require_video(info)
    strength = subject.strength[timeline.source_index]
    reasons = Counter(
        subject.track.reasons[index] or "fade"
        for index, share in zip(timeline.source_index, strength, strict=True)
        if share <= 0
    )
    warnings = [timeline.description] if "match" not in timeline.description else []
    if found.num_corrupt:
        warnings.append(f"{found.num_corrupt} damaged packets of the source were left out.")
    if sum(reasons.values()) * 2 > len(timeline):
        warnings.append("More than half of the frames were left as they are.")
    return DubReport(
        output=str(output),
        frames=len(timeline),
        frames_dubbed=int((strength > 0).sum()),
        frames_passed_through=dict(reasons),
        width=video.width,
        height=video.height,
        sync_mode=config.sync_mode,
        seconds={stage: round(value, 3) for stage, value in clock.seconds.items()},
        config=config.as_json(),
        warnings=warnings + notes,
        references=subject.references.frame_indices.tolist(),
        shots=int(subject.track.shot.max()) + 1,
        faces=len(found.tracks),
        duration_s=round(float(timeline.duration_s), 6),
        version=__version__,
    )


def _write_report(report: DubReport, path: Path) -> None:
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
