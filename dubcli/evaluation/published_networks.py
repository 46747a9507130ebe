"""Scores by networks of other projects, where their weights are on this machine.

Nothing is downloaded here. The folder of `--weights` holds files under their published names; what
it lacks may have come by `dub models pull`. What is missing is "not measured" with the command
that gets it. A file whose sha256 is not what its publisher states is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from dubcli.core.errors import ConfigError, WeightsError
from dubcli.core.types import F32, F64, U8, Int
from dubcli.evaluation.face_similarity import EVERY, LastClip
from dubcli.evaluation.source import CROP_SIZE, Source, chosen_cuts, cut_frames
from dubcli.face.landmarks import EYE_CORNERS, MOUTH_LEFT, MOUTH_RIGHT, position
from dubcli.face.pose import similarity_from_points
from dubcli.media.sound.waveform import read_waveform
from dubcli.metrics.fid import MADE, TRUE, pack
from dubcli.metrics.foreign_weights import check_file, read_state
from dubcli.metrics.inception import Inception
from dubcli.metrics.lpips import Lpips
from dubcli.metrics.syncnet import FACE_PX, RATE_HZ, SAMPLE_RATE_HZ, SyncNet
from dubcli.weights.local_files import is_accepted
from dubcli.weights.manifest import Manifest
from dubcli.weights.resolve import local_path, prove, resolve

# Where SFace wants eyes, nose and mouth corners in its 112 px input.
_SFACE_POINTS = ((38.29, 51.70), (73.53, 51.50), (56.03, 71.74), (41.55, 92.37), (70.73, 92.20))
_SFACE_PX = 112
# SyncNet's cut around a face box of half side b: 1.8 b below the middle, 1.4 b to the other sides
# but up, where it is b; the box is steadied by a median over this many frames.
_CUT_SIDE, _CUT_UP, _STEADY_FRAMES = 2.8, 1.0, 13
_BATCH = 8


@dataclass(frozen=True)
class NetworkFile:
    """A file of another project.

    Attributes:
        name: As published, and as looked for in the folder.
        entry: What the weights manifest calls it; '' for a file that it does not list.
    """

    name: str
    entry: str = ""

    def find(
        self, folder: Path | None, manifest: Manifest | None = None
    ) -> tuple[Path, str] | None:
        """The proven file and its sha256, from the folder or as it was pulled.

        Args:
            folder: Where the user keeps such files; None for nowhere.
            manifest: The one of this installation by default.

        Raises:
            ChecksumError: It is not the published one.
            WeightsError: It cannot be read.
        """
        entry = resolve(self.entry, manifest, role="part") if self.entry else None
        own = None if folder is None else folder / self.name
        if own is not None and own.is_file():
            known = "" if entry is None else entry.sha256 or entry.sha256_start
            return own, check_file(own, known)
        if entry is None or local_path(entry) is None or not is_accepted(entry):
            return None
        proof = prove(entry)
        return proof.path, proof.sha256


WEIGHTS: dict[str, tuple[NetworkFile, ...]] = {
    "lpips_alex": (
        NetworkFile("alexnet-owt-7be5be79.pth", "alexnet"),
        NetworkFile("alex.pth", "lpips-alex"),
    ),
    "lpips_vgg": (
        NetworkFile("vgg16-397923af.pth", "vgg16"),
        NetworkFile("vgg.pth", "lpips-vgg"),
    ),
    "syncnet": (NetworkFile("syncnet_v2.model", "syncnet"),),
    "sface": (NetworkFile("face_recognition_sface_2021dec.onnx", "sface"),),
    "inception": (NetworkFile("pt_inception-2015-12-05-6726825d.pth", "inception"),),
}


class PerceptualScorer:
    """Networks whose weights are there.

    Args:
        folder: Where files lie that were not pulled; None for nowhere.
        device: Where the torch networks run.
        manifest: The one of this installation by default.

    Attributes:
        files: sha256 of every file that is used, by name.
        missing: Commands that get what is not there, by group of `WEIGHTS`.

    Raises:
        ConfigError: The folder does not exist.
        ChecksumError: A file is not the published one.
        WeightsError: A file holds something else.
    """

    def __init__(
        self, folder: Path | None, device: torch.device, manifest: Manifest | None = None
    ) -> None:
        if folder is not None and not folder.is_dir():
            raise ConfigError(f"'{folder}' is no folder.", "Name a folder with --weights.")
        self.files: dict[str, str] = {}
        self.missing: dict[str, list[str]] = {}
        self._device = device
        self._lpips: dict[str, Lpips] = {}
        self._syncnet: SyncNet | None = None
        self._sface: Any = None
        self._inception: Inception | None = None
        self._true_pictures, self._true_faces = LastClip[F32](), LastClip[F32]()
        for group, files in WEIGHTS.items():
            found = [file.find(folder, manifest) for file in files]
            here = [proven for proven in found if proven is not None]
            if len(here) < len(files):
                absent = [f.entry or f.name for f, it in zip(files, found, strict=True) if not it]
                self.missing[group] = [f"dub models pull {' '.join(absent)}"]
                continue
            for file, (_, sha256) in zip(files, here, strict=True):
                self.files[file.name] = sha256
            self._load(group, [path for path, _ in here])

    def __bool__(self) -> bool:
        return bool(self.files)

    def _load(self, group: str, paths: list[Path]) -> None:
        if group == "sface":
            try:
                self._sface = cv2.FaceRecognizerSF.create(str(paths[0]), "")
            except cv2.error as error:
                raise WeightsError(
                    f"'{paths[0]}' is not SFace: {error}.", "Download it again."
                ) from error
            return
        states = [read_state(path) for path in paths]
        if group == "syncnet":
            self._syncnet = SyncNet()
            self._syncnet.load(states[0])
            self._syncnet.to(self._device).eval()
            return
        if group == "inception":
            self._inception = Inception()
            self._inception.load(states[0])
            self._inception.to(self._device).eval()
            return
        net = Lpips("alex" if group == "lpips_alex" else "vgg")
        net.load(states[0], states[1])
        self._lpips[group] = net.to(self._device).eval()

    def score(self, source: Source, result: Path, audio: Path, fidelity: bool) -> dict[str, float]:
        """Everything that can be measured of a result.

        Args:
            source: The clip that was dubbed.
            result: The result, or the source itself.
            audio: The sound that drives it, from the first frame on.
            fidelity: The result should show what the source shows.
        """
        scores: dict[str, float] = {}
        frames = source.scored[::EVERY]
        if self._lpips and fidelity:
            scores |= self._lpips_scores(source, result, frames)
        if self._sface is not None:
            scores["csim_sface"] = self._similarity(source, result, frames)
        if self._syncnet is not None:
            samples = read_waveform(audio, SAMPLE_RATE_HZ).samples
            found = self._syncnet.score(faces_at_rate(source, result), samples)
            scores |= {"lse_c": found.confidence, "lse_d": found.distance}
        return scores

    def features(self, source: Source, result: Path) -> dict[str, str]:
        """What FID needs of the frames that are scored: features of the result and the source.

        Args:
            source: The clip that was dubbed.
            result: The result, or the source itself.

        Returns:
            Packed features (N, 2048) by `fid.MADE` and `fid.TRUE`; nothing without the network.
        """
        if self._inception is None:
            return {}
        path = source.clip.path
        net = self._inception
        true = self._true_pictures.of(source, lambda: self._seen_by(net, source, path))
        made = true if result == path else self._seen_by(net, source, result)
        return {MADE: pack(made), TRUE: pack(true)}

    @torch.inference_mode()
    def _seen_by(self, net: Inception, source: Source, path: Path) -> F32:
        matrices, frames = source.alignment.frame_to_crop, source.scored[::EVERY]
        pictures = chosen_cuts(path, matrices, CROP_SIZE, frames)
        batches = range(0, len(pictures), _BATCH)
        parts = [net(self._tensor(pictures[i : i + _BATCH])).cpu() for i in batches]
        return torch.cat(parts).numpy()

    @torch.inference_mode()
    def _lpips_scores(self, source: Source, result: Path, frames: Int) -> dict[str, float]:
        matrices = source.alignment.frame_to_crop
        pictures = [
            chosen_cuts(path, matrices, CROP_SIZE, frames) for path in (result, source.clip.path)
        ]
        scores = {}
        for name, net in self._lpips.items():
            parts = [
                net(*(self._tensor(p[i : i + _BATCH]) for p in pictures))
                for i in range(0, len(frames), _BATCH)
            ]
            scores[name] = float(torch.cat(parts).mean())
        return scores

    def _tensor(self, pictures: U8) -> Tensor:
        """(B, H, W, 3) uint8 to (B, 3, H, W) in [0, 1]."""
        return torch.from_numpy(pictures).to(self._device).permute(0, 3, 1, 2).float() / 255

    def _similarity(self, source: Source, result: Path, frames: Int) -> float:
        """Mean cosine of SFace's vectors of the same frames of source and result."""
        path = source.clip.path
        true = self._true_faces.of(source, lambda: self._vectors(source, path, frames))
        made = true if result == path else self._vectors(source, result, frames)
        return float(np.mean([cosine(a, b) for a, b in zip(made, true, strict=True)]))

    def _vectors(self, source: Source, path: Path, frames: Int) -> F32:
        """SFace's vectors of some frames. Shape (N, 128)."""
        matrices = sface_matrices(source.track.landmarks)
        faces = chosen_cuts(path, matrices, (_SFACE_PX, _SFACE_PX), frames)
        return np.stack([self._vector(face) for face in faces])

    def _vector(self, face: U8) -> F32:
        bgr = np.ascontiguousarray(face[..., ::-1])
        return np.asarray(self._sface.feature(bgr), np.float32).ravel()


