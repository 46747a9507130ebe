"""Where the mouth's motion is lost between sound and picture.

    python tests/bench/lip_stages.py --dev other-people/ --models iptalker.v3 iptalker.v5

For each clip of a prepared set with sound of its own, at its own offset: references, rest and the
person's manner come from the first 40 % of its usable frames, and evenly spread frames of the rest
are scored. Each is rendered twice in the crop, once as the true landmarks ask and once as the sound
does, and the mouth is measured by the landmark detector that scores dubs. Nothing is pasted and
nothing encoded, so a loss that shows here is the model's own.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from dubcli.core.errors import DubError
from dubcli.core.types import F32, U8, Int
from dubcli.face.detect import VideoFaceDetector, open_detector
from dubcli.face.landmarks import LIPS_OUTER, SPEAKING, mouth_open
from dubcli.face.neutral import rest_shape
from dubcli.metrics.lips import lip_distance
from dubcli.metrics.mouth_fidelity import fill_outline, fine_structure, texture_energy
from dubcli.models.api import FaceGeometry, ModelWindow, Motion, OwnSpeech, ReferenceSet, Subject
from dubcli.models.common.mouth_basis import coefficients_of
from dubcli.models.common.mouth_map import INNER_BOTTOM, INNER_TOP
from dubcli.models.conversion import to_images, to_tensor, whole_window
from dubcli.models.iptalker.network import ROLE, IPTalker, ReferenceState
from dubcli.pipeline.device import autocast
from dubcli.training.data.mapped_array import opened
from dubcli.training.data.prepared_clip import STEPS_HZ
from dubcli.training.data.train_clips import TrainClip, audio_windows, load_clips, with_sound
from dubcli.training.picture_scores import put_back_landmarks
from dubcli.weights.load import load_entry
from dubcli.weights.manifest import load_manifest
from dubcli.weights.resolve import resolve

REFERENCE_SHARE = 0.4
# A manner is taken of so much speech in step, as the sync expert needs to be sure of it.
LEAST_SPEECH_S = 2.0
_MOST_SPEECH, _WINDOW = 250, 16


@dataclass(frozen=True, kw_only=True)
class StageScores:
    """One clip. r and ratio of spreads are of mouth openings.

    Attributes:
        sound_r: What the sound asks for against the truth.
        sound_spread: Its standard deviation over the true one's.
        render_r: Seen in pictures that the true landmarks ask for, against what they ask for.
        render_spread: The same as a ratio of standard deviations.
        dub_r: Seen in pictures that the sound asks for, against the truth.
        dub_spread: The same as a ratio of standard deviations.
        asked_r: The same against what the sound asks for.
        asked_spread: The same as a ratio of standard deviations.
        real_r: Seen in the real crops against the prepared landmarks: the detector's own noise.
        lmd: Distance of lip points, pictures by sound against the real crops.
        render_lmd: The same with true landmarks.
        psnr_db: Of the mouth, pictures by true landmarks.
        texture: Energy of fine structure inside the lips, pictures by sound over the real crops.
    """

    sound_r: float
    sound_spread: float
    render_r: float
    render_spread: float
    dub_r: float
    dub_spread: float
    asked_r: float
    asked_spread: float
    real_r: float
    lmd: float
    render_lmd: float
    psnr_db: float
    texture: float


@torch.no_grad()
def stage_scores(
    model: IPTalker, clip: TrainClip, detector: VideoFaceDetector, num: int
) -> StageScores:
    """Scores of a clip with sound of its own.

    Args:
        model: With the mouth map.
        clip: The clip.
        detector: Finds mouths.
        num: Frames that are scored, at most.
    """
    split = round(REFERENCE_SHARE * len(clip.frames))
    lent, rest = clip.frames[:split], clip.frames[split:]
    frames = rest[np.linspace(0, len(rest) - 1, min(num, len(rest))).round().astype(np.int64)]
    neutral = rest_shape(opened(clip.clip.canonical)[lent], np.ones(len(lent), bool))
    state = model.prepare(_subject(model, clip, lent, neutral))
    window = _window(model, clip, frames, neutral)
    basis = model.alignment.basis
    canonical = torch.from_numpy(clip.clip.canonical[frames][:, SPEAKING])
    true_motion = model.motion_of(coefficients_of(canonical - window.geometry.neutral, basis),
                                  window.geometry.neutral)  # fmt: skip
    asked_motion = model.predict_motion(window, state)
    assert asked_motion is not None
    real = np.stack([clip.clip.crop(int(i)) for i in frames])
    by_truth = _rendered(model, window, true_motion, state)
    by_sound = _rendered(model, window, asked_motion, state)
    seen_real, seen_truth, seen_sound = (
        _landmarks(detector, clip, frames, pictures) for pictures in (real, by_truth, by_sound)
    )
    true, asked, wanted = clip.opening[frames], _opening(asked_motion), _opening(true_motion)
    dubbed, rendered = mouth_open(seen_sound), mouth_open(seen_truth)
    mouth = np.s_[:, model.config.top + 32 :, 40:-40]
    error = (by_truth[mouth].astype(np.float64) - real[mouth]) / 255
    return StageScores(
        sound_r=_r(asked, true),
        sound_spread=_ratio(asked, true),
        render_r=_r(rendered, wanted),
        render_spread=_ratio(rendered, wanted),
        dub_r=_r(dubbed, true),
        dub_spread=_ratio(dubbed, true),
        asked_r=_r(dubbed, asked),
        asked_spread=_ratio(dubbed, asked),
        real_r=_r(mouth_open(seen_real), true),
        lmd=lip_distance(seen_sound, seen_real),
        render_lmd=lip_distance(seen_truth, seen_real),
        psnr_db=float(-10 * np.log10((error**2).mean())),
        texture=_texture(clip, by_sound, seen_sound) / _texture(clip, real, seen_real),
    )


def _subject(model: IPTalker, clip: TrainClip, lent: Int, neutral: F32) -> Subject:
    """References evenly by rank of opening, and the manner where the clip's offset is known."""
    order = lent[np.argsort(clip.opening[lent], kind="stable")]
    places = np.linspace(0, len(order) - 1, model.config.num_references)
    chosen = order[places.round().astype(np.int64)]
    crops = np.stack([clip.clip.crop(int(i)) for i in chosen])
    num_steps = int(clip.clip.steps[lent[-1]]) - int(clip.clip.steps[lent[0]])
    seconds = num_steps / float(STEPS_HZ)
    own = None
    if clip.is_in_step and seconds >= LEAST_SPEECH_S and "own_speech" in model.spec.needs:
        places = np.linspace(0, len(lent) - 1, min(_MOST_SPEECH, len(lent)))
        spoken = lent[places.round().astype(np.int64)]
        own = OwnSpeech(
            audio=_audio(model, clip, spoken),
            points=torch.from_numpy(clip.clip.canonical[spoken][:, SPEAKING]),
            seconds=seconds,
        )
    return Subject(
        references={
            ROLE: ReferenceSet(
                crops=to_tensor(crops),
                points=torch.from_numpy(clip.clip.crop_points(chosen)[:, SPEAKING]),
                frames=torch.from_numpy(chosen),
            )
        },
        neutral=torch.from_numpy(neutral),
        own_speech=own,
    )


