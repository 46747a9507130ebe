"""A learned person as a model prepares for them."""

from __future__ import annotations

import numpy as np
import torch

from dubcli.core.types import F32, References
from dubcli.face.landmarks import SPEAKING
from dubcli.models.api import ModelSpec, Subject
from dubcli.models.conversion import reference_set


def person_subject(
    spec: ModelSpec, references: References, neutral: F32, device: torch.device | str
) -> Subject:
    """The subject whose references play every static role.

    Args:
        spec: Of the model.
        references: The person's.
        neutral: Resting speaking points, canonical units. Shape (S, 3).
        device: Where the model is.
    """
    own = reference_set(references, SPEAKING, device)
    return Subject(
        references={role: own for role in spec.static_roles()},
        neutral=torch.from_numpy(np.asarray(neutral, np.float32)).to(device),
    )
