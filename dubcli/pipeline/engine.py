"""Loaded models, apart from any job: many jobs of one process load each of them once."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import nn

from dubcli.audio.features import RECOGNISERS as ONNX_RECOGNISERS
from dubcli.audio.features import Recognisers, extract_features
from dubcli.audio.speech_detector import SpeechDetector
from dubcli.audio.speech_encoder import Recogniser
from dubcli.config import DubConfig, PlanConfig
from dubcli.core.choices import RECOGNISER_PARTS, feature_parts
from dubcli.core.closing import Closeable
from dubcli.core.progress import Progress
from dubcli.core.reports import DubReport
from dubcli.core.types import DETECTORS, AudioFeatures, MediaInfo, Waveform
from dubcli.face.detect import MAX_FACES, FaceDetector, VideoFaceDetector, open_detector
from dubcli.face.onnx_detector import FaceNetworks
from dubcli.face.recognition import FaceRecogniser, load_recogniser
from dubcli.identities.adapter import apply_adapter
from dubcli.identities.identity import Identity
from dubcli.models.api import LipSyncModel
from dubcli.models.common.hubert import HubertEncoder
from dubcli.occlusion.ranges import Segmenter
from dubcli.occlusion.segmenter import load_segmenter
from dubcli.pipeline.device import choose_device
from dubcli.pipeline.source_sound import SourceSound
from dubcli.sync.scorer import SyncScorer
from dubcli.weights.entry import WeightEntry
from dubcli.weights.load import load_entry
from dubcli.weights.manifest import Manifest, load_manifest
from dubcli.weights.resolve import part_path, resolve

if TYPE_CHECKING:
    from dubcli.preview.plan_types import PlanReport

T = TypeVar("T")
# Part of the weights, and what runs it, of each kind of features that needs a recogniser.
RECOGNISERS: Mapping[str, tuple[str, Callable[[Path], Recogniser]]] = {
    **ONNX_RECOGNISERS,
    "hubert": (RECOGNISER_PARTS["hubert"], HubertEncoder),
}


class Engine(Closeable):
    """What jobs of one process share: weights in memory, read from the disk once.

    Nothing is loaded before a job needs it. Jobs of one engine run one after the other; loading
    itself is safe from several threads. A context manager: leaving it lets go of all that was
    loaded.

    Args:
        device: Where models run, for jobs that leave theirs at `auto`.
        threads: CPU threads, for jobs that leave theirs at 0; 0 for all cores.
    """

    def __init__(self, device: str = "auto", threads: int = 0) -> None:
        self._device, self._threads = device, threads
        self._all_threads = torch.get_num_threads()
        self._loaded: dict[Hashable, Any] = {}
        self._detectors: dict[tuple[str, int], list[VideoFaceDetector]] = {}
        self._lock = threading.RLock()

    def close(self) -> None:
        """Let go of everything that was loaded; the next job loads it again."""
        with self._lock:
            self._loaded.clear()
            while self._detectors:
                for detector in self._detectors.popitem()[1]:
                    detector.close()

    # Jobs ----------------------------------------------------------------------------------------

    def dub(
        self,
        config: DubConfig,
        progress: Progress | None = None,
        *,
        announce: Callable[[str], None] | None = None,
    ) -> DubReport:
        """Dub a video: `pipeline.run.dub` with what this engine has loaded.

        Args:
            config: What to do.
            progress: Called as (stage, done, total).
            announce: Called with sentences on what is about to be done, before the slow part.

        Raises:
            DubError: See `dubcli.core.errors`.
        """
        from dubcli.pipeline.run import dub

        return dub(config, progress, engine=self, announce=announce)

    def plan(self, config: PlanConfig, progress: Progress | None = None) -> PlanReport:
        """Tell what a dub would do: `preview.plan_report.make_plan` with this engine.

        Args:
            config: What the dub would be told.
            progress: Called as (stage, done, total).

        Raises:
            DubError: The dub could not begin.
        """
        from dubcli.preview.plan_report import make_plan

        return make_plan(config, progress, engine=self)

    # What they need ------------------------------------------------------------------------------

    @property
    def manifest(self) -> Manifest:
        """The weights of this installation, read once.

        Raises:
            ManifestError: It is missing or damaged.
        """
        return self._once("manifest", load_manifest)

    def resolve(self, name: str, role: str | None = "model") -> WeightEntry:
        """The entry that a name means, see `weights.resolve`.

        Raises:
            ConfigError: No entry has this name.
            WeightsError: There is no such checkpoint.
        """
        return resolve(name, self.manifest, role)

    def device(self, name: str = "auto") -> torch.device:
        """The device of a job.

        Args:
            name: What the job asks for; `auto` takes the engine's.

        Raises:
            DeviceError: It is not there.
        """
        return choose_device(self._device if name == "auto" else name)

    def use_threads(self, threads: int = 0) -> None:
        """Let torch use so many CPU threads from now on; 0 takes the engine's number."""
        torch.set_num_threads(threads or self._threads or self._all_threads)

    def model(
        self, entry: WeightEntry, device: torch.device, identity: Identity | None = None
    ) -> LipSyncModel:
        """A job's own model, in evaluation mode; its parameters are shared between jobs.

        With an identity it is a copy with the identity's changes, which no other job sees.

        Args:
            entry: Its weights.
            device: Where it runs.
            identity: Whose changes are added.

        Raises:
            WeightsError: The weights are missing, damaged or of another architecture.
            IncompatibleAdapterError: The identity was learned on other weights.
        """
        stated = json.dumps(entry.config, sort_keys=True)
        key = ("model", entry.name, entry.sha256, stated, str(device))
        base = cast(nn.Module, self._once(key, lambda: _load_model(entry, device)))
        if identity is None:
            shared = chain(base.parameters(), base.buffers())
            return cast(LipSyncModel, copy.deepcopy(base, {id(value): value for value in shared}))
        model = copy.deepcopy(base)
        apply_adapter(model, identity, entry.sha256)
        return cast(LipSyncModel, model)

    def features(self, waveform: Waveform, kind: str) -> AudioFeatures:
        """Features of sound, as a network hears it.

        Args:
            waveform: Mono audio at 16 kHz.
            kind: A key of `core.types.FEATURE_SIZES`.

        Raises:
            ConfigError: Unknown kind.
            WeightsError: The recogniser is missing or damaged.
        """
        return extract_features(waveform, kind, self.recognisers([kind]))

    def recognisers(self, kinds: Iterable[str]) -> Recognisers:
        """Encoders of the speech recognisers that kinds of features need, by kind.

        Args:
            kinds: Keys of `core.types.FEATURE_SIZES`; those that need none are left out.

        Raises:
            WeightsError: One is missing or damaged.
        """
        return {
            kind: self._once(("recogniser of", kind), partial(self._open_recogniser, kind))
            for kind in dict.fromkeys(part for whole in kinds for part in feature_parts(whole))
            if kind in RECOGNISERS
        }

    def _open_recogniser(self, kind: str) -> Recogniser:
        part, opened = RECOGNISERS[kind]
        return opened(part_path(part, self.manifest))

    def speech_detector(self) -> SpeechDetector:
        """The network that tells speech from all else that is heard.

        Raises:
            WeightsError: It is missing or damaged.
        """
        return self._once(
            "speech detector", lambda: SpeechDetector(part_path("speech-activity", self.manifest))
        )

    def sync_expert(self, role: str, device: torch.device) -> SyncScorer | None:
        """The sync expert `train` or `judge`; None where it is not in the package.

        Raises:
            WeightsError: Its weights are damaged.
        """
        key = ("sync", role, str(device))
        return self._once(key, lambda: SyncScorer.load(role, device, self.manifest))

    def source_sound(self, info: MediaInfo, device: torch.device) -> SourceSound:
        """A source's own sound, which is compared with its mouths and given to models."""
        return SourceSound(info, lambda: self.sync_expert("train", device), self.features)

    def segmenter(self) -> Segmenter | None:
        """The network that segments what lies in front of a face; None where it is not there.

        Raises:
            WeightsError: Its weights are damaged.
        """
        return self._once("segmenter", lambda: load_segmenter(self.manifest))

    def recogniser(self) -> FaceRecogniser:
        """The network that recognises faces.

        Raises:
            WeightsError: Its weights are missing or damaged.
        """
        return self._once("recogniser", lambda: load_recogniser(self.manifest))

    @contextmanager
    def detector(
        self, kind: str = DETECTORS[0], max_faces: int = MAX_FACES
    ) -> Iterator[FaceDetector]:
        """A face detector for one video; it follows faces, so no two videos share it at a time.

        Args:
            kind: One of `DETECTORS`.
            max_faces: How many faces are followed at once.

        Raises:
            DeviceError: mediapipe is asked for and not installed.
            WeightsError: A network's file is missing or damaged.
        """
        with self._lock:
            waiting = self._detectors.get((kind, max_faces))
            detector = waiting.pop() if waiting else self._open_detector(kind, max_faces)
        try:
            yield detector
            detector.reset()
        except BaseException:
            detector.close()
            raise
        with self._lock:
            self._detectors.setdefault((kind, max_faces), []).append(detector)

    def _open_detector(self, kind: str, max_faces: int) -> VideoFaceDetector:
        networks = None
        if kind == DETECTORS[0]:
            networks = self._once("face networks", lambda: FaceNetworks.load(self.manifest))
        return open_detector(kind, max_faces, networks)

    def _once(self, key: Hashable, load: Callable[[], T]) -> T:
        with self._lock:
            if key not in self._loaded:
                self._loaded[key] = load()
            return self._loaded[key]


def _load_model(entry: WeightEntry, device: torch.device) -> nn.Module:
    """A model whose convolutions have their channels last in memory, as they are fastest."""
    model = cast(nn.Module, load_entry(entry, str(device))[0])
    return model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


@contextmanager
def engine_for(engine: Engine | None, device: str, threads: int) -> Iterator[Engine]:
    """The engine that was given, or one for a single job."""
    if engine is not None:
        yield engine
        return
    with Engine(device, threads) as own:
        yield own
