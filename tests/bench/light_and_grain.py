"""How well dubbed mouths keep the light, palette and noise of the picture around them.

    python tests/bench/light_and_grain.py --clips CLIPS --audio SPEECH.wav --out OUT

Clips are changed by ffmpeg (fades, a lamp switched off, flicker, toned film, grain), dubbed, and
compared frame by frame with their source, see `dubcli.metrics.picture_consistency`. Writes
`light_and_grain.json` and prints a table. Frames that pass through are counted, not scored.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np

from dubcli.config import DubConfig
from dubcli.core.types import F32, U8, Frame
from dubcli.face.detect import FaceDetector, open_detector
from dubcli.media.container.probe import probe
from dubcli.media.video.frame_reader import FrameReader
from dubcli.metrics.picture_consistency import PictureMatch, match_of
from dubcli.pipeline.engine import Engine
from dubcli.pipeline.run import dub

SEPIA = "hue=s=0,colorchannelmixer=.393:.769:.189:0:.349:.686:.168:0:.272:.534:.131"
CHANGES = {
    "as it is": "null",
    "fade from and to black": "fade=t=in:d=0.8,fade=t=out:st=1.6:d=0.8",
    "fade to white": "fade=t=out:st=1.2:d=1.2:c=white",
    "lamp off": "eq=gamma=0.45:brightness=-0.08:enable='gte(t,0.68)'",
    "flicker 12 %": "geq=lum='lum(X,Y)*(0.88+0.12*gt(mod(N,4),1))':cb='cb(X,Y)':cr='cr(X,Y)'",
    "strobe": "geq=lum='lum(X,Y)*(0.3+0.7*gt(mod(N,6),2))':cb='cb(X,Y)':cr='cr(X,Y)'",
    "sunset": "colorbalance=rm=0:gm=0:bm=0,geq=r='r(X,Y)*(1-0.1*T/2.4)':"
    "g='g(X,Y)*(1-0.45*T/2.4)':b='b(X,Y)*(1-0.75*T/2.4)'",
    "coloured light": "geq=r='r(X,Y)*(0.55+0.45*sin(4*T))':g='g(X,Y)*(0.55+0.45*sin(4*T+2))':"
    "b='b(X,Y)*(0.55+0.45*sin(4*T+4))'",
    "passing light": "geq=lum='clip(lum(X,Y)*(1+0.8*exp(-pow((X/W-T/2.4)/0.15,2)))*0.6,16,235)':"
    "cb='cb(X,Y)':cr='cr(X,Y)'",
    "sepia": SEPIA,
    "black and white": "hue=s=0",
    "night vision": "hue=s=0,colorchannelmixer=rr=.25:gg=1:bb=.3",
    "red light": "colorchannelmixer=rr=1:gg=.12:bb=.08",
    "grain": "noise=alls=22:allf=t",
    "coarse grain": "split[a][b];[b]lutyuv=y=128:u=128:v=128,scale=iw/2:ih/2,noise=alls=30:allf=t,"
    "scale=2*iw:2*ih[n];[a][n]blend=all_mode=grainmerge",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, nargs="+", required=True, help="files")
    parser.add_argument("--audio", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder")
    parser.add_argument("--changes", nargs="*", default=list(CHANGES))
    parser.add_argument("--height", type=int, default=360, help="of the pictures, px")
    parser.add_argument("--seconds", type=float, default=2.4)
    parser.add_argument("--model", default="iptalker")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    with Engine() as engine, open_detector() as detector:
        for change in args.changes:
            for clip in args.clips:
                rows.append(_one(engine, detector, clip, change, args))
                print(_line(f"{change}, {clip.stem}", [rows[-1]]), flush=True)
    (args.out / "light_and_grain.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    print("\n" + "\n".join(_table(rows, args.changes)))


def _one(
    engine: Engine, detector: FaceDetector, clip: Path, change: str, args: argparse.Namespace
) -> dict[str, Any]:
    """Change, dub and score one clip."""
    stem = f"{clip.stem}.{change.replace(' ', '_').replace('%', 'pc')}"
    source, result = args.out / f"{stem}.mp4", args.out / f"{stem}.dubbed.mp4"
    chain = f"scale=-2:{args.height},setsar=1,format=yuv420p,{CHANGES[change]},format=yuv420p"
    crf = "22" if "grain" in change else "18"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-ss", "0.5", "-i", str(clip)]
    command += ["-t", str(args.seconds), "-filter_complex", chain, "-c:v", "libx264"]
    command += ["-preset", "veryfast", "-crf", crf, "-c:a", "aac", str(source)]
    subprocess.run(command, check=True)
    config = DubConfig(
        video=source,
        audio=args.audio,
        output=result,
        overwrite=True,
        sync_mode="cut",
        model=args.model,
    )
    report = dub(config, engine=engine)
    passed = _passed(report.passed_through)
    frames = list(_scored(source, result, detector, passed))
    return {
        "clip": clip.stem,
        "change": change,
        "frames": report.frames,
        "dubbed": report.frames_dubbed,
        "passed_through": report.passed_through,
        "scores": [asdict(one) | {"meets_colour": one.meets_colour} for one in frames],
    }


def _passed(ranges: list[dict[str, Any]]) -> list[tuple[float, float]]:
    return [(one["start_s"] - 1e-3, one["end_s"] - 1e-3) for one in ranges]


def _scored(
    source: Path, result: Path, detector: FaceDetector, passed: list[tuple[float, float]]
) -> Iterator[PictureMatch]:
    info = probe(source)
    base = info.video.time_base if info.video is not None else 0
    with FrameReader(source, info) as one, FrameReader(result, probe(result)) as two:
        for own, new in zip(one.frames(), two.frames(), strict=False):
            time_s = float(own.pts * base)
            if any(start <= time_s < end for start, end in passed):
                continue
            marks = _landmarks(detector, own.image), _landmarks(detector, new.image)
            if marks[0] is None:
                continue
            found = match_of(
                own.image, new.image, marks[0], marks[0] if marks[1] is None else marks[1]
            )
            if found is not None:
                yield found


def _landmarks(detector: FaceDetector, image: U8) -> F32 | None:
    faces = detector.detect(Frame(index=0, pts=0, image=image))
    if not faces:
        return None
    return max(faces, key=lambda face: float(face.box[3] - face.box[1])).landmarks


def _table(rows: list[dict[str, Any]], changes: list[str]) -> list[str]:
    lines = [
        "| change | dubbed of frames | ΔE2000 (source's own), worst excess | frames within the "
        "target | ΔE2000 of lips (own) | off the palette | noise ratio (own) |",
        "|---|---|---|---|---|---|---|",
    ]
    return lines + [_line(name, [row for row in rows if row["change"] == name]) for name in changes]


def _line(name: str, rows: list[dict[str, Any]]) -> str:
    scores = [score for row in rows for score in row["scores"]]
    counts = f"{sum(r['dubbed'] for r in rows)} of {sum(r['frames'] for r in rows)}"
    if not scores:
        return f"| {name} | {counts} | - | - | - | - | - |"

    def mean(key: str) -> float:
        return float(np.mean([score[key] for score in scores]))

    def median(key: str) -> float:
        return float(np.median([score[key] for score in scores]))

    excess = max(s["colour_difference"] - s["own_colour_difference"] for s in scores)
    met = sum(score["meets_colour"] for score in scores)
    return (
        f"| {name} | {counts} | {mean('colour_difference'):.2f} "
        f"({mean('own_colour_difference'):.2f}), {excess:+.2f} | {met} of {len(scores)} | "
        f"{mean('lips_difference'):.1f} ({mean('own_lips_difference'):.1f}) | "
        f"{100 * mean('outside_palette'):.1f} % | "
        f"{median('noise_ratio'):.2f} ({median('own_noise_ratio'):.2f}) |"
    )


if __name__ == "__main__":
    main()
