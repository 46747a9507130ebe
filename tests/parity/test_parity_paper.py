"""What IPTalker's modules are given, module by module (arXiv:2501.04586, section III)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from made_scenes import PLAIN, TINY, WHOLE, made_face, made_model, rendered
from torch import Tensor, nn
from torch.nn import functional

from dubcli.models.common.layers import SPADE, AdaIN
from dubcli.models.common.masks import SPEAKING
from dubcli.models.iptalker.inpainting import build_decoder
from dubcli.models.iptalker.network import NAMED_CONFIGS, IPTalkerConfig

Seen = list[tuple[str, Tensor, Tensor]]


@contextmanager
def _watched(model: nn.Module, wanted: Callable[[str, nn.Module], bool]) -> Iterator[Seen]:
    """Name, first input and output of each call of some modules, in order."""
    seen: Seen = []

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda module, given, out: seen.append((name, given[0], out))

    hooks = [
        module.register_forward_hook(note(name))
        for name, module in model.named_modules()
        if wanted(name, module)
    ]
    yield seen
    for hook in hooks:
        hook.remove()


@torch.no_grad()
def test_the_fusion_block_gets_the_source_beside_every_unwarped_reference() -> None:
    """Eq. 4-5: F_u = E_u(F_S + F_R); tensors of C and N C channels are joined, not added."""
    model = made_model(WHOLE)
    names = ("source_encoder", "reference_encoder", "warping.fuse")
    with _watched(model, lambda name, _: name in names) as seen:
        rendered(model)
    out = {name: value for name, _, value in seen}
    given = {name: value for name, value, _ in seen}["warping.fuse"]
    f_s, f_r = out["source_encoder"], out["reference_encoder"].flatten(0, 1)
    torch.testing.assert_close(
        given, torch.cat([f_s, f_r.expand(len(f_s), -1, -1, -1)], 1), atol=1e-4, rtol=1e-4
    )


@torch.no_grad()
def test_with_the_map_the_fusion_block_gets_references_moved_by_landmarks_and_the_map() -> None:
    """The default's deviation from eq. 5."""
    model = made_model(TINY)
    names = ("reference_encoder", "warping.fuse")
    with _watched(model, lambda name, _: name in names) as seen:
        rendered(model)
    (_, _, f_r), (_, given, _) = seen
    channels, num = TINY.channels, TINY.num_references
    assert given.shape[1] > channels * (1 + num)
    moved = given[:, channels : channels * (1 + num)].reshape(-1, num, *f_r.shape[1:])
    assert float((moved - f_r).abs().mean()) > 0.01


def _rows_that_matter(config: IPTalkerConfig) -> set[int]:
    """Rows of a reference that change its token of eq. 1."""
    model = made_model(config)
    pictures = torch.rand(config.num_references, 3, config.height, config.width)
    pictures.requires_grad_()
    points = made_face(config.num_references, config)[:, SPEAKING]
    tokens = model.encode_references(pictures, points).tokens
    if not tokens.requires_grad:
        return set()
    (slope,) = torch.autograd.grad(tokens.sum(), pictures)
    return set(slope.abs().amax((0, 1, 3)).nonzero().flatten().tolist())


def test_the_visual_encoder_sees_the_lower_half_alone() -> None:
    """Section III-A: "a set of lower-half facial images"."""
    rows = _rows_that_matter(WHOLE)
    assert min(rows) == WHOLE.height // 2
    assert max(rows) >= WHOLE.height - 2
    paper = NAMED_CONFIGS["paper"]
    assert (paper.top, paper.visual_row, paper.height) == (0, 208, 416)


def test_by_default_the_visual_encoder_sees_what_is_repainted_and_in_few_people_nothing() -> None:
    assert min(_rows_that_matter(TINY)) == TINY.top
    assert _rows_that_matter(replace(TINY, alignment="audio")) == set()


