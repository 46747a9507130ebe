"""FID: the distance of Gaussians, the network that sees, and how a set is put together."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dubcli.core.errors import WeightsError
from dubcli.core.types import F32, F64
from dubcli.evaluation import published_networks as perceptual
from dubcli.evaluation.published_networks import NetworkFile, PerceptualScorer
from dubcli.evaluation.results import Item, load_item, save_item
from dubcli.metrics.fid import MADE, TRUE, frechet_distance, pack, score_sets, unpack
from dubcli.metrics.inception import NUM_FEATURES, Inception

CPU = torch.device("cpu")
# Of "name shape" lines, sorted, of the published parameters without classifier and counters.
PUBLISHED_NAMES = "e22ffc91a09f7caa1af2ce051c7ddf26018012910da85827a0b035b343f00177"


def _with_covariance(covariance: F64, mean: F64) -> F64:
    """Samples whose mean and unbiased covariance are exactly these. Shape (2 D, D)."""
    num = len(covariance)
    corners = np.concatenate([np.eye(num), -np.eye(num)]) * math.sqrt((2 * num - 1) / 2)
    return corners @ np.linalg.cholesky(covariance).T + mean


def test_the_distance_of_known_gaussians() -> None:
    samples = np.random.default_rng(0).normal(size=(40, 5))
    assert frechet_distance(samples, samples) == pytest.approx(0, abs=1e-9)
    moved = samples + np.array([3.0, 4.0, 0, 0, 0])
    assert frechet_distance(samples, moved) == pytest.approx(25)
    # N(0, I) and N(0, 9 I): tr(I + 9 I - 2 * 3 I) = 4 D.
    unit, wide = (_with_covariance(scale * np.eye(6), np.zeros(6)) for scale in (1.0, 9.0))
    assert frechet_distance(unit, wide) == pytest.approx(24)
    assert frechet_distance(wide, unit) == pytest.approx(24)


def test_the_distance_of_gaussians_whose_axes_differ() -> None:
    one, other = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[1.0, -0.3], [-0.3, 3.0]])
    product = one @ other
    # Of a 2 x 2 matrix M the root has trace sqrt(tr M + 2 sqrt(det M)).
    root = math.sqrt(np.trace(product) + 2 * math.sqrt(np.linalg.det(product)))
    expected = 4 + np.trace(one) + np.trace(other) - 2 * root
    sets = _with_covariance(one, np.zeros(2)), _with_covariance(other, np.array([0.0, 2.0]))
    assert frechet_distance(*sets) == pytest.approx(expected)


def test_fewer_pictures_than_features_and_sets_of_other_sizes() -> None:
    rng = np.random.default_rng(1)
    few, more = rng.normal(size=(7, 30)), rng.normal(0.5, 2, size=(90, 30))
    covariances = [np.cov(features, rowvar=False) for features in (few, more)]
    values = np.linalg.eigvals(covariances[0] @ covariances[1]).astype(complex)
    root = np.real(np.sqrt(values)).sum()
    shift = ((few.mean(0) - more.mean(0)) ** 2).sum()
    expected = shift + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * root
    assert frechet_distance(few, more) == pytest.approx(expected, rel=1e-5)
    assert math.isnan(frechet_distance(few[:1], more))
    # More pictures of the very same kind come nearer: the bias that the table warns of.
    halves = [frechet_distance(*rng.normal(size=(2, num, 30))) for num in (10, 1000)]
    assert halves[1] < 0.1 * halves[0]


def test_the_network_has_the_published_parameters() -> None:
    shapes = {
        key: tuple(value.shape)
        for key, value in Inception().state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    assert shapes["Conv2d_1a_3x3.conv.weight"] == (32, 3, 3, 3)
    assert shapes["Mixed_5b.branch_pool.conv.weight"] == (32, 192, 1, 1)
    assert shapes["Mixed_6a.branch3x3.bn.running_mean"] == (384,)
    assert shapes["Mixed_6b.branch7x7dbl_2.conv.weight"] == (128, 128, 7, 1)
    assert shapes["Mixed_7c.branch3x3_2a.conv.weight"] == (384, 384, 1, 3)
    listed = "\n".join(f"{key} {shapes[key]}" for key in sorted(shapes))
    assert hashlib.sha256(listed.encode()).hexdigest() == PUBLISHED_NAMES
    # Inception v3 is known for 23,834,568 parameters, 1000 * 2049 of them in its classifier.
    learnt = [shape for key, shape in shapes.items() if "running" not in key]
    assert sum(math.prod(shape) for shape in learnt) == 23_834_568 - 1000 * 2049


def test_the_network_takes_the_published_file_and_nothing_else() -> None:
    net = Inception().eval()
    state = {
        key: value
        for key, value in net.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    other = Inception().eval()
    other.load({**state, "fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)})
    faces = torch.rand(2, 3, 208, 160)
    with torch.no_grad():
        seen = other(faces)
        torch.testing.assert_close(seen, net(faces))
        # The size of the input does not matter where its content does not change.
        grey = torch.full((1, 3, 40, 60), 0.4), torch.full((1, 3, 299, 299), 0.4)
        torch.testing.assert_close(net(grey[0]), net(grey[1]), rtol=1e-4, atol=1e-6)
    assert seen.shape == (2, NUM_FEATURES)
    assert (seen >= 0).all()
    with pytest.raises(WeightsError, match="not the weights of FID's Inception v3"):
        net.load({key: value for key, value in state.items() if "Mixed_7c" not in key})


@pytest.mark.parametrize(
    ("block", "inside", "pooled", "is_average"),
    [("Mixed_5b", 192, 32, True), ("Mixed_7b", 1280, 192, True), ("Mixed_7c", 2048, 192, False)],
)
def test_blocks_pool_as_those_of_fid(
    block: str, inside: int, pooled: int, is_average: bool
) -> None:
    net = Inception().eval().get_submodule(block)
    ones = torch.ones(1, inside, 5, 5)
    spike = torch.zeros_like(ones)
    spike[..., 2, 2] = 1
    with torch.no_grad():
        whole, part = (net(x)[0, -pooled:] for x in (ones, spike))
    # Nothing beyond the border takes part, so equal inputs stay equal there.
    torch.testing.assert_close(whole, whole[:, 2:3, 2:3].expand_as(whole))
    seen = whole[:, 2, 2] / 9 if is_average else whole[:, 2, 2]
    torch.testing.assert_close(part[:, 1, 3], seen)
    assert (part[:, 0] == 0).all()


class _Colours(nn.Module):
    """Stands in for the network: three features."""

    def load(self, state: dict[str, Tensor]) -> None:
        assert set(state) == {"weight"}

    def forward(self, pictures: Tensor) -> Tensor:
        assert pictures.shape[1:] == (3, 208, 160)
        return functional.adaptive_avg_pool2d(pictures, 1).flatten(1)


def test_features_are_those_of_scored_frames_of_result_and_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / "net.pth")
    monkeypatch.setattr(perceptual, "WEIGHTS", {"inception": (NetworkFile("net.pth"),)})
    monkeypatch.setattr(perceptual, "Inception", _Colours)
    asked: list[tuple[str, list[int]]] = []

    def frames(path: Path, matrices: Any, size: tuple[int, int], wanted: Any) -> Any:
        asked.append((path.name, list(wanted)))
        shade = 51 if path.name == "result.mp4" else 102
        return np.full((len(wanted), *size, 3), shade, np.uint8)

    monkeypatch.setattr(perceptual, "chosen_cuts", frames)
    source: Any = SimpleNamespace(
        clip=SimpleNamespace(path=Path("clip.mp4")),
        alignment=SimpleNamespace(frame_to_crop=np.zeros((60, 2, 3))),
        scored=np.arange(10, 60),
    )
    scorer = PerceptualScorer(tmp_path, CPU)
    found = scorer.features(source, Path("result.mp4"))
    np.testing.assert_allclose(unpack(found[MADE], 3), np.full((10, 3), 0.2), rtol=1e-3)
    np.testing.assert_allclose(unpack(found[TRUE], 3), np.full((10, 3), 0.4), rtol=1e-3)
    itself = scorer.features(source, Path("clip.mp4"))
    assert itself[MADE] == itself[TRUE] == found[TRUE]
    # The source is seen once.
    assert asked == [(f"{name}.mp4", list(range(10, 60, 5))) for name in ("clip", "result")]
    assert PerceptualScorer(None, CPU).features(source, Path("result.mp4")) == {}


def _item(clip: str, made: F32, true: F32, system: str = "m.v1", identity: str = "") -> Item:
    return Item(
        clip=clip,
        identity=identity or clip,
        run="silence",
        system=system,
        fingerprint={"clip": clip},
        scores={},
        features={MADE: pack(made), TRUE: pack(true)},
    )


def test_a_set_is_all_clips_of_a_run_and_system_and_survives_storage(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    made, true = rng.normal(size=(2, 24, 4)).astype(np.float32)
    items = [
        _item("a", made[:10], true[:10], identity="anna"),
        _item("a2", made[10:14], true[10:14], identity="anna"),
        _item("b", made[14:], true[14:]),
        _item("b", true[14:], true[14:], system="untouched"),
        Item(clip="c", identity="c", run="silence", system="m.v1", fingerprint={}, scores={}),
    ]
    stored: list[Item] = []
    for number, item in enumerate(items):
        path = tmp_path / f"{number}.json"
        save_item(item, path)
        stored.append(cast(Item, load_item(path, item.fingerprint)))
    found = score_sets(stored, 4)
    assert found == score_sets(items, 4)
    assert set(found) == {("silence", "m.v1"), ("silence", "untouched")}
    whole = found["silence", "m.v1"]
    assert (whole.frames, whole.people) == (24, 2)
    assert whole.distance == pytest.approx(frechet_distance(made, true), rel=1e-3)
    assert found["silence", "untouched"].distance == pytest.approx(0, abs=1e-6)
