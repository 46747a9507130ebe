"""Tiny identities that are whole, and what is done to them on disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from made_faces import made_embedding
from safetensors.torch import load, save

from dubcli.core.types import References
from dubcli.face.landmarks import NUM_KEPT, NUM_SPEAKING
from dubcli.identities.arrays import EMBEDDING
from dubcli.identities.identity import Base, Consent, Identity
from dubcli.identities.layout import PERSON, _own_digest, digest
from dubcli.models.iptalker.network import NAMED_CONFIGS, IPTalker

SHA256 = "5e" * 32
NUM_REFERENCES, HEIGHT, WIDTH, FINER = 2, 104, 80, 3
LEARNED = ("decoder.out.weight", "decoder.out.bias", "warping.fuse.weight")


def tiny_model(seed: int = 0) -> IPTalker:
    """An untrained network that the made identities fit."""
    torch.manual_seed(seed)
    return IPTalker(NAMED_CONFIGS["tiny"]).eval()


def made_references(seed: int = 0, num: int = NUM_REFERENCES) -> References:
    rng = np.random.default_rng(seed)

    def pictures(factor: int) -> Any:
        return rng.integers(0, 256, (num, factor * HEIGHT, factor * WIDTH, 3), np.uint8)

    landmarks = rng.uniform(0, WIDTH, (num, NUM_KEPT, 3)).astype(np.float32)
    return References(
        crops=pictures(1),
        detail_crops=pictures(FINER),
        landmarks=landmarks,
        frame_indices=np.arange(num, dtype=np.int64) * 7,
        mouth_open=rng.random(num).astype(np.float32),
    )


def made_identity(name: str = "anna", seed: int = 0, **changes: Any) -> Identity:
    """A whole identity that fits `tiny_model`."""
    torch.manual_seed(seed)
    state = tiny_model(seed).state_dict()
    identity = Identity(
        name=name,
        architecture="iptalker",
        base=Base(name="iptalker.tiny", sha256=SHA256),
        adapter={key: 0.01 * torch.randn_like(state[key]).half() for key in LEARNED},
        references=made_references(seed),
        state={"features": torch.randn(NUM_REFERENCES, 16, 16, 20), "tokens": torch.zeros(2, 32)},
        neutral=np.random.default_rng(seed).normal(size=(NUM_SPEAKING, 3)).astype(np.float32),
        embedding=made_embedding(seed),
        mouth={"opening_median": 0.125, "opening_p95": 1 / 3},
        report={"kept_step": 200, "files": ["a b.mp4"], "gain": {"psnr": 2.25, "lpips": None}},
        consent=Consent(agreed=True, date="2026-11-21T10:00:00+00:00", how="--consent"),
        created="2026-11-21T10:05:00+00:00",
        version="0.1.0",
    )
    return replace(identity, **changes)


def stored_by_an_older_version(path: Path) -> None:
    """Turn a stored identity into one of format 1: colours of hair and skin, no embedding."""
    person = load((path / PERSON).read_bytes())
    del person[EMBEDDING]
    content = save({**person, "looks": torch.rand(3, 176)})
    (path / PERSON).write_bytes(content)
    files = json.loads((path / "identity.json").read_text(encoding="utf-8"))["files"]
    rewrite(path, format=1, files={**files, PERSON: digest(content)})


def rewrite(path: Path, **changes: Any) -> None:
    """Change `identity.json` the way that a program would which knows its digest."""
    file = path / "identity.json"
    content = json.loads(file.read_text(encoding="utf-8")) | changes
    content.pop("sha256")
    file.write_text(json.dumps({**content, "sha256": _own_digest(content)}), encoding="utf-8")


def everything_in(folder: Path) -> dict[str, bytes]:
    """Contents of all files, hidden ones too, by path."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
