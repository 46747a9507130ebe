"""Scores of pictures that a network makes of a prepared clip's own sound."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np
import torch

from dubcli.core.types import F32, U8, Frame, Int
from dubcli.evaluation.published_networks import WEIGHTS
from dubcli.face.detect import FaceDetector, open_detector
from dubcli.face.landmarks import NUM_KEPT, SPEAKING, mouth_open
from dubcli.face.pose import mouth_box
from dubcli.metrics.foreign_weights import read_state
from dubcli.metrics.lips import lip_distance, opening_correlation
from dubcli.metrics.lpips import Lpips
from dubcli.metrics.mouth_fidelity import psnr
from dubcli.metrics.pixels import ssim
from dubcli.models.api import FaceGeometry
from dubcli.models.conversion import to_images, to_tensor
from dubcli.models.iptalker.network import IPTalker
from dubcli.training.batches import resize_pictures
from dubcli.training.data.prepared_clip import without_margin
from dubcli.training.data.train_clips import TrainClip, audio_windows
from dubcli.training.device_utils import device_of

# Frames of a clip that are looked at, evenly spread.
NUM_FRAMES = 32
PICTURE_COLUMNS = {
    "psnr_db": "PSNR of the mouth box, dB (high)",
    "ssim": "SSIM of the mouth box (1)",
    "lpips": "LPIPS-VGG of the crop (0)",
    "r": "r of mouth opening, seen in the picture (1)",
    "lmd": "LMD, inter-ocular distances (0)",
}


@torch.no_grad()
def score_dubbed(model: IPTalker, clip: TrainClip) -> dict[str, float]:
    """Sound in, pictures out, against the clip's own frames.

    Args:
        model: Without the mouth map, evaluating.
        clip: With sound of its own.

    Returns:
        The columns of `PICTURE_COLUMNS`; NaN where LPIPS is not at hand or no face is seen.
    """
    num = min(NUM_FRAMES, len(clip.frames))
    frames = clip.frames[np.linspace(0, len(clip.frames) - 1, num).round().astype(np.int64)]
    return score_crops(clip, frames, *_painted(model, clip, frames))


def score_crops(clip: TrainClip, frames: Int, made: U8, real: U8) -> dict[str, float]:
    """Made crops of some frames of a clip beside the real ones, both (T, H, W, 3).

    Returns:
        The columns of `PICTURE_COLUMNS`; NaN where LPIPS is not at hand or no face is seen.
    """
    box = mouth_box((made.shape[1], made.shape[2]))
    both = list(zip(made, real, strict=True))
    detector = open_detector()
    try:
        seen, true = (
            put_back_landmarks(detector, clip, frames, pictures) for pictures in (made, real)
        )
    finally:
        detector.close()
    return {
        "psnr_db": float(np.mean([psnr(a[box], b[box]) for a, b in both])),
        "ssim": float(np.mean([ssim(a[box], b[box]) for a, b in both])),
        "lpips": _lpips(made, real),
        "r": opening_correlation(mouth_open(seen), mouth_open(true)),
        "lmd": lip_distance(seen, true),
    }


def _painted(model: IPTalker, clip: TrainClip, frames: Int) -> tuple[U8, U8]:
    """Made and real crops at the model's size. Shapes (T, H, W, 3)."""
    config, device = model.config, device_of(model)
    shown = np.concatenate([frames, spread_references(clip, config.num_references)])
    crops = np.stack([clip.clip.crop(int(i)) for i in shown])
    factor = config.height / crops.shape[1]
    pictures = resize_pictures(to_tensor(crops, device), factor)
    marks = clip.clip.crop_points(shown)
    landmarks = torch.from_numpy(marks * factor + (factor - 1) / 2).float().to(device)
    num = len(frames)
    state = model.encode_references(pictures[num:], landmarks[num:, SPEAKING])
    sound = audio_windows(clip, frames, config.audio_width, kind=config.audio_kind)
    code = model.alignment(torch.from_numpy(sound).to(device), state.tokens)
    source = pictures[:num]
    out = model.warp_and_inpaint(source, source, landmarks[:num], None, code, state)
    made = torch.cat([source[:, :, : config.top], out.rgb], 2)
    return to_images(made), to_images(source)


def spread_references(clip: TrainClip, num: int) -> Int:
    """Frames from the most closed to the widest mouth, evenly by rank."""
    order = clip.frames[np.argsort(clip.opening[clip.frames], kind="stable")]
    return order[np.linspace(0, len(order) - 1, num).round().astype(np.int64)]


def face_geometry(clip: TrainClip, frames: Int, factor: float) -> FaceGeometry:
    """Pose and rest of some frames, crop px at the stored size times `factor`."""
    translation = clip.clip.translation[frames].copy()
    translation[:, :2] -= np.array(clip.clip.margin[::-1])
    translation[:, :2] = translation[:, :2] * factor + (factor - 1) / 2
    return FaceGeometry(
        scale=torch.from_numpy(clip.clip.scale[frames] * factor).float(),
        rotation=torch.from_numpy(clip.clip.rotation[frames]).float(),
        translation=torch.from_numpy(translation).float(),
        neutral=torch.from_numpy(np.asarray(clip.neutral, np.float32)),
    )


def put_back_landmarks(detector: FaceDetector, clip: TrainClip, frames: Int, pictures: U8) -> F32:
    """Kept points that a detector finds once a picture is put back; NaN without a face."""
    found = np.full((len(frames), NUM_KEPT, 3), np.nan, np.float32)
    for number, (index, picture) in enumerate(zip(frames.tolist(), pictures, strict=True)):
        whole = clip.clip.picture(index).copy()
        place = without_margin(whole)
        place[:] = cv2.resize(picture, place.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        faces = detector.detect(Frame(index=number, pts=number, image=whole))
        if faces:
            largest = max(faces, key=lambda face: float(face.box[3] - face.box[1]))
            found[number] = largest.landmarks
    return found


def _lpips(made: U8, real: U8) -> float:
    net = _lpips_network()
    if net is None:
        return math.nan
    pairs = (torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255 for x in (made, real))
    return float(net(*pairs).mean())


@lru_cache(maxsize=1)
def _lpips_network() -> Lpips | None:
    """LPIPS on VGG-16, if `dub models pull vgg16 lpips-vgg` has brought it."""
    found = [file.find(None) for file in WEIGHTS["lpips_vgg"]]
    here = [read_state(file[0]) for file in found if file is not None]
    if len(here) < len(found):
        return None
    net = Lpips("vgg")
    net.load(here[0], here[1])
    return net.eval()
