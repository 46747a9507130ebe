"""Files of networks of other projects: read, checked and taken over strictly."""

from __future__ import annotations

import hashlib
import logging
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from dubcli.core.errors import ChecksumError, WeightsError

_LOG = logging.getLogger(__name__)


def check_file(path: Path, sha256: str) -> str:
    """The sha256 of a file, which must start with what its publisher states.

    Raises:
        ChecksumError: It does not.
        WeightsError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"'{path}' cannot be read: {error.strerror}.") from error
    if not found.startswith(sha256):
        raise ChecksumError(
            f"'{path}' is damaged or another file: sha256 {found[:12]}, expected {sha256[:12]}.",
            "Delete it and download it again.",
        )
    return found


def read_state(path: Path) -> dict[str, Tensor]:
    """Parameters of a PyTorch file, on the CPU; no code of it runs.

    Such files are pickles, which can run code when they are read. `weights_only` reads tensors and
    plain containers and refuses everything else; that it had to is said.

    Raises:
        WeightsError: It holds none.
    """
    _LOG.warning(
        "'%s' is a pickle of another project, not safetensors: only its tensors are read "
        "(weights_only), no code of it runs.",
        path.name,
    )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise WeightsError(
            f"'{path}' holds no weights: {str(error).splitlines()[0]}", "Download it again."
        ) from error


def load_strictly(net: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    """Take over parameters, all of them and no others.

    Args:
        net: Whose parameters have the published names.
        state: What was published.
        name: What users call the network.

    Raises:
        WeightsError: Names or shapes differ.
    """
    try:
        net.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise WeightsError(
            f"These are not the weights of {name}: {str(error).splitlines()[-1].strip()}",
            "Download them again.",
        ) from error
