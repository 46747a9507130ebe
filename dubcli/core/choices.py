"""What options may choose from, without numpy: help and completion must answer at once."""

from __future__ import annotations

# Face detectors, the default one first.
DETECTORS = ("onnx", "mediapipe")

# Kinds of audio features and how many values a step has. Those of `a+b` are those of `a`, then `b`.
FEATURE_SIZES = {
    "mel": 80,
    "speech": 368,
    "whisper": 592,
    "hubert": 848,
    "speech+whisper": 960,
}
# Part of the weights whose recogniser a kind needs.
RECOGNISER_PARTS = {"speech": "speech-encoder", "whisper": "whisper-layer", "hubert": "hubert"}


def feature_parts(kind: str) -> list[str]:
    """The kinds that a kind of features is made of, in order; itself where it is one."""
    return kind.split("+")
