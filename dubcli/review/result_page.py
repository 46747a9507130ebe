"""The page of one dub: players, timeline, curve, faces, marks, configuration."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dubcli.config import DubConfig
from dubcli.core.formatting import clock_time, in_time, reason_in_words
from dubcli.core.reports import DubReport
from dubcli.review.excerpts import remarks_of
from dubcli.review.html_page import asset, render_page
from dubcli.review.preview_pairs import Preview
from dubcli.review.review_input import DubResult

# More ranges than this are not drawn one by one.
_MOST_RANGES = 500
_SCRIPTS = ("player_logic.js", "player.js")
_KINDS = {
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".m4a": "audio/mp4",
}


def result_page(
    result: DubResult, previews: Sequence[Preview], notes: Sequence[str], *, embed: bool
) -> str:
    """The page as HTML.

    Args:
        result: The dub.
        previews: Of its excerpts; they lie in one folder beside the page.
        notes: What the page does not show, and why.
        embed: The previews go into the page.
    """
    report = result.report
    title = Path(report.output).name or "A dub"
    values = {
        "facts": _facts(report),
        "speakers": [_texts(one) for one in _dicts(report.speakers)],
        "marks": [_texts(one) for one in _dicts(report.marks)],
        "settings": settings_of(report.config),
        "times": [{"stage": k, "seconds": v} for k, v in report.seconds.items()],
        "model_facts": [
            {"model": name, "name": key, "value": _in_words(value)}
            for name, facts in report.model_facts.items()
            for key, value in (facts.items() if isinstance(facts, dict) else ())
        ],
        "passed": [_passed(one) for one in report.passed_through[:_MOST_RANGES]],
        "num_passed": len(report.passed_through),
        "remarks": [
            {"text": one.text, "times": [{"s": t, "clock": clock_time(t)} for t in one.times]}
            for one in remarks_of(report)
        ],
        "notes": list(notes),
        "has_previews": bool(previews),
        "media": [_embedded(path) for path in _files(previews)] if embed else [],
    }
    data = {
        "duration": report.duration_s,
        "excerpts": [_preview_data(one, embed) for one in previews],
        "shots": report.shot_ranges[:_MOST_RANGES],
        "passed": [
            {
                "start_s": one["start_s"],
                "end_s": one["end_s"],
                "text": reason_in_words(str(one.get("reason", ""))),
            }
            for one in report.passed_through[:_MOST_RANGES]
        ],
        "low": [
            {
                "start_s": one["start_s"],
                "end_s": one["end_s"],
                "text": f"{one.get('figure')}: {one.get('mean')}",
            }
            for one in report.model_ranges[:_MOST_RANGES]
            if one.get("is_low")
        ],
    }
    scripts = [asset(name) for name in _SCRIPTS]
    return render_page(asset("result_page.html"), scripts, title, values, data)


def settings_of(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Options of a dub, and which are not the defaults, those first."""
    defaults = {entry.name: entry.default for entry in fields(DubConfig)}
    rows: list[dict[str, Any]] = []
    for name, value in config.items():
        usual = defaults.get(name)
        is_usual = value == usual or (not value and not isinstance(usual, (str, int, float)))
        flag = f"--{name.replace('_', '-')}"
        rows.append({"option": flag, "value": _in_words(value), "is_set": not is_usual})
    return sorted(rows, key=lambda row: not row["is_set"])


def _facts(report: DubReport) -> list[dict[str, str]]:
    model = report.model or "?"
    if report.motion_model:
        model = f"{report.motion_model} predicts, {model} paints"
    pairs = {
        "result": report.output,
        "frames": f"{report.frames}, {report.frames_dubbed} of them dubbed",
        "length": in_time(float(report.duration_s)),
        "size": f"{report.width} x {report.height} px",
        "model": model,
        "identity": report.identity or "",
        "device": report.device,
        "shots": str(report.shots),
        "face": f"{report.face} of {report.faces}: {report.face_reason}",
        "sync mode": report.sync_mode,
        "own offset": f"{report.source_offset_ms} ms" if report.source_offset_ms else "",
        "gain": f"{report.audio_gain_db:+.1f} dB" if report.audio_gain_db else "",
        "version": report.version,
    }
    return [{"name": name, "value": value} for name, value in pairs.items() if value]


def _passed(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "start_s": one["start_s"],
        "start": clock_time(one["start_s"]),
        "end": clock_time(one["end_s"]),
        "frames": one.get("frames", ""),
        "reason": reason_in_words(str(one.get("reason", ""))),
    }


def _dicts(values: Sequence[Any]) -> list[dict[str, Any]]:
    return [value for value in values if isinstance(value, dict)]


def _in_words(value: Any) -> str:
    """A value as a table shows it."""
    if isinstance(value, list):
        return ", ".join(map(_in_words, value)) or "-"
    if isinstance(value, dict):
        return ", ".join(f"{key}={_in_words(item)}" for key, item in value.items()) or "-"
    if value is None or isinstance(value, bool):
        return {None: "-", True: "yes", False: "no"}[value]
    return str(value)


def _texts(one: Mapping[str, Any]) -> dict[str, str]:
    """Values of a dict as a table shows them."""
    return {
        key.replace("_", " "): _in_words(value) for key, value in one.items() if value is not None
    }


def _files(previews: Sequence[Preview]) -> list[Path]:
    both = [path for one in previews for path in (one.film, one.source_sound)]
    return [path for path in both if path is not None]


def _embedded(path: Path) -> dict[str, str]:
    content = base64.b64encode(path.read_bytes()).decode()
    return {"name": path.name, "kind": _KINDS[path.suffix], "content": content}


def _preview_data(one: Preview, embed: bool) -> dict[str, Any]:
    def place(path: Path | None) -> dict[str, Any] | None:
        if path is None:
            return None
        is_sound = path == one.source_sound
        kind = _KINDS[path.suffix].replace("video/", "audio/") if is_sound else _KINDS[path.suffix]
        address = path.name if embed else f"{quote(path.parent.name)}/{quote(path.name)}"
        return {"address": address, "kind": kind, "embedded": embed}

    return {
        "start_s": round(one.excerpt.start_s, 3),
        "end_s": round(one.excerpt.end_s, 3),
        "film": place(one.film),
        "source_sound": place(one.source_sound),
        "width": one.width,
        "height": one.height,
        "frame_rate": one.frame_rate,
        "has_source": one.has_source,
        "opening": list(one.opening),
        "loudness": list(one.loudness),
    }
