"""The segmentation network of what lies in front of a face, loaded."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from dubcli.core.errors import WeightsError
from dubcli.core.types import F32, U8
from dubcli.occlusion.network import OccluderConfig, OccluderNet
from dubcli.occlusion.ranges import SEEN_SIZE, Segmenter
from dubcli.weights.load import load_state
from dubcli.weights.manifest import Manifest, load_manifest
from dubcli.weights.resolve import resolve

# Rows and columns of a crop between brow and nose, where hardly anything ever hides the skin.
_BARE = (slice(25, 55), slice(20, 60))
_LEAST_GREEN = 0.9


def load_segmenter(manifest: Manifest | None = None) -> Segmenter | None:
    """The network that the manifest names, on the CPU, as `occlusion.ranges` wants it.

    Args:
        manifest: The one of this installation by default.

    Returns:
        None where the manifest names none: nothing is looked for then.

    Raises:
        WeightsError: The weights are missing, damaged or of another network.
    """
    manifest = load_manifest() if manifest is None else manifest
    if "occluder" not in manifest.default:
        return None
    entry = resolve("occluder", manifest, role="part")
    config: dict[str, Any] = entry.config
    net = OccluderNet(OccluderConfig(**config))
    try:
        net.load_state_dict(load_state(entry), strict=True)
    except RuntimeError as error:
        raise WeightsError(
            f"{entry.name} does not fit this version: {str(error).splitlines()[-1].strip()}",
            "Install dubcli again.",
        ) from error
    return as_segmenter(net)


def _in_white_light(crop: U8) -> U8:
    """The crop; without colours where they are no skin's, for stuff has such colours.

    Of any skin in white light red is not below green, nor green far below blue. The network also
    learned from grey pictures.
    """
    red, green, blue = crop[_BARE].reshape(-1, 3).mean(0).tolist()
    if red >= green >= _LEAST_GREEN * blue:
        return crop
    return np.repeat(crop.mean(-1, keepdims=True), 3, -1).astype(np.uint8)


def as_segmenter(net: OccluderNet) -> Segmenter:
    """A network as a function of crops (N, H, W, 3), uint8, to probabilities (N, H, W)."""
    net = net.eval().requires_grad_(False)

    def segment(crops: U8) -> F32:
        if crops.shape[1:3] != SEEN_SIZE:
            raise ValueError(f"crops of {crops.shape[1:3]}, expected {SEEN_SIZE}")
        with torch.inference_mode():
            lit = np.stack([_in_white_light(crop) for crop in crops])
            seen = torch.from_numpy(lit).permute(0, 3, 1, 2).float() / 255
            return torch.sigmoid(net(seen)[:, 0]).numpy().astype(np.float32, copy=False)

    return segment