def _audio(model: IPTalker, clip: TrainClip, frames: Int) -> torch.Tensor:
    spec = model.spec.audio
    return torch.from_numpy(audio_windows(clip, frames, spec.width, kind=spec.kind))


def _window(model: IPTalker, clip: TrainClip, frames: Int, neutral: F32) -> ModelWindow:
    prepared = clip.clip
    translation = prepared.translation[frames].astype(np.float32)
    translation[:, :2] -= np.array(prepared.margin[::-1], np.float32)
    return whole_window(
        crops=to_tensor(np.stack([prepared.crop(int(i)) for i in frames])),
        audio=_audio(model, clip, frames),
        landmarks=torch.from_numpy(prepared.crop_points(frames)),
        geometry=FaceGeometry(
            scale=torch.from_numpy(prepared.scale[frames]).float(),
            rotation=torch.from_numpy(prepared.rotation[frames]).float(),
            translation=torch.from_numpy(translation),
            neutral=torch.from_numpy(neutral),
        ),
    )


def _rendered(model: IPTalker, window: ModelWindow, motion: Motion, state: ReferenceState) -> U8:
    """Crops with new mouths. Shape (T, H, W, 3)."""
    made: list[U8] = []
    for start in range(0, window.num_wanted, _WINDOW):
        stop = min(start + _WINDOW, window.num_wanted)
        part = window.part(start, stop, 0)
        made.append(to_images(model.render(part, motion.rows(slice(start, stop)), state).rgb))
    return np.concatenate(made)


