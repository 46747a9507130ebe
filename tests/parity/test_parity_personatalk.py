"""PersonaTalk against its equations, and against what they say by their letter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dubcli.core.errors import ConfigError
from dubcli.face.landmarks import SPEAKING
from dubcli.models.api import OwnSpeech, ReferenceSet, Subject
from dubcli.models.common.mouth_basis import coefficients_of
from dubcli.models.common.mouth_map import INNER, JAW, OUTER
from dubcli.models.personatalk.config import NAMED_CONFIGS, PAPER
from dubcli.models.personatalk.dual_attention import Encoded, TextureAttention
from dubcli.models.personatalk.dual_render_task import correspondence_loss
from dubcli.models.personatalk.lower_face_mesh import TRIANGLES, draw_pncc, nearness, vertex_colours
from dubcli.models.personatalk.network import PersonaTalk
from dubcli.models.personatalk.options import PersonaTalkOptions
from dubcli.models.personatalk.style_geometry import (
    GeometryConstruction,
    StyleAwareAudio,
    StyleEncoder,
    TemplateDriving,
)

TINY = NAMED_CONFIGS["tiny"]
TOKEN, MOMENTS = 16, 5
FACES = Path(__file__).parent.parent / "unit" / "reference_faces.npz"


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def _mean_face() -> Tensor:
    """Speaking points of a face that somebody has, seen from the front, mouth a little open."""
    with np.load(FACES) as faces:
        face = torch.from_numpy(faces["upright/landmarks"][0, SPEAKING])
    face = (face - face.mean(0)) / face[:, 0].std()
    lower, upper = slice(INNER.start + 1, INNER.start + 10), slice(INNER.start + 11, INNER.stop)
    face[lower, 1] += 0.05
    face[upper, 1] -= 0.05
    return face + torch.tensor([0.0, 0.5, 0.0])


def _moved(face: Tensor) -> Tensor:
    """Crop px. Shape (1, S, 2)."""
    return (face[:, :2] * 15 + torch.tensor([40.0, 62.0]))[None]


def test_style_is_the_mean_and_the_deviation_of_encoded_vertices() -> None:
    encoder = StyleEncoder(replace(TINY, carries_amplitude=False)).eval()
    frames = 0.1 * torch.randn(1, 30, 102, 3)
    x = encoder.vertices(10 * frames.flatten(2))
    spread = (x.var(1, correction=0) + 1e-4).sqrt()
    expected = encoder.statistics(torch.cat([x.mean(1), spread], 1))
    basis = torch.randn(4, 102, 3)
    torch.testing.assert_close(encoder(frames, basis), expected)
    order = torch.randperm(30)
    torch.testing.assert_close(encoder(frames[:, order], basis), expected, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(encoder(1.3 * frames, basis), expected, atol=1e-3)


def test_a_style_that_moves_twice_as_far_makes_mouths_that_do() -> None:
    """Around the style's own mean mouth, whatever the network has learned."""
    geometry = GeometryConstruction(replace(TINY, carries_amplitude=True)).eval()
    basis = functional.normalize(torch.randn(TINY.num_coefficients, 306), dim=1).unflatten(
        1, (102, 3)
    )
    geometry.style_encoder.kept_spread.fill_(1)
    geometry.style_encoder.kept_mean.fill_(1)
    mean, moved = 0.1 * torch.randn(1, 102, 3), 0.02 * torch.randn(30, 102, 3)
    moved = moved - moved.mean(0)
    heard = torch.randn(1, MOMENTS, TINY.token)
    template = torch.zeros(1, 102, 3)
    far, near = (geometry.style_of(mean + size * moved, basis) for size in (2.0, 1.0))
    far[: TINY.token] = near[: TINY.token]
    torch.testing.assert_close(geometry.mean_mouth(near), coefficients_of(mean[0], basis))
    made = [
        geometry(heard, style[None], template) - geometry.mean_mouth(style) for style in (far, near)
    ]
    torch.testing.assert_close(made[0], 2 * made[1])


def test_both_style_and_sound_reach_every_moment() -> None:
    """By the letter of eq. 3 one query gives one vector, the same at all moments."""
    layer = StyleAwareAudio(TOKEN).eval()
    style, sound = torch.randn(1, TOKEN), torch.randn(1, MOMENTS, TOKEN)
    made = layer(style, sound)
    assert made.shape == sound.shape
    assert float((made[:, 1:] - made[:, :-1]).abs().amax((0, 2)).min()) > 1e-3
    other_style, other_sound = layer(style + 1, sound), layer(style, sound.flip(1))
    assert float((made - other_style).abs().amax((0, 2)).min()) > 1e-3
    assert float((made - other_sound).abs().max()) > 1e-3


