"""Which stored identity a face is."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from dubcli.core.errors import DubError
from dubcli.core.types import F32, References
from dubcli.face.recognition import (
    SAME_PERSON,
    FaceEmbedder,
    cut_face,
    mean_embedding,
    similarity,
)
from dubcli.identities.identity import Identity
from dubcli.identities.layout import PERSON
from dubcli.identities.store import (
    identities_home,
    load_identity,
    read_file,
)

# Pictures of an identity of format 1 that are embedded each time it is compared.
_MOST_PICTURES = 4
_logger = logging.getLogger(__name__)


def matching_identities(
    embedding: F32, recogniser: FaceEmbedder, home: Path | None = None
) -> list[tuple[str, float]]:
    """Identities by name that are the person of a face, the most similar first.

    Args:
        embedding: Of a face. Shape (128,).
        recogniser: Embeds the pictures of identities that older versions stored.
        home: Where identities live by name.

    Returns:
        Names and similarity, at most 1. Damaged identities are left out.
    """
    home = identities_home() if home is None else home
    try:
        places = sorted(place for place in home.iterdir() if not place.name.startswith("."))
    except OSError:
        return []
    found: list[tuple[str, float]] = []
    for place in places:
        try:
            theirs = _embedding_in(place, recogniser)
        except DubError as error:
            _logger.info("%s", error)
            continue
        alike = similarity(embedding, theirs)
        if alike >= SAME_PERSON:
            found.append((place.name, alike))
    return sorted(found, key=lambda item: -item[1])


def embedding_of(identity: Identity, recogniser: FaceEmbedder) -> F32:
    """Who an identity is: the stored embedding, or one of its reference pictures.

    Args:
        identity: Of any format.
        recogniser: Embeds the pictures where nothing is stored.

    Returns:
        Of unit length. Shape (128,).
    """
    if identity.embedding.any():
        return identity.embedding
    return embedding_of_references(identity.references, recogniser)


def embedding_of_references(references: References, recogniser: FaceEmbedder) -> F32:
    """Mean embedding of some reference pictures. Shape (128,)."""
    factor = references.detail_crops.shape[1] / references.crops.shape[1]
    count = min(_MOST_PICTURES, len(references))
    chosen = np.linspace(0, len(references) - 1, count).round().astype(np.int64)
    # Pixel centres at integers in both sizes.
    faces = [
        cut_face(
            references.detail_crops[index],
            ((references.landmarks[index, :, :2] + 0.5) * factor - 0.5).astype(np.float32),
        )
        for index in chosen.tolist()
    ]
    return mean_embedding(list(recogniser.embed(np.stack(faces))))


def _embedding_in(path: Path, recogniser: FaceEmbedder) -> F32:
    from dubcli.identities.arrays import stored_embedding

    stored = stored_embedding(read_file(path, PERSON), path)
    return stored if stored.any() else embedding_of(load_identity(path), recogniser)
