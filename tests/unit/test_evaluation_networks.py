"""Networks of other projects: their shapes, their arithmetic, and what is said without them."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from made_faces import face_at, rotation

from dubcli.core.errors import ChecksumError, ConfigError, WeightsError
from dubcli.evaluation.published_networks import (
    WEIGHTS,
    PerceptualScorer,
    cosine,
    sface_matrices,
)
from dubcli.face.landmarks import EYE_CORNERS, MOUTH_RIGHT
from dubcli.face.pose import apply_matrix
from dubcli.metrics.foreign_weights import check_file
from dubcli.metrics.lpips import Backbone, Lpips
from dubcli.metrics.syncnet import SyncNet, mfcc, score_lags
from dubcli.weights.resolve import resolve

CPU = torch.device("cpu")


def test_without_files_every_group_names_its_command(tmp_path: Path) -> None:
    scorer = PerceptualScorer(None, CPU)
    assert not scorer
    assert set(scorer.missing) == set(WEIGHTS)
    assert scorer.missing["syncnet"] == ["dub models pull syncnet"]
    assert scorer.missing["lpips_vgg"] == ["dub models pull vgg16 lpips-vgg"]
    (tmp_path / "vgg.pth").write_bytes(b"heads, whose hash nobody states")
    assert PerceptualScorer(tmp_path, CPU).missing["lpips_vgg"] == ["dub models pull vgg16"]
    for files in WEIGHTS.values():
        assert all("evaluate" in resolve(file.entry, role="part").needed_by for file in files)
    with pytest.raises(ConfigError, match="is no folder"):
        PerceptualScorer(tmp_path / "absent", CPU)


def test_a_file_that_is_not_the_published_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "syncnet_v2.model").write_bytes(b"something else")
    with pytest.raises(ChecksumError, match=r"syncnet_v2\.model"):
        PerceptualScorer(tmp_path, CPU)
    found = check_file(tmp_path / "syncnet_v2.model", "")
    assert found == hashlib.sha256(b"something else").hexdigest()


@pytest.mark.parametrize(("backbone", "layers"), [("alex", 5), ("vgg", 13)])
def test_lpips_takes_torchvisions_and_the_authors_names(backbone: Backbone, layers: int) -> None:
    net, states = _filled(backbone)
    assert len(states[0]) == 2 * layers
    one, other = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert net(one, one).tolist() == [0, 0]
        apart = net(one, other)
        torch.testing.assert_close(apart, net(other, one))
        assert (apart > 0).all()
    with pytest.raises(WeightsError, match="not the weights of LPIPS"):
        Lpips(backbone).load(states[0], {})


def test_lpips_is_the_heads_mean_of_squared_gaps_of_unit_activations() -> None:
    net, _ = _filled("alex")
    one, other = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)
    expected = 0.0
    with torch.no_grad():
        a, b = ((2 * x - 1 - net.shift) / net.scale for x in (one, other))
        heads = (net.state_dict()[f"heads.{number}.weight"].flatten() for number in range(5))
        for number, layer in enumerate(net.features):
            a, b = layer(a), layer(b)
            if number in (1, 4, 7, 9, 11):
                gap = (a / a.norm(dim=1, keepdim=True) - b / b.norm(dim=1, keepdim=True)) ** 2
                expected += float((gap * next(heads)[:, None, None]).sum(1).mean())
        assert float(net(one, other)) == pytest.approx(expected, rel=1e-4)


def test_syncnet_has_the_released_size_and_refuses_other_weights() -> None:
    net = SyncNet().eval()
    size = sum(value.numel() * value.element_size() for value in net.state_dict().values())
    # The released file has 54,573,114 bytes, 12 kB of which are names and headers.
    assert 0 < 54_573_114 - size < 20_000
    faces = np.random.default_rng(0).integers(0, 255, (8, 224, 224, 3), dtype=np.uint8)
    found = net.score(faces, np.random.default_rng(0).normal(0, 0.1, 8 * 640).astype(np.float32))
    assert found.distance > 0
    assert math.isnan(net.score(faces[:5], np.zeros(3200, np.float32)).distance)
    with pytest.raises(WeightsError, match="SyncNet"):
        net.load({})


def test_the_lag_of_the_least_distance_is_found() -> None:
    sounds = torch.nn.functional.normalize(torch.randn(60, 32), dim=1)
    found = score_lags(torch.roll(sounds, 4, 0), sounds)
    assert found.offset_frames == 4
    assert found.distance < 0.4
    assert found.confidence > 0.8


def test_cepstra_begin_with_log_energy_and_ignore_where_a_tone_starts() -> None:
    time_s = np.arange(16_000) / 16_000
    tone = (0.5 * np.sin(2 * np.pi * 1000 * time_s)).astype(np.float32)
    loud, soft = mfcc(tone), mfcc(tone * np.float32(0.1))
    assert loud.shape == (99, 13)
    # A tenth of the amplitude is a hundredth of the energy; the spectrum's shape stays.
    np.testing.assert_allclose(loud[5:90, 0] - soft[5:90, 0], math.log(100), atol=1e-3)
    np.testing.assert_allclose(loud[5:90, 1:], soft[5:90, 1:], atol=1e-3)
    # Of 400 samples of pre-emphasised tone: A^2 |1 - 0.97 e^-jw|^2 * 400 / 4 over half the bins.
    gain = abs(1 - 0.97 * np.exp(-2j * np.pi / 16)) ** 2
    energy = (0.5 * 32768) ** 2 * gain * 400 / 4
    assert loud[50, 0] == pytest.approx(math.log(energy), abs=0.05)


def test_sface_sees_eyes_and_mouth_where_it_wants_them() -> None:
    faces = np.stack([face_at(), face_at(scale=80, turn=rotation(roll_deg=20))])
    placed = apply_matrix(faces, sface_matrices(faces))[..., :2]
    left = placed[:, list(EYE_CORNERS[:2])].mean(1)
    np.testing.assert_allclose(left, [[38.3, 51.7]] * 2, atol=6)
    np.testing.assert_allclose(placed[:, MOUTH_RIGHT], [[70.7, 92.4]] * 2, atol=6)
    np.testing.assert_allclose(placed[0], placed[1], atol=0.05)
    assert cosine(np.array([1, 0], np.float32), np.array([1, 1], np.float32)) == pytest.approx(
        0.7071, abs=1e-4
    )


def _filled(backbone: Backbone) -> tuple[Lpips, tuple[dict[str, torch.Tensor], ...]]:
    """A net that took over made weights, and those weights as their files name them."""
    made = Lpips(backbone)
    trunk = {f"features.{key}": value for key, value in made.features.state_dict().items()}
    heads = {
        f"lin{number}.model.1.weight": made.state_dict()[f"heads.{number}.weight"].abs()
        for number in range(5)
    }
    net = Lpips(backbone).eval()
    net.load({**trunk, "classifier.1.weight": torch.zeros(1)}, heads)
    return net, (trunk, heads)
