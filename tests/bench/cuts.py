"""How well are cuts, cross-fades and flashes told? `python tests/bench/cuts.py --clips CLIPS`.

Puts known edits into real clips without a cut, and compares `ShotDetector` with the detectors of
PySceneDetect at its defaults, where that is installed (`pip install --no-deps scenedetect`; any
OpenCV will do) or lies in `--scenedetect`. Markdown tables go to stdout, and the same as JSON to
`--out`. A cut counts as found within a frame of where it is; of a cross-fade, anywhere inside it.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from dubcli.core.types import U8
from dubcli.face.shots import ShotDetector
from dubcli.face.usability import Reason

SIZE = (320, 240)
FRAMES = 75
FPS = 25
TOLERANCE = 1
SUFFIXES = (".mp4", ".mpg", ".mkv", ".mov", ".webm", ".avi")
Images = list[U8]


@dataclass
class Case:
    """A video and what happens in it: cuts, and fades and flashes as half-open frame ranges."""

    kind: str
    images: Images
    cuts: list[int] = field(default_factory=list[int])
    fades: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    flashes: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])


@dataclass
class Score:
    """Counts over the cases of one kind; `passed` of `spoilt` frames are known not to be dubbed."""

    hits: int = 0
    missed: int = 0
    wrong: int = 0
    frames: int = 0
    spoilt: int = 0
    passed: int = 0
    needless: int = 0

    @property
    def wanted(self) -> int:
        """Cuts that there are."""
        return self.hits + self.missed

    def add(self, other: Score) -> None:
        """Count another score's cases, too."""
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)


Found = tuple[list[int], list[int]]


def main() -> int:
    """Score every detector on every case."""
    job = _parse()
    if job.scenedetect is not None:
        sys.path.append(str(job.scenedetect))
    paths = sorted(path for path in job.clips.iterdir() if path.suffix in SUFFIXES)
    paths = [
        paths[int(place)] for place in np.linspace(0, len(paths) - 1, min(job.most, len(paths)))
    ]
    clips = [images for images in map(_decode, paths) if len(images) >= FRAMES]
    if len(clips) < 2:
        sys.exit(f"{job.clips} holds fewer than two clips of {FRAMES} frames.")
    detectors = {"dub": _ours, **_scenedetect()}
    scores: dict[str, dict[str, Score]] = {name: defaultdict(Score) for name in detectors}
    seconds = dict.fromkeys(detectors, 0.0)
    for case in _cases(clips):
        for name, detect in detectors.items():
            began = time.perf_counter()
            score = _score(case, *detect(case.images))
            seconds[name] += time.perf_counter() - began
            scores[name][case.kind].add(score)
            if job.verbose and (score.wrong or score.missed):
                print(name, case.kind, score.missed, score.wrong, file=sys.stderr)
    _print(scores, seconds, len(clips))
    if job.out is not None:
        plain = {n: {k: asdict(s) for k, s in kinds.items()} for n, kinds in scores.items()}
        job.out.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    return 0


def _ours(images: Images) -> Found:
    detector = ShotDetector()
    verdicts = [verdict for image in images for verdict in detector.update(image)]
    verdicts += detector.finish()
    reasons = {Reason.CROSS_FADE.value, Reason.FLASH.value}
    spoilt = [index for index, verdict in enumerate(verdicts) if verdict.spoilt in reasons]
    return [index for index, verdict in enumerate(verdicts) if verdict.is_cut], spoilt


