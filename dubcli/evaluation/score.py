"""The scores of one result: lips by landmarks, pictures by aligned crops."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from dubcli.core.types import F32, U8
from dubcli.evaluation.measures import MAX_LAG_FRAMES
from dubcli.evaluation.settings import CROSS_CLIP, RECONSTRUCTION, SILENCE
from dubcli.evaluation.source import CROP_SIZE, Source, aligned_crops
from dubcli.face.landmarks import LIPS_INNER, LIPS_OUTER
from dubcli.face.pose import mouth_box
from dubcli.metrics.lips import (
    MouthSeries,
    at_times,
    correlation_at_best_lag,
    lip_distance,
    motion,
    motion_ratio,
    opening_correlation,
)
from dubcli.metrics.mouth_fidelity import (
    fill_outline,
    fine_structure,
    lip_redness,
    psnr,
    share_without_colour,
    texture_energy,
)
from dubcli.metrics.pixels import flicker, seam_step, ssim

Scores = dict[str, float]
# Faces on a contact sheet.
_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class LipResult:
    """Scores of the lips, and the openings that a plot compares. Shapes (T,)."""

    scores: Scores
    output: F32
    compared: F32


def score_lips(
    run: str,
    source: Source,
    result: MouthSeries,
    speaker: Source | None,
    offset_s: float | None,
    delay_s: float | None = None,
) -> LipResult:
    """Scores of the lips' motion.

    Args:
        run: As in `settings.RUNS`.
        source: The clip that was dubbed.
        result: Its mouth after the dub.
        speaker: Whose sound it was, where that mouth is known.
        offset_s: By how much the speaker's own picture comes later than its sound, seconds; None
            where nobody knows.
        delay_s: By how much the sound was delayed in reconstruction; by `offset_s` by default.
    """
    made = np.where(source.valid, result.opening, np.nan).astype(np.float32)
    if run == RECONSTRUCTION:
        made[: source.split] = np.nan
    true = source.mouth.opening
    if run == SILENCE:
        scored = np.where(np.arange(len(made)) >= source.split, made, np.nan)
        return LipResult(
            scores={
                "opening_std": motion(scored.astype(np.float32)),
                "silence_motion_source": motion_ratio(scored.astype(np.float32), true),
            },
            output=made,
            compared=true,
        )
    scores = {"motion": motion_ratio(made, true), "opening_std": motion(made)}
    if run != RECONSTRUCTION:
        scores["leakage_r"] = opening_correlation(made, true)
    if run == CROSS_CLIP and speaker is not None:
        own = speaker.mouth.opening, speaker.seconds
        heard = at_times(*own, source.seconds)
        late = None if offset_s is None else at_times(*own, source.seconds + offset_s)
        scores |= _followed(made, heard, late, "r_other")
        return LipResult(scores=scores, output=made, compared=heard)
    if run == RECONSTRUCTION and source.clip.audio_is_own:
        scores |= _followed(made, true, None, "r")
        if offset_s is not None:
            late_s = offset_s if delay_s is None else delay_s
            for key, by_s in (("r_own_offset", late_s - offset_s), ("r", late_s)):
                read = at_times(made, source.seconds, source.seconds + by_s)
                scores[key] = opening_correlation(read, true)
        marks = np.where(np.isfinite(made)[:, None, None], result.landmarks, np.nan)
        scores["lmd"] = lip_distance(marks.astype(np.float32), source.mouth.landmarks)
    return LipResult(scores=scores, output=made, compared=true)


def _followed(made: F32, true: F32, corrected: F32 | None, name: str) -> Scores:
    """How well an opening follows the true one, as it is and with lags taken out."""
    best, lag = correlation_at_best_lag(made, true, MAX_LAG_FRAMES)
    scores = {name: opening_correlation(made, true), f"{name}_best_lag": best}
    if name == "r":
        scores["best_lag"] = float(lag)
    if corrected is not None:
        scores[f"{name}_own_offset"] = opening_correlation(made, corrected)
    return scores


def score_pictures(
    run: str,
    source: Source,
    path: Path,
    result: MouthSeries,
) -> tuple[Scores, list[list[U8]]]:
    """Scores of the pictures, over the valid frames behind the references' part.

    Args:
        run: As in `settings.RUNS`.
        source: The clip that was dubbed.
        path: The result.
        result: Its mouth.

    Returns:
        The scores, and evenly spaced faces at the crop's size: the source's and the result's.
    """
    sums = _Sums(source=source, fidelity=run == RECONSTRUCTION and source.clip.audio_is_own)
    wanted = set(source.scored.tolist())
    places = np.linspace(0, len(wanted) - 1, _SHOWN).round().astype(int)
    shown = set(source.scored[places].tolist())
    faces: list[list[U8]] = [[], []]
    pairs = zip(
        aligned_crops(source.clip.path, source, source.split),
        aligned_crops(path, source, source.split),
        strict=False,
    )
    for (index, truth), (_, made) in pairs:
        if index not in wanted:
            sums.interrupt()
            continue
        sums.add(index, truth, made, result)
        if index in shown:
            for row, picture in zip(faces, (truth, made), strict=True):
                row.append(_at_crop_size(picture))
    return sums.scores(), faces


@dataclass
class _Sums:
    """Adds up frame by frame; pictures are not kept but for the previous frame's structure."""

    source: Source
    fidelity: bool
    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    previous: tuple[int, F32, F32] | None = None

    def add(self, index: int, truth: U8, made: U8, result: MouthSeries) -> None:
        """A frame: its number, the source's crop, the result's crop, the result's mouth."""
        box = mouth_box(CROP_SIZE, self.source.factor)
        if self.fidelity:
            self._compare(truth, made, box)
        fine = fine_structure(truth), fine_structure(made)
        for name, picture, structure, mouth in (
            ("true", truth, fine[0], self.source.mouth),
            ("made", made, fine[1], result),
        ):
            points = self.source.in_crop(mouth.landmarks[index], index)
            outline = points[LIPS_OUTER]
            if np.isfinite(outline).all():
                inside = fill_outline(outline, structure.shape[:2])
                self.values[f"texture_{name}"].append(texture_energy(structure, inside))
                redness = lip_redness(picture, outline, points[LIPS_INNER])
                self.values[f"redness_{name}"].append(redness)
        boxed = fine[0][box], fine[1][box]
        shots = self.source.track.shot
        last = self.previous
        if last is not None and last[0] == index - 1 and shots[last[0]] == shots[index]:
            self.values["flicker_true"].append(flicker(boxed[0], last[1]))
            self.values["flicker_made"].append(flicker(boxed[1], last[2]))
        self.previous = (index, *boxed)
        alpha = self.source.paste_alpha(index)
        self.values["seam_true"].append(seam_step(truth, alpha))
        self.values["seam_made"].append(seam_step(made, alpha))

    def interrupt(self) -> None:
        """The next frame does not follow on the last one."""
        self.previous = None

    def scores(self) -> Scores:
        """Means, and ratios of means; NaN where nothing was measured."""
        means = {name: _mean(values) for name, values in self.values.items()}
        missing = float("nan")
        scores = {
            name: means.get(f"{name}_made", missing) / (means.get(f"{name}_true") or missing)
            for name in ("texture", "flicker", "seam")
        }
        scores["lip_colour"] = self._lost_colour()
        return scores | {
            name: value for name, value in means.items() if name.startswith(("psnr", "ssim"))
        }

    def _lost_colour(self) -> float:
        """Share of frames whose lips lost their colour, less the source's own share."""
        true, made = (
            np.array(self.values[f"redness_{name}"], np.float32) for name in ("true", "made")
        )
        usual = float(np.median(true[np.isfinite(true)])) if np.isfinite(true).any() else 0.0
        return share_without_colour(made, usual) - share_without_colour(true, usual)

    def _compare(self, truth: U8, made: U8, box: tuple[slice, slice]) -> None:
        self.values["psnr_mouth"].append(psnr(made[box], truth[box]))
        self.values["ssim_mouth"].append(ssim(made[box], truth[box]))
        small = [_at_crop_size(picture) for picture in (made, truth)]
        self.values["psnr_face"].append(psnr(*small))
        self.values["ssim_face"].append(ssim(*small))


def known_by_definition(source: Source) -> Scores:
    """Scores of pictures of the source against itself."""
    scores = {"texture": 1.0, "flicker": 1.0, "seam": 1.0, "lip_colour": 0.0}
    return scores | {"ssim_mouth": 1.0, "ssim_face": 1.0} if source.clip.audio_is_own else scores


def _at_crop_size(picture: U8) -> U8:
    if picture.shape[:2] == CROP_SIZE:
        return picture
    small = cv2.resize(picture, CROP_SIZE[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def _mean(values: list[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")
