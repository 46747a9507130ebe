"""What is learned of how a person's mouth moves, and what is kept apart to decide."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_clips import made_clip

from dubcli.core.types import References
from dubcli.face.landmarks import SPEAKING, mouth_open
from dubcli.models.common.own_mouth import mouth_mapping
from dubcli.models.common.render_samples import RenderSamples, Variation
from dubcli.models.iptalker.adapt import IPTalkerAdapter
from dubcli.models.iptalker.geometry_task import prepare_model
from dubcli.models.iptalker.network import NAMED_CONFIGS, IPTalker
from dubcli.personalize.personal_clips import (
    keep_apart,
    mouth_statistics,
    person_clips,
    rest_of,
)
from dubcli.personalize.run_history import History, ValidationCheck
from dubcli.personalize.validation import ValidationScore
from dubcli.training.data.prepared_clip import DEFAULT_SIZE
from dubcli.training.data.train_clips import TrainClip, audio_windows, derive_clip


def _clip(person: int = 0, *, with_sound: bool = True) -> TrainClip:
    prepared = made_clip(person, with_sound=with_sound)
    return derive_clip("clip", "anna", prepared, rest_of([prepared]))


def _references(clip: TrainClip) -> References:
    pictures = np.full((2, *DEFAULT_SIZE, 3), 77, np.uint8)
    landmarks = clip.clip.landmarks[:2]
    return References(
        crops=pictures,
        detail_crops=pictures,
        landmarks=landmarks,
        frame_indices=np.arange(2),
        mouth_open=mouth_open(landmarks),
    )


OPENING = np.array([1, 0, 0, 0], np.float32)


def test_a_constant_difference_between_heard_and_seen_is_taken_over() -> None:
    rng = np.random.default_rng(0)
    predicted = rng.standard_normal((500, 4)).astype(np.float32)
    gain, shift = mouth_mapping(predicted, predicted + np.float32(0.8), OPENING, seconds=600)
    assert gain == pytest.approx(1, abs=1e-3)
    assert shift == pytest.approx(0.8, abs=0.1)


def test_little_footage_changes_little() -> None:
    rng = np.random.default_rng(0)
    predicted = rng.standard_normal((30, 4)).astype(np.float32)
    true = predicted * np.float32(0.5) + np.float32(0.8)
    changed = [
        float(np.abs(predicted * gain + shift - predicted).mean())
        for gain, shift in (mouth_mapping(predicted, true, OPENING, s) for s in (0.4, 4.0, 600.0))
    ]
    assert changed[0] < changed[1] < changed[2]


@pytest.mark.parametrize("range_of_person", [0.6, 1.6])
def test_the_mouth_opens_as_far_as_the_persons(range_of_person: float) -> None:
    rng = np.random.default_rng(1)
    predicted = rng.standard_normal((5000, 4)).astype(np.float32)
    noise = rng.standard_normal((5000, 4)).astype(np.float32)
    # Sound tells half of it: the spread is taken over all the same, not the part that is told.
    true = np.float32(range_of_person) * (predicted + noise) / np.float32(np.sqrt(2))
    gain, _ = mouth_mapping(predicted, true, OPENING, seconds=5000)
    assert gain == pytest.approx(range_of_person, rel=0.05)


def test_a_mouth_that_hardly_moves_in_the_footage_is_not_frozen() -> None:
    rng = np.random.default_rng(1)
    predicted = rng.standard_normal((500, 4)).astype(np.float32)
    gain, _ = mouth_mapping(predicted, np.zeros_like(predicted), OPENING, seconds=600)
    assert gain >= 0.5


def test_the_mapping_is_folded_into_the_model_and_nothing_else_changes() -> None:
    torch.manual_seed(0)
    model = IPTalker(NAMED_CONFIGS["tiny"]).eval()
    clip = _clip()
    prepare_model(model, [clip])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    tokens = torch.zeros(model.config.num_references, model.config.embedding)
    audio = torch.from_numpy(
        audio_windows(clip, clip.frames, model.spec.audio.width, kind=model.spec.audio.kind)
    )
    with torch.no_grad():
        was = model.coefficients(audio, tokens)
        assert IPTalkerAdapter().set_mouth(model, [clip])
        now = model.coefficients(audio, tokens)
    changed = {name for name, value in model.state_dict().items() if not value.equal(before[name])}
    assert changed == {"alignment.to_coefficients.3.weight", "alignment.to_coefficients.3.bias"}
    true = torch.from_numpy(clip.mouth_offset[clip.frames]).flatten(1) @ torch.linalg.pinv(
        model.alignment.basis.flatten(1)
    )
    assert (now - true).square().mean() < (was - true).square().mean()


def _coefficients(model: IPTalker, clip: TrainClip) -> torch.Tensor:
    spec = model.spec
    audio = audio_windows(clip, clip.frames, spec.audio.width, kind=spec.audio.kind)
    tokens = torch.zeros(model.config.num_references, model.config.embedding)
    with torch.no_grad():
        return model.coefficients(torch.from_numpy(audio), tokens)


@pytest.mark.parametrize(("shown", "wider"), [(0.7, True), (1.0, False), (1.3, False)])
def test_mouths_that_pictures_show_too_small_are_asked_to_open_wider(
    shown: float, wider: bool
) -> None:
    model, clip = IPTalker(NAMED_CONFIGS["tiny"]).eval(), _clip()
    prepare_model(model, [clip])
    before = _coefficients(model, clip)
    IPTalkerAdapter().widen_mouth(model, [clip], shown)
    after = _coefficients(model, clip)
    assert after.mean(0).allclose(before.mean(0), atol=1e-4)
    ratio = float(after.std(0).mean() / before.std(0).mean())
    assert (ratio > 1.05) == wider
    assert (ratio < 0.95) == (shown > 1)


def test_what_pictures_show_is_not_made_up_for_where_it_is_not_known() -> None:
    model, clip = IPTalker(NAMED_CONFIGS["tiny"]).eval(), _clip()
    prepare_model(model, [clip])
    before = _coefficients(model, clip)
    IPTalkerAdapter().widen_mouth(model, [clip], float("nan"))
    IPTalkerAdapter().widen_mouth(model, [_clip(with_sound=False)], 0.5)
    assert torch.equal(_coefficients(model, clip), before)


def test_without_sound_the_mouth_stays_as_it_is() -> None:
    model = IPTalker(NAMED_CONFIGS["tiny"])
    clip = _clip(with_sound=False)
    prepare_model(model, [clip])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert not IPTalkerAdapter().set_mouth(model, [clip])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_decides_was_never_learned_from() -> None:
    clips = [_clip(0), _clip(1)]
    learned, held = keep_apart(clips)
    for before, mine, theirs in zip(clips, learned, held, strict=True):
        assert len(mine.frames) > len(theirs.frames) > 0
        assert {*mine.frames, *theirs.frames} <= {*before.frames}
        assert np.abs(mine.frames[:, None] - theirs.frames).min() > 1
        assert np.all(np.diff(theirs.frames) == 1)


def test_the_stretch_that_decides_moves_as_the_whole_clip_does() -> None:
    clip = _clip()
    quiet = clip.opening.copy()
    quiet[len(quiet) // 2 :] = quiet.min()
    _, held = keep_apart([replace(clip, opening=quiet)])
    chosen = quiet[held[0].frames]
    assert chosen.std() > 0.5 * quiet.std()


def test_a_very_short_clip_keeps_about_half_to_learn_from() -> None:
    clip = _clip()
    short = replace(clip, frames=clip.frames[:6])
    learned, held = keep_apart([short])
    assert (len(learned[0].frames), len(held[0].frames)) == (3, 3)


def test_one_rest_for_all_of_a_persons_clips() -> None:
    clips, notes = person_clips("anna", [made_clip(0), made_clip(0)], None)
    assert notes == []
    assert np.array_equal(clips[0].neutral, clips[1].neutral)
    assert {clip.identity for clip in clips} == {"anna"}


def test_statistics_are_those_of_the_mouth() -> None:
    clip = _clip()
    told = mouth_statistics([clip])
    assert told["opening_mean"] == pytest.approx(float(clip.opening.mean()), rel=1e-4)
    assert told["opening_widest"] <= clip.opening.max()
    assert set(told) >= {"opening_std", "width_mean", "width_std"}


def test_samples_of_one_person_refer_to_the_references_of_the_identity() -> None:
    clip = _clip()
    references = _references(clip)
    samples = RenderSamples(
        [clip],
        num_frames=2,
        num_references=2,
        audio_kind="mel",
        audio_width=16,
        seed=0,
        variation=Variation(jitter=0, is_mirrored=False, is_coloured=False, references=references),
    )
    for number in range(4):
        sample = samples[number]
        assert np.array_equal(sample.references, references.crops)
        assert np.array_equal(sample.reference_points, references.landmarks[:, SPEAKING, :2])
        assert np.array_equal(sample.neutral, clip.neutral)


def test_fixed_references_cannot_be_mirrored() -> None:
    with pytest.raises(ValueError, match="references"):
        Variation(references=_references(_clip()))


def _history(*looks: tuple[int, float, float], before: float = 0.8) -> History:
    history = History(ValidationScore(psnr=25.0, texture=0.5, sync=before))
    for step, texture, sync in looks:
        history.add(
            ValidationCheck(
                step=step, loss=0.1, score=ValidationScore(psnr=25.0, texture=texture, sync=sync)
            )
        )
    return history


def test_texture_nearest_to_the_persons_own_is_kept_while_the_lips_follow() -> None:
    assert _history((0, 0.5, 0.8), (25, 0.95, 0.79), (50, 1.4, 0.8)).best.step == 25


def test_texture_does_not_buy_lost_sync() -> None:
    assert _history((0, 0.7, 0.8), (25, 1.0, 0.4)).best.step == 0


def test_chance_in_the_correlation_does_not_decide() -> None:
    assert _history((0, 0.6, 0.82), (25, 0.9, 0.78)).best.step == 25


def test_the_run_ends_when_sync_is_lost_twice_in_a_row() -> None:
    looks = [(0, 0.6, 0.8), (25, 0.7, 0.8), (50, 0.8, 0.79), (75, 0.9, 0.6)]
    assert not _history(*looks).has_lost_sync
    assert _history(*looks, (100, 0.9, 0.6)).has_lost_sync
    assert not _history(*looks, (100, 0.9, 0.78)).has_lost_sync


def test_footage_without_a_seen_mouth_is_judged_by_texture() -> None:
    nothing = float("nan")
    history = _history((0, 0.5, nothing), (25, 0.9, nothing), before=nothing)
    assert history.best.step == 25
    assert not history.has_lost_sync
