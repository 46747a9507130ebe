"""Encoded references as tensors that an identity stores."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor

from dubcli.core.errors import IdentityError


def fitting_tensors(
    tensors: Mapping[str, Tensor],
    pictures: Tensor,
    *,
    axes: Mapping[str, int],
    sizes: Mapping[str, int],
    of_pictures: Collection[str],
) -> dict[str, Tensor]:
    """Stored tensors beside their pictures.

    Args:
        tensors: On any device.
        pictures: Shape (N, 3, H, W).
        axes: Names and numbers of dimensions of what the network stores.
        sizes: The network's size of dimension 1 of some tensors, by name.
        of_pictures: Those that have one row a picture.

    Raises:
        IdentityError: Names or shapes do not fit.
    """
    fits = {name: value.ndim for name, value in tensors.items()} == axes
    fits = fits and all(len(tensors[name]) == len(pictures) for name in of_pictures)
    fits = fits and all(tensors[name].shape[1] == size for name, size in sizes.items())
    if not fits:
        raise IdentityError(
            "The encoded references of the identity do not fit this network.",
            "Learn it again with dub finetune.",
        )
    return {name: value.to(pictures) for name, value in tensors.items()}
