"""`dub prepare`: a folder of videos to a training set.

Every clip goes through pass 1 of the pipeline; its largest face becomes aligned crops, landmarks,
pose and sound. What cannot be used is listed in `index.csv` with the reason. A clip that is
already there is not prepared again, so an interrupted run goes on.
"""

from __future__ import annotations

import csv
import multiprocessing
import zlib
from collections.abc import Generator, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import torch

from dubcli.audio.log_mel import SAMPLE_RATE
from dubcli.audio.windows import frame_steps
from dubcli.config import PrepareConfig
from dubcli.core.atomic_io import make_folder, replacing
from dubcli.core.catalogue import clip_name, is_own_sound, list_videos, read_catalogue
from dubcli.core.choices import RECOGNISER_PARTS, feature_parts
from dubcli.core.errors import ConfigError, DubError, TrainingError
from dubcli.core.progress import Progress, no_progress
from dubcli.core.types import DETECTORS, F64, U8, FaceTrack, Int, MediaInfo
from dubcli.core.worker_process import begin_worker, interrupt_workers, was_interrupted
from dubcli.face.crop import cut_crop
from dubcli.face.detect import require_detector
from dubcli.face.pose import (
    Pose,
    apply_matrix,
    compose,
    crop_alignment,
    invert_matrix,
    to_canonical,
    transform_pose,
)
from dubcli.face.track import smooth_pose
from dubcli.media.container.probe import probe, require_video
from dubcli.media.sound.waveform import read_waveform
from dubcli.media.video.frame_reader import FrameReader
from dubcli.media.video.native_frame import NativeFrame
from dubcli.media.video.spaces import coded_to_display
from dubcli.media.video.timeline import FrameTimes
from dubcli.pipeline.analysis import analyse, choose_face
from dubcli.pipeline.engine import Engine, engine_for
from dubcli.sync.offset import OffsetColumns, measure_offset
from dubcli.training.data.clip_file import load_clip, save_clip
from dubcli.training.data.picture_quality import ClipQuality, clip_quality
from dubcli.training.data.prepared_clip import (
    DEFAULT_SIZE,
    INDEX_NAME,
    PreparedClip,
    encode_picture,
    margin_of,
    ranges_as_text,
    stored_size,
)
from dubcli.training.data.sound_variants import (
    DEFAULT_KINDS,
    HeardVersions,
    hear_clean,
    hear_versions,
    no_sound,
)
from dubcli.training.parallel import require_one_process
from dubcli.weights.resolve import part_path

_FIELDS: tuple[str, ...] = (
    "clip",
    "identity",
    "frames",
    "usable",
    "longest_run",
    "quality",
    "low_quality",
    "has_audio",
    "offset_ms",
    "offset_confidence",
    "sound_dropped",
    "dropped",
    "source",
)
MIN_USABLE = 20


@dataclass(frozen=True, kw_only=True)
class SourceClip:
    """A video that becomes one training clip."""

    path: Path
    clip_id: str
    identity: str
    has_own_audio: bool


@dataclass(frozen=True, kw_only=True)
class ClipForm:
    """What prepared clips hold.

    Attributes:
        size: Height and width of the crops without their margin, px.
        features: Kinds of sound features.
        detector: What finds faces, one of `DETECTORS`.
        min_quality: Detail below which pictures are dropped, see `picture_quality`.
    """

    size: tuple[int, int] = DEFAULT_SIZE
    features: tuple[str, ...] = DEFAULT_KINDS
    detector: str = DETECTORS[0]
    min_quality: float = 0.0


def prepare(config: PrepareConfig, progress: Progress | None = None) -> Path:
    """Prepare every video of a folder.

    Returns:
        The index of the training set.

    Raises:
        ConfigError: The folder or the catalogue cannot be used, the set exists, or `torchrun`
            started several processes.
        DeviceError: The detector is not installed.
        WeightsError: A recogniser is missing, damaged or cannot be downloaded.
        TrainingError: Not one clip can be used.
    """
    require_one_process("dub prepare")
    require_detector(config.detector)
    sources = list_sources(config)
    index = config.output / INDEX_NAME
    if index.exists() and not config.overwrite:
        raise ConfigError(f"'{index}' exists.", "Use -y to replace it, or another folder.")
    form = ClipForm(
        size=config.crop_size,
        features=config.kinds,
        detector=config.detector,
        min_quality=config.min_quality,
    )
    rows: dict[str, dict[str, str]] = {}
    with Engine() as engine:
        _require_recognisers(form, engine)
        make_folder(config.output)
        # Closed at once where the user interrupts, so that no process goes on.
        with closing(_prepare_all(sources, config.output, config.jobs, form, engine)) as made:
            for done, row in enumerate(made, 1):
                rows[row["clip"]] = row
                if progress is not None:
                    progress("prepare", done, len(sources))
    ordered = [rows[source.clip_id] for source in sources]
    _write_index(index, ordered)
    if all(row["dropped"] for row in ordered):
        raise TrainingError(
            f"No clip of '{config.clips}' can be used.", f"See the column 'dropped' of '{index}'."
        )
    return index


