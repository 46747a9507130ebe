"""Somebody who lies down or hangs upside down is dubbed as they lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from studio import FACE_PX, dub_here, face_clip, recorded_supports, speech

from dubcli.core.types import Bool
from dubcli.media.video.native_frame import NativeFrame

NUM_FRAMES = 8
SCALE = f"scale={FACE_PX}:{FACE_PX}"


def _pasted(
    folder: Path, filters: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, int], list[Bool]]:
    """Frames that were left as they are, by reason, and the pixels that a dub may change."""
    seen: dict[int, Any] = {}
    folder.mkdir()
    source = face_clip(folder / "in.mp4", f"{SCALE}{filters}", frames=NUM_FRAMES)
    heard = speech(folder / "speech.wav", NUM_FRAMES / 25)
    with monkeypatch.context() as patch:
        patch.setattr(NativeFrame, "blend", recorded_supports(NativeFrame.blend, seen))
        report = dub_here(source, heard, folder / "out.mp4")
    return report.frames_passed_through, [seen[index] for index in sorted(seen)]


def test_the_same_pixels_change_whichever_way_up_the_person_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, upright = _pasted(tmp_path / "up", "", monkeypatch)
    for name, filters, quarters in (
        ("over", ",hflip,vflip", 2),
        ("right", ",transpose=1", -1),
        ("left", ",transpose=2", 1),
    ):
        passed, turned = _pasted(tmp_path / name, filters, monkeypatch)
        assert passed == {}
        for before, after in zip(upright, turned, strict=True):
            expected = np.rot90(before, quarters)
            shared = (expected & after).sum() / (expected | after).sum()
            assert shared > 0.9, name
