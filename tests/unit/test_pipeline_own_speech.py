"""A person's own speech in the video: from frames that may be looked at, and no others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from made_faces import canonical_face, made_pose

from dubcli.core.types import Alignment, AudioFeatures, FaceTrack, Int, Waveform
from dubcli.face.light import face_light
from dubcli.face.pose import to_display
from dubcli.face.track import smooth_pose
from dubcli.media.video.timeline import FrameTimes
from dubcli.models.api import AudioSpec, ModelSpec, OwnSpeech
from dubcli.pipeline.source_sound import SourceSound
from dubcli.pipeline.subject import DubbedFace
from dubcli.sync.scorer import MouthClip, SyncScore

NUM, SPLIT = 200, 100
SPEC = ModelSpec(
    name="listener",
    audio=AudioSpec(kind="mel", width=4),
    needs=frozenset({"landmarks", "own_speech"}),
)


def _times() -> FrameTimes:
    return FrameTimes(pts=list(range(NUM)), time_base=Fraction(1, 25), end_pts=NUM)


def _track(openings: np.ndarray[Any, Any]) -> FaceTrack:
    faces = np.stack([canonical_face(float(opening)) for opening in openings])
    return FaceTrack(
        start=0,
        boxes=np.tile(np.array([100, 50, 220, 200], np.float32), (NUM, 1)),
        landmarks=to_display(faces, made_pose(NUM)).astype(np.float32),
        valid=np.ones(NUM, np.bool_),
        interpolated=np.zeros(NUM, np.bool_),
        shot=np.zeros(NUM, np.int64),
        reasons=("",) * NUM,
        sharpness=np.ones(NUM, np.float32),
    )


def _features(waveform: Waveform, kind: str) -> AudioFeatures:
    num = round(len(waveform.samples) / waveform.sample_rate * 80)
    return AudioFeatures(
        values=np.repeat(np.arange(num, dtype=np.float16)[:, None], 80, 1),
        rate_hz=Fraction(80),
        kind=kind,
        start_s=waveform.start_s,
        fill=np.zeros(80, np.float32),
    )


class _Expert:
    """Is as sure as it is told to be, and remembers the frames that it was shown."""

    audio_kind = "mel"

    def __init__(self, confidence: float) -> None:
        self._confidence = confidence
        self.usable: list[Int] = []

    def score(self, mouth: MouthClip, features: AudioFeatures) -> SyncScore:
        assert mouth.usable is not None
        self.usable.append(np.round(mouth.times[mouth.usable] * 25).astype(np.int64))
        return SyncScore(
            confidence=self._confidence, distance=0.2, offset_frames=2.0, num_windows=100
        )


@pytest.fixture
def speech_of(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., OwnSpeech | None]:
    sound = Waveform(samples=np.ones(16000 * 8, np.float32) * 0.1, sample_rate=16000)
    monkeypatch.setattr("dubcli.sync.source_sync.read_waveform", lambda path, rate: sound)

    def made(
        openings: np.ndarray[Any, Any],
        confidence: float = 0.6,
        reference_frames: range | None = None,
        spec: ModelSpec = SPEC,
    ) -> OwnSpeech | None:
        track = _track(openings)
        pose = smooth_pose(track)
        info = cast(Any, SimpleNamespace(audio=object(), path=Path("video.mp4")))
        expert = _Expert(confidence)
        own_sound = SourceSound(info, lambda: cast(Any, expert), _features)
        face = DubbedFace(
            track=track,
            pose=pose,
            alignment=cast(Alignment, None),
            coded_to_display=np.eye(2, 3),
            strength=np.ones(NUM, np.float32),
            neutral=np.zeros((102, 3), np.float32),
            light=face_light(track),
            grain_shares=np.zeros(NUM, np.float32),
            references={},
        )
        found = own_sound.speech(face, _times(), spec, "cpu", reference_frames)
        if reference_frames is not None:
            assert all(set(shown) <= set(reference_frames) for shown in expert.usable)
        return found

    return made


def test_a_face_is_compared_with_the_sound_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = Waveform(samples=np.ones(16000 * 8, np.float32) * 0.1, sample_rate=16000)
    monkeypatch.setattr("dubcli.sync.source_sync.read_waveform", lambda path, rate: sound)
    info = cast(Any, SimpleNamespace(audio=object(), path=Path("video.mp4")))
    expert, one, other = _Expert(0.6), _track(_openings()), _track(_openings())
    own_sound = SourceSound(info, lambda: cast(Any, expert), _features)
    first = own_sound.of_tracks([one, other], _times())
    again = own_sound.of_tracks([other, one], _times())
    assert again == first[::-1]
    assert own_sound.sound_in_step(one, _times()) is sound
    assert len(expert.usable) == 2


def _openings() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).uniform(0, 0.2, NUM)


def test_frames_come_with_the_sound_of_their_moment(
    speech_of: Callable[..., OwnSpeech | None],
) -> None:
    found = speech_of(_openings())
    assert found is not None
    # The picture comes 80 ms late; the features count 80 steps a second.
    steps = found.audio[:, SPEC.audio.width // 2, 0].numpy()
    assert np.array_equal(steps[3:], np.round(np.arange(NUM) * 3.2 - 6.4)[3:])
    assert found.points.shape == (NUM, 102, 3)
    assert found.seconds == pytest.approx(8, abs=0.1)


def test_what_is_scored_has_no_part_in_it(speech_of: Callable[..., OwnSpeech | None]) -> None:
    openings = _openings()
    mixed = openings.copy()
    mixed[SPLIT:] = np.random.default_rng(1).permutation(openings[SPLIT:]) * 2
    one = speech_of(openings, reference_frames=range(SPLIT))
    two = speech_of(mixed, reference_frames=range(SPLIT))
    assert one is not None
    assert two is not None
    assert one.points.equal(two.points)
    assert one.audio.equal(two.audio)
    assert one.seconds == two.seconds


def test_sound_that_is_not_surely_in_step_tells_nothing(
    speech_of: Callable[..., OwnSpeech | None],
) -> None:
    assert speech_of(_openings(), confidence=0.05) is None


def test_a_model_that_does_not_ask_is_given_nothing(
    speech_of: Callable[..., OwnSpeech | None],
) -> None:
    assert speech_of(_openings(), spec=replace(SPEC, needs=frozenset({"landmarks"}))) is None
