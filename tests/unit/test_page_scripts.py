"""What the scripts of pages decide, run by Node without a page."""

from __future__ import annotations

import pytest
from page_scripts import PLAYER, STUDY, TABLES, values_of


def test_times_lead_to_the_excerpt_that_shows_them_or_the_nearest() -> None:
    excerpts = '[{"start_s": 0, "end_s": 6}, {"start_s": 20, "end_s": 26}]'
    found = values_of(
        PLAYER,
        inside=f"it.locate({excerpts}, 21.5)",
        between=f"it.locate({excerpts}, 12)",
        after=f"it.locate({excerpts}, 99)",
    )
    assert found["inside"] == {"index": 1, "offset": 1.5}
    assert found["between"] == {"index": 0, "offset": 6}
    assert found["after"] == {"index": 1, "offset": 6}


def test_steps_hit_the_middle_of_frames_and_stay_inside() -> None:
    found = values_of(
        PLAYER,
        on="[0, 0.02, 0.04, 0.06].map((t) => it.frameTime(t, 25, 1, 2))",
        ends="[it.frameTime(0, 25, -1, 2), it.frameTime(1.99, 25, 1, 2)]",
        clock="[0, 59.96, 3723.4].map(it.clockTime)",
    )
    assert found["on"] == pytest.approx([0.06, 0.06, 0.1, 0.1])
    assert found["ends"] == pytest.approx([0.02, 1.98])
    assert found["clock"] == ["0:00.0", "1:00.0", "1:02:03.4"]


def test_a_wipe_draws_the_source_left_and_the_result_right() -> None:
    found = values_of(
        PLAYER,
        wipe="it.drawPlan('wipe', 0.25, 100, 80, true)",
        side="it.drawPlan('side', 0.5, 100, 80, true)",
        ends="[0, 2].map((share) => it.drawPlan('wipe', share, 100, 80, true).parts)",
        alone="it.drawPlan('wipe', 0.5, 100, 80, false)",
    )
    source, result = found["wipe"]["parts"]
    assert (source["sx"], source["sw"], source["sy"]) == (0, 25, 0)
    assert (result["sx"], result["dx"], result["sw"], result["sy"]) == (25, 25, 75, 80)
    assert [(part["sy"], part["dx"]) for part in found["side"]["parts"]] == [(0, 0), (80, 100)]
    assert [[part["sy"] for part in parts] for parts in found["ends"]] == [[80], [0]]
    assert [part["sy"] for part in found["alone"]["parts"]] == [0]


def test_curves_have_gaps_where_no_face_was_seen() -> None:
    found = values_of(PLAYER, paths="it.curvePaths([0, 1, null, 0.5], 0, 1, 30, 10)")
    assert found["paths"] == [[[0, 10], [10, 0]], [[30, 5]]]


def test_rows_sort_by_number_or_letters_and_what_is_missing_comes_last() -> None:
    rows = '[["10", "b"], ["9.5", "A"], ["", "c"], ["1e2", "b"]]'
    found = values_of(
        TABLES,
        up=f"it.sortedPlaces({rows}, 0, 1)",
        down=f"it.sortedPlaces({rows}, 0, -1)",
        letters=f"it.sortedPlaces({rows}, 1, 1)",
        shown="it.isShown(['3', 'Failed', 'No face'], 'FACE fail', {})",
        chosen="it.isShown(['3', 'failed', 'x'], '', {1: 'done'})",
        all="it.isShown(['3', 'failed', 'x'], '', {1: ''})",
    )
    assert found["up"] == [1, 0, 3, 2]
    assert found["down"] == [3, 0, 1, 2]
    assert found["letters"] == [1, 0, 3, 2]
    assert (found["shown"], found["chosen"], found["all"]) == (True, False, True)


def test_each_viewer_sees_all_pairs_once_with_sides_by_chance() -> None:
    trials = (
        "Array.from({length: 40}, (_, n) => ({name: `t${n}`,"
        " films: [{name: `a${n}`}, {name: `b${n}`}]}))"
    )
    order = values_of(STUDY, order=f"it.viewingOrder({trials}, Math.random)")["order"]
    assert {one["trial"] for one in order} == {f"t{n}" for n in range(40)}
    assert all({one["left"][1:], one["right"][1:]} == {one["trial"][1:]} for one in order)
    assert 5 < sum(one["left"].startswith("a") for one in order) < 35
    assert [one["trial"] for one in order] != [f"t{n}" for n in range(40)]


def test_a_pair_is_done_when_both_were_watched_and_all_is_answered() -> None:
    marks = ", ".join(f"'{s}-{q}': '4'" for s in ("left", "right") for q in ("picture", "sync"))
    found = values_of(
        STUDY,
        unseen="it.missing({}, {left: true})",
        open=f"it.missing({{{marks}}}, {{left: true, right: true}})",
        done=f"it.missing({{{marks}, 'left-likeness': '1', 'right-likeness': '5',"
        " preferred: 'same'}, {left: true, right: true})",
    )
    assert found == {"unseen": "Watch Y to the end.", "open": "3 answers are missing.", "done": ""}


def test_cells_of_a_csv_are_no_formulas() -> None:
    cells = """it.csvCell('=HYPERLINK("x")')"""
    found = values_of(STUDY, formula=cells, plain="it.csvCell('Anna')")
    assert found["formula"] == '"\'=HYPERLINK(""x"")"'
    assert found["plain"] == "Anna"
