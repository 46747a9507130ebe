"""Do the lips obey the audio? `python tests/bench/lip_scores.py --clips DIR --speech DIR`.

Every clip is dubbed twice through `dubcli.pipeline.dub`, exactly as users run it:

* **own**: by its own audio, with references taken from the first 40 % of the frames only, scored
  on the rest. The result's mouth opening should follow the source's (r near 1).
* **cross**: by a foreign recording, chosen by sorted order. The result's opening should *not*
  follow the source's (r near 0), and should move about as much (ratio near 1).

A Markdown table goes to stdout; JSON and contact sheets go to `--out`. Mouth opening is the inner
lip gap over the inter-ocular distance, by MediaPipe's face mesh on source and result alike. Frames
that a dub passes through unchanged count too, in favour of `own` and against `cross`; their
numbers stand under the table.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import wave
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dubcli.config import DEVICES, DubConfig
from dubcli.errors import DubError
from dubcli.evaluation.mouth import (
    MouthSeries,
    correlation_at_best_lag,
    measure_mouth,
    motion_ratio,
    opening_correlation,
)
from dubcli.evaluation.statistics import bootstrap_mean
from dubcli.media.probe import probe, require_video
from dubcli.media.read import FrameReader, frame_times
from dubcli.media.waveform import read_waveform
from dubcli.types import F32, U8, DubReport

VIDEO_SUFFIXES = {".mp4", ".mkv", ".mov", ".mpg", ".avi", ".webm"}
AUDIO_SUFFIXES = {".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus"}
SAMPLE_RATE_HZ = 16_000
REFERENCE_SHARE = 0.4
MAX_LAG = 8
SHEET_COLUMNS, TILE_PX = 8, 192

NAN = float("nan")
COLUMNS = {
    "own_r": "own r",
    "own_r_best_lag": f"own r at best lag (±{MAX_LAG})",
    "own_lag": "lag, frames",
    "own_motion": "own motion ratio",
    "cross_r": "cross r (leakage)",
    "cross_motion": "cross motion ratio",
}


@dataclass(kw_only=True)
class Scores:
    """Scores of one clip; NaN where not measured. Lag is positive where the result comes late."""

    clip: str
    frames: int
    speech: str = ""
    own_r: float = NAN
    own_r_best_lag: float = NAN
    own_lag: float = NAN
    own_motion: float = NAN
    cross_r: float = NAN
    cross_motion: float = NAN
    weights_sha256: str | None = None
    notes: str = ""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is the same for every clip."""

    model: str
    device: str
    out: Path
    dub: Callable[..., DubReport]


def main() -> None:
    """Scores a folder of clips."""
    options = _parse()
    clips = _files(options.clips, VIDEO_SUFFIXES)
    recordings = _files(options.speech, AUDIO_SUFFIXES)
    options.out.mkdir(parents=True, exist_ok=True)
    from dubcli.pipeline import dub

    job = Job(model=options.model, device=options.device, out=options.out, dub=dub)
    rows = []
    for number, clip in enumerate(clips):
        speech = recordings[number % len(recordings)]
        print(f"{number + 1}/{len(clips)} {clip.name}", file=sys.stderr)
        rows.append(score_clip(clip, speech, job))
        _write_json(rows, job)
    print(markdown_table(rows))


def score_clip(clip: Path, speech: Path, job: Job) -> Scores:
    """Dubs one clip by its own and by foreign audio and measures both results."""
    try:
        source = measure_mouth(clip)
        scores = Scores(clip=clip.name, frames=len(source), speech=speech.name)
    except DubError as error:
        return Scores(clip=clip.name, frames=0, notes=str(error))
    with tempfile.TemporaryDirectory() as folder:
        for setting in (_score_own, _score_cross):
            try:
                setting(clip, speech, source, scores, job, Path(folder))
            except DubError as error:
                scores.notes = f"{scores.notes} {setting.__name__[7:]}: {error}".strip()
    return scores


def markdown_table(rows: list[Scores]) -> str:
    """The scores, their means and 95 % intervals as a Markdown table."""
    lines = [
        "| clip | frames | " + " | ".join(COLUMNS.values()) + " |",
        "|---|---|" + "---|" * len(COLUMNS),
    ]
    for row in rows:
        cells = [_number(getattr(row, name)) for name in COLUMNS]
        lines.append(f"| {row.clip} | {row.frames} | {' | '.join(cells)} |")
    means = {name: bootstrap_mean([getattr(row, name) for row in rows]) for name in COLUMNS}
    total = sum(row.frames for row in rows)
    cells = [_number(mean) for mean, _, _ in means.values()]
    lines.append(f"| **mean** | {total} | {' | '.join(cells)} |")
    cells = [f"{_number(low)} to {_number(high)}" for _, low, high in means.values()]
    lines.append(f"| 95 % interval of the mean | | {' | '.join(cells)} |")
    lines += [f"\n{row.clip}: {row.notes}" for row in rows if row.notes]
    return "\n".join(lines)


def driving_wav(recording: Path, clip: Path, path: Path, *, own: bool) -> Path:
    """Writes mono audio exactly as long as the clip's picture, starting with its first frame.

    A clip's own track is shifted by its offset from the picture; a foreign one starts at once.
    """
    info = probe(clip)
    times = frame_times(clip, info)
    base = require_video(info).time_base
    first_s = times.pts[0] * base
    num = round((times.end_pts - times.pts[0]) * base * SAMPLE_RATE_HZ)
    waveform = read_waveform(recording, SAMPLE_RATE_HZ)
    late_s = waveform.start_s - first_s if own else Fraction(0)
    shift = round(late_s * SAMPLE_RATE_HZ)
    samples = np.concatenate([np.zeros(max(shift, 0)), waveform.samples[max(-shift, 0) :]])
    samples = np.pad(samples[:num], (0, max(0, num - len(samples))))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(np.rint(samples * 32767).astype("<i2").tobytes())
    return path


