"""What is kept of a result, how means are made, and what the tables say."""

from __future__ import annotations

import errno
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dubcli.config import EvaluateConfig
from dubcli.core.errors import EncodeError
from dubcli.evaluation.identity_systems import IdentitySystem, StoredIdentity
from dubcli.evaluation.measures import MEASURES
from dubcli.evaluation.plots import save_plot
from dubcli.evaluation.results import Item, item_path, load_item, save_item
from dubcli.evaluation.tables import (
    Evaluation,
    about,
    as_json,
    as_markdown,
    command_line,
    table_rows,
    with_silence_against_speech,
    write_tables,
)
from dubcli.metrics.fid import SetScore

CONFIG = EvaluateConfig(clips=Path("my clips"), output=Path("out"), seed=3)


def _item(clip: str, run: str = "reconstruction", identity: str = "", **scores: float) -> Item:
    return Item(
        clip=clip,
        identity=identity or clip,
        run=run,
        system="m.v1",
        fingerprint={"format": 1, "clip": clip},
        scores=scores,
        seconds=[0.0, 0.04],
        output=[0.1, math.nan],
        compared=[0.2, 0.3],
    )


def _evaluation(*items: Item, **more: Any) -> Evaluation:
    return Evaluation(config=CONFIG, items=list(items), weights={"m.v1": "ab" * 32}, **more)


def test_a_stored_item_comes_back_with_what_was_not_measured(tmp_path: Path) -> None:
    item = _item("a", r=0.5, lmd=math.nan)
    path = item_path(tmp_path, "a", item.run, item.system)
    save_item(item, path)
    again = load_item(path, item.fingerprint)
    assert again is not None
    assert again.scores["r"] == 0.5
    assert math.isnan(again.scores["lmd"])
    assert math.isnan(again.output[1])
    assert "NaN" not in path.read_text()


def test_an_item_of_other_circumstances_or_a_damaged_one_is_void(tmp_path: Path) -> None:
    item = _item("a", r=0.5)
    path = tmp_path / "item.json"
    assert load_item(path, item.fingerprint) is None
    save_item(item, path)
    assert load_item(path, {**item.fingerprint, "seed": 1}) is None
    path.write_text(path.read_text()[:-40])
    assert load_item(path, item.fingerprint) is None


def test_a_full_disk_is_named_and_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Path, content: bytes) -> int:
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(EncodeError, match="No space left"):
        save_item(_item("a"), tmp_path / "item.json")
    assert list(tmp_path.iterdir()) == []


def test_clips_of_one_person_count_together_as_one() -> None:
    result = _evaluation(
        _item("a1", identity="anna", r=0.2),
        _item("a2", identity="anna", r=0.4),
        _item("b", r=0.9),
        _item("c", r=math.nan),
    )
    found = result.estimate("reconstruction", "m.v1", "r")
    assert found.mean == pytest.approx(0.6)
    assert found.people == 2
    assert 0.3 <= found.low <= found.mean <= found.high <= 0.9


def test_silence_is_set_against_the_same_systems_speech() -> None:
    items = with_silence_against_speech(
        [_item("a", opening_std=0.1), _item("a", "silence", opening_std=0.02)]
    )
    assert items[1].scores["silence_motion"] == pytest.approx(0.2)
    alone = with_silence_against_speech([_item("a", "silence", opening_std=0.02)])
    assert "silence_motion" not in alone[0].scores


def test_every_figure_states_region_unit_and_direction() -> None:
    assert len({measure.key for measure in MEASURES}) == len(MEASURES)
    header, rows = table_rows(_evaluation(_item("a", r=0.5), _item("b", r=0.7)), "reconstruction")
    assert header == ["measure", "region", "unit", "right", "m.v1"]
    assert all(all(row[:4]) for row in rows)
    (row,) = [row for row in rows if row[0] == "opening against the true one"]
    assert row[1:4] == ["lips", "Pearson r", "higher"]
    assert row[4] == "0.60 (0.50 to 0.70)"


def test_what_lacks_weights_is_not_measured_and_says_how_to_get_it() -> None:
    result = _evaluation(
        _item("a", r=0.5),
        missing={"syncnet": ["hf download x y"]},
        failures={"b": "It is no video."},
    )
    cells = {row[0]: row[4] for row in table_rows(result, "reconstruction")[1]}
    assert cells["LSE-C (SyncNet v2)"] == "not measured"
    assert cells["own judge: confidence"] == "not measured"
    assert cells["LPIPS (VGG)"] == "-"
    text = as_markdown(result)
    assert "syncnet: hf download x y" in text
    assert "- b: It is no video." in text


