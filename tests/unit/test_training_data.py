"""Samples: each a function of seed and number, every picture beside its own landmarks."""

from __future__ import annotations

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest

from dubcli.audio.speech_encoder import NUM_SPEECH
from dubcli.core.types import F32, FEATURE_SIZES
from dubcli.face.landmarks import LIPS_INNER, LIPS_OUTER, SPEAKING, mirror_order, mouth_open
from dubcli.face.neutral import rest_shape
from dubcli.face.pose import mean_face
from dubcli.models.common.render_samples import RenderSample, RenderSamples
from dubcli.training.data.prepared_clip import (
    DEFAULT_SIZE,
    ClipSound,
    PreparedClip,
    encode_picture,
    margin_of,
    stored_size,
    without_margin,
)
from dubcli.training.data.train_clips import (
    TrainClip,
    audio_windows,
    augment_audio,
    fit_basis,
    hide_audio,
    identity_weights,
    project,
)

NUM_FRAMES, WIDTH = 30, 16
CROP_SIZE, MARGIN, STORED_SIZE = DEFAULT_SIZE, margin_of(DEFAULT_SIZE), stored_size(DEFAULT_SIZE)
_ORIGIN = np.array([79.5 + MARGIN[1], 51.5 + MARGIN[0], 0])
_SCALE = 0.28 * CROP_SIZE[0]


def _clip(person: int, num: int = NUM_FRAMES, sound: bool = True) -> TrainClip:
    """A face of red lips on grey whose lower half moves; frame t holds step 2 t of the sound."""
    rng = np.random.default_rng(person)
    canonical = np.repeat(mean_face()[None], num, 0)
    canonical[:, LIPS_OUTER, 1] += rng.uniform(0, 0.1, (num, 1))
    canonical[:, LIPS_INNER, 1] += rng.uniform(0, 0.1, (num, 20))
    marks = (canonical * _SCALE + _ORIGIN).astype(np.float32)
    jpeg = []
    for points in marks:
        image = np.full((*STORED_SIZE, 3), 90, np.uint8)
        cv2.fillPoly(image, [points[LIPS_OUTER, :2].round().astype(np.int32)], (200, 20, 20))
        jpeg.append(encode_picture(image))
    steps = np.repeat(np.arange(2 * num)[:, None], NUM_SPEECH, 1)
    voices = np.stack([steps, -steps]) if sound else np.zeros((0, 0, NUM_SPEECH))
    clip = PreparedClip(
        jpeg=np.concatenate(jpeg),
        jpeg_ends=np.cumsum([len(data) for data in jpeg]),
        landmarks=marks,
        canonical=canonical,
        scale=np.full(num, _SCALE),
        rotation=np.repeat(np.eye(3)[None], num, 0),
        translation=np.repeat(_ORIGIN[None], num, 0),
        valid=np.ones(num, bool),
        shot=np.repeat([0, 1], [num // 2, num - num // 2]),
        steps=2 * np.arange(num),
        sounds={
            kind: ClipSound(
                versions=voices[..., :width].astype(np.float16),
                fill=np.full(width, -1, np.float32),
            )
            for kind, width in FEATURE_SIZES.items()
        },
        heard=np.ones(voices.shape[:2], np.float16),
    )
    neutral = rest_shape(canonical, clip.valid)
    return TrainClip(
        clip_id=f"clip{person}",
        identity=f"person{person % 2}",
        clip=clip,
        frames=np.arange(num),
        neutral=neutral,
        mouth_offset=canonical[:, SPEAKING] - neutral,
        opening=mouth_open(canonical),
    )


def _samples(seed: int = 0) -> RenderSamples:
    return _render_samples([_clip(0), _clip(1)], num_references=4, seed=seed)


def _render_samples(
    clips: list[TrainClip], *, num_references: int = 2, seed: int = 0
) -> RenderSamples:
    return RenderSamples(
        clips,
        num_frames=3,
        num_references=num_references,
        audio_kind="mel",
        audio_width=WIDTH,
        seed=seed,
    )


def _equal(a: RenderSample, b: RenderSample) -> bool:
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))


def test_a_sample_is_a_function_of_seed_and_number() -> None:
    samples = _samples()
    first = samples[3]
    assert not _equal(samples[4], first)
    assert _equal(_samples()[3], first)
    assert not _equal(_samples(seed=1)[3], first)


def test_a_sample_has_the_shapes_it_promises() -> None:
    sample = _samples()[0]
    assert sample.targets.shape == sample.backgrounds.shape == (3, *CROP_SIZE, 3)
    assert sample.references.shape == (4, *CROP_SIZE, 3)
    assert sample.targets.dtype == np.uint8
    assert sample.landmarks.shape == (3, 133, 2)
    assert sample.reference_points.shape == (4, 102, 2)
    assert sample.audio.shape == (3, WIDTH, 80)
    assert sample.mouth_offset.shape == (3, 102, 3)


@pytest.mark.parametrize("index", range(12))
def test_landmarks_lie_on_their_picture_however_it_was_turned_and_mirrored(index: int) -> None:
    sample = _samples()[index]
    pairs = [*zip(sample.targets, sample.landmarks[:, SPEAKING], strict=True)]
    pairs += [*zip(sample.references, sample.reference_points, strict=True)]
    for picture, points in pairs:
        red = picture[..., 0].astype(int) - picture[..., 2]
        y, x = np.nonzero(red > 0.6 * red.max())
        outline = np.zeros(CROP_SIZE, np.uint8)
        cv2.fillPoly(outline, [points[:20].round().astype(np.int32)], (1.0,))
        inside = outline[y, x].mean()
        assert inside > 0.8
        assert 0.7 < len(y) / outline.sum() < 1.3


