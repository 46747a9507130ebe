"""StyleSim: do dubbed lips move in the person's own manner?

The cosine of two parts of a video by the project's own style encoder, which no loss uses: what is
dubbed against the part that references come from.
"""

from __future__ import annotations

import math
from typing import Self

import numpy as np
import torch

from dubcli.core.types import F32, Bool, Int
from dubcli.evaluation.source import Source
from dubcli.evaluation.style_network import StyleJudge, StyleJudgeConfig
from dubcli.face.landmarks import SPEAKING
from dubcli.face.pose import to_canonical
from dubcli.metrics.lips import MouthSeries
from dubcli.sync.scorer import MouthClip, sample_mouth
from dubcli.weights.load import load_state
from dubcli.weights.manifest import Manifest
from dubcli.weights.resolve import resolve

STYLE_JUDGE = "style-judge"


def load_style_judge(device: torch.device, manifest: Manifest) -> StyleJudge | None:
    """The style encoder of the package, in evaluation mode; None where it is not there.

    Raises:
        WeightsError: Its weights are damaged.
    """
    if STYLE_JUDGE not in manifest.default:
        return None
    entry = resolve(STYLE_JUDGE, manifest, role="part")
    judge = StyleJudge(StyleJudgeConfig(**entry.config))
    judge.load_state_dict(load_state(entry))
    return judge.to(device).eval().requires_grad_(False)


class StyleSimilarity:
    """The shipped style encoder and what is measured with it.

    Args:
        judge: In evaluation mode; None where it is not in the package.
        sha256: Of its weights.
    """

    def __init__(self, judge: StyleJudge | None, sha256: str | None = None) -> None:
        self._judge, self.sha256 = judge, sha256

    @classmethod
    def load(cls, device: torch.device, manifest: Manifest) -> Self:
        """Of the weights in the package.

        Raises:
            WeightsError: They are damaged.
        """
        judge = load_style_judge(device, manifest)
        if judge is None:
            return cls(None)
        return cls(judge, resolve(STYLE_JUDGE, manifest, role="part").sha256)

    def __bool__(self) -> bool:
        return self._judge is not None

    def score(self, source: Source, mouth: MouthSeries) -> dict[str, float]:
        """StyleSim of a result, and what its value can be compared with.

        Args:
            source: The clip that was dubbed; its frames before `source.split` are the person's
                reference.
            mouth: The mouth in the result, scored from `source.split` on.

        Returns:
            `style_sim` of the result, `style_sim_own` of the person in the same frames,
            `style_sim_stranger`, the mean over people whom the encoder never saw in training. NaN
            where a part shows less than a window of the mouth in a row; nothing without weights.
        """
        if self._judge is None:
            return {}
        behind = np.arange(len(source)) >= source.split
        reference = self._vector(source, source.mouth, ~behind)
        made = self._vector(source, mouth, behind)
        own = made if mouth is source.mouth else self._vector(source, source.mouth, behind)
        strangers = self._judge.strangers.cpu().numpy()
        return {
            "style_sim": _cosine(reference, made),
            "style_sim_own": _cosine(reference, own),
            "style_sim_stranger": math.nan
            if reference is None or not len(strangers)
            else float((strangers @ reference).mean()),
        }

    def _vector(self, source: Source, mouth: MouthSeries, wanted: Bool) -> F32 | None:
        """Mean unit vector (E,) of the mouth in some frames; None where too few show it."""
        assert self._judge is not None
        known = np.isfinite(mouth.opening) & source.valid & wanted
        landmarks = np.where(known[:, None, None], mouth.landmarks, source.track.landmarks)
        points = to_canonical(landmarks.astype(np.float32), source.pose)[:, SPEAKING]
        clip = MouthClip(points=points, times=source.seconds, usable=known, shot=source.track.shot)
        return style_vector(self._judge, clip)


@torch.no_grad()
def style_vector(judge: StyleJudge, mouth: MouthClip) -> F32 | None:
    """Mean of a mouth's windows, each half a window after the one before, as a unit vector (E,).

    Returns:
        None where no window is known throughout.
    """
    length = judge.config.window
    windows, _ = mouth_windows_of(mouth, length, length // 2)
    if not len(windows):
        return None
    device = judge.components.device
    mean = judge(torch.from_numpy(windows).to(device)).mean(0).cpu().numpy()
    return mean / max(float(np.linalg.norm(mean)), 1e-6)


def mouth_windows_of(mouth: MouthClip, length: int, stride: int) -> tuple[F32, Int]:
    """Windows of a mouth at 25 Hz that are known throughout.

    Args:
        mouth: On any clock.
        length: Samples of each.
        stride: Least number of samples between the starts of two.

    Returns:
        Speaking points from the mouth's rest, shape (W, length, S, 3), and the first sample of
        each, shape (W,).
    """
    sampled = sample_mouth(mouth)
    starts: list[int] = []
    for start in np.flatnonzero(sampled.windows(length)).tolist():
        if not starts or start >= starts[-1] + stride:
            starts.append(start)
    offsets = sampled.mouth_offsets
    windows = np.zeros((len(starts), length, *offsets.shape[1:]), np.float32)
    for place, start in enumerate(starts):
        windows[place] = offsets[start : start + length]
    return windows, np.array(starts, np.int64)


def _cosine(one: F32 | None, other: F32 | None) -> float:
    return math.nan if one is None or other is None else float(one @ other)
