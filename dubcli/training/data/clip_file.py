"""The file of a prepared clip, `CLIP.npz`: format 2, and 1, which knew one size and one kind.

Format 2 names its size, its crop template and its kinds of sound features; these are arrays of
their own, `sound_KIND` and `fill_KIND`. Pictures, points and sound stay in the file when it is
read.
"""

from __future__ import annotations

import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from dubcli.core.atomic_io import replacing
from dubcli.core.errors import TrainingError
from dubcli.core.types import FEATURE_SIZES
from dubcli.training.data.mapped_array import mapped_members
from dubcli.training.data.prepared_clip import DEFAULT_SIZE, ClipSound, PreparedClip

_FORMAT, _FIRST_FORMAT = 2, 1
_MAPPED = {"jpeg", "landmarks", "canonical", "voices", *(f"sound_{kind}" for kind in FEATURE_SIZES)}
# Fields that are arrays under their own names, in both formats.
_ARRAYS = [
    item.name
    for item in fields(PreparedClip)
    if item.name not in ("sounds", "size", "template", "detector")
]


def save_clip(clip: PreparedClip, path: Path) -> None:
    """Write a clip whole, or not at all.

    Raises:
        OSError: The disk is full or the folder cannot be written.
    """
    arrays: dict[str, Any] = {name: getattr(clip, name)[:] for name in _ARRAYS}
    arrays |= {
        "format": np.int64(_FORMAT),
        "size": np.array(clip.size, np.int64),
        "template": np.array(clip.template),
        "detector": np.array(clip.detector),
        "kinds": np.array(list(clip.sounds)),
    }
    for kind, sound in clip.sounds.items():
        arrays[f"sound_{kind}"] = sound.versions[:][..., sound.first :]
        arrays[f"fill_{kind}"] = sound.fill
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)


def load_clip(path: Path) -> PreparedClip:
    """A prepared clip, of which pictures, points and sound stay in the file.

    Raises:
        TrainingError: The file is missing, damaged or of a later format.
    """
    try:
        data: dict[str, Any] = mapped_members(path, _MAPPED)
        number = int(data.get("format", _FIRST_FORMAT))
        if number > _FORMAT:
            raise TrainingError(
                f"Prepared clip '{path}' has format {number}; this version reads up to {_FORMAT}.",
                "Run 'dub prepare' with this version, into another folder.",
            )
        clip = PreparedClip(**{name: data[name] for name in _ARRAYS}, **_described(data, number))
        _check_lengths(clip)
        return clip
    # A TypeError where a single array was stored under the name.
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise TrainingError(
            f"Prepared clip '{path}' cannot be read: {reason}.",
            "Delete it and run 'dub prepare' again.",
        ) from error


def _described(data: dict[str, Any], number: int) -> dict[str, Any]:
    """Fields of a clip that are no arrays of their own."""
    if number == _FIRST_FORMAT:
        return {"sounds": _first_sounds(data), "size": DEFAULT_SIZE, "detector": "mediapipe"}
    height, width = data["size"].tolist()
    return {
        "sounds": {
            kind: ClipSound(versions=data[f"sound_{kind}"], fill=data[f"fill_{kind}"])
            for kind in data["kinds"].tolist()
        },
        "size": (height, width),
        "template": str(data["template"]),
        "detector": str(data.get("detector", "mediapipe")),
    }


def _first_sounds(data: dict[str, Any]) -> dict[str, ClipSound]:
    """Format 1 has speech features, at whose end log-mel stands."""
    voices, fill = data["voices"], data["fill"]
    if len(fill) != FEATURE_SIZES["speech"]:
        raise ValueError("its sound is of another format")
    first = len(fill) - FEATURE_SIZES["mel"]
    return {
        "speech": ClipSound(versions=voices, fill=fill),
        "mel": ClipSound(versions=voices, fill=fill[first:], first=first),
    }


def _check_lengths(clip: PreparedClip) -> None:
    """Everything must speak of the same frames and of the same audio steps."""
    per_frame = ("jpeg_ends", "landmarks", "canonical", "scale", "rotation", "translation")
    for name in (*per_frame, "shot", "steps"):
        if len(getattr(clip, name)) != len(clip):
            raise ValueError(f"{name} is not of {len(clip)} frames")
    ends = clip.jpeg_ends
    if len(ends) and (ends[-1] != len(clip.jpeg) or (np.diff(ends, prepend=0) <= 0).any()):
        raise ValueError("its pictures are cut off")
    for kind, sound in clip.sounds.items():
        shape = sound.versions.shape
        width = shape[-1] - sound.first
        if len(shape) != 3 or shape[:2] != clip.heard.shape:
            raise ValueError(f"its {kind} features are of other steps")
        if sound.fill.shape != (width,) or FEATURE_SIZES.get(kind) != width:
            raise ValueError(f"its {kind} features are of another format")