@pytest.mark.parametrize("index", range(8))
def test_pose_and_departure_give_back_the_landmarks(index: int) -> None:
    """What the network is asked for is what the picture shows."""
    sample = _samples()[index]
    canonical = sample.neutral + sample.mouth_offset
    turned = np.einsum("tsj,tij->tsi", canonical, sample.rotation)
    placed = turned * sample.scale[:, None, None] + sample.translation[:, None]
    np.testing.assert_allclose(placed[..., :2], sample.landmarks[:, SPEAKING], atol=1e-2)


def test_samples_without_mirror_images_would_be_half_as_many() -> None:
    """Mirrored points keep their names: the left corner is left again."""
    samples = _samples()
    sides = {bool(samples[i].neutral[0, 0] < 0) for i in range(8)}
    assert sides == {True}
    order = mirror_order()
    assert np.array_equal(order[order], np.arange(len(order)))


def test_backgrounds_are_other_moments_of_the_same_shot() -> None:
    clip = _clip(0)
    coloured = [np.full((*STORED_SIZE, 3), 8 * t, np.uint8) for t in range(NUM_FRAMES)]
    jpeg = [encode_picture(image) for image in coloured]
    marked = replace(
        clip,
        clip=replace(
            clip.clip,
            jpeg=np.concatenate(jpeg),
            jpeg_ends=np.cumsum([len(data) for data in jpeg]),
        ),
    )
    samples = _render_samples([marked])
    for index in range(5):
        sample = samples[index]
        # The same colours were given to all pictures, so equal grey means the same moment.
        targets, backgrounds = (x.mean((1, 2, 3)) for x in (sample.targets, sample.backgrounds))
        assert np.all(np.abs(targets - backgrounds) > 5)


def test_people_count_alike_up_to_the_root_of_their_footage() -> None:
    clips = [replace(_clip(0), frames=np.arange(n), identity=p) for n, p in ((16, "a"), (4, "b"))]
    weights = identity_weights(clips)
    assert weights.sum() == pytest.approx(1)
    assert weights[0] / weights[1] == pytest.approx(2)


def test_the_basis_explains_the_departures_and_has_unit_coefficients() -> None:
    rng = np.random.default_rng(8)
    shapes = rng.standard_normal((2, 102, 3)).astype(np.float32) * 0.05
    truth = rng.standard_normal((400, 2)).astype(np.float32)
    mouth_offset = np.einsum("tp,psc->tsc", truth, shapes)
    clip = replace(_clip(0, 20), frames=np.arange(400), mouth_offset=mouth_offset)
    basis = fit_basis([clip], 2)
    coefficients = project(mouth_offset, basis)
    np.testing.assert_allclose(
        np.einsum("tp,psc->tsc", coefficients, basis), mouth_offset, atol=1e-4
    )
    np.testing.assert_allclose((coefficients**2).mean(0), 1, atol=0.02)


def test_sound_is_that_of_the_frame_and_a_lag_is_taken_off() -> None:
    clip = _clip(0)
    windows = audio_windows(clip, np.array([10, 20]), 8)
    assert windows[:, 4, 0].tolist() == [20, 40]
    # The picture comes six steps late: its sound was six steps earlier.
    late = audio_windows(replace(clip, offset_steps=6), np.array([10]), 8)
    assert late[0, 4, 0] == 14
    assert audio_windows(clip, np.array([0]), 8)[0, :4, 0].tolist() == [-1] * 4
    assert np.all(audio_windows(_clip(0, sound=False), np.array([3]), 8) == -1)


def test_another_voice_keeps_the_moment() -> None:
    audio: F32 = np.full((2, 64, 80), -1, np.float32)
    audio[:, 31:34] = 1
    seen = 0
    for seed in range(10):
        changed = augment_audio(audio.copy(), np.random.default_rng(seed))
        assert changed.shape == audio.shape
        assert changed.dtype == np.float32
        assert np.isfinite(changed).all()
        loudness = changed[0].mean(1) - changed[0].mean(1).min()
        # Where hiss or a hidden stretch does not cover the click, it is still in the middle.
        if loudness.max() > 0.8:
            seen += 1
            assert abs(int(loudness.argmax()) - 32) <= 2
    assert seen >= 3


def test_the_margin_is_cut_off_on_all_sides() -> None:
    for size in (DEFAULT_SIZE, (416, 320), (90, 75)):
        rows, columns = margin_of(size)
        stored = np.zeros((*stored_size(size), 3), np.uint8)
        stored[rows:-rows, columns:-columns] = 7
        assert without_margin(stored).shape == (*size, 3)
        assert np.all(without_margin(stored) == 7)


@pytest.mark.parametrize("kind", ["mel", "speech", "speech+whisper"])
def test_windows_too_short_to_hide_a_part_of_stay_as_they_are(kind: str) -> None:
    """A network that hears nothing is given windows of one step."""
    audio = np.ones((3, 1, FEATURE_SIZES[kind]), np.float32)
    for seed in range(4):
        hidden = hide_audio(audio, np.random.default_rng(seed), kind=kind)
        assert np.array_equal(hidden, audio)
