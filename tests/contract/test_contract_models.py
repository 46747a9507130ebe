"""What every registered model must do, at a size that runs in milliseconds."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from untrained_model import untrained_model

from dubcli.core.errors import ConfigError, IdentityError
from dubcli.core.types import FEATURE_SIZES
from dubcli.models.api import (
    FaceGeometry,
    LipSyncModel,
    ModelWindow,
    OwnSpeech,
    Patches,
    ReferenceSet,
    Subject,
    TrackMotion,
)
from dubcli.models.architecture import load_part
from dubcli.models.g4g.config import NAMED_CONFIGS as G4G_CONFIGS
from dubcli.models.iptalker.network import NAMED_CONFIGS, IPTalker
from dubcli.models.lip_identity.config import NAMED_CONFIGS as LIP_CONFIGS
from dubcli.models.personatalk.config import NAMED_CONFIGS as PERSONA_CONFIGS
from dubcli.models.registry import ARCHITECTURES, create_model, find_architecture, model_names

TINY = NAMED_CONFIGS["tiny"]
TINY_PAPER = replace(TINY, box_top=0.0, mask="hull", geometry_map=False, fusion="plain")
LIP_TINY = LIP_CONFIGS["tiny"]
LIP_TINY_PAPER = replace(
    LIP_TINY, box_top=0.0, mask="lower-half", mouth_encoder="windows", mouth_width=16,
    first_guess=False, is_residual=False, mixes_warped=False, own_skin=False,
    lip_height=1.0, lip_width=1.0, audio_smoothing=0,
)  # fmt: skip
G4G_TINY = G4G_CONFIGS["tiny"]
G4G_TINY_PAPER = replace(
    G4G_TINY, box_top=0.0, halves=1, sound_encoder="strided", audio_width=16,
    audio_smoothing=0, drawn_mouth=False, own_skin=False,
)  # fmt: skip
PERSONA_TINY = PERSONA_CONFIGS["tiny"]
PERSONA_TINY_PAPER = replace(
    PERSONA_TINY, box_top=0.0, lip_height=1.0, lip_width=1.0, geometric_sharpness=0.0,
    own_skin=False, audio_smoothing=0, attention="single",
)  # fmt: skip
# Tiny settings of each registered model; a new model is added here.
CONFIGS: dict[str, dict[str, dict[str, Any]]] = {
    "passthrough": {"default": {"height": 104, "width": 80}},
    "iptalker": {"tiny": asdict(TINY), "paper's variant": asdict(TINY_PAPER)},
    "lip-identity": {"tiny": asdict(LIP_TINY), "paper's variant": asdict(LIP_TINY_PAPER)},
    "personatalk": {
        "tiny": asdict(PERSONA_TINY),
        "variant": asdict(PERSONA_TINY_PAPER),
        "faces": asdict(replace(PERSONA_TINY, num_faces=3, geometry="fitted")),
    },
    "g4g": {
        "tiny": asdict(G4G_TINY),
        "paper's variant": asdict(G4G_TINY_PAPER),
        "no alignment, no blend net": asdict(
            replace(G4G_TINY, alignment="none", has_blend=False, own_skin=False)
        ),
    },
}
# A model over time, in two stages, with everything that the contract has.
CONFIGS["loudness"] = {"tiny": {"height": 104, "width": 80}}
CASES = [
    pytest.param(name, config, id=f"{name}, {variant}")
    for name, variants in CONFIGS.items()
    for variant, config in variants.items()
]
NUM_FRAMES, NUM_KEPT, NUM_SPEAKING = 3, 133, 102
SPEAKING = slice(27, 129)
# Matrix products of another batch size round differently, which noise as a picture magnifies:
# a quarter of a grey level, and for landmarks so much of a pixel.
ATOL = 1e-3


@pytest.fixture(autouse=True)
def _with_the_documents_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, "loudness", "loudness_model")


def _face(num: int, height: int, width: int) -> Tensor:
    """Landmarks of a face in the lower middle of the crop. Shape (num, K, 2)."""
    middle = torch.tensor([0.5 * width, 0.65 * height])
    spread = torch.tensor([0.2 * width, 0.15 * height])
    return middle + spread * (2 * torch.rand(num, NUM_KEPT, 2) - 1)


def _neutral() -> Tensor:
    return torch.cat([_face(1, 2, 2)[0, SPEAKING] - 1, torch.zeros(NUM_SPEAKING, 1)], 1)


def _turned(num: int) -> Tensor:
    """Heads turned aside by some degrees. Shape (num, 3, 3)."""
    angle = 0.1 * torch.rand(num)
    sin, cos, zero, one = angle.sin(), angle.cos(), torch.zeros(num), torch.ones(num)
    return torch.stack([cos, zero, sin, zero, one, zero, -sin, zero, cos], 1).unflatten(1, (3, 3))


def _window(model: LipSyncModel) -> ModelWindow:
    """Wanted frames with all the context that the model may have."""
    spec, (height, width) = model.spec, model.spec.crop.size
    context = spec.context + spec.motion_context
    num = NUM_FRAMES + 2 * context
    rows = torch.arange(context, context + NUM_FRAMES)[:, None]
    return ModelWindow(
        crops=torch.rand(num, 3, height, width),
        audio=torch.rand(num, spec.audio.width, FEATURE_SIZES[spec.audio.kind]) - 0.5,
        landmarks=_face(num, height, width),
        geometry=FaceGeometry(
            scale=torch.full((num,), 0.28 * height),
            rotation=_turned(num),
            translation=torch.tensor([0.5 * width, 0.5 * height, 0]).repeat(num, 1),
            neutral=_neutral(),
        ),
        positions=torch.arange(num),
        times_s=torch.arange(num).double() / 25,
        emit=slice(context, context + NUM_FRAMES),
        mesh=torch.randn(num, NUM_KEPT, 3) if "mesh" in spec.needs else None,
        neighbours={
            role: rows + torch.arange(policy.count) - policy.count // 2
            for role, policy in spec.references.items()
            if not policy.is_static
        },
    )


def _subject(model: LipSyncModel) -> Subject:
    spec, (height, width) = model.spec, model.spec.crop.size
    track = TrackMotion(
        points=torch.randn(20, NUM_KEPT, 3),
        valid=torch.ones(20, dtype=torch.bool),
        times_s=torch.arange(20).double() / 25,
    )
    return Subject(
        references={
            role: ReferenceSet(
                crops=torch.rand(policy.count, 3, height, width),
                points=_face(policy.count, height, width)[:, SPEAKING],
                frames=torch.arange(policy.count),
            )
            for role, policy in spec.static_roles().items()
        },
        neutral=_neutral(),
        track=track if "track" in spec.needs else None,
    )


def _speech() -> OwnSpeech:
    points = _neutral() + 0.1 * torch.randn(20, NUM_SPEAKING, 3)
    return OwnSpeech(audio=torch.zeros(20, 1, 1), points=points, seconds=10.0)


def _generate(model: LipSyncModel, window: ModelWindow, subject: Subject) -> Patches:
    """What the pipeline does with a window that holds context for both parts."""
    return _generate_from(model, window, model.prepare(subject))


def _generate_from(model: LipSyncModel, window: ModelWindow, state: Any) -> Patches:
    render = window.part(0, window.num_wanted, model.spec.context)
    start = window.emit.start - render.emit.start
    heard = replace(window, crops=None, emit=slice(start, start + len(render)))
    return model.render(render, model.predict_motion(heard, state), state)


def _tensors(patches: Patches) -> dict[str, Tensor]:
    found = {
        "rgb": patches.rgb,
        "points": patches.points,
        "alpha": patches.alpha,
        **patches.figures,
    }
    if patches.detail is not None:
        detail = patches.detail
        found |= {
            "grid": detail.grid,
            "weights": detail.weights,
            "source_grid": detail.source_grid,
            "source_weight": detail.source_weight,
            "lenders": detail.lenders,
        }
    return {name: value for name, value in found.items() if value is not None}


def test_every_registered_model_is_held_to_the_contract() -> None:
    assert set(CONFIGS) == set(model_names())
    assert set(CONFIGS) - {"loudness"} == {
        "passthrough",
        "iptalker",
        "lip-identity",
        "personatalk",
        "g4g",
    }


@pytest.mark.parametrize(("name", "config"), CASES)
def test_the_output_is_a_picture_of_each_frame(name: str, config: dict[str, Any]) -> None:
    model = untrained_model(name, config)
    window, subject = _window(model), _subject(model)
    with torch.no_grad():
        patches = _generate(model, window, subject)
    height, width = model.spec.crop.size
    assert (height, width) == (config["height"], config["width"])
    assert patches.rgb.shape == (NUM_FRAMES, 3, height, width)
    assert patches.rgb.dtype == torch.float32
    assert float(patches.rgb.min()) >= 0
    assert float(patches.rgb.max()) <= 1
    assert all(bool(value.isfinite().all()) for value in _tensors(patches).values())
    if patches.points is not None:
        assert patches.points.shape == (NUM_FRAMES, NUM_SPEAKING, 2)
    if patches.detail is not None:
        top, bottom, left, right = patches.detail.box
        role = model.spec.detail_role()
        # Without such a role only the frame's own detail is carried over.
        num = 0 if role is None else model.spec.references[role].count
        lenders = patches.detail.lenders
        if lenders is not None:
            assert bool(((lenders >= 0) & (lenders < num)).all())
            num = lenders.shape[1]
            assert lenders.shape == (NUM_FRAMES, num)
            assert bool((lenders.sort(1).values.diff(dim=1) > 0).all())
        size = (bottom - top, right - left)
        assert patches.detail.grid.shape == (NUM_FRAMES, num, *size, 2)
        assert patches.detail.weights.shape == (NUM_FRAMES, num, *size)
        assert patches.detail.source_grid.shape == (NUM_FRAMES, *size, 2)
        assert patches.detail.source_weight.shape == (NUM_FRAMES, *size)
        # Unrelated detail adds up in energy.
        energy = patches.detail.weights.square().sum(1).sqrt()
        total = energy + patches.detail.source_weight
        assert float(total.max()) <= 1 + 1e-5
        assert torch.equal(patches.rgb[:, :, :top], window.shown()[window.emit][:, :, :top])


@pytest.mark.parametrize(("name", "config"), CASES)
def test_the_same_input_gives_the_same_output(name: str, config: dict[str, Any]) -> None:
    model = untrained_model(name, config)
    window, subject = _window(model), _subject(model)
    with torch.no_grad():
        first, second = (_tensors(_generate(model, window, subject)) for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(("name", "config"), CASES)
def test_a_frame_depends_on_its_context_alone_not_on_its_window(
    name: str, config: dict[str, Any]
) -> None:
    model = untrained_model(name, config)
    window, subject = _window(model), _subject(model)
    with torch.no_grad():
        together = _tensors(_generate(model, window, subject))
        alone = _tensors(_generate(model, window.part(1, 2, window.emit.start), subject))
    for key, value in alone.items():
        torch.testing.assert_close(value[0], together[key][1], atol=ATOL, rtol=0)


@pytest.mark.parametrize(("name", "config"), CASES)
def test_other_sound_gives_another_mouth(name: str, config: dict[str, Any]) -> None:
    model = untrained_model(name, config)
    window, subject = _window(model), _subject(model)
    louder = replace(window, audio=window.audio + 0.5)
    with torch.no_grad():
        a, b = (_generate(model, x, subject).rgb for x in (window, louder))
    assert torch.equal(a, b) == (name == "passthrough")


@pytest.mark.parametrize(("name", "config"), CASES)
def test_gradients_reach_every_parameter(name: str, config: dict[str, Any]) -> None:
    model = untrained_model(name, config)
    window, subject = _window(model), _subject(model)
    if not list(model.parameters()):
        return
    subjects = [subject]
    if name == "personatalk":
        # One part hears of the person, another stands in where nobody does.
        model.person_style.zero_()
        subjects.append(replace(subject, own_speech=_speech()))
    for one in subjects:
        patches = _generate(model, window, one)
        cost = (patches.rgb - torch.rand_like(patches.rgb)).abs().sum()
        # What a model states of its own frames has parameters, too.
        (cost + sum(value.sum() for value in patches.figures.values())).backward()
    missing = [
        key
        for key, value in model.named_parameters()
        if value.grad is None or not bool(value.grad.isfinite().all())
    ]
    assert missing == []
    # A bias may vanish in the normalisation that follows it; a weight may not.
    idle = [
        key
        for key, value in model.named_parameters()
        if key.endswith("weight") and not bool(value.grad.abs().sum() > 0)  # pyright: ignore[reportOptionalMemberAccess]
    ]
    assert idle == []


@pytest.mark.parametrize(("name", "config"), CASES)
def test_saved_and_loaded_weights_give_the_same_output(
    name: str, config: dict[str, Any], tmp_path: Path
) -> None:
    model = untrained_model(name, config)
    window, subject = _window(model), _subject(model)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    torch.manual_seed(99)
    again: Any = create_model(name, config).eval()
    again.load_state_dict(load_file(tmp_path / "weights.safetensors"), strict=True)
    with torch.no_grad():
        first = _tensors(_generate(model, window, subject))
        second = _tensors(_generate(again, window, subject))
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(("name", "config"), CASES)
def test_a_stored_state_gives_the_same_output(
    name: str, config: dict[str, Any], tmp_path: Path
) -> None:
    model = cast("Any", untrained_model(name, config))
    window, subject = _window(model), _subject(model)
    with torch.no_grad():
        state = model.prepare(subject)
        tensors = model.state_tensors(state)
        pictures = [one.crops for one in subject.references.values()]
        assert not any(torch.equal(a, b) for a in tensors.values() for b in pictures)
        save_file(tensors, tmp_path / "state.safetensors")
        again = model.state_from_tensors(load_file(tmp_path / "state.safetensors"), subject)
        first, second = (_tensors(_generate_from(model, window, x)) for x in (state, again))
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("points"),
        lambda state: state.update(other=torch.zeros(2, 3)),
        lambda state: state.update(features=state["features"][:1]),
        lambda state: state.update(features=state["features"][:, :-1]),
        lambda state: state.update(tokens=state["tokens"][:, :-1]),
        lambda state: state.update(tokens=torch.zeros(2)),
    ],
)
def test_a_stored_state_of_another_network_is_refused(change: Any) -> None:
    model = untrained_model("iptalker", asdict(TINY))
    subject = _subject(model)
    with torch.no_grad():
        tensors = model.state_tensors(model.prepare(subject))
    change(tensors)
    with pytest.raises(IdentityError, match=r"do not fit.*dub finetune"):
        model.state_from_tensors(tensors, subject)


def test_unknown_models_and_fields_are_named() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'iptalker'"):
        create_model("iptalkr")
    with pytest.raises(ConfigError, match="no_such_field"):
        create_model("iptalker", {"no_such_field": 1})


def test_the_papers_network_builds_at_the_papers_size() -> None:
    config = NAMED_CONFIGS["paper"]
    assert (config.height, config.width, config.top) == (416, 320, 0)
    assert (config.mask, config.geometry_map, config.fusion) == ("hull", False, "plain")
    with torch.device("meta"):
        model = IPTalker(config)
    assert model.spec.crop.size == (416, 320)
    assert not [key for key, _ in model.named_parameters() if "coefficient" in key]


def test_the_default_fits_into_the_package() -> None:
    """At most 40 MB in half precision."""
    with torch.device("meta"):
        model = IPTalker(NAMED_CONFIGS["default"])
    assert 2 * sum(value.numel() for value in model.state_dict().values()) <= 40e6


@pytest.mark.parametrize("name", [*CONFIGS])
def test_help_names_the_stages_and_losses_that_are_there(name: str) -> None:
    found = find_architecture(name)
    stages = {} if found.recipe is None else load_part(found.recipe).stages
    assert found.stages == {key: stage.config.losses for key, stage in stages.items()}
