"""`--style-from VIDEO`: what is wrong with it is said before the main video is looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from studio import DEMO_SPEECH, FACE_PX, NUM_FRAMES, X264, dub_here, face_clip, ffmpeg, speech

from dubcli.core.errors import ConfigError, DubError, NoFaceError

# At 25 frames a second longer than the 4 s that a style takes.
LONG_FRAMES = 110
_SOUND = ("-map", "0:v", "-map", "1:a", "-c:a", "aac", "-shortest")
_FACE = f"scale={FACE_PX}:{FACE_PX}"


def _with_speech(path: Path, frames: int) -> Path:
    return face_clip(path, _FACE, *X264, *_SOUND, frames=frames, inputs=("-i", DEMO_SPEECH))


def _without_a_face(path: Path) -> Path:
    inputs = ("-f", "lavfi", "-i", "testsrc=size=160x120:rate=25:duration=5", "-i", DEMO_SPEECH)
    ffmpeg(*inputs, *X264, *_SOUND, path)
    return path


def _hissing(path: Path) -> Path:
    inputs = ("-f", "lavfi", "-i", "anoisesrc=duration=5:amplitude=0.1")
    return face_clip(path, _FACE, *X264, *_SOUND, frames=LONG_FRAMES, inputs=inputs)


@pytest.fixture
def dubbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A dub in the style of a video, whose own pass 1 must not begin."""

    def never(*_: Any) -> None:
        raise AssertionError("the main video was looked at")

    monkeypatch.setattr("dubcli.pipeline.run.find_faces", never)
    source, audio = face_clip(tmp_path / "in.mp4"), speech(tmp_path / "speech.wav", 0.5)

    def made(style: Path) -> Any:
        options = {"style_from": style}
        output = tmp_path / "out.mp4"
        return dub_here(source, audio, output, model="personatalk", model_options=options)

    return made


@pytest.mark.parametrize(
    ("make", "error", "told"),
    [
        (lambda path: face_clip(path, frames=NUM_FRAMES), ConfigError, r"has no sound"),
        (lambda path: _with_speech(path, NUM_FRAMES), ConfigError, r"lasts 0\.\d s"),
        (_without_a_face, NoFaceError, r"No face was found"),
        (_hissing, ConfigError, r"no speech that is surely in step"),
    ],
    ids=["silent", "short", "no face", "no speech"],
)
def test_a_video_that_shows_no_style_is_refused_first(
    make: Any, error: type[DubError], told: str, dubbed: Any, tmp_path: Path
) -> None:
    with pytest.raises(error, match=told) as caught:
        dubbed(make(tmp_path / "style.mp4"))
    assert "style.mp4" in caught.value.cause
    assert "Name another video" in caught.value.next_step
    assert not list(tmp_path.glob("out*"))
