"""What options may choose from, without numpy: help and completion must answer at once."""

from __future__ import annotations

# Face detectors, the default one first.
DETECTORS = ("onnx", "mediapipe")

# Kinds of audio features and how many values a step has.
FEATURE_SIZES = {"mel": 80, "speech": 368, "whisper": 592, "hubert": 848}
# Part of the weights whose recogniser a kind needs.
RECOGNISER_PARTS = {"speech": "speech-encoder", "whisper": "whisper-layer", "hubert": "hubert"}