def list_sources(config: PrepareConfig) -> list[SourceClip]:
    """The videos of a folder, with what the catalogue says of them.

    A catalogue is a CSV with the column `file` (compared by name) and, where known, `identity`
    and `audio_is_own` (`no` where the sound is not this mouth's).

    Raises:
        ConfigError: No folder, no video, or a catalogue without the column `file`.
    """
    if not config.clips.is_dir():
        raise ConfigError(f"'{config.clips}' is no folder.", "Name a folder of videos.")
    paths = list_videos(config.clips)
    if not paths:
        raise ConfigError(f"'{config.clips}' holds no video.", "Name a folder of videos.")
    known = read_catalogue(config.catalogue) if config.catalogue else {}
    sources = []
    for path in paths:
        row = known.get(path.name, {})
        clip_id = clip_name(path.relative_to(config.clips))
        sources.append(
            SourceClip(
                path=path,
                clip_id=clip_id,
                identity=row.get("identity") or clip_id,
                has_own_audio=is_own_sound(row),
            )
        )
    return sources


def _require_recognisers(form: ClipForm, engine: Engine) -> None:
    """Download and prove what hears the sound now, not in each job."""
    for kind in {part for whole in form.features for part in feature_parts(whole)}:
        if kind in RECOGNISER_PARTS:
            part_path(RECOGNISER_PARTS[kind], engine.manifest)


def _prepare_all(
    sources: list[SourceClip], folder: Path, jobs: int, form: ClipForm, engine: Engine
) -> Generator[dict[str, str], None, None]:
    if jobs == 1:
        yield from (_prepare_one(source, folder, form, engine) for source in sources)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, context, initializer=begin_worker)
    try:
        running = [pool.submit(_prepare_in_worker, source, folder, form) for source in sources]
        for task in as_completed(running):
            yield task.result()
    except BaseException:
        interrupt_workers()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@cache
def _worker_engine() -> Engine:
    """What the clips of one worker process share."""
    return Engine()


def _prepare_in_worker(source: SourceClip, folder: Path, form: ClipForm) -> dict[str, str]:
    if was_interrupted():
        raise KeyboardInterrupt
    return _prepare_one(source, folder, form, _worker_engine())


def _prepare_one(
    source: SourceClip, folder: Path, form: ClipForm, engine: Engine
) -> dict[str, str]:
    path = folder / f"{source.clip_id}.npz"
    dropped = ""
    clip: PreparedClip | None = None
    quality: ClipQuality | None = None
    try:
        clip = _reuse(path, form)
        if clip is None:
            clip = prepare_clip(source, form, engine)
            save_clip(clip, path)
        quality = clip_quality(clip, form.min_quality)
        dropped = _reason(clip, quality, form)
    except DubError as error:
        dropped = error.cause
    except OSError as error:
        raise TrainingError(
            f"'{path}' cannot be written: {error.strerror}.", "Free some disk space; run again."
        ) from error
    used = clip.without_frames(quality.ranges) if clip and quality else None
    values = {
        "clip": source.clip_id,
        "identity": source.identity,
        "frames": str(len(clip)) if clip else "",
        "usable": str(int(used.valid.sum())) if used else "",
        "longest_run": str(_longest_run(used)) if used else "",
        "quality": f"{quality.detail:.3f}" if quality and np.isfinite(quality.detail) else "",
        "low_quality": ranges_as_text(quality.ranges) if quality else "",
        "has_audio": "yes" if clip is not None and clip.has_sound else "no",
        **asdict(_offset(clip, engine)),
        "dropped": dropped,
        "source": str(source.path),
    }
    return {name: values[name] for name in _FIELDS}


def _reason(clip: PreparedClip, quality: ClipQuality, form: ClipForm) -> str:
    """Why a clip is not used; '' where it is."""
    if clip.valid.sum() < MIN_USABLE:
        return f"only {int(clip.valid.sum())} usable frames"
    if quality.is_low:
        return f"low quality: {quality.detail:.3f}, less than {form.min_quality:g}"
    left = int(clip.without_frames(quality.ranges).valid.sum())
    return f"only {left} usable frames without those of low quality" if left < MIN_USABLE else ""


def _offset(clip: PreparedClip | None, engine: Engine) -> OffsetColumns:
    """How far picture and sound of a clip are apart."""
    if clip is None or not clip.has_sound:
        return OffsetColumns()
    return measure_offset(engine.sync_expert("train", torch.device("cpu")), clip)


def _reuse(path: Path, form: ClipForm) -> PreparedClip | None:
    """The clip of an earlier run, None where there is none, a damaged one or one of another form.

    Landmarks of two detectors differ by parts of a pixel, and no set holds both.
    """
    try:
        clip = load_clip(path) if path.exists() else None
    except TrainingError:
        return None
    if clip is None or clip.size != form.size or not set(form.features) <= set(clip.sounds):
        return None
    return clip if clip.detector == form.detector else None


def _longest_run(clip: PreparedClip) -> int:
    return int(np.diff(clip.runs, axis=1).max(initial=0))