def test_the_template_does_not_replace_the_sound() -> None:
    """With the template as the only key softmax is 1, and each moment gives the same."""
    layer = TemplateDriving(TOKEN).eval()
    sound, template = torch.randn(1, MOMENTS, TOKEN), 0.1 * torch.randn(1, 102, 3)
    made = layer(sound, template)
    assert float((made[:, 1:] - made[:, :-1]).abs().amax((0, 2)).min()) > 1e-3
    assert not torch.allclose(made, layer(sound, 2 * template), atol=1e-5)
    one = torch.nn.functional.scaled_dot_product_attention(
        sound, template.flatten(1)[:, None, :TOKEN], template.flatten(1)[:, None, :TOKEN]
    )
    torch.testing.assert_close(one, one[:, :1].expand_as(one))


def test_pncc_colours_each_place_by_the_mean_face() -> None:
    face = _mean_face()
    points = _moved(face)
    drawn = draw_pncc(points, face, (104, 80), stride=1, top=0)
    colours = vertex_colours(face)
    # Corners and middles of the outer lips.
    for vertex in (0, 5, 10, 15):
        x, y = points[0, vertex].round().long().tolist()
        torch.testing.assert_close(drawn[0, :2, y, x], colours[vertex, :2], atol=0.05, rtol=0)
    assert float(drawn[:, :, :5].abs().max()) == 0


def test_an_open_mouth_is_a_hole() -> None:
    face = _mean_face()
    drawn = draw_pncc(_moved(face), face, (104, 80), stride=1, top=0)
    inside = _moved(face)[0, INNER].mean(0).round().long()
    assert float(drawn[0, :, inside[1], inside[0]].abs().max()) == 0
    inner = set(range(INNER.start, INNER.stop))
    assert not [triangle for triangle in TRIANGLES if set(triangle) <= inner]


def test_nearness_is_depth_under_the_camera_that_the_points_tell() -> None:
    """How near a vertex is follows from the points alone, turned aside as well."""
    face = _mean_face()
    near = nearness(_moved(face), face)[0]
    # The lips lie nearer than the ends of the jaw, and the camera looks along z.
    depth = face[:, 2] - face[:, 2].mean()
    assert float(near[OUTER].mean()) > float(near[JAW.start])
    assert abs(float(torch.corrcoef(torch.stack([near, depth]))[0, 1])) > 0.999
    turned = torch.tensor([[0.8, 0.0, 0.6], [0.0, 1.0, 0.0], [-0.6, 0.0, 0.8]])
    aside = nearness(_moved(face @ turned.T), face)[0]
    expected = (face @ turned.T)[:, 2]
    assert abs(float(torch.corrcoef(torch.stack([aside, expected]))[0, 1])) > 0.999


def test_rasterising_is_the_same_for_one_face_and_for_many() -> None:
    face = _mean_face()
    points = torch.cat([_moved(face), _moved(face) + 3])
    together = draw_pncc(points, face, (52, 40), stride=2, top=0)
    alone = torch.cat([draw_pncc(one[None], face, (52, 40), stride=2, top=0) for one in points])
    assert torch.equal(together, alone)


def test_attention_finds_the_same_place_of_the_face_untrained() -> None:
    attention = TextureAttention(replace(TINY, geometric_sharpness=5000.0))
    y, x = torch.meshgrid(torch.linspace(0.2, 1, 8), torch.linspace(0.2, 1, 12), indexing="ij")
    coordinates = torch.stack([x, y, 0 * x])[None]
    shifted = coordinates.roll(2, 3)
    zeros = torch.zeros(1, TINY.key_size, 8, 12)
    asking = Encoded(keys=zeros, values=zeros, coordinates=coordinates)
    reference = Encoded(keys=zeros[None], values=shifted[None], coordinates=shifted[None])
    found = attention.look_up(asking, reference)
    torch.testing.assert_close(found, coordinates, atol=0.02, rtol=0)
    near = attention.look_near(asking, reference, 2)
    torch.testing.assert_close(near[..., :-2], coordinates[..., :-2], atol=0.02, rtol=0)


def test_face_attention_finds_the_place_in_whichever_neighbour_shows_it() -> None:
    attention = TextureAttention(replace(TINY, geometric_sharpness=5000.0))
    y, x = torch.meshgrid(torch.linspace(0.2, 1, 8), torch.linspace(0.2, 1, 12), indexing="ij")
    coordinates = torch.stack([x, y, 0 * x])[None]
    zeros = torch.zeros(1, TINY.key_size, 8, 12)
    asking = Encoded(keys=zeros, values=zeros, coordinates=coordinates)
    elsewhere = coordinates.roll(6, 3)
    both = torch.stack([elsewhere, coordinates], 1)
    keys = zeros[:, None].expand(-1, 2, -1, -1, -1)
    near = attention.look_near(asking, Encoded(keys=keys, values=both, coordinates=both), 1)
    torch.testing.assert_close(near, coordinates, atol=0.02, rtol=0)
    alone = Encoded(keys=zeros[:, None], values=both[:, 1:], coordinates=both[:, 1:])
    twice = Encoded(keys=keys, values=both[:, [1, 1]], coordinates=both[:, [1, 1]])
    torch.testing.assert_close(
        attention.look_near(asking, twice, 1), attention.look_near(asking, alone, 1)
    )


