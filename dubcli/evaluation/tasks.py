"""What is scored: which system dubs which clip, and by whose sound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dubcli.config import DubConfig, EvaluateConfig
from dubcli.evaluation.clips import EvalClip
from dubcli.evaluation.identity_systems import IdentitySystem, StoredIdentity
from dubcli.evaluation.model_systems import models_of
from dubcli.evaluation.result_videos import ResultVideos
from dubcli.evaluation.settings import (
    CROSS_CLIP,
    CROSS_SPEECH,
    RECONSTRUCTION,
    SILENCE,
    foreign_recording,
    has_sound,
    is_readable,
    other_clips,
    runs_of,
)

# The source itself: the truth of a reconstruction, and nothing but untouched under other sound.
TRUTH, UNTOUCHED = UNDUBBED = ("ground-truth", "untouched")
# Mouths of other frames, pasted.
PASTED = ("best-reference", "audio-reference")
# Show the source's own mouth.
UNDRAWN = (*UNDUBBED, "passthrough")


@dataclass(frozen=True, kw_only=True)
class DubTask:
    """One item to be scored.

    Attributes:
        clip: What is dubbed.
        run: As in `settings.RUNS`.
        system: By what: a model, an identity, another tool or a baseline.
        driver: File whose sound drives it, or `silence`.
        identity: Whose adapter and references are used, None for models and baselines.
        videos: Results of another tool, None for all other systems.
        speakers: Clips whose sound may drive it, where it is another clip's; the first one that
            shows a face is taken.
        speaker: The one that was taken.
    """

    clip: EvalClip
    run: str
    system: str
    driver: str = ""
    identity: StoredIdentity | None = None
    videos: ResultVideos | None = None
    speakers: tuple[EvalClip, ...] = ()
    speaker: EvalClip | None = None

    @property
    def made(self) -> Path | None:
        """The video of another tool; None where there is none, and for all other systems."""
        return None if self.videos is None else self.videos.of_item.get((self.run, self.clip.name))

    @property
    def is_dubbed(self) -> bool:
        """Whether `dub` itself makes it."""
        return self.videos is None and self.system not in (*UNDUBBED, *PASTED)

    def choices(self) -> list[DubTask]:
        """The task with each of its speakers, or as it is."""
        if not self.speakers:
            return [self]
        return [replace(self, speaker=one, driver=str(one.audio)) for one in self.speakers]


def list_tasks(
    config: EvaluateConfig,
    clips: Sequence[EvalClip],
    recordings: Sequence[Path],
    models: Sequence[str],
    identities: Sequence[IdentitySystem] = (),
    results: Sequence[ResultVideos] = (),
) -> Iterator[DubTask]:
    """What is to be scored, clip by clip.

    Args:
        config: Settings, baselines and seed are taken from it.
        clips: The set, in order.
        recordings: Foreign speech.
        models: Names as `ModelSystem` has them.
        identities: A clip that a system has no identity for is left out there.
        results: Videos of other tools; one that is missing in a run that has others is a task too.
    """
    audible = [clip for clip in clips if has_sound(clip)]
    for number, clip in enumerate(clips):
        for run in runs_of(config):
            speakers: list[EvalClip] = []
            driver = SILENCE
            if run == RECONSTRUCTION:
                if clip not in audible and is_readable(clip):
                    continue
                driver = str(clip.audio)
            elif run == CROSS_SPEECH:
                driver = str(foreign_recording(recordings, number, config.seed))
            elif run == CROSS_CLIP:
                speakers = other_clips(clip, clips, audible, config.seed)
                if not speakers:
                    continue
            task = DubTask(clip=clip, run=run, system="", driver=driver, speakers=tuple(speakers))
            baselines = _baselines(task, config, models, clip in audible)
            yield from (replace(task, system=name) for name in models)
            for system in identities:
                known = system.of_clip.get(clip.name)
                if known is not None:
                    yield replace(task, system=system.name, identity=known)
            for videos in results:
                if videos.has_run(run):
                    yield replace(task, system=videos.name, videos=videos)
            yield from (replace(task, system=name) for name in baselines)


def dub_config(task: DubTask, audio: Path, output: Path, config: EvaluateConfig) -> DubConfig:
    """How a model or an identity dubs a task's clip.

    Args:
        task: The clip, and by whom.
        audio: What drives it.
        output: File to write.
        config: Of the evaluation.
    """
    who: dict[str, Any] = models_of(task.system)
    if task.identity is not None:
        # A whole path: a bare word would mean the identity of this name.
        path = str(task.identity.path.absolute())
        who = {"model": task.identity.base, "identity": path}
    return DubConfig(
        **who,
        video=task.clip.path,
        audio=audio,
        output=output,
        # The face that `analyse_source` measures.
        face=1,
        detector=config.detector,
        device=config.device,
        threads=config.threads,
        seed=config.seed,
        sync_mode="pad",
        overwrite=True,
        allow_silence=True,
    )


def _baselines(
    task: DubTask, config: EvaluateConfig, models: Sequence[str], sounds: bool
) -> list[str]:
    """Baselines that exist in a task's run and are not scored as models."""
    wanted = [name for name in config.baseline_names if name not in models]
    chosen = [name for name in wanted if _applies(name, task.run, task.clip, sounds)]
    if task.run in (CROSS_SPEECH, CROSS_CLIP) and TRUTH in wanted:
        chosen.append(UNTOUCHED)
    return chosen


def _applies(baseline: str, run: str, clip: EvalClip, sounds: bool) -> bool:
    """Whether a baseline exists in a run.

    Nearest sounds need sound that belongs to the mouth; the others need a truth.
    """
    if baseline == "audio-reference":
        return sounds and clip.audio_is_own
    return run == RECONSTRUCTION
