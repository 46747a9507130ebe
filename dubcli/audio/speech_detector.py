"""How likely it is that somebody speaks, 31 times a second, whatever else is heard.

The network is Silero VAD 6.2.3 (Silero Team, MIT licence), in its form that takes a sequence of
frames at once.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dubcli.core.onnx_session import open_session
from dubcli.core.types import F32

# Samples of 16 kHz sound that one probability is for.
FRAME_SAMPLES = 512
# Each frame is seen with the end of the one before it.
_CONTEXT_SAMPLES = 64
_STATE = (1, 1, 128)
# Frames of one call: 16 s of sound.
_MOST_FRAMES = 512


class SpeechDetector:
    """The network, loaded once.

    Args:
        path: Its ONNX file.

    Raises:
        WeightsError: The file is no such network.
    """

    def __init__(self, path: Path) -> None:
        self._session = open_session(path, "the speech activity network")

    def probabilities(self, samples: F32) -> F32:
        """Probability of speech in each 512 samples; the last frame is filled up with silence.

        Args:
            samples: Mono at 16 kHz. Shape (S,), in [-1, 1].

        Returns:
            Shape (ceil(S / 512),), in [0, 1].
        """
        hidden = cell = np.zeros(_STATE, np.float32)
        context = np.zeros(_CONTEXT_SAMPLES, np.float32)
        found: list[F32] = []
        step = _MOST_FRAMES * FRAME_SAMPLES
        for first in range(0, len(samples), step):
            part = samples[first : first + step].astype(np.float32)
            part = np.pad(part, (0, -len(part) % FRAME_SAMPLES))
            before = np.concatenate([context, part])
            starts = np.arange(0, len(part), FRAME_SAMPLES)[:, None]
            frames = before[starts + np.arange(_CONTEXT_SAMPLES + FRAME_SAMPLES)]
            context = part[-_CONTEXT_SAMPLES:]
            inputs = {"input": frames, "h": hidden, "c": cell}
            speech, hidden, cell = self._session.run(["speech_probs", "hn", "cn"], inputs)
            found.append(np.asarray(speech, np.float32).reshape(-1))
        return np.concatenate(found) if found else np.zeros(0, np.float32)