def _scenedetect() -> dict[str, Callable[[Images], Found]]:
    try:
        from scenedetect import AdaptiveDetector, ContentDetector, FrameTimecode  # pyright: ignore
    except ImportError:
        print("PySceneDetect is not installed: only the own detector is measured.\n")
        return {}

    def run(kind: Any, images: Images) -> Found:
        detector, cuts = kind(), []
        for index, image in enumerate(images):
            when = FrameTimecode(index, float(FPS))
            cuts += detector.process_frame(when, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        cuts += detector.post_process(FrameTimecode(len(images) - 1, float(FPS)))
        return sorted(cut.frame_num for cut in cuts), []

    return {
        "ContentDetector": lambda images: run(ContentDetector, images),
        "AdaptiveDetector": lambda images: run(AdaptiveDetector, images),
    }


def _score(case: Case, cuts: list[int], spoilt: list[int]) -> Score:
    score = Score(frames=len(case.images))
    spans = [(cut - TOLERANCE, cut + TOLERANCE + 1) for cut in case.cuts]
    spans += [(start - TOLERANCE, stop + TOLERANCE) for start, stop in case.fades]
    left = sorted(cuts)
    for start, stop in spans:
        inside = [cut for cut in left if start <= cut < stop]
        score.hits += bool(inside)
        score.missed += not inside
        if inside:
            left.remove(inside[0])
    score.wrong = len(left)
    ranges = [*case.fades, *case.flashes]
    must = {index for start, stop in ranges for index in range(start, stop)}
    near = {index for start, stop in ranges for index in range(start - 3, stop + 3)}
    score.spoilt, score.passed = len(must), len(must & set(spoilt))
    score.needless = len(set(spoilt) - near)
    return score


def _cases(clips: list[Images]) -> Iterator[Case]:
    rng = np.random.default_rng(0)
    for number, one in enumerate(clips):
        for step in (1, 3):
            other = clips[(number + step) % len(clips)]
            yield from _edits(one[:50], other[-40:], rng, step == 1)
        yield from _inside(one)
        yield from _uncut(one, rng)


def _edits(one: Images, other: Images, rng: np.random.Generator, is_first: bool) -> Iterator[Case]:
    cut, joined = len(one), one + other
    yield Case("hard cut", joined, [cut])
    for length in (4, 8, 12, 25, 50) if is_first else (6, 16):
        yield _faded("cross-fade", one, other, length)
    if not is_first:
        return
    yield Case("hard cut, noise", [_noisy(image, rng) for image in joined], [cut])
    yield Case("hard cut, CRF 42", _compressed(joined), [cut])
    yield Case("hard cut, 8 fps", joined[2::3], [(cut + 0) // 3])
    yield Case("hard cut, 50 fps", [image for image in joined for _ in range(2)], [2 * cut])
    kept = [i for i in range(len(joined)) if rng.random() > 0.3]
    yield Case("hard cut, frames dropped", [joined[i] for i in kept], [sum(i < cut for i in kept)])
    yield Case("hard cut, letterbox", [_boxed(image) for image in joined], [cut])
    for level in (0, 255):
        flat = [np.full_like(one[0], level)] * 5
        name = "through black" if level == 0 else "through white"
        ramp = np.linspace(0, 1, 12)
        down = [_mix(image, flat[0], a) for image, a in zip(one[-12:], ramp, strict=True)]
        up = [_mix(flat[0], image, a) for image, a in zip(other[:12], ramp, strict=True)]
        images = one[:-12] + down + flat + up + other[12:]
        middle = len(one) + 5
        fade = (len(one) - 6, middle + 6)
        yield Case(f"{name}, 12 frames", images, [], [fade])


def _inside(one: Images) -> Iterator[Case]:
    """Cuts that leave the person and the room as they are."""
    cut = len(one) // 2 - 12
    yield Case("jump cut of 1 s", one[:cut] + one[cut + FPS :], [cut])
    yield Case("punch in, 1.3 times", one[:cut] + [_zoomed(i, 1.3) for i in one[cut:]], [cut])
    yield Case("mirrored", one[:cut] + [np.ascontiguousarray(i[:, ::-1]) for i in one[cut:]], [cut])


def _uncut(one: Images, rng: np.random.Generator) -> Iterator[Case]:
    num = len(one)
    yield Case("uncut", one)
    yield Case("uncut, noise", [_noisy(image, rng) for image in one])
    yield Case("uncut, CRF 42", _compressed(one))
    yield Case("uncut, 8 fps", one[::3])
    shake = rng.normal(0, 4, (num, 2))
    yield Case("camera shake", [_moved(i, *s) for i, s in zip(one, shake, strict=True)])
    yield Case("zoom", [_zoomed(image, 1 + 0.6 * n / num) for n, image in enumerate(one)])
    sweep = 60 * np.sin(np.arange(num) / 5)
    yield Case("fast pan", [_moved(i, x, 0) for i, x in zip(one, sweep, strict=True)])
    light = 1 + 0.5 * np.sin(np.arange(num) / 6)
    yield Case("exposure", [_lit(i, x) for i, x in zip(one, light, strict=True)])
    yield Case("caption", one[:30] + [_captioned(image) for image in one[30:]])
    inset = cv2.resize(one[0], None, fx=0.25, fy=0.25).astype(np.uint8)
    yield Case("inset", one[:30] + [_inset(image, inset) for image in one[30:]])
    for length in (1, 2, 3):
        images, stop = list(one), 30 + length
        images[30:stop] = [_mix(image, np.full_like(image, 255), 0.9) for image in images[30:stop]]
        yield Case("flash, white", images, [], [], [(30, stop)])
        images = list(one)
        images[30:stop] = [_lit(image, 2.2) for image in images[30:stop]]
        yield Case("flash, bright", images)


def _faded(kind: str, one: Images, other: Images, length: int) -> Case:
    if length > min(len(one), len(other)) - 3:
        one, other = one + one[::-1], other[::-1] + other
    shares = (np.arange(length) + 1) / (length + 1)
    pairs = zip(one[-length:], other[:length], shares, strict=True)
    mixed = [_mix(before, after, share) for before, after, share in pairs]
    start = len(one) - length
    images = one[:start] + mixed + other[length:]
    return Case(f"{kind}, {length} frames", images, [], [(start, start + length)])


def _mix(one: U8, other: U8, share: float) -> U8:
    return np.asarray(cv2.addWeighted(one, 1 - share, other, share, 0), np.uint8)


def _noisy(image: U8, rng: np.random.Generator) -> U8:
    return np.clip(image + rng.normal(0, 12, image.shape), 0, 255).astype(np.uint8)


def _lit(image: U8, factor: float) -> U8:
    return np.clip(image * factor, 0, 255).astype(np.uint8)


def _boxed(image: U8) -> U8:
    out = image.copy()
    out[: SIZE[1] // 7] = out[-SIZE[1] // 7 :] = 0
    return out


def _moved(image: U8, x: float, y: float) -> U8:
    matrix = np.array([[1.0, 0, x], [0, 1.0, y]])
    return np.asarray(cv2.warpAffine(image, matrix, SIZE, borderMode=cv2.BORDER_REFLECT), np.uint8)


def _zoomed(image: U8, factor: float) -> U8:
    matrix = cv2.getRotationMatrix2D((SIZE[0] / 2, SIZE[1] / 2), 0, factor)
    return np.asarray(cv2.warpAffine(image, matrix, SIZE), np.uint8)


def _captioned(image: U8) -> U8:
    out = image.copy()
    cv2.rectangle(out, (20, 190), (300, 230), (20, 20, 60), -1)
    cv2.putText(out, "A caption, twice", (30, 218), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (255,) * 3, 2)
    return out


def _inset(image: U8, inset: U8) -> U8:
    out = image.copy()
    out[8 : 8 + len(inset), 8 : 8 + inset.shape[1]] = inset
    return out


def _compressed(images: Images) -> Images:
    """What is left of pictures after strong H.264 compression."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as sink:
        stream = sink.add_stream("libx264", FPS, options={"crf": "42", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for image in images:
            sink.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        sink.mux(stream.encode())
    file.seek(0)
    with av.open(file, "r") as source:
        frames = [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]
    return [np.asarray(frame, np.uint8) for frame in frames]


def _decode(path: Path) -> Images:
    images: Images = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            picture = frame.to_ndarray(format="rgb24")
            images.append(cv2.resize(picture, SIZE, interpolation=cv2.INTER_AREA).astype(np.uint8))
            if len(images) == FRAMES:
                break
    return images


def _print(scores: dict[str, dict[str, Score]], seconds: dict[str, float], num_clips: int) -> None:
    names, kinds = list(scores), list(next(iter(scores.values())))
    print(f"{num_clips} clips. Found / wanted cuts, and wrong ones (+):\n")
    print("| | " + " | ".join(names) + " | frames passed through | needlessly |")
    print("|---" * (len(names) + 3) + "|")
    for kind in kinds:
        row = [scores[name][kind] for name in names]
        cells = [f"{s.hits} / {s.hits + s.missed} +{s.wrong}" for s in row]
        passed = f"{row[0].passed} / {row[0].spoilt}" if row[0].spoilt else ""
        print(f"| {kind} | " + " | ".join(cells) + f" | {passed} | {row[0].needless} |")
    faded = {kind for kind in kinds if "fade" in kind or "through" in kind}
    calm = {kind for kind in kinds if not scores[names[0]][kind].wanted}
    _summary("hard cuts alone", scores, [kind for kind in kinds if kind not in faded | calm])
    _summary("and what is uncut", scores, [kind for kind in kinds if kind not in faded])
    _summary("and fades", scores, kinds)
    for name in names:
        hourly = _total(scores[name], sorted(calm))
        wrong = hourly.wrong * 3600 * FPS / max(1, hourly.frames)
        cost = 1000 * seconds[name] / max(1, _total(scores[name], kinds).frames)
        print(f"{name}: {wrong:.0f} wrong cuts an hour without any; {cost:.2f} ms a frame.")


def _total(scores: dict[str, Score], kinds: list[str]) -> Score:
    total = Score()
    for kind in kinds:
        total.add(scores[kind])
    return total


def _summary(title: str, scores: dict[str, dict[str, Score]], kinds: list[str]) -> None:
    print(f"\n| {title} | precision | recall | F1 |")
    print("|---|---|---|---|")
    for name in scores:
        total = _total(scores[name], kinds)
        precision = total.hits / max(1, total.hits + total.wrong)
        recall = total.hits / max(1, total.hits + total.missed)
        f1 = 2 * precision * recall / max(1e-9, precision + recall)
        print(f"| {name} | {precision:.3f} | {recall:.3f} | {f1:.3f} |")
    print()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clips", type=Path, required=True, help="folder of clips without cuts")
    parser.add_argument("--most", type=int, default=40, help="take no more clips, evenly spread")
    parser.add_argument(
        "--scenedetect", type=Path, help="folder that PySceneDetect is installed in"
    )
    parser.add_argument("--out", type=Path, help="file for the counts as JSON")
    parser.add_argument("--verbose", action="store_true", help="name every case with a mistake")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
