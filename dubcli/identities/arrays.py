"""The arrays of an identity as the contents of its files, and back, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from dubcli.core.errors import IdentityError
from dubcli.core.types import F32, NUM_EMBEDDING, U8, References
from dubcli.face.landmarks import NUM_KEPT, NUM_SPEAKING
from dubcli.identities.identity import Identity
from dubcli.identities.layout import (
    ADAPTER,
    MAX_ADAPTER_BYTES,
    PERSON,
    Description,
    damaged,
    reference_files,
)

EMBEDDING = "embedding"
_STATE = "state."
_MAX_SIDE_PX = 8192
_PNG_SIDES = slice(16, 24)


def encode(identity: Identity) -> dict[str, bytes]:
    """Adapter, person and references as files by name.

    Raises:
        IdentityError: The adapter is too large, or holds numbers that are not finite.
    """
    references = identity.references
    person = {
        "landmarks": torch.from_numpy(np.array(references.landmarks, np.float32)),
        "mouth_open": torch.from_numpy(np.array(references.mouth_open, np.float32)),
        "frame_indices": torch.from_numpy(np.array(references.frame_indices, np.int64)),
        "neutral": torch.from_numpy(np.array(identity.neutral, np.float32)),
        EMBEDDING: torch.from_numpy(np.array(identity.embedding, np.float32)),
        **{f"{_STATE}{name}": value for name, value in identity.state.items()},
    }
    if not _all_finite({**identity.adapter, **person}):
        raise IdentityError(
            f"What was learned of '{identity.name}' is not finite.", "Learn from other footage."
        )
    adapter = save(_storable({name: value.half() for name, value in identity.adapter.items()}))
    if len(adapter) > MAX_ADAPTER_BYTES:
        size, most = len(adapter) / 1e6, MAX_ADAPTER_BYTES / 1e6
        raise IdentityError(
            f"The adapter of '{identity.name}' takes {size:.1f} MB, at most {most:.0f} are kept.",
            "Learn fewer layers.",
        )
    contents = {ADAPTER: adapter, PERSON: save(_storable(person))}
    for index in range(len(references)):
        fine, coarse = reference_files(index)
        contents[fine] = _png(references.detail_crops[index])
        contents[coarse] = _png(references.crops[index])
    return contents


def decode(description: Description, contents: Mapping[str, bytes], where: object) -> Identity:
    """The identity in files whose digests were checked.

    Raises:
        IdentityError: A file does not hold what it should.
    """
    person = _tensors(contents[PERSON], PERSON, where)
    state = {key.removeprefix(_STATE): person[key] for key in person if key.startswith(_STATE)}
    num = description.num_references
    names = [reference_files(index) for index in range(num)]
    references = References(
        crops=_pictures([coarse for _, coarse in names], contents, where),
        detail_crops=_pictures([fine for fine, _ in names], contents, where),
        landmarks=_array(person, "landmarks", (num, NUM_KEPT, 3), where),
        mouth_open=_array(person, "mouth_open", (num,), where),
        frame_indices=_array(person, "frame_indices", (num,), where).astype(np.int64),
    )
    return Identity(
        name=description.name,
        architecture=description.architecture,
        base=description.base,
        adapter=_tensors(contents[ADAPTER], ADAPTER, where),
        references=references,
        state=state,
        neutral=_array(person, "neutral", (NUM_SPEAKING, 3), where),
        embedding=_embedding(person, where),
        mouth=dict(description.mouth),
        report=dict(description.report),
        consent=description.consent,
        created=description.created,
        version=description.version,
    )


def stored_embedding(contents: bytes, where: object) -> F32:
    """The embedding in the content of `PERSON` alone; 0 in format 1. Shape (128,).

    Raises:
        IdentityError: It does not hold them.
    """
    return _embedding(_tensors(contents, PERSON, where), where)


def _embedding(person: Mapping[str, Tensor], where: object) -> F32:
    if EMBEDDING not in person:
        return np.zeros(NUM_EMBEDDING, np.float32)
    return _array(person, EMBEDDING, (NUM_EMBEDDING,), where)


def _storable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of their own memory, as safetensors wants them."""
    return {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}


def _all_finite(tensors: Mapping[str, Tensor]) -> bool:
    return all(bool(value.isfinite().all()) for value in tensors.values())


def _tensors(content: bytes, name: str, where: object) -> dict[str, Tensor]:
    try:
        tensors = load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise damaged(where, f"{name} is no safetensors file") from error
    if not _all_finite(tensors):
        raise damaged(where, f"{name} holds numbers that are not finite")
    return tensors


def _array(
    person: Mapping[str, Tensor], name: str, shape: tuple[int | None, ...], where: object
) -> F32:
    """One array of `PERSON`; None stands for any size."""
    value = person.get(name)
    if value is None:
        raise damaged(where, f"{PERSON} lacks {name}")
    sizes = zip(value.shape, shape, strict=False)
    if value.ndim != len(shape) or any(want not in (None, has) for has, want in sizes):
        raise damaged(where, f"{name} has the shape {tuple(value.shape)}")
    return value.numpy()


def _png(picture: U8) -> bytes:
    done, content = cv2.imencode(".png", picture[..., ::-1])
    if not done:
        raise IdentityError(f"A picture of shape {picture.shape} cannot be stored.", "")
    return content.tobytes()


def _pictures(names: list[str], contents: Mapping[str, bytes], where: object) -> U8:
    """Pictures of one size. Shape (N, h, w, 3)."""
    pictures = [_picture(contents[name], name, where) for name in names]
    if len({picture.shape for picture in pictures}) != 1:
        raise damaged(where, "its references differ in size")
    return np.stack(pictures)


def _picture(content: bytes, name: str, where: object) -> U8:
    # A small file can claim to be a huge picture: its header is read before it is unpacked.
    sides = np.frombuffer(content[_PNG_SIDES], ">u4")
    is_png = content.startswith(b"\x89PNG\r\n\x1a\n") and len(sides) == 2
    if is_png and sides.min() > 0 and sides.max() <= _MAX_SIDE_PX:
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        if picture is not None and picture.dtype == np.uint8 and picture.shape[2:] == (3,):
            return np.ascontiguousarray(picture[..., ::-1], np.uint8)
    raise damaged(where, f"{name} is no picture of a face")