def _model() -> PersonaTalk:
    model = PersonaTalk(TINY).eval()
    with torch.no_grad():
        model.mean_face.copy_(_mean_face())
    return model


def _subject(num: int, seconds: float | None) -> Subject:
    speech = None
    if seconds is not None:
        points = _mean_face() + 0.05 * torch.randn(40, 102, 3)
        speech = OwnSpeech(audio=torch.zeros(40, 1, 1), points=points, seconds=seconds)
    references = ReferenceSet(
        crops=torch.rand(num, 3, 104, 80),
        points=_moved(_mean_face()).expand(num, -1, -1),
        frames=torch.arange(num),
    )
    return Subject(references={"lips": references}, neutral=_mean_face(), own_speech=speech)


def test_mouths_are_predicted_with_all_digits_in_mixed_precision() -> None:
    geometry = _model().geometry
    audio = torch.randn(3, geometry.width, TINY.audio_size)
    style = torch.randn(TINY.style_size)
    with torch.no_grad():
        wanted = geometry.smoothed(audio, style, torch.zeros(102, 3))
        with torch.autocast("cpu", torch.bfloat16):
            found = geometry.smoothed(audio, style, torch.zeros(102, 3))
    assert torch.equal(found, wanted)


def test_eq_4_lips_come_from_lip_references_the_rest_from_the_face() -> None:
    model = _model()
    speaking = _moved(_mean_face())
    with torch.no_grad():
        lips = model.encode_lips(torch.ones(2, 3, 104, 80), speaking.expand(2, -1, -1))
        lips = Encoded(
            keys=lips.keys[None], values=lips.values[None], coordinates=lips.coordinates[None]
        )
        out = model.render_box(speaking, lips, torch.zeros(1, 3, 104, 80), speaking)
    middle = (speaking[0, OUTER].mean(0) - torch.tensor([0.0, model.config.top])).round().long()
    assert float(out.warped[0, :, middle[1], middle[0]].min()) > 0.9
    assert float(out.warped[0, :, 2, 2].max()) < 0.1
    assert torch.equal(out.rgb, out.warped)
    assert float(correspondence_loss(out)) < 0.1


def test_too_little_speech_means_the_mean_style_and_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = _model()
    with torch.no_grad():
        for seconds in (None, 2.0):
            caplog.clear()
            state = model.prepare(_subject(3, seconds))
            assert torch.equal(state.style, model.geometry.mean_style)
            assert "speech in step with its sound" in caplog.text
            assert model.facts(state)["style_seconds"] == 0
        caplog.clear()
        state = model.prepare(_subject(3, 6.0))
        assert not caplog.text
        assert model.facts(state) == {"style_seconds": 6.0, "lip_references": [0, 1, 2]}
        assert not torch.equal(state.style, model.geometry.mean_style)


def test_style_comes_from_the_other_video_and_none_takes_none() -> None:
    model = _model()
    other = _subject(3, 8.0)
    with torch.no_grad():
        model.configure(PersonaTalkOptions(style_from=Path("other.mp4")))
        state = model.prepare(replace(_subject(3, None), second=other))
        assert model.facts(state)["style_seconds"] == 8
        with pytest.raises(ConfigError, match="no speech in step"):
            model.prepare(replace(_subject(3, 6.0), second=_subject(3, None)))
        model.configure(PersonaTalkOptions(style="none"))
        state = model.prepare(_subject(3, 6.0))
        assert torch.equal(state.style, model.geometry.mean_style)
    with pytest.raises(ConfigError, match="--style is 'loud'"):
        PersonaTalkOptions(style="loud")
    with pytest.raises(ConfigError, match="Leave one of them out"):
        PersonaTalkOptions(style="none", style_from=Path("other.mp4"))


def test_the_papers_network_builds_at_the_papers_size() -> None:
    with torch.device("meta"):
        model = PersonaTalk(PAPER)
    assert model.spec.crop.size == (256, 256)
    assert model.spec.references["faces"].count == 2 * model.spec.context + 1 == 5
    policy = model.spec.references["lips"]
    assert (policy.count, policy.train_count, policy.order) == (25, 5, "opening")


def test_the_default_fits_into_the_package() -> None:
    """At most 8 MB in half precision."""
    with torch.device("meta"):
        model = PersonaTalk(NAMED_CONFIGS["default"])
    assert 2 * sum(value.numel() for value in model.state_dict().values()) <= 8e6
