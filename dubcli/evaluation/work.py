"""What all items of an evaluation share, and the sound that drives each."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path

from dubcli.config import DubConfig, EvaluateConfig
from dubcli.core.atomic_io import make_folder
from dubcli.core.errors import DeviceError, DubError
from dubcli.evaluation.clips import EvalClip
from dubcli.evaluation.costs import (
    PEAK_MEMORY,
    WEIGHTS_SIZE,
    decode_and_encode,
    measure_memory,
)
from dubcli.evaluation.face_similarity import FaceSimilarity
from dubcli.evaluation.identity_systems import IdentitySystem
from dubcli.evaluation.model_systems import ModelSystems, models_of
from dubcli.evaluation.published_networks import PerceptualScorer
from dubcli.evaluation.result_alignment import sound_lag
from dubcli.evaluation.result_videos import ResultVideos
from dubcli.evaluation.results import file_name
from dubcli.evaluation.settings import (
    CROSS_SPEECH,
    RECONSTRUCTION,
    SILENCE,
    has_sound,
    write_foreign_audio,
    write_own_audio,
    write_silence,
)
from dubcli.evaluation.source import HALF_SHARE, REFERENCE_SHARE, Source, analyse_source
from dubcli.evaluation.style_similarity import StyleSimilarity
from dubcli.evaluation.sync_confidence import OwnSyncScorer
from dubcli.evaluation.tasks import PASTED, UNDRAWN, DubTask
from dubcli.pipeline.engine import Engine

# Half a frame: nobody can tell a sound that was moved by less.
_SMALL_OFFSET_S = 0.02


@dataclass
class EvaluationWork:
    """What is shared by all items of an evaluation."""

    config: EvaluateConfig
    engine: Engine
    clips: list[EvalClip]
    recordings: list[Path]
    networks: PerceptualScorer
    similarity: FaceSimilarity
    judge: OwnSyncScorer
    style: StyleSimilarity
    models: ModelSystems
    identities: list[IdentitySystem]
    results: list[ResultVideos]
    systems: dict[str, str | None]
    sources: dict[str, Source | DubError] = field(default_factory=dict)
    offsets: dict[str, float | None] = field(default_factory=dict)
    least: dict[str, float] = field(default_factory=dict)

    def source(self, clip: EvalClip) -> Source:
        """The analysed clip; an earlier failure is raised again."""
        if clip.name not in self.sources:
            share = HALF_SHARE if self.config.half else REFERENCE_SHARE
            try:
                self.sources[clip.name] = analyse_source(
                    clip,
                    self.config.threads,
                    share,
                    engine=self.engine,
                    detector=self.config.detector,
                )
            except DubError as error:
                if isinstance(error, DeviceError):
                    raise
                self.sources[clip.name] = error
        found = self.sources[clip.name]
        if isinstance(found, DubError):
            raise found
        return found

    def is_usable(self, clip: EvalClip) -> bool:
        """The clip can be read and shows a face."""
        try:
            self.source(clip)
        except DeviceError:
            raise
        except DubError:
            return False
        return True

    def own_offset_s(self, clip: EvalClip) -> float | None:
        """How much a clip's picture comes late, seconds, told from source and sound alone."""
        if clip.name not in self.offsets:
            source = self.source(clip)
            with tempfile.TemporaryDirectory(prefix=".dub-", dir=self.config.output) as folder:
                audio = write_own_audio(source, Path(folder) / "own.wav")
                self.offsets[clip.name] = self.judge.own_offset_s(source, audio)
        return self.offsets[clip.name]

    def least_cpu_s(self, source: Source, folder: Path) -> float:
        """Processor seconds of decoding and encoding a clip, measured once."""
        name = source.clip.name
        if name not in self.least:
            self.least[name] = decode_and_encode(source, folder, self.config.threads)
        return self.least[name]

    def costs(self, scored: Collection[str]) -> dict[str, dict[str, float]]:
        """Size and, where that is asked for, peak memory of each model, by name.

        Args:
            scored: Names of clips that could be dubbed; the first one with sound is dubbed again.
        """
        found: dict[str, dict[str, float]] = {}
        heard = [clip for clip in self.clips if clip.name in scored and has_sound(clip)]
        folder = self.config.output / "costs"
        for system in self.models.systems:
            size = {} if system.num_bytes is None else {WEIGHTS_SIZE: system.num_bytes / 1e6}
            found[system.name] = size
            if self.config.measures_memory and heard:
                make_folder(folder)
                dubbed = DubConfig(
                    video=heard[0].path,
                    audio=heard[0].audio,
                    **models_of(system.name),
                    detector=self.config.detector,
                    device=self.config.device,
                    threads=self.config.threads,
                )
                anew = self.config.overwrite
                peak = measure_memory(dubbed, system.sha256, folder, anew=anew)
                size[PEAK_MEMORY] = peak
        return found


