"""The person's own speech reaches a model that asks for it, and only when it is theirs."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any, cast

import numpy as np
import pytest
from made_faces import face_at, made_track

from dubcli.core.errors import ConfigError
from dubcli.core.types import AudioFeatures, FaceTrack, Waveform
from dubcli.media.video.timeline import FrameTimes
from dubcli.models.api import AudioSpec, CropSpec, ModelSpec, Need, ReferencePolicy
from dubcli.pipeline.source_sound import SourceSound
from dubcli.pipeline.stored_identity import require_one_role
from dubcli.sync.scorer import SyncScore

NUM, WIDTH = 10, 4
TIMES = FrameTimes(pts=list(range(NUM)), end_pts=NUM, time_base=Fraction(1, 25))


def _spec(*needs: Need, roles: int = 1) -> ModelSpec:
    return ModelSpec(
        name="model",
        crop=CropSpec(size=(64, 64)),
        audio=AudioSpec(kind="mel", width=WIDTH),
        references={f"role-{n}": ReferencePolicy(count=1) for n in range(roles)},
        needs=frozenset(needs),
    )


def _score(offset: float = 0, confidence: float = 1) -> SyncScore:
    return SyncScore(confidence=confidence, distance=0.1, offset_frames=offset, num_windows=200)


def _sound_of(
    monkeypatch: pytest.MonkeyPatch, score: SyncScore | None
) -> tuple[SourceSound, FaceTrack]:
    steps = np.arange(100, dtype=np.float32)[:, None]
    features = AudioFeatures(
        values=steps,
        rate_hz=Fraction(25),
        kind="mel",
        start_s=Fraction(0),
        fill=np.array([-1], np.float32),
    )
    sound = Waveform(samples=np.zeros(9, np.float32), sample_rate=16_000, start_s=Fraction(0))
    own_sound = SourceSound(cast(Any, None), lambda: None, lambda waveform, kind: features)
    monkeypatch.setattr(own_sound, "of_tracks", lambda tracks, times: [score])
    monkeypatch.setattr(own_sound, "_waveform", sound)
    return own_sound, made_track(np.stack([face_at() for _ in range(NUM)]))


def _heard(monkeypatch: pytest.MonkeyPatch, score: SyncScore | None, spec: ModelSpec) -> Any:
    own_sound, track = _sound_of(monkeypatch, score)
    return own_sound.windows(track, TIMES, {"render": spec})


def test_each_frame_has_the_sound_of_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    windows = _heard(monkeypatch, _score(), _spec("track"))["render"]
    assert windows.shape == (NUM, WIDTH, 1)
    assert windows[5, :, 0].tolist() == [3, 4, 5, 6]
    assert windows[0, :, 0].tolist() == [-1, -1, 0, 1]


def test_two_models_of_one_name_hear_windows_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    own_sound, track = _sound_of(monkeypatch, _score())
    wide = replace(_spec("track"), audio=AudioSpec(kind="mel", width=2 * WIDTH))
    windows = own_sound.windows(track, TIMES, {"motion": wide, "render": _spec("track")})
    assert windows["motion"].shape == (NUM, 2 * WIDTH, 1)
    assert windows["render"].shape == (NUM, WIDTH, 1)


@pytest.mark.parametrize("score", [None, _score(offset=6), _score(confidence=0.01)])
def test_sound_that_may_be_somebody_elses_is_not_given(
    score: SyncScore | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _heard(monkeypatch, score, _spec("track")) == {}


def test_a_model_that_needs_no_track_is_given_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _heard(monkeypatch, _score(), _spec("landmarks")) == {}


@pytest.mark.parametrize("roles", [0, 2])
def test_an_identity_is_refused_by_models_without_one_role(roles: int) -> None:
    with pytest.raises(ConfigError, match="takes no identity"):
        require_one_role(_spec(roles=roles))
    require_one_role(_spec())