def test_fid_is_one_figure_of_a_set_and_says_on_how_many_frames_it_rests() -> None:
    sets = {("reconstruction", "m.v1"): SetScore(12.34, 360, 5)}
    result = _evaluation(_item("a", r=0.5), _item("b", r=0.7), sets=sets)
    (row,) = [row for row in table_rows(result, "reconstruction")[1] if row[0].startswith("FID")]
    assert row == [
        "FID (few frames bias it upwards)",
        "face crop, all clips",
        "squared distance",
        "lower",
        "12.3 (360 frames)",
    ]
    means = as_json(result)["means"]["reconstruction"]["m.v1"]
    assert means["fid"] == {
        "mean": 12.34,
        "low": None,
        "high": None,
        "people": 5,
        "frames": 360,
    }
    assert "frames" not in means["r"]
    lacking = _evaluation(_item("a", r=0.5), missing={"inception": ["curl x"]})
    (row,) = [row for row in table_rows(lacking, "reconstruction")[1] if row[0].startswith("FID")]
    assert row[-1] == "not measured"


def test_the_json_repeats_the_command_and_has_no_nan(tmp_path: Path) -> None:
    result = _evaluation(_item("a", r=0.5, lmd=math.nan))
    assert command_line(CONFIG) == "dub evaluate 'my clips' --output out --seed 3"
    write_tables(result, tmp_path)
    content = json.loads((tmp_path / "scores.json").read_text(), parse_constant=pytest.fail)
    assert content == as_json(result)
    assert content["means"]["reconstruction"]["m.v1"]["r"]["mean"] == 0.5
    assert content["means"]["reconstruction"]["m.v1"]["lmd"]["mean"] is None
    assert content["weights"]["m.v1"] == "ab" * 32


def test_half_is_part_of_the_command_and_of_what_a_table_says() -> None:
    half = EvaluateConfig(clips=Path("c"), output=Path("o"), half=True, identities="anna,200")
    words = "dub evaluate c --output o --identities anna,200 --half"
    assert command_line(half) == words
    for run in ("reconstruction", "cross-speech", "cross-clip", "silence"):
        assert "50 %" in about(run, half)
        assert any(share in about(run, CONFIG) for share in ("40 %", "60 %"))


def test_identities_stand_among_the_systems_with_what_they_are() -> None:
    known = [
        StoredIdentity(path=Path(f"ids/{name}"), base="m.v1", adapter_sha256=name * 8, sha256="")
        for name in "ab"
    ]
    own = dict(zip("ab", known, strict=True))
    anna = {"a": known[0], "b": known[0]}
    result = Evaluation(
        config=CONFIG,
        items=[_item("a", r=0.5), replace(_item("a", r=0.75), system="200")],
        weights={"m.v1": "ab" * 32, "anna": "a" * 8, "200": None},
        identities=[
            IdentitySystem(name="anna", path=Path("ids/a"), is_folder=False, of_clip=anna),
            IdentitySystem(name="200", path=Path("ids"), is_folder=True, of_clip=own),
        ],
    )
    assert table_rows(result, "reconstruction")[0][-2:] == ["m.v1", "200"]
    text = as_markdown(result)
    assert "- anna: identity `ids/a` on m.v1, adapter's sha256 `aaaaaaaa`" in text
    assert "- 200: each clip its own identity of `ids`, 2 in all; m.v1" in text
    adapters = as_json(result)["identities"]["200"]["adapters"]
    assert adapters == {"a": "a" * 8, "b": "b" * 8}


def test_names_are_text_in_tables_and_plots(tmp_path: Path) -> None:
    name = "$\\frac{<b onclick=1>|\n\x1b[31m$"
    item = replace(_item(name, r=0.5), system=f"_{name}")
    text = as_markdown(_evaluation(item, failures={name: f"no face in {name}"}))
    assert not {"<", "\x1b"} & set(text)
    rows = [line for line in text.splitlines() if "frac" in line and line.startswith("|")]
    assert len(rows) == 1
    save_plot(name, [item], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_a_plot_is_a_picture_with_a_panel_for_each_run(tmp_path: Path) -> None:
    one, two = tmp_path / "one.png", tmp_path / "deep/two.png"
    save_plot("a", [_item("a")], one)
    save_plot("a", [_item("a"), _item("a", "silence")], two)
    sizes = [
        tuple(int.from_bytes(path.read_bytes()[at : at + 4], "big") for at in (16, 20))
        for path in (one, two)
    ]
    assert sizes[0][0] == sizes[1][0]
    assert sizes[1][1] > 1.5 * sizes[0][1]
