"""What was learned of one person, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dubcli.core.types import F32, References

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Base:
    """The weights that an identity was learned on.

    Attributes:
        name: Name in the manifest, `architecture.tag`.
        sha256: Hex digest of the weight file; None for a model without weights.
    """

    name: str
    sha256: str | None


@dataclass(frozen=True, kw_only=True)
class Consent:
    """What was answered when it was asked whether the person agreed.

    Attributes:
        agreed: The answer.
        date: When, ISO 8601.
        how: How it was given, such as `--consent` or `asked`.
    """

    agreed: bool
    date: str
    how: str


@dataclass(frozen=True, kw_only=True)
class Identity:
    """One person: how the weights change, which pictures lend texture, how the mouth moves.

    Attributes:
        name: What the user calls the person.
        architecture: Architecture of the base.
        base: The weights that `adapter` changes.
        adapter: What is added to each named parameter. float16.
        references: The person's pictures.
        state: The references encoded by the adapted model, see `LipSyncModel.state_tensors`.
        neutral: Canonical speaking points at rest. Shape (S, 3), float32.
        embedding: Who it is, by `face.recognition`, of unit length; 0 where an older version stored
            the identity, see `identities.matching.embedding_of`. Shape (128,), float32.
        mouth: Statistics of the mouth by name.
        report: How it was learned, as JSON values; `kept_step` is the step that was kept.
        consent: Whether the person agreed.
        created: When it was learned, ISO 8601.
        version: The dubcli that learned it.
    """

    name: str
    architecture: str
    base: Base
    adapter: dict[str, Tensor]
    references: References
    state: dict[str, Tensor]
    neutral: F32
    embedding: F32
    mouth: dict[str, float]
    report: dict[str, Any]
    consent: Consent
    created: str
    version: str
