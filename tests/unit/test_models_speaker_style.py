"""The sound part: E_a over long stretches, and a person's own manner of speaking."""

from __future__ import annotations

import pytest
import torch

from dubcli.models.api import OwnSpeech, ReferenceSet, Subject
from dubcli.models.common.encoders import DilatedAudioEncoder
from dubcli.models.common.mouth_basis import opening_basis
from dubcli.models.iptalker.config import NAMED_CONFIGS
from dubcli.models.iptalker.geometry_task import trained_alignment
from dubcli.models.iptalker.network import ROLE, IPTalker
from dubcli.models.iptalker.options import IPTalkerOptions

SECONDS = 20.0


@pytest.mark.parametrize("width", [92, 93, 108])
def test_a_window_hears_what_its_moment_in_a_longer_stretch_hears(width: int) -> None:
    torch.manual_seed(0)
    encoder = DilatedAudioEncoder(80, width, 32, 0.4).eval()
    audio = torch.randn(2, width + 9, 80)
    whole = encoder.over_sequence(audio)
    single = torch.stack([encoder(audio[:, i : i + width])[:, 0] for i in range(10)], 1)
    assert torch.allclose(whole, single, atol=1e-5)


def test_learning_from_windows_leaves_the_statistics_of_long_stretches() -> None:
    torch.manual_seed(0)
    encoder = DilatedAudioEncoder(80, 92, 32, 0.0).train()
    encoder.over_sequence(torch.randn(2, 120, 80))
    before = {name: value.clone() for name, value in encoder.named_buffers()}
    audio = torch.randn(3, 92, 80)
    learning = encoder(audio)
    assert all(value.equal(before[name]) for name, value in encoder.named_buffers())
    assert torch.allclose(learning, encoder.eval()(audio), atol=1e-6)


def _model() -> IPTalker:
    torch.manual_seed(1)
    model = IPTalker(NAMED_CONFIGS["tiny"]).eval()
    model.alignment.basis.normal_(0, 0.02)
    return model


def _subject(model: IPTalker, own: OwnSpeech | None) -> Subject:
    config, spec = model.config, model.spec
    count = spec.references[ROLE].count
    generator = torch.Generator().manual_seed(2)
    crops = torch.rand(count, 3, config.height, config.width, generator=generator)
    points = torch.rand(count, 102, 2, generator=generator) * 40
    return Subject(
        references={
            ROLE: ReferenceSet(crops=crops, points=points, frames=torch.arange(count)),
        },
        neutral=torch.zeros(102, 3),
        own_speech=own,
    )


def _speech(model: IPTalker, factor: float, shift: float) -> tuple[OwnSpeech, torch.Tensor]:
    """Speech of a person who opens `factor` times as far as the sound asks for."""
    generator = torch.Generator().manual_seed(3)
    audio = torch.randn(200, model.spec.audio.width, 80, generator=generator)
    with torch.inference_mode():
        tokens = torch.zeros(model.config.num_references, model.config.embedding)
        predicted = model.coefficients(audio, tokens)
        wanted = factor * (predicted - predicted.mean(0)) + predicted.mean(0) + shift
        points = model.alignment.speaking_points(wanted, torch.zeros(102, 3))
    return OwnSpeech(audio=audio, points=points, seconds=SECONDS), wanted


@torch.inference_mode()
@pytest.mark.parametrize("factor", [0.7, 1.5])
def test_the_mouth_opens_as_far_as_in_the_persons_own_speech(factor: float) -> None:
    model = _model()
    trained_alignment(model).kind = "audio"
    own, wanted = _speech(model, factor, 0.5)
    opening = opening_basis(model.alignment.basis)
    state = model.prepare(_subject(model, own))
    assert state.style is not None
    made = state.style.apply(model.coefficients(own.audio, state.tokens))
    # Somewhat further, since pictures show less than they are asked for.
    assert float((made @ opening).std() / (wanted @ opening).std()) == pytest.approx(1.15, abs=0.12)
    assert float((made - wanted).mean().abs()) < 0.15
    assert model.facts(state)["speaker_style"] == state.style.told()


@torch.inference_mode()
def test_without_it_or_without_own_speech_the_mouth_is_the_general_one() -> None:
    model = _model()
    own, _ = _speech(model, 1.5, 0.5)
    assert model.prepare(_subject(model, None)).style is None
    assert model.facts(model.prepare(_subject(model, None))) == {"speaker_style": None}
    model.configure(IPTalkerOptions(speaker_style=False))
    assert "own_speech" not in model.spec.needs
    state = model.prepare(_subject(model, own))
    assert state.style is None
    assert model.facts(state) == {}


@torch.inference_mode()
def test_more_articulation_still_moves_the_mouth_further_than_the_person_does() -> None:
    model = _model()
    trained_alignment(model).kind = "audio"
    own, _ = _speech(model, 1.0, 0.0)
    spreads: list[float] = []
    for articulation in (1.25, 1.875):
        model.configure(IPTalkerOptions(articulation=articulation))
        state = model.prepare(_subject(model, own))
        assert state.style is not None
        made = state.style.apply(model.coefficients(own.audio, state.tokens))
        spreads.append(float((made @ opening_basis(model.alignment.basis)).std()))
    assert spreads[1] / spreads[0] == pytest.approx(1.5, abs=0.05)
