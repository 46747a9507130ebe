"""CSIM: how much a result's face is the source's, by the package's face recognition network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from dubcli.core.types import F32
from dubcli.evaluation.source import Source, chosen_cuts
from dubcli.face.recognition import FACE_SIZE, FaceRecogniser, face_matrix

# Of the frames that are scored every so many is embedded.
EVERY = 5
T = TypeVar("T")


class LastClip(Generic[T]):
    """Something that is worked out of a clip's own frames, once for all items of the clip."""

    def __init__(self) -> None:
        self._known: tuple[Source, T] | None = None

    def of(self, source: Source, make: Callable[[], T]) -> T:
        """What `make` gave for this clip, if it is the one that was asked for last."""
        if self._known is None or self._known[0] is not source:
            self._known = source, make()
        return self._known[1]


class FaceSimilarity:
    """Compares faces by their embeddings.

    Args:
        load: Gives the network, when it is needed.
    """

    def __init__(self, load: Callable[[], FaceRecogniser]) -> None:
        self._load = load
        self._true = LastClip[F32]()

    def __call__(self, source: Source, result: Path) -> float:
        """Mean cosine of the embeddings of the same frames of source and result.

        Args:
            source: The clip that was dubbed.
            result: The result, or the source itself.

        Raises:
            WeightsError: The network's weights are missing or damaged.
        """
        path = source.clip.path
        true = self._true.of(source, lambda: self._embed(source, path))
        made = true if result == path else self._embed(source, result)
        return float((true * made).sum(1).mean())

    def _embed(self, source: Source, path: Path) -> F32:
        matrices = np.stack([face_matrix(points) for points in source.track.landmarks])
        return self._load().embed(chosen_cuts(path, matrices, FACE_SIZE, source.scored[::EVERY]))