def prepare_clip(
    source: SourceClip, form: ClipForm | None = None, engine: Engine | None = None
) -> PreparedClip:
    """Pass 1 over one video and its largest face's crops.

    Args:
        source: The video.
        form: Of the clip; None: the usual one.
        engine: Holds loaded networks; one for this clip alone by default.

    Raises:
        DubError: The video or its face cannot be used.
    """
    form = ClipForm() if form is None else form
    info = probe(source.path)
    with engine_for(engine, "auto", 0) as engine, FrameReader(source.path, info) as reader:
        with engine.detector(form.detector) as detector:
            found = analyse(
                reader,
                detector,
                0,
                no_progress,
                engine.segmenter(),
                recogniser=engine.recogniser(),
            )
        track = choose_face(found, 1)
        pose = smooth_pose(track)
        matrices = stored_matrices(pose, form.size)
        to_display = coded_to_display(require_video(info))
        jpeg = [
            cut_picture(native, compose(matrices[native.index], to_display), form.size)
            for native in reader.native_frames()
        ]
        steps, sound = _own_sound(source, info, found.times, form.features, engine)
    clip = assemble_clip(track, pose, jpeg, steps, sound, form.size)
    return replace(clip, detector=form.detector)


def stored_matrices(pose: Pose, size: tuple[int, int]) -> F64:
    """Display px to px of the stored crop of a size, one per pose. Shape (T, 2, 3)."""
    matrices = crop_alignment(pose, size).frame_to_crop.copy()
    matrices[:, :, 2] += margin_of(size)[::-1]
    return matrices


def cut_picture(native: NativeFrame, coded_to_crop: F64, size: tuple[int, int]) -> U8:
    """The stored crop of a frame as JPEG bytes (B,).

    Args:
        native: The frame.
        coded_to_crop: To px of the stored crop. Shape (2, 3).
        size: Height and width of the crop without its margin, px.
    """
    stored = stored_size(size)
    x, y, width, height = _surroundings(coded_to_crop, (native.width, native.height), stored)
    matrix = compose(coded_to_crop, np.array([[1.0, 0, x], [0, 1.0, y]]))
    return encode_picture(cut_crop(native.rgb_region(x, y, width, height), matrix, stored))


def _surroundings(
    to_crop: F64, frame_size: tuple[int, int], stored: tuple[int, int]
) -> tuple[int, int, int, int]:
    """All of a coded frame that the stored crop is made from: x, y, width, height."""
    rows, columns = stored
    corners = np.array([(0, 0), (columns, 0), (0, rows), (columns, rows)], np.float64)
    back = invert_matrix(to_crop)
    spots = corners @ back[:, :2].T + back[:, 2]
    # What shrinks it smooths over 2 px of the crop.
    margin = 2 * float(np.sqrt(np.abs(np.linalg.det(back[:, :2])))) + 4
    low = np.clip(spots.min(0) - margin, 0, np.array(frame_size) - 1).astype(int) // 2 * 2
    high = np.clip(np.ceil(spots.max(0) + margin).astype(int) + 1, low + 1, frame_size)
    return int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1])


def assemble_clip(
    track: FaceTrack,
    pose: Pose,
    jpeg: list[U8],
    steps: Int,
    sound: HeardVersions,
    size: tuple[int, int],
) -> PreparedClip:
    """Put what was found of one face together.

    Args:
        track: The face.
        pose: Its smoothed pose.
        jpeg: `cut_picture` of each of its frames.
        steps: Audio step of each frame. Shape (T,).
        sound: The clip's own sound.
        size: Height and width of the crops without their margin, px.
    """
    matrices = stored_matrices(pose, size)
    crop_pose = transform_pose(pose, matrices)
    return PreparedClip(
        jpeg=np.concatenate(jpeg),
        jpeg_ends=np.cumsum([len(data) for data in jpeg]),
        landmarks=apply_matrix(track.landmarks, matrices),
        canonical=to_canonical(track.landmarks, pose),
        scale=crop_pose.scale,
        rotation=crop_pose.rotation,
        translation=crop_pose.translation,
        valid=track.valid,
        shot=track.shot,
        steps=steps,
        sounds=sound.sounds,
        heard=sound.heard,
        size=size,
    )


def _own_sound(
    source: SourceClip, info: MediaInfo, times: FrameTimes, kinds: tuple[str, ...], engine: Engine
) -> tuple[Int, HeardVersions]:
    """Audio step of each frame, and the clip's sound as heard in several versions."""
    if not source.has_own_audio or info.audio is None:
        return np.zeros(len(times.pts), np.int64), no_sound(kinds)
    waveform = read_waveform(source.path, SAMPLE_RATE)
    recognisers = engine.recognisers(kinds)
    clean = hear_clean(waveform, recognisers, kinds)
    steps = frame_steps(times.pts, times.time_base, clean[kinds[0]], Fraction(0))
    return steps, hear_versions(waveform, clean, recognisers, zlib.crc32(source.clip_id.encode()))


def _write_index(path: Path, rows: Iterable[dict[str, str]]) -> None:
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _FIELDS)
        writer.writeheader()
        writer.writerows(rows)
