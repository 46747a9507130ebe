"""Store what mediapipe 0.10.21 sees in the pictures of the tests.

    python tests/tools/face_networks/store_reference.py tests/unit/reference_faces.npz

Run it where mediapipe 0.10.21 is installed; the tests compare without it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "unit"))

from detect_scenes import find_landmarks, mediapipe_parts
from made_portraits import portraits  # pyright: ignore[reportMissingImports]


def main() -> None:
    """Of each picture: landmarks, near boxes and far boxes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("path", type=Path)
    arguments = parser.parse_args()
    make, near, far = mediapipe_parts()
    stored = {}
    for name, frames in portraits().items():
        detector = make()
        found = find_landmarks(detector, frames)
        detector.close()
        stored[f"{name}/frame"] = found["frame"]
        stored[f"{name}/landmarks"] = found["landmarks"]
        stored[f"{name}/near"] = np.array(near(frames[0])).reshape(-1, 5)
        stored[f"{name}/far"] = np.array(far(frames[0])).reshape(-1, 5)
    np.savez_compressed(arguments.path, **stored)


if __name__ == "__main__":
    main()
