"""What learning changed in the weights, and putting it back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from dubcli.core.errors import DubError, IdentityError, IncompatibleAdapterError
from dubcli.identities.identity import Base, Identity
from dubcli.weights.external import is_external
from dubcli.weights.manifest import Manifest, load_manifest
from dubcli.weights.resolve import resolve

if TYPE_CHECKING:
    from torch import Tensor, nn

_LEARN_AGAIN = "Learn it again with dub finetune."


def difference(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], names: Iterable[str]
) -> dict[str, Tensor]:
    """What has to be added to `before` to get `after`.

    Args:
        before: Parameters by name.
        after: The same, learned.
        names: Which of them are kept.

    Returns:
        float16, on the CPU.

    Raises:
        IdentityError: A difference is not finite, or too large for float16.
    """
    deltas: dict[str, Tensor] = {}
    for name in names:
        old, new = (values[name].detach().cpu().float() for values in (before, after))
        delta = (new - old).half().contiguous()
        if not bool(delta.isfinite().all()):
            raise IdentityError(
                f"What was learned is not finite ({name}).", "Learn again from other footage."
            )
        deltas[name] = delta
    return deltas


def apply_adapter(model: nn.Module, identity: Identity, weights_sha256: str | None) -> None:
    """Add the identity's deltas to a model's parameters, in place.

    Nothing is changed where anything does not fit.

    Args:
        model: The base, with its weights loaded, at any float precision and on any device.
        identity: What is added.
        weights_sha256: Digest of the weights that were loaded, of their manifest entry.

    Raises:
        IncompatibleAdapterError: The identity was learned on other weights or another network.
    """
    import torch

    _check_base(model, identity, weights_sha256)
    # These share the parameters' memory.
    values = model.state_dict()
    for name, delta in identity.adapter.items():
        if name not in values or not values[name].is_floating_point():
            raise _misfit(identity, f"changes {name}, which this model does not have.")
        if values[name].shape != delta.shape:
            shapes = f"{tuple(delta.shape)}, the model's is {tuple(values[name].shape)}"
            raise _misfit(identity, f"changes {name} with the shape {shapes}.")
    with torch.no_grad():
        for name, delta in identity.adapter.items():
            values[name].add_(delta.to(values[name]))


def _check_base(model: nn.Module, identity: Identity, weights_sha256: str | None) -> None:
    architecture = getattr(getattr(model, "spec", None), "name", identity.architecture)
    if architecture != identity.architecture:
        raise _misfit(identity, f"was learned on {identity.base.name}, this is {architecture}.")
    if weights_sha256 != identity.base.sha256:
        theirs, ours = (str(digest)[:12] for digest in (identity.base.sha256, weights_sha256))
        raise _misfit(
            identity,
            f"was learned on {identity.base.name} (sha256 {theirs}), not on these ({ours}).",
        )


def _misfit(identity: Identity, reason: str) -> IncompatibleAdapterError:
    step = _LEARN_AGAIN
    if fits_installed(identity.base):
        step = f"Use it with --model {identity.base.name}, or l{_LEARN_AGAIN[1:]}"
    return IncompatibleAdapterError(f"The identity '{identity.name}' {reason}", step)


def fits_installed(base: Base, manifest: Manifest | None = None) -> bool:
    """Whether this installation finds the very weights that an identity needs.

    Args:
        base: What it was learned on.
        manifest: The one of this installation by default.
    """
    try:
        if is_external(base.name):
            entry = resolve(base.name)
        else:
            known = load_manifest() if manifest is None else manifest
            entry = known.weights.get(base.name)
    except DubError:
        return False
    return entry is not None and entry.sha256 == base.sha256