def true_offset_s(task: DubTask, work: EvaluationWork) -> float | None:
    """Of the clip whose mouth is the truth."""
    speaker = task.clip if task.run == RECONSTRUCTION else task.speaker
    if speaker is None or not speaker.audio_is_own or not work.judge:
        return None
    return work.own_offset_s(speaker)


def sound_delay_s(task: DubTask, work: EvaluationWork) -> float | None:
    """How much a clip's own sound is delayed in reconstruction, to be in step with its picture.

    Only for what follows the sound: a copied picture is in step with the picture anyway.
    """
    if task.run != RECONSTRUCTION or not work.judge:
        return None
    follows = task.system not in (*UNDRAWN, *PASTED)
    return (true_offset_s(task, work) or 0.0) if follows else 0.0


def write_driver(
    task: DubTask, source: Source, speaker: Source | None, path: Path, late_s: float | None
) -> Path:
    """The sound that drives an item, from the first frame on, as long as the picture.

    Args:
        task: The item.
        source: The clip that is dubbed.
        speaker: Whose sound it is, where it is another clip's.
        path: WAV file to write.
        late_s: How much the clip's own sound is delayed, seconds.
    """
    if task.run == SILENCE:
        return write_silence(source, path)
    if task.run == CROSS_SPEECH:
        return write_foreign_audio(source, Path(task.driver), path)
    return write_own_audio(source, path, speaker, late_s or 0.0)


def keep_driver(
    task: DubTask, source: Source, speaker: Source | None, work: EvaluationWork
) -> None:
    """Keep the sound that models are driven by, for other tools.

    Raises:
        EncodeError: The folder cannot be written.
    """
    offset_s = true_offset_s(task, work) if task.run == RECONSTRUCTION else None
    folder = work.config.output / "sounds"
    make_folder(folder)
    write_driver(
        task, source, speaker, folder / f"{file_name(task.clip.name, task.run)}.wav", offset_s
    )


def delay_heard(
    task: DubTask, audio: Path, offset_s: float | None
) -> tuple[float | None, dict[str, bool]]:
    """By how much the sound of another tool's result was delayed in reconstruction.

    It may have been given the sound that models get, which is in step with the picture, or the
    clip's own as it is; the video's own sound tells which.

    Args:
        task: An item of another tool.
        audio: What drives models.
        offset_s: The clip's own offset.

    Returns:
        The delay, None where the offset is not known; and what there is to be noted.
    """
    if task.made is None or task.run == SILENCE:
        return offset_s, {}
    lag_s = sound_lag(task.made, audio)
    is_other = lag_s is not None and isnan(lag_s)
    facts = {"is_silent": lag_s is None, "has_other_sound": is_other}
    if task.run != RECONSTRUCTION or not offset_s or abs(offset_s) < _SMALL_OFFSET_S:
        return offset_s, facts
    if lag_s is None or is_other:
        return 0.0, facts
    is_given = abs(lag_s) <= abs(lag_s + offset_s)
    return (offset_s if is_given else 0.0), {**facts, "has_own_sound": not is_given}
