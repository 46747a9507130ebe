"""The picture in bfloat16 against float32, for the published weights of each model.

    python tests/bench/number_formats.py [--frames 12] [MODEL ...]

Dubs the beginning of the demo clip both ways, encoded without loss, and prints the PSNR in the box
of the lips, all frames together. On any processor: where bfloat16 is emulated it is only slow.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from mouth_agreement import agreement_db, read_mouths
from studio import dub_here, face_clip, speech

from dubcli.pipeline import device

MODELS = ("iptalker.v5", "iptalker.v3", "lip-identity.v1", "personatalk.v2", "g4g.v1")
RATE = 25


def main() -> int:
    """Print a line a model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--frames", type=int, default=12)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dub-formats-") as name:
        folder = Path(name)
        # The whole square of the clip, at its own size.
        face_clip(folder / "face.mp4", "null", frames=options.frames)
        speech(folder / "speech.wav", options.frames / RATE)
        for model in options.models:
            found = _compare(folder, model)
            print(f"{model}: {found:.1f} dB in {options.frames} frames", flush=True)
    return 0


def _compare(folder: Path, model: str) -> float:
    points = folder / f"{model}.json"
    outputs = [folder / f"{model}-{kind}.mp4" for kind in ("float32", "bfloat16")]
    for output, is_fast in zip(outputs, (False, True), strict=True):
        device.has_fast_bfloat16 = lambda _, is_fast=is_fast: is_fast
        dub_here(
            folder / "face.mp4",
            folder / "speech.wav",
            output,
            lossless=True,
            model=model,
            threads=1,
            seed=5,
            no_mark=True,
            landmarks_out=None if is_fast else points,
        )
    return agreement_db(outputs[0], outputs[1], read_mouths(points))


if __name__ == "__main__":
    sys.exit(main())