def _decoder_inputs(config: IPTalkerConfig) -> tuple[Tensor, Tensor, Tensor]:
    height, width = config.height, config.width
    f_w, f_s = (torch.randn(1, config.channels, height // 4, width // 4) for _ in range(2))
    return f_w.requires_grad_(), f_s.requires_grad_(), torch.rand(1, 4, height, width)


@pytest.mark.parametrize("config", [PLAIN, WHOLE], ids=["blocks", "every layer"])
def test_warped_and_source_features_both_set_the_scales_of_spade(config: IPTalkerConfig) -> None:
    """Section III-D: F_w and F_S are concatenated and injected by SPADE."""
    torch.manual_seed(0)
    decoder = build_decoder(config)
    f_w, f_s, source = _decoder_inputs(config)
    with _watched(decoder, lambda name, _: name.endswith(".affine")) as seen:
        decoder(f_w, f_s, source, None, [])
    assert seen
    for name, _, affine in seen:
        slopes = torch.autograd.grad(affine.sum(), (f_w, f_s), retain_graph=True)
        assert all(bool(slope.abs().sum() > 0) for slope in slopes), name


@torch.no_grad()
def test_in_the_paper_preset_spade_sees_nothing_but_the_warped_and_the_source_features() -> None:
    torch.manual_seed(0)
    decoder = build_decoder(WHOLE)
    f_w, f_s, source = _decoder_inputs(WHOLE)
    with _watched(decoder, lambda name, _: name.endswith(".shared")) as seen:
        made = decoder(f_w, f_s, source, None, [])[0]
    both = torch.cat([f_w, f_s], 1)
    assert all(torch.equal(condition, both) for _, condition, _ in seen)
    assert torch.equal(decoder(f_w, f_s, 1 - source, None, [])[0], made)


def _modulated(model: nn.Module, kind: type[nn.Module], run: Callable[[], object]) -> list[str]:
    """Convolutions outside `kind`, each proven to be fed by a `kind` of its own, then SiLU."""
    inside = [name + "." for name, module in model.named_modules() if isinstance(module, kind)]

    def wanted(name: str, module: nn.Module) -> bool:
        is_outer = isinstance(module, nn.Conv2d) and not name.startswith(tuple(inside))
        return isinstance(module, kind) or (is_outer and name != "fuse")

    with _watched(model, wanted) as seen:
        run()
    names: list[str] = []
    for before, (name, given, _) in pairwise(seen):
        if isinstance(model.get_submodule(name), kind):
            continue
        assert isinstance(model.get_submodule(before[0]), kind), name
        assert torch.equal(given, functional.silu(before[2])), name
        names.append(name)
    return names


@torch.no_grad()
def test_with_every_layer_spade_precedes_each_convolution_of_the_decoder() -> None:
    """Section III-D: "using the SPADE operation before each convolutional layer"."""
    decoder, inputs = build_decoder(WHOLE), _decoder_inputs(WHOLE)
    assert len(_modulated(decoder, SPADE, lambda: decoder(*inputs, None, []))) == 6


@torch.no_grad()
def test_with_every_layer_adain_precedes_each_convolution_of_the_warping_network() -> None:
    """Section III-C: "using the AdaIN operation before each layer"; E_u comes before them."""
    model = made_model(WHOLE)
    names = _modulated(model.warping, AdaIN, lambda: rendered(model))
    assert names == [
        "enter.conv",
        "down.conv",
        "bottom1.conv",
        "bottom2.conv",
        "up",
        "leave.conv",
        "head",
    ]


def test_the_paper_preset_is_the_papers_where_a_switch_says_so() -> None:
    for name in ("paper", "small-paper"):
        config = NAMED_CONFIGS[name]
        assert (config.mask, config.fusion, config.paste) == ("hull", "plain", "face")
        assert (config.alignment, config.cross_modality) == ("full", True)
        assert (config.decoder, config.modulation) == ("spade", "every-layer")
        assert (config.geometry_map, config.audio_kind, config.box_top) == (False, "mel", 0)
    shipped = NAMED_CONFIGS["few-people"]
    assert (shipped.alignment, shipped.modulation, shipped.paste) == (
        "audio",
        "blocks",
        "lower-face",
    )
