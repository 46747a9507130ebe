"""Pages of `dub report` and `dub study` in a real Chromium, from disk: play, seek, vote."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from browser import Page, open_browser
from studio import face_clip, ffmpeg
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.core.reports import DubReport
from dubcli.core.types import U8
from dubcli.media.container import web_encoding
from dubcli.media.container.ffmpeg import ffmpeg_binary

SOUND = ("-f", "lavfi", "-i", "sine=f=300:r=48000:d=2.4")
FILM = "document.getElementById('film')"
PHONE, DESK = (360, 720), (1200, 900)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(autouse=True)
def _no_problems(browser: Page) -> Iterator[None]:
    browser.problems.clear()
    browser.requests.clear()
    yield
    browser.call("Page.navigate", url="about:blank")
    assert browser.problems == []
    local = ("file:", "blob:", "data:", "about:")
    assert not [url for url in browser.requests if not url.startswith(local)]


def _dub(*words: str | Path) -> str:
    run = CliRunner().invoke(app, [*map(str, words)])
    assert run.exit_code == 0, run.stderr
    return run.stdout


def _write_report(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**vars(DubReport(output=path.with_suffix(".mp4").name)), **values}))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages of a short dub, beside its files and in one file, of a long one and of a batch."""
    folder = tmp_path_factory.mktemp("made")
    sound = ("-map", "0:v", "-map", "1:a", "-c:a", "aac")
    square = "scale=240:240"
    face_clip(folder / "source.mp4", square, *sound, frames=60, inputs=SOUND)
    face_clip(folder / "r.mp4", f"{square},hue=s=0", *sound, frames=60, inputs=SOUND)
    _write_report(
        folder / "r.json",
        frames=60,
        frames_dubbed=50,
        duration_s=2.4,
        config={"video": "source.mp4"},
        warnings=["out of step at 0:01.6, <b>perhaps</b>"],
        shot_ranges=[
            {"start_s": 0, "end_s": 1, "shot": 1},
            {"start_s": 1, "end_s": 2.4, "shot": 2},
        ],
        passed_through=[{"start_s": 0.4, "end_s": 0.8, "frames": 10, "reason": "covered"}],
    )
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=5:d=150", folder / "long.mp4")
    _write_report(folder / "long.json", duration_s=150.0, warnings=["low from 1:40.0 on"])
    rows = [
        {"row": n, "status": "failed" if n % 3 == 0 else "done", "output": f"out{n}.mp4"}
        | {"seconds": 100 - n, "attempts": 1, "error": "no <i>face</i>" if n % 3 == 0 else None}
        for n in range(1, 13)
    ]
    (folder / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _dub("report", folder / "r.mp4", "-o", folder / "r.html", "-q")
    _dub("report", folder / "r.mp4", "-o", folder / "one.html", "--embed", "--no-curve", "-q")
    _dub("report", folder / "long.json", "-o", folder / "long.html", "--no-curve", "-q")
    _dub("report", folder / "b.jsonl", "-o", folder / "b.html", "-q")
    return folder


def _open(browser: Page, path: Path, size: tuple[int, int] = DESK, dark: bool = False) -> None:
    browser.open(path, *size, dark=dark)
    browser.until(f"{FILM}.readyState >= 2 && !{FILM}.seeking")


def _picture(browser: Page, path: Path) -> U8:
    """What the canvas shows."""
    browser.screenshot(path, whole=False)
    corners = "(b => [b.left, b.top, b.width, b.height])(view.getBoundingClientRect())"
    left, top, width, height = (round(value) for value in browser.eval(corners))
    shot = cv2.imread(str(path))
    assert shot is not None
    inner = min(width, height)  # a square picture in the middle of a wide element
    left += (width - inner) // 2
    return np.asarray(shot[top : top + height, left : left + inner], np.uint8)


def _colour(picture: U8) -> float:
    return float(cv2.cvtColor(picture, cv2.COLOR_BGR2HSV)[..., 1].mean())


def test_source_and_result_play_in_step_with_a_wipe(
    browser: Page, made: Path, tmp_path: Path
) -> None:
    _open(browser, made / "r.html")
    wiped = _picture(browser, tmp_path / "wipe.png")
    half = wiped.shape[1] // 2
    assert _colour(wiped[:, : half - 5]) > 40 > 5 > _colour(wiped[:, half + 5 :])
    browser.key("4", "4")
    assert _colour(_picture(browser, tmp_path / "result.png")) < 5
    browser.key("3", "3")
    assert _colour(_picture(browser, tmp_path / "source.png")) > 40
    browser.key("1", "1")
    browser.key(" ", " ")
    browser.until(f"{FILM}.currentTime > 0.5")
    browser.key(" ", " ")
    assert browser.eval(f"{FILM}.paused")
    assert browser.eval(f"{FILM}.videoWidth + ':' + {FILM}.videoHeight") == "240:480"
    # The button follows an event, which comes after the film has stopped.
    browser.until("document.getElementById('play').textContent === '▶'")


def test_frames_warnings_ranges_and_curve_seek(browser: Page, made: Path) -> None:
    _open(browser, made / "r.html")
    browser.click(".remarks .seek")
    browser.until(f"!{FILM}.seeking && Math.abs({FILM}.currentTime - 1.6) < 1e-3")
    browser.key(".", ".")
    browser.until(f"!{FILM}.seeking && Math.abs({FILM}.currentTime - 1.66) < 1e-3")
    browser.key(",", ",")
    browser.until(f"!{FILM}.seeking && Math.abs({FILM}.currentTime - 1.62) < 1e-3")
    browser.click(".lane.dubbed button")
    browser.until(f"!{FILM}.seeking && Math.abs({FILM}.currentTime - 0.4) < 1e-3")
    label = browser.eval("document.querySelector('.lane.dubbed button').title")
    assert label == "mouth covered, 0:00.4 to 0:00.8"
    browser.key("Home")
    browser.until(f"!{FILM}.seeking && {FILM}.currentTime === 0")
    assert browser.eval("document.querySelectorAll('.lane.shots button').length") == 2
    data = browser.eval("JSON.parse(document.getElementById('page-data').textContent).excerpts[0]")
    assert len(data["opening"]) == 60
    assert max(data["opening"]) > 0.05
    assert abs(len(data["loudness"]) - 60) <= 2


def test_the_sound_of_choice_is_heard(browser: Page, made: Path) -> None:
    _open(browser, made / "r.html")
    states = []
    for _ in range(3):
        muted = f"[{FILM}.muted, document.getElementById('source-sound').muted]"
        states.append(browser.eval(muted))
        browser.key("m", "m")
    assert states == [[False, True], [True, False], [True, True]]


def test_a_warning_leads_to_its_excerpt_of_a_long_result(browser: Page, made: Path) -> None:
    _open(browser, made / "long.html")
    assert browser.eval("document.getElementById('excerpts').children.length") == 4
    first = browser.eval(f"{FILM}.src")
    browser.click(".remarks .seek")
    browser.until(f"{FILM}.src !== '{first}' && {FILM}.readyState >= 2 && !{FILM}.seeking")
    browser.until("document.getElementById('clock').textContent === '1:40.0'")
    assert browser.eval("document.getElementById('shown').disabled")


def test_one_file_plays_alone(browser: Page, made: Path, tmp_path: Path) -> None:
    assert not (made / "one_files").exists()
    _open(browser, Path(shutil.copy(made / "one.html", tmp_path / "só 1%.html")))
    browser.key(" ", " ")
    browser.until(f"{FILM}.currentTime > 0.3")
    assert browser.eval(f"{FILM}.src.slice(0, 5)") == "blob:"


def test_vp9_plays_where_ffmpeg_has_no_h264(
    browser: Page, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = web_encoding._encoders(ffmpeg_binary()) - {"libx264"}
    monkeypatch.setattr(web_encoding, "_encoders", lambda binary: known)
    _dub("report", made / "r.mp4", "-o", tmp_path / "v.html", "--no-curve", "-q")
    assert {path.suffix for path in (tmp_path / "v_files").iterdir()} == {".webm"}
    _open(browser, tmp_path / "v.html")
    assert browser.eval("document.getElementById('opening-key').classList.contains('hidden')")
    browser.key("m", "m")
    browser.key(" ", " ")
    browser.until(f"{FILM}.currentTime > 0.3")
    browser.until("document.getElementById('source-sound').currentTime > 0.1")


def test_space_opens_the_list_of_keys_where_that_has_the_focus(browser: Page, made: Path) -> None:
    _open(browser, made / "r.html")
    browser.eval("document.querySelector('summary').focus()")
    browser.key(" ", " ")
    browser.until("document.querySelector('details').open")
    assert browser.eval(f"{FILM}.paused")


def test_rows_of_a_batch_sort_and_filter(browser: Page, made: Path) -> None:
    browser.open(made / "b.html", *DESK)
    cells = "[...document.querySelectorAll('tbody tr:not(.hidden) td:first-child')]"
    rows = f"{cells}.map((cell) => cell.textContent).join()"
    for _ in range(2):
        browser.eval("document.querySelectorAll('button.sort')[0].click()")
    assert browser.eval(rows).startswith("12,11,10")
    browser.eval("document.querySelectorAll('button.sort')[4].click()")
    assert browser.eval(rows).startswith("12,11,10")
    choose = "const one = document.querySelector('.filter-choice'); one.value = 'failed';"
    browser.eval(f"(() => {{ {choose} one.dispatchEvent(new Event('change')); }})()")
    assert browser.eval(rows) == "12,9,6,3"
    assert browser.eval("document.querySelector('.count').textContent") == "4 of 12"


@pytest.mark.parametrize("name", ["r.html", "long.html", "b.html"])
def test_pages_fit_a_phone_in_the_dark(
    name: str, browser: Page, made: Path, tmp_path: Path
) -> None:
    browser.open(made / name, *PHONE, dark=True)
    assert browser.eval("document.documentElement.scrollWidth") <= PHONE[0]
    browser.screenshot(tmp_path / "phone.png", whole=False)
    shot = cv2.imread(str(tmp_path / "phone.png"))
    assert shot is not None
    assert shot[5, 5].max() < 60


def test_a_viewer_votes_and_the_votes_are_summed_up(
    browser: Page, made: Path, tmp_path: Path
) -> None:
    for name in ("ours", "theirs"):
        Path(name).mkdir()
        for clip, source in (("one", "source.mp4"), ("two", "r.mp4")):
            ffmpeg("-i", made / source, "-t", "0.5", "-c", "copy", Path(name) / f"{clip}.mp4")
    _dub("study", "ours", "theirs", "--reference", "theirs", "-o", "s.html", "-q")
    page = Path("s.html").read_text()
    assert not [word for word in ("ours", "theirs", "one.mp4", str(tmp_path)) if word in page]
    key = json.loads(Path("s.key.json").read_text())
    saved = tmp_path / "saved"
    saved.mkdir()
    browser.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(saved))
    browser.open(Path("s.html"), *PHONE)
    browser.eval("document.getElementById('voter').value = '=Anna'")
    browser.click("#start")
    for _ in range(2):
        _vote(browser, key)
    browser.until("!document.getElementById('thanks').classList.contains('hidden')")
    assert browser.eval("document.documentElement.scrollWidth") <= PHONE[0]
    for ending in ("json", "csv"):
        browser.click(f"#save-{ending}")
        while not (found := list(saved.glob(f"*.{ending}"))):
            browser.eval("new Promise((done) => setTimeout(done, 20))")
        words = ("study", "--votes", found[0], "--key", "s.key.json", "--json", "-q")
        result = json.loads(_dub(*words))
        assert result["opinions"]["ours"]["sync"]["mean"] == 5
        assert result["opinions"]["theirs"]["likeness"]["mean"] == 2
        (pair,) = result["preferences"]
        assert (pair["first"], pair["wins"], pair["losses"]) == ("ours", 2, 0)


def _vote(browser: Page, key: dict[str, Any]) -> None:
    """Watch a pair and prefer the system `ours`."""
    assert browser.eval("document.getElementById('after').disabled")
    for side in ("left", "right"):
        video = f"document.getElementById('{side}')"
        browser.until(f"{video}.readyState >= 3")
        browser.eval(f"{video}.play()")
        browser.until(f"{video}.ended")
        name = browser.eval(f"{video}.src").rsplit("/", 1)[1].split(".")[0]
        is_ours = key["films"][name]["system"] == "ours"
        for question in ("picture", "sync", "likeness"):
            browser.click(f"input[name={side}-{question}][value='{5 if is_ours else 2}']")
        if is_ours:
            browser.click(f"input[name=preferred][value={side}]")
    browser.until("!document.getElementById('after').disabled")
    browser.click("#after")
