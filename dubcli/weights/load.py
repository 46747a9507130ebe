"""Weights into memory: proven by their sha256, strictly into a model on its device."""

from __future__ import annotations

import hashlib
from dataclasses import fields
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from dubcli.core.errors import ChecksumError, ConfigError, WeightsError
from dubcli.weights.entry import WeightEntry
from dubcli.weights.resolve import REINSTALL, resolve, weight_path

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dubcli.models.api import LipSyncModel


def _read_verified(entry: WeightEntry) -> bytes:
    """The file's content, which is proven and used as one read."""
    path = weight_path(entry)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.", REINSTALL) from error
    found = hashlib.sha256(content).hexdigest()
    if entry.sha256 is not None and found != entry.sha256:
        raise ChecksumError(
            f"{path} is damaged or not {entry.name}: sha256 {found[:12]}, "
            f"expected {entry.sha256[:12]}.",
            REINSTALL if entry.package else "Get it again.",
        )
    return content


def load_state(entry: WeightEntry) -> dict[str, Tensor]:
    """Verified parameters by name, on the CPU; half precision becomes float32.

    Raises:
        ChecksumError: The file's sha256 is another.
        WeightsError: There is no such file, or it is no safetensors file.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    content = _read_verified(entry)
    try:
        state = load(content)
    except SafetensorError as error:
        raise WeightsError(
            f"{entry.name} is not a safetensors file: {error}.",
            REINSTALL if entry.package else "Name a .safetensors file.",
        ) from error
    half = (torch.float16, torch.bfloat16)
    return {key: value.float() if value.dtype in half else value for key, value in state.items()}


def load_model(name: str, device: str) -> tuple[LipSyncModel, str | None]:
    """Build a model, load its verified weights strictly and put it on a device.

    Args:
        name: As in `resolve`.
        device: A torch device, such as `cpu` or `cuda:0`.

    Returns:
        The model in evaluation mode, and the sha256 of its weights (None where it needs none).

    Raises:
        ConfigError: No entry has this name.
        WeightsError: The weights are missing, damaged or of another architecture.
    """
    return load_entry(resolve(name), device)


def load_entry(entry: WeightEntry, device: str) -> tuple[LipSyncModel, str | None]:
    """As `load_model`, of an entry that was looked up.

    Raises:
        WeightsError: The weights are missing, damaged or of another architecture.
    """
    model = _build(entry)
    state = load_state(entry) if entry.needs_weights else {}
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise WeightsError(
            f"{entry.name} does not fit the architecture {entry.architecture}: "
            f"{str(error).splitlines()[-1].strip()}",
            REINSTALL if entry.package else "Use the configuration that it was trained with.",
        ) from error
    return cast("LipSyncModel", model.to(device).eval()), entry.sha256


def _build(entry: WeightEntry) -> nn.Module:
    """The untrained model; a configuration from elsewhere may hold anything."""
    from dubcli.models.registry import create_model, model_names

    if entry.package is not None or not entry.needs_weights:
        return create_model(entry.architecture, entry.config)
    step = "Use the version of dubcli that made it, or another model (dub models list)."
    if entry.architecture not in model_names():
        raise WeightsError(
            f"{entry.name} is of '{entry.architecture}', which is no model of this version.", step
        )
    try:
        model = create_model(entry.architecture, entry.config)
        _check_types(model)
    except ConfigError as error:
        raise WeightsError(f"{entry.name}: {error.cause}", step) from error
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{entry.name}: no '{entry.architecture}' can be built of its configuration: "
            f"{' '.join(str(error).split())[:200]}.",
            step,
        ) from error
    return model


def _check_types(model: nn.Module) -> None:
    """Refuse values that a network is built with and that fail much later."""
    config = model.config
    hints = get_type_hints(type(config))
    for entry in fields(cast(Any, config)):
        value = getattr(config, entry.name)
        if not _fits(value, hints[entry.name]):
            raise TypeError(f"{entry.name} is {value!r}")


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a field's type; integers must be above 0."""
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, one) for one in get_args(hint))
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is hint and (hint is not int or value > 0)
