"""Which models `all` means, what a dub costs, and where that stands."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dubcli.config import DubConfig, EvaluateConfig
from dubcli.core.errors import ConfigError, DubError
from dubcli.evaluation import costs
from dubcli.evaluation.costs import measure_memory, peak_mib, processor_time
from dubcli.evaluation.model_systems import choose_models, models_of
from dubcli.evaluation.results import Item
from dubcli.evaluation.tables import Evaluation, as_json, as_markdown, table_rows
from dubcli.weights.manifest import load_manifest


def _config(models: str, **more: Any) -> EvaluateConfig:
    return EvaluateConfig(clips=Path("clips"), output=Path("out"), models=models, **more)


def test_all_are_the_architectures_whose_weights_are_here() -> None:
    manifest = load_manifest()
    found = choose_models(_config("all"), manifest)
    expected = {f"{name}.{tag}" for name, tag in manifest.default.items()}
    models = {entry.name for entry in manifest.weights.values() if entry.role == "model"}
    assert set(found.names) == expected & models
    assert found.default in found.names
    assert "passthrough" not in found.names


def test_all_names_what_is_absent_and_others_may_stand_beside_it() -> None:
    manifest = load_manifest()
    default = {k: v for k, v in manifest.default.items() if k != "personatalk"}
    weights = {k: v for k, v in manifest.weights.items() if not k.startswith("personatalk")}
    lacking = replace(manifest, default=default, weights=weights)
    found = choose_models(_config("iptalker,all,iptalker.v3"), lacking)
    assert found.names[0] == found.default
    assert found.names[-1] == "iptalker.v3"
    assert len(set(found.names)) == len(found.names)
    assert any(line.startswith("personatalk is not scored: No weights") for line in found.absent)
    with pytest.raises(ConfigError, match="No weights of 'personatalk'"):
        choose_models(_config("personatalk"), lacking)


def test_two_models_are_scored_as_one() -> None:
    manifest = load_manifest()
    found = choose_models(_config("lip-identity+iptalker,iptalker"), manifest)
    (pair, alone) = found.systems
    assert pair.name == f"{pair.motion.name} + {alone.name}"
    assert models_of(pair.name) == {"motion": pair.motion.name, "render": alone.name}
    assert models_of(alone.name) == {"model": alone.name}
    assert pair.num_bytes == (pair.motion.num_bytes or 0) + (alone.num_bytes or 0)
    assert pair.sha256 not in {None, pair.motion.sha256, alone.sha256}


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ("passthrough+iptalker", "'passthrough' predicts no mouth"),
        ("iptalker+passthrough", "'passthrough' cannot paint"),
        ("iptalker+iptalkr", "iptalkr"),
    ],
)
def test_two_models_that_do_not_go_together_are_refused(models: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choose_models(_config(models), load_manifest())


def test_a_file_may_have_a_plus_sign_in_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a+b.safetensors").write_bytes(b"")
    with pytest.raises(DubError, match=r"a\+b"):
        choose_models(_config("a+b.safetensors"), load_manifest())


def test_memory_is_measured_where_it_is_asked_for() -> None:
    assert _config("all").measures_memory
    assert _config("iptalker", memory=True).measures_memory
    assert not _config("iptalker").measures_memory


def test_processor_time_counts_work() -> None:
    with processor_time() as idle:
        pass
    with processor_time() as busy:
        for _ in range(20):
            np.linalg.svd(np.random.default_rng(0).standard_normal((150, 150)))
    assert 0 <= idle.seconds < busy.seconds


def test_the_peak_of_this_process_holds_what_it_had() -> None:
    before = peak_mib()
    if math.isnan(before):
        pytest.skip("this system does not tell the peak of a process")
    held = np.ones(64 << 17)  # 64 MiB
    assert peak_mib() >= before
    assert peak_mib() > held.nbytes / 2**20


def test_a_dub_that_fails_in_its_own_process_has_no_memory(tmp_path: Path) -> None:
    job = DubConfig(video=tmp_path / "none.mp4", audio=tmp_path / "none.wav", model="passthrough")
    assert math.isnan(measure_memory(job, None, tmp_path, anew=False))
    assert list(tmp_path.iterdir()) == []


def test_memory_is_measured_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assets = Path(costs.__file__).parents[1] / "assets"
    job = DubConfig(
        video=assets / "demo.mp4",
        audio=assets / "demo_speech.wav",
        model="passthrough",
        device="cpu",
        threads=1,
    )
    first = measure_memory(job, None, tmp_path, anew=False)
    if math.isnan(peak_mib()):
        pytest.skip("this system does not tell the peak of a process")
    assert 100 < first < 4000

    def never(*arguments: object, **keywords: object) -> object:
        raise AssertionError("measured again")

    monkeypatch.setattr(costs.subprocess, "run", never)
    assert measure_memory(job, None, tmp_path, anew=False) == first
    with pytest.raises(AssertionError, match="measured again"):
        measure_memory(job, "other weights", tmp_path, anew=False)


def _item(system: str, **scores: float) -> Item:
    return Item(
        clip="a",
        identity="a",
        run="reconstruction",
        system=system,
        fingerprint={},
        scores=scores,
    )


def test_costs_stand_in_every_table() -> None:
    result = Evaluation(
        config=_config("all"),
        items=[_item("iptalker.v3", cpu_per_frame=0.05), _item("tool", r=0.5)],
        weights={"iptalker.v3": "ab", "tool": None},
        models=["iptalker.v3"],
        default_model="iptalker.v3",
        absent=("g4g is not scored: No weights of 'g4g' ship with this version.",),
        costs={"iptalker.v3": {"weights_size": 6.46, "peak_memory": 1112.0}},
    )
    rows = {row[0]: row[4:] for row in table_rows(result, "reconstruction")[1]}
    assert rows["peak memory"] == ["1112", "-"]
    assert rows["size of the weights"] == ["6.46", "-"]
    assert rows["processor time beside decoding and encoding"] == ["0.050", "-"]
    means = as_json(result)["means"]["reconstruction"]["iptalker.v3"]
    assert means["peak_memory"]["mean"] == 1112
    assert "g4g is not scored" in as_markdown(result)
    unmeasured = replace(result, costs={"iptalker.v3": {"weights_size": 6.46}})
    rows = {row[0]: row[4:] for row in table_rows(unmeasured, "reconstruction")[1]}
    assert rows["peak memory"] == ["not measured", "-"]
