"""Every figure: what it says, of which region, in which unit, and which direction is good."""

from __future__ import annotations

from dataclasses import dataclass

from dubcli.evaluation.costs import CPU_TIME, PEAK_MEMORY, WEIGHTS_SIZE
from dubcli.evaluation.settings import CROSS_CLIP, CROSS_SPEECH, RECONSTRUCTION, RUNS, SILENCE

MAX_LAG_FRAMES = 8
_CROSS = (CROSS_SPEECH, CROSS_CLIP)
_SPOKEN = (RECONSTRUCTION, *_CROSS)
_R = "Pearson r"


@dataclass(frozen=True)
class Measure:
    """One figure.

    Attributes:
        key: Its name in the JSON.
        title: What it says.
        region: Of which part of the picture, or of what.
        unit: In which unit.
        better: `higher`, `lower`, or the value that is right.
        runs: The runs that have it.
        weights: Files or the option that it needs, '' for none.
    """

    key: str
    title: str
    region: str
    unit: str
    better: str
    runs: tuple[str, ...] = RUNS
    weights: str = ""


_LIPS = (
    Measure("r", "opening against the true one", "lips", _R, "higher", (RECONSTRUCTION,)),
    Measure(
        "r_own_offset",
        "the same, clip's own offset corrected",
        "lips",
        _R,
        "higher",
        (RECONSTRUCTION,),
        "judge",
    ),
    Measure(
        "r_best_lag",
        f"the same, at the best lag of ±{MAX_LAG_FRAMES} (flatters)",
        "lips",
        _R,
        "higher",
        (RECONSTRUCTION,),
    ),
    Measure("best_lag", "that lag, + result late", "lips", "frames", "0", (RECONSTRUCTION,)),
    Measure(
        "r_other",
        "opening against the mouth that spoke this sound",
        "lips",
        _R,
        "higher",
        (CROSS_CLIP,),
    ),
    Measure(
        "r_other_own_offset",
        "the same, that clip's own offset corrected",
        "lips",
        _R,
        "higher",
        (CROSS_CLIP,),
        "judge",
    ),
    Measure(
        "r_other_best_lag",
        f"the same, at the best lag of ±{MAX_LAG_FRAMES} (flatters)",
        "lips",
        _R,
        "higher",
        (CROSS_CLIP,),
    ),
    Measure("leakage_r", "opening against the source's", "lips", _R, "0", _CROSS),
    Measure("motion", "motion against the source's", "lips", "ratio of std", "1", _SPOKEN),
    Measure(
        "silence_motion",
        "motion against the system's own reconstruction",
        "lips",
        "ratio of std",
        "lower",
        (SILENCE,),
    ),
    Measure(
        "silence_motion_source",
        "motion against the source's",
        "lips",
        "ratio of std",
        "lower",
        (SILENCE,),
    ),
    Measure(
        "lmd",
        "LMD: distance of lip points from the true ones",
        "lips",
        "inter-ocular distances",
        "lower",
        (RECONSTRUCTION,),
    ),
)
_PICTURE = (
    Measure("psnr_mouth", "PSNR", "mouth box", "dB", "higher", (RECONSTRUCTION,)),
    Measure("ssim_mouth", "SSIM", "mouth box", "0-1", "higher", (RECONSTRUCTION,)),
    Measure("psnr_face", "PSNR", "face crop", "dB", "higher", (RECONSTRUCTION,)),
    Measure("ssim_face", "SSIM", "face crop", "0-1", "higher", (RECONSTRUCTION,)),
    Measure("texture", "texture against real frames", "inside the lips", "ratio of energy", "1"),
    Measure(
        "lip_colour",
        "frames whose lips lost their colour, beyond the source's",
        "lips",
        "share",
        "lower",
    ),
    Measure("flicker", "flicker against the source's", "mouth box", "ratio", "1", _SPOKEN),
    Measure("seam", "seam against the source's", "rim of the paste", "ratio of slopes", "1"),
    Measure(
        "lpips_alex",
        "LPIPS (Alex)",
        "face crop",
        "distance",
        "lower",
        (RECONSTRUCTION,),
        "lpips_alex",
    ),
    Measure(
        "lpips_vgg",
        "LPIPS (VGG)",
        "face crop",
        "distance",
        "lower",
        (RECONSTRUCTION,),
        "lpips_vgg",
    ),
    Measure("csim", "CSIM (dlib's ResNet)", "face", "cosine", "higher"),
    Measure("csim_sface", "CSIM (SFace)", "face", "cosine", "higher", RUNS, "sface"),
    Measure(
        "fid",
        "FID (few frames bias it upwards)",
        "face crop, all clips",
        "squared distance",
        "lower",
        RUNS,
        "inception",
    ),
)
_SYNC = (
    Measure(
        "sync_confidence", "own judge: confidence", "mouth", "distance", "higher", _SPOKEN, "judge"
    ),
    Measure("sync_distance", "own judge: distance", "mouth", "distance", "lower", _SPOKEN, "judge"),
    Measure("sync_offset", "own judge: offset", "mouth", "frames", "0", _SPOKEN, "judge"),
    Measure("lse_c", "LSE-C (SyncNet v2)", "face", "distance", "higher", _SPOKEN, "syncnet"),
    Measure("lse_d", "LSE-D (SyncNet v2)", "face", "distance", "lower", _SPOKEN, "syncnet"),
)
_STYLE = (
    Measure(
        "style_sim",
        "StyleSim: manner of the result",
        "lips, jaw",
        "cosine",
        "higher",
        _SPOKEN,
        "style",
    ),
    Measure(
        "style_sim_own",
        "the same of the person's own frames (ceiling)",
        "lips, jaw",
        "cosine",
        "-",
        _SPOKEN,
        "style",
    ),
    Measure(
        "style_sim_stranger",
        "the same of strangers (floor)",
        "lips, jaw",
        "cosine",
        "-",
        _SPOKEN,
        "style",
    ),
)
_HARM = (
    Measure(
        "changed_samples",
        "samples outside the repainted region that changed",
        "outside, before encoding",
        "samples",
        "0",
        (RECONSTRUCTION,),
    ),
    Measure(
        "changed_times", "timestamps that changed", "all frames", "frames", "0", (RECONSTRUCTION,)
    ),
    Measure("lost_streams", "streams that are missing", "file", "streams", "0", (RECONSTRUCTION,)),
    Measure(
        "changed_audio",
        "driving samples that changed",
        "sound",
        "samples",
        "0",
        (RECONSTRUCTION,),
    ),
)
_COSTS = (
    Measure(
        CPU_TIME,
        "processor time beside decoding and encoding",
        "whole dub",
        "s a frame",
        "lower",
        (RECONSTRUCTION,),
    ),
    Measure(
        PEAK_MEMORY,
        "peak memory",
        "process of one dub",
        "MiB",
        "lower",
        (RECONSTRUCTION,),
        "memory",
    ),
    Measure(WEIGHTS_SIZE, "size of the weights", "file", "MB", "lower", (RECONSTRUCTION,)),
)
MEASURES: tuple[Measure, ...] = (*_LIPS, *_SYNC, *_STYLE, *_PICTURE, *_HARM, *_COSTS)


def measures_of(run: str) -> list[Measure]:
    """The figures of a run, in the order in which they are shown."""
    return [measure for measure in MEASURES if run in measure.runs]