def _landmarks(detector: VideoFaceDetector, clip: TrainClip, frames: Int, pictures: U8) -> F32:
    """As `put_back_landmarks`, with no face followed from elsewhere."""
    detector.reset()
    return put_back_landmarks(detector, clip, frames, pictures)


def _texture(clip: TrainClip, pictures: U8, seen: F32) -> float:
    """Mean energy of fine structure inside the lips, grey levels squared."""
    outlines = seen[:, LIPS_OUTER, :2] - np.array(clip.clip.margin[::-1], np.float32)
    energies = [
        texture_energy(fine_structure(picture), fill_outline(outline, picture.shape[:2]))
        for picture, outline in zip(pictures, outlines, strict=True)
        if np.isfinite(outline).all()
    ]
    return float(np.nanmean(energies))


def _opening(motion: Motion) -> F32:
    gap = motion.points[:, INNER_BOTTOM] - motion.points[:, INNER_TOP]
    return gap.norm(dim=-1).numpy()


def _pair(a: F32, b: F32) -> tuple[F32, F32]:
    known = np.isfinite(a) & np.isfinite(b)
    return a[known], b[known]


def _r(a: F32, b: F32) -> float:
    a, b = _pair(a, b)
    return float(np.corrcoef(a, b)[0, 1])


def _ratio(a: F32, b: F32) -> float:
    a, b = _pair(a, b)
    return float(a.std() / max(float(b.std()), 1e-6))


def table(scores: dict[str, StageScores]) -> str:
    """A Markdown table, a row a clip and one of means."""
    rows = [(name, asdict(one)) for name, one in scores.items()]
    columns = list(StageScores.__dataclass_fields__)
    lines = ["| clip | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    means = {key: float(np.nanmean([row[key] for _, row in rows])) for key in columns}
    for name, row in [*rows, ("mean", means)]:
        digits = {key: 1 if key == "psnr_db" else 4 if "lmd" in key else 2 for key in columns}
        lines.append(f"| {name} | " + " | ".join(f"{row[k]:.{digits[k]}f}" for k in columns) + " |")
    spreads = np.array([row["dub_spread"] for _, row in rows])
    within = float(np.mean((spreads > 0.8) & (spreads < 1.25)))
    return "\n".join(lines) + f"\n\nspread of the dub within 0.8-1.25: {within:.0%}"


def main() -> None:
    """Score, print a table for each model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--dev", type=Path, required=True, help="prepared set of other people")
    parser.add_argument("--models", nargs="+", default=["iptalker"], help="IPTalker weights")
    parser.add_argument("--frames", type=int, default=64, help="scored of each clip, at most")
    parser.add_argument("--clips", nargs="*", help="names of the clips; all by default")
    parser.add_argument("--out", type=Path, help="file for all scores as JSON")
    job = parser.parse_args()
    told: dict[str, dict[str, dict[str, float]]] = {}
    try:
        clips = with_sound(load_clips(job.dev))
        clips = [clip for clip in clips if not job.clips or clip.clip_id in job.clips]
        for name in job.models:
            model = _load(name)
            with open_detector(max_faces=1) as detector:
                scores: dict[str, StageScores] = {}
                for clip in clips:
                    with autocast(torch.device("cpu")):
                        scores[clip.clip_id] = stage_scores(model, clip, detector, job.frames)
                    print(name, clip.clip_id, scores[clip.clip_id], file=sys.stderr, flush=True)
            print(f"`{name}`, {len(clips)} clips\n\n{table(scores)}\n")
            told[name] = {clip: asdict(one) for clip, one in scores.items()}
    except DubError as error:
        sys.exit(str(error))
    if job.out is not None:
        job.out.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def _load(name: str) -> IPTalker:
    model = load_entry(resolve(name, load_manifest()), "cpu")[0]
    assert isinstance(model, IPTalker)
    return model.eval()


if __name__ == "__main__":
    main()
