"""A stored identity in a dub: its weights, its pictures in this light, and whose face it is."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from dubcli.core.errors import ConfigError, DubError, IncompatibleAdapterError
from dubcli.core.types import F32, U8, Alignment, Int, References
from dubcli.face.landmarks import CHEEKS, LIPS_OUTER
from dubcli.face.recognition import SAME_PERSON, STRANGER, FaceEmbedder, similarity
from dubcli.face.references import detail_factor
from dubcli.identities.identity import Identity
from dubcli.identities.matching import embedding_of, matching_identities
from dubcli.identities.store import load_identity, locate
from dubcli.models.api import ModelSpec
from dubcli.weights.external import is_external
from dubcli.weights.manifest import Manifest, load_manifest
from dubcli.weights.resolve import resolve

# Light that differs by less is left as it is, and no more than this is made up for.
_SAME_LIGHT, _MOST_LIGHT = 0.04, 1.8
_LOG = logging.getLogger(__name__)


def read_identity(
    name_or_path: str, model: str, manifest: Manifest | None = None
) -> tuple[Identity, str]:
    """An identity and the name of the model that it needs.

    Args:
        name_or_path: As `--identity` takes it.
        model: As `--model` takes it; an architecture alone means the identity's own weights.
        manifest: The one of this installation by default.

    Raises:
        ConfigError: It is neither a path nor a possible name.
        IdentityError: It is missing or damaged.
        IncompatibleAdapterError: Its weights are not those of this installation or of the model.
    """
    identity = load_identity(locate(name_or_path))
    base = identity.base
    if model != identity.architecture:
        return identity, model
    if is_external(base.name):
        return identity, base.name  # its hash is compared when the adapter is put on
    manifest = load_manifest() if manifest is None else manifest
    entry = manifest.weights.get(base.name)
    if entry is None or entry.sha256 != base.sha256:
        installed = resolve(model, manifest).name
        raise IncompatibleAdapterError(
            f"The identity '{identity.name}' was learned on {base.name} "
            f"(sha256 {str(base.sha256)[:12]}), which this version does not have; it has "
            f"{installed}.",
            "Learn it again with dub finetune.",
        )
    return identity, base.name


def require_one_role(spec: ModelSpec) -> None:
    """Refuse a model whose references play several roles: an identity stores those of one.

    Raises:
        ConfigError: It has several roles, or none.
    """
    if len(spec.static_roles()) != 1:
        raise ConfigError(
            f"'{spec.name}' takes no identity: an identity holds references of one role.",
            "Choose another --model, or dub without an identity.",
        )


def in_this_video(
    references: References, own: References, alignment: Alignment, usable: Int
) -> References:
    """An identity's references in a video's light and at its resolution.

    Args:
        references: The identity's.
        own: The video's own, as `cut_references` gives them.
        alignment: Of the video.
        usable: Positions in the alignment that show the face.

    Returns:
        The very same object where neither light nor resolution differ.
    """
    factor = detail_factor(alignment, usable)
    height, width = references.crops.shape[1:3]
    gain = _skin(own) / np.maximum(_skin(references), 1)
    gain = np.asarray(np.clip(gain, 1 / _MOST_LIGHT, _MOST_LIGHT), np.float32)
    crops, fine = references.crops, references.detail_crops
    if np.abs(gain - 1).max() > _SAME_LIGHT:
        crops, fine = (_lit(pictures, gain) for pictures in (crops, fine))
    if fine.shape[1] > factor * height:
        size = (factor * width, factor * height)
        shrunk = [cv2.resize(x, size, interpolation=cv2.INTER_AREA) for x in fine]
        fine = crops if factor == 1 else np.stack(shrunk).astype(np.uint8, copy=False)
    if crops is references.crops and fine is references.detail_crops:
        return references
    return replace(references, crops=crops, detail_crops=fine)


def _skin(references: References) -> F32:
    """Mean colour of the skin around the mouth, RGB. Shape (3,)."""
    colours = []
    for crop, landmarks in zip(references.crops, references.landmarks, strict=True):
        mask = np.zeros(crop.shape[:2], np.uint8)
        points = landmarks[:, :2].round().astype(np.int32)
        cv2.fillConvexPoly(mask, cv2.convexHull(points[CHEEKS]), (1,))
        cv2.fillConvexPoly(mask, cv2.convexHull(points[LIPS_OUTER]), (0,))
        colours.append(crop[mask > 0].mean(0) if mask.any() else crop.reshape(-1, 3).mean(0))
    return np.mean(colours, 0).astype(np.float32)


def _lit(pictures: U8, gain: F32) -> U8:
    """Pictures (N, H, W, 3) with each channel multiplied."""
    levels = np.clip(np.arange(256)[:, None] * gain, 0, 255).round().astype(np.uint8)
    return np.stack([np.asarray(cv2.LUT(picture, levels[None]), np.uint8) for picture in pictures])


def remarks(
    embedding: F32,
    identity: Identity | None,
    recogniser: FaceEmbedder,
    home: Path | None = None,
) -> list[str]:
    """What to tell of a face and of stored identities.

    Args:
        embedding: Of the face that is dubbed. Shape (128,).
        identity: The one that is used.
        recogniser: Embeds the pictures of identities that older versions stored.
        home: Where identities live by name.
    """
    if identity is not None:
        alike = similarity(embedding, embedding_of(identity, recogniser))
        if alike >= STRANGER or not embedding.any():
            return []
        return [
            f"The face does not look like '{identity.name}' (similarity {alike:.3f}, "
            f"{SAME_PERSON:.3f} for the same person): is it the same person? "
            "--face chooses another face."
        ]
    try:
        found = matching_identities(embedding, recogniser, home)
    except DubError as error:
        _LOG.info("Stored identities cannot be compared: %s", error)
        return []
    if not found:
        return []
    name = found[0][0]
    return [f"The face looks like the identity '{name}': --identity {name} would use it."]
