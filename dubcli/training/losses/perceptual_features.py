"""Which features perceptual losses compare: VGG-19's, or what stands in for them."""

from __future__ import annotations

from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open

from dubcli.core.errors import ChecksumError, ManifestError, TrainingError, WeightsError
from dubcli.metrics.vgg19 import VGG19
from dubcli.weights.resolve import local_path, part_path, resolve, size_in_words

PART = "vgg19"
SUBSTITUTE = "substitute"


class FeatureWeights(Protocol):
    """λ of the losses that are named after features."""

    @property
    def perceptual(self) -> float:
        """Of the features of the result."""
        ...

    @property
    def style(self) -> float:
        """Of their correlations."""
        ...

    @property
    def warp(self) -> float:
        """Of the features of warped references."""
        ...


def choose_features(wanted: str, weights: FeatureWeights, before: str | None) -> str:
    """`vgg19` or `substitute`.

    Args:
        wanted: `TrainConfig.perceptual`.
        weights: The run's λ. `auto` means VGG-19 for losses on features alone: the λ of a `warp`
            beside losses on pixels is balanced for pixels.
        before: What the run used so far; None for a new one.

    Raises:
        TrainingError: The run was trained with the other one.
    """
    if not (weights.perceptual or weights.style or weights.warp):
        return SUBSTITUTE
    if before is not None:
        if wanted not in ("auto", before):
            raise TrainingError(
                f"The run was trained with --perceptual {before}.",
                f"Go on with --perceptual {before}, or start in another folder with --init.",
            )
        return before
    if wanted != "auto":
        return wanted
    is_here = local_path(resolve(PART, role="part")) is not None
    return PART if is_here and (weights.perceptual or weights.style) else SUBSTITUTE


def load_vgg19(device: torch.device, *, download: bool = False) -> VGG19 | None:
    """VGG-19 with its verified weights, from the hub's cache.

    Args:
        device: Where it shall run.
        download: Fetch the weights first where they are not in the cache.

    Returns:
        None where they are not in the cache and shall not be fetched.

    Raises:
        ChecksumError: The file is damaged.
        WeightsError: It cannot be downloaded, or is not VGG-19.
    """
    if not download and local_path(resolve(PART, role="part")) is None:
        return None
    path = part_path(PART)
    with torch.random.fork_rng(devices=[]):  # its first values are of no use
        net = VGG19()
    try:
        # Three quarters of the file are the classifier's: only what is used is read.
        with safe_open(path, framework="pt") as file:
            net.load_state_dict({name: file.get_tensor(name) for name in net.state_dict()})
    except (OSError, RuntimeError, SafetensorError) as error:
        raise WeightsError(
            f"'{path}' is not VGG-19: {str(error).splitlines()[-1].strip()}.",
            "Delete it and run again, or use --perceptual substitute.",
        ) from error
    return net.to(device)


def require_vgg19(device: torch.device, wanted: str) -> VGG19:
    """VGG-19 for a run that is to use it, downloaded where `wanted` says `vgg19`.

    Raises:
        ChecksumError: The file is damaged.
        WeightsError: It cannot be downloaded, or is not VGG-19.
        TrainingError: The run that is gone on with used it, and it is no longer here.
    """
    try:
        net = load_vgg19(device, download=wanted == PART)
    except WeightsError as error:
        if isinstance(error, ChecksumError | ManifestError):
            raise
        raise WeightsError(
            error.cause,
            "Check the connection (HF_ENDPOINT, HF_HUB_OFFLINE), or use --perceptual substitute.",
        ) from error
    if net is None:
        raise TrainingError(
            "The run was trained with VGG-19, which is not in the hub's cache.",
            "Download it with --perceptual vgg19.",
        )
    return net


def told(features: str, weights: FeatureWeights) -> str:
    """The choice as a sentence; empty where no loss is named after features."""
    if features == PART:
        return "Perceptual losses compare the activations of vgg19."
    if not (weights.perceptual or weights.style):
        return ""
    size = size_in_words(resolve(PART, role="part"))
    return (
        "Perceptual losses compare colours and edges, the documented substitute for VGG-19 "
        f"(--perceptual vgg19 in a new run downloads it, {size})."
    )
