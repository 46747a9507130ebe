"""What pass 1 keeps of one face in one frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dubcli.core.types import F32, U8, FaceObservation, Frame
from dubcli.face.face_descriptor import describe, sharpness
from dubcli.face.face_gallery import FacePicture, picture_quality
from dubcli.face.light import sample_light
from dubcli.face.recognition import cut_face
from dubcli.face.usability import MIN_FACE_PX
from dubcli.occlusion.ranges import Segmenter, look_for_cover


@dataclass(frozen=True)
class Sighting:
    """One face in one frame, with what it looks like.

    Attributes:
        frame_index: Frame it was seen in.
        box: Display px. Shape (4,).
        landmarks: Kept points, display px. Shape (K, 3).
        sharpness: See `face_descriptor.sharpness`.
        appearance: See `face_descriptor.describe`. Shape (D,).
        picture: For the recognition network; None where there is none.
        cover: See `occlusion.ranges.look_for_cover`, NaN where nobody looked. Shape (2,).
        light: See `light.sample_light`. Shape (`GRID`, 3), uint8.
    """

    frame_index: int
    box: F32
    landmarks: F32
    sharpness: float
    appearance: F32
    picture: FacePicture | None
    cover: F32
    light: U8


def look_at(
    frame_index: int,
    frame: Frame,
    seen: FaceObservation,
    segmenter: Segmenter | None,
    *,
    with_picture: bool = False,
) -> Sighting:
    """Look at one face.

    Args:
        frame_index: Of the frame.
        frame: The picture that was searched.
        seen: What the detector found, display px.
        segmenter: Segments what lies in front of it; None: nothing is looked for.
        with_picture: Also cut out the face for the recognition network.
    """
    # Pixel centres at integers in both spaces.
    in_image = (seen.landmarks[:, :2] + np.float32(0.5)) / np.float32(frame.scale) - np.float32(0.5)
    points = np.concatenate([in_image, seen.landmarks[:, 2:] / np.float32(frame.scale)], 1)
    box = seen.box / np.float32(frame.scale)
    cover = np.full(2, np.nan, np.float32)
    if segmenter is not None and seen.box[3] - seen.box[1] >= MIN_FACE_PX:
        cover[:] = look_for_cover(segmenter, frame.image, points)
    sharp, picture = sharpness(frame.image, box), None
    if with_picture:
        face = cut_face(frame.image, in_image)
        quality = picture_quality(face, points, sharp, float(box[3] - box[1]))
        picture = FacePicture(face, quality)
    return Sighting(
        frame_index=frame_index,
        box=seen.box.astype(np.float32),
        landmarks=seen.landmarks.astype(np.float32),
        sharpness=sharp,
        appearance=describe(frame.image, in_image),
        picture=picture,
        cover=cover,
        light=sample_light(frame.image, points),
    )
