"""The bundled clip and recording: small, readable, and fit for a first try."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

import dubcli
from dubcli.face.detect import open_detector
from dubcli.face.landmarks import mouth_open
from dubcli.media.container.probe import probe
from dubcli.media.sound.waveform import audio_duration, is_silent, read_waveform
from dubcli.media.video.frame_reader import FrameReader

ASSETS = Path(dubcli.__file__).parent / "assets"
CLIP = ASSETS / "demo.mp4"
SPEECH = ASSETS / "demo_speech.wav"


def test_both_files_are_there_and_small() -> None:
    assert CLIP.stat().st_size + SPEECH.stat().st_size < 1_000_000


def test_the_clip_plays_everywhere() -> None:
    with av.open(str(CLIP)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert video.codec_context.name == "h264"
        assert video.codec_context.pix_fmt == "yuv420p"
        assert video.average_rate == 25
        assert audio.codec_context.name == "aac"
        pts = [frame.pts or 0 for frame in container.decode(video)]
    steps = {second - first for first, second in pairwise(pts)}
    assert len(pts) == 125
    assert len(steps) == 1


@pytest.mark.parametrize("path", [CLIP, SPEECH], ids=["own sound", "speech"])
def test_a_voice_is_heard(path: Path) -> None:
    waveform = read_waveform(path)
    assert not is_silent(waveform, threshold_db=-25)
    assert np.abs(waveform.samples).max() < 1


def test_the_speech_fits_the_clip() -> None:
    assert Fraction(4) < audio_duration(SPEECH) <= audio_duration(CLIP)


def test_the_voices_say_different_things() -> None:
    own, driving = (read_waveform(path).samples[: 4 * 16_000] for path in (CLIP, SPEECH))
    loudness = [np.abs(voice).reshape(-1, 640).mean(axis=1) for voice in (own, driving)]
    assert np.corrcoef(loudness)[0, 1] < 0.7


def test_a_speaking_face_is_seen_throughout() -> None:
    openings = []
    with open_detector(max_faces=1) as detector, FrameReader(CLIP, probe(CLIP)) as reader:
        for frame in reader.frames():
            if frame.index % 6 == 0:
                faces = detector.detect(frame)
                assert len(faces) == 1, f"frame {frame.index}"
                openings.append(float(mouth_open(faces[0].landmarks)))
    assert max(openings) - min(openings) > 0.1