def contact_sheet(source: Path, result: Path, mouth: MouthSeries, frames: range) -> U8:
    """Evenly spaced frames cut to the face, source above, result below. RGB uint8."""
    known = [i for i in frames if np.isfinite(mouth.boxes[i]).all()]
    chosen = [known[round(at)] for at in np.linspace(0, len(known) - 1, SHEET_COLUMNS)]
    return np.vstack([_strip(path, mouth.boxes, chosen) for path in (source, result)])


def _score_own(
    clip: Path, speech: Path, source: MouthSeries, scores: Scores, job: Job, folder: Path
) -> None:
    del speech
    split = math.floor(REFERENCE_SHARE * len(source))
    audio = driving_wav(clip, clip, folder / "own.wav", own=True)
    result, path = _dub(clip, audio, source, scores, job, folder, reference_frames=range(split))
    true, made = source.opening[split:], result.opening[split:]
    scores.own_r = opening_correlation(made, true)
    scores.own_r_best_lag, scores.own_lag = correlation_at_best_lag(made, true, MAX_LAG)
    scores.own_motion = motion_ratio(made, true)
    _save_sheet(clip, path, source, range(split, len(source)), job.out / f"{clip.stem}.own.png")


def _score_cross(
    clip: Path, speech: Path, source: MouthSeries, scores: Scores, job: Job, folder: Path
) -> None:
    audio = driving_wav(speech, clip, folder / "cross.wav", own=False)
    result, path = _dub(clip, audio, source, scores, job, folder)
    scores.cross_r = opening_correlation(result.opening, source.opening)
    scores.cross_motion = motion_ratio(result.opening, source.opening)
    _save_sheet(clip, path, source, range(len(source)), job.out / f"{clip.stem}.cross.png")


def _dub(
    clip: Path,
    audio: Path,
    source: MouthSeries,
    scores: Scores,
    job: Job,
    folder: Path,
    **keywords: Any,
) -> tuple[MouthSeries, Path]:
    """Dubs, notes which weights did it, and measures the same face in the result."""
    # Some containers of the sources cannot be written; mp4 holds every codec that `dub` keeps.
    output = folder / f"{audio.stem}.mp4"
    config = DubConfig(
        video=clip,
        audio=audio,
        output=output,
        model=job.model,
        device=job.device,
        sync_mode="pad",
        overwrite=True,
    )
    report = job.dub(config, **keywords)
    scores.weights_sha256 = report.weights_sha256
    if report.frames_passed_through:
        passed = ", ".join(f"{num} {why}" for why, num in report.frames_passed_through.items())
        scores.notes = f"{scores.notes} {audio.stem}: passed through {passed}.".strip()
    path = Path(report.output)
    result = measure_mouth(path, follow=source)
    if len(result) != len(source):
        sys.exit(f"{clip.name}: {len(source)} frames went in, {len(result)} came out.")
    return result, path


def _save_sheet(source: Path, result: Path, mouth: MouthSeries, frames: range, path: Path) -> None:
    if not np.isfinite(mouth.boxes[frames.start : frames.stop]).any():
        return  # no face to show
    sheet = contact_sheet(source, result, mouth, frames)
    if not cv2.imwrite(str(path), sheet[..., ::-1]):
        sys.exit(f"Cannot write {path}.")


def _strip(path: Path, boxes: F32, chosen: list[int]) -> U8:
    """A row of faces of one video. Shape (TILE_PX, len(chosen) * TILE_PX, 3)."""
    tiles: dict[int, U8] = {}
    with FrameReader(path, probe(path)) as reader:
        for frame in reader.frames():
            if frame.index in chosen:
                tiles[frame.index] = _tile(frame.image, boxes[frame.index])
    return np.hstack([tiles[index] for index in chosen])


def _tile(image: U8, box: F32) -> U8:
    centre = (box[:2] + box[2:]) / 2
    side = 1.25 * float((box[2:] - box[:2]).max())
    scale = TILE_PX / side
    shift = TILE_PX / 2 - scale * centre
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    tile = cv2.warpAffine(image, matrix, (TILE_PX, TILE_PX), flags=cv2.INTER_AREA)
    return tile.astype(np.uint8)


def _write_json(rows: list[Scores], job: Job) -> None:
    names = [field.name for field in fields(Scores)]
    clips = [{name: _json(asdict(row)[name]) for name in names} for row in rows]
    means = {}
    for name in COLUMNS:
        mean, low, high = bootstrap_mean([getattr(row, name) for row in rows])
        means[name] = {"mean": _json(mean), "low": _json(low), "high": _json(high)}
    text = json.dumps({"model": job.model, "clips": clips, "means": means}, indent=2)
    (job.out / "lip_scores.json").write_text(text + "\n", encoding="utf-8")


def _json(value: Any) -> Any:
    """JSON has no NaN: what was not measured is null."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _number(value: float) -> str:
    return "not measured" if math.isnan(value) else f"{value:.2f}"


def _files(folder: Path, suffixes: set[str]) -> list[Path]:
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in suffixes)
    if not found:
        sys.exit(f"{folder} holds no file with one of {', '.join(sorted(suffixes))}.")
    return found


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clips", type=Path, required=True, help="folder of talking faces")
    parser.add_argument("--speech", type=Path, required=True, help="folder of other recordings")
    parser.add_argument("--model", default=DubConfig.model)
    parser.add_argument("--device", default=DubConfig.device, help=f"one of {', '.join(DEVICES)}")
    parser.add_argument("--out", type=Path, default=Path("runs/lip_scores"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