def sface_matrices(landmarks: F32) -> F64:
    """Display px to SFace's input px, by eyes, nose tip and mouth corners. Shape (T, 2, 3)."""
    left, right = (landmarks[:, EYE_CORNERS[i : i + 2], :2].mean(1) for i in (0, 2))
    corners = [landmarks[:, k, :2] for k in (position(1), MOUTH_LEFT, MOUTH_RIGHT)]
    seen = np.stack([left, right, *corners], 1).astype(np.float64)
    matrices = np.zeros((len(landmarks), 2, 3))
    target = np.array(_SFACE_POINTS)
    for index, points in enumerate(seen):
        scale, rotation, shift = similarity_from_points(points, target[None])
        matrices[index, :, :2] = scale[0] * rotation[0]
        matrices[index, :, 2] = shift[0]
    return matrices


def faces_at_rate(source: Source, path: Path) -> U8:
    """Faces as SyncNet wants them, at 25 Hz from the first frame on. Shape (N, 224, 224, 3)."""
    boxes = source.track.boxes.astype(np.float64)
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).max(1) / 2
    steady = _median(np.concatenate([middle, half[:, None]], 1))
    matrices = np.zeros((len(source), 2, 3))
    scale = FACE_PX / (_CUT_SIDE * steady[:, 2])
    matrices[:, 0, 0] = matrices[:, 1, 1] = scale
    matrices[:, 0, 2] = FACE_PX / 2 - scale * steady[:, 0]
    matrices[:, 1, 2] = _CUT_UP / _CUT_SIDE * FACE_PX - scale * steady[:, 1]
    faces = np.stack([face for _, face in cut_frames(path, matrices, (FACE_PX, FACE_PX))])
    wanted_s = np.arange(int(float(source.duration_s) * RATE_HZ)) / RATE_HZ
    shown = np.searchsorted(source.seconds[: len(faces)], wanted_s + 1e-6, side="right") - 1
    return faces[np.clip(shown, 0, len(faces) - 1)]


def cosine(one: F32, other: F32) -> float:
    """Cosine of the angle between two vectors."""
    return float(one @ other / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-12))


def _median(values: F64) -> F64:
    """Running median over time, ends repeated. (T, D) to (T, D)."""
    padded = np.pad(values, ((_STEADY_FRAMES // 2,) * 2, (0, 0)), mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, _STEADY_FRAMES, 0), -1)
