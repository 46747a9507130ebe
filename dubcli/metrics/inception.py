"""Inception v3 as FID uses it: pictures to 2048 features (Szegedy et al. 2016, arXiv:1512.00567).

The network of FID is not the one of model zoos. Its parameters are those of TensorFlow's archive
`inception-2015-12-05`, published for PyTorch under the name of the file that `--weights` looks
for. Averages over a neighbourhood leave out what lies beyond the picture's border, and the very
last block takes a maximum where the paper has an average.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from dubcli.metrics.foreign_weights import load_strictly

NUM_FEATURES = 2048
INPUT_PX = 299
Pool = Literal["average", "max", "halve"]
Kernel = tuple[int, int]
_ONE, _THREE, _FIVE = (1, 1), (3, 3), (5, 5)
_TALL, _WIDE = (7, 1), (1, 7)


@dataclass(frozen=True)
class _Layer:
    """A convolution of a branch.

    Attributes:
        name: As published.
        width: Channels that it gives.
        kernel: Height, width.
        stride: 2 goes without padding.
        is_fork: It is an end of its branch and leaves its input to the next layer.
    """

    name: str
    width: int
    kernel: Kernel = _ONE
    stride: int = 1
    is_fork: bool = False


_Branches = Sequence[Sequence[_Layer]]


class Inception(nn.Module):
    """The network up to its pooled features; parameters have the published names."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _convolution(3, 32, _THREE, 2, (0, 0))
        self.Conv2d_2a_3x3 = _convolution(32, 32, _THREE, 1, (0, 0))
        self.Conv2d_2b_3x3 = _convolution(32, 64, _THREE, 1, (1, 1))
        self.Conv2d_3b_1x1 = _convolution(64, 80, _ONE, 1, (0, 0))
        self.Conv2d_4a_3x3 = _convolution(80, 192, _THREE, 1, (0, 0))
        self.Mixed_5b = _Mixed(192, _fine(), "average", 32)
        self.Mixed_5c = _Mixed(256, _fine(), "average", 64)
        self.Mixed_5d = _Mixed(288, _fine(), "average", 64)
        self.Mixed_6a = _Mixed(288, _halve_fine(), "halve")
        self.Mixed_6b = _Mixed(768, _middle(128), "average", 192)
        self.Mixed_6c = _Mixed(768, _middle(160), "average", 192)
        self.Mixed_6d = _Mixed(768, _middle(160), "average", 192)
        self.Mixed_6e = _Mixed(768, _middle(192), "average", 192)
        self.Mixed_7a = _Mixed(768, _halve_middle(), "halve")
        self.Mixed_7b = _Mixed(1280, _coarse(), "average", 192)
        self.Mixed_7c = _Mixed(2048, _coarse(), "max", 192)

    def load(self, state: dict[str, Tensor]) -> None:
        """Take over the published parameters, strictly; the classifier is ignored.

        Raises:
            WeightsError: Names or shapes differ.
        """
        # Without counters of training steps, which some copies of the file lack.
        unused = ("fc.", "num_batches_tracked")
        used = {
            key: value
            for key, value in state.items()
            if not key.startswith(unused[0]) and not key.endswith(unused[1])
        }
        load_strictly(self, used, "FID's Inception v3")

    def forward(self, pictures: Tensor) -> Tensor:
        """RGB pictures (B, 3, H, W) in [0, 1] of any size to features (B, 2048)."""
        size = (INPUT_PX, INPUT_PX)
        # As the PyTorch reference does it: bilinear, pixel centres kept, without smoothing.
        x = functional.interpolate(pictures, size, mode="bilinear", align_corners=False)
        x = 2 * x - 1
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(functional.max_pool2d(x, 3, 2)))
        x = functional.max_pool2d(x, 3, 2)
        for name, block in self.named_children():
            if name.startswith("Mixed"):
                x = block(x)
        return x.mean((2, 3))


class _Mixed(nn.Module):
    """Branches side by side, and a pooled one; their channels one after the other.

    Args:
        inside: Channels of the input.
        branches: The convolutions.
        pool: `halve` is a maximum that keeps its channels and halves the size.
        pooled: Channels of the pooled branch.
    """

    def __init__(self, inside: int, branches: _Branches, pool: Pool, pooled: int = 0) -> None:
        super().__init__()
        self._branches, self._pool = branches, pool
        for branch in branches:
            width = inside
            for layer in branch:
                padding = _centred(layer.kernel) if layer.stride == 1 else (0, 0)
                conv = _convolution(width, layer.width, layer.kernel, layer.stride, padding)
                self.add_module(layer.name, conv)
                width = width if layer.is_fork else layer.width
        self.branch_pool = None
        if pool != "halve":
            self.branch_pool = _convolution(inside, pooled, _ONE, 1, (0, 0))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        found: list[Tensor] = []
        for branch in self._branches:
            inner = x
            for layer in branch:
                made = self.get_submodule(layer.name)(inner)
                if layer.is_fork:
                    found.append(made)
                else:
                    inner = made
            if not branch[-1].is_fork:
                found.append(inner)
        return torch.cat([*found, self._pooled(x)], 1)

    def _pooled(self, x: Tensor) -> Tensor:
        if self.branch_pool is None:
            return functional.max_pool2d(x, 3, 2)
        if self._pool == "max":
            return self.branch_pool(functional.max_pool2d(x, 3, 1, 1))
        return self.branch_pool(functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False))


def _fine() -> _Branches:
    return (
        (_Layer("branch1x1", 64),),
        (_Layer("branch5x5_1", 48), _Layer("branch5x5_2", 64, _FIVE)),
        (
            _Layer("branch3x3dbl_1", 64),
            _Layer("branch3x3dbl_2", 96, _THREE),
            _Layer("branch3x3dbl_3", 96, _THREE),
        ),
    )


def _halve_fine() -> _Branches:
    return (
        (_Layer("branch3x3", 384, _THREE, 2),),
        (
            _Layer("branch3x3dbl_1", 64),
            _Layer("branch3x3dbl_2", 96, _THREE),
            _Layer("branch3x3dbl_3", 96, _THREE, 2),
        ),
    )


def _middle(width: int) -> _Branches:
    return (
        (_Layer("branch1x1", 192),),
        (
            _Layer("branch7x7_1", width),
            _Layer("branch7x7_2", width, _WIDE),
            _Layer("branch7x7_3", 192, _TALL),
        ),
        (
            _Layer("branch7x7dbl_1", width),
            _Layer("branch7x7dbl_2", width, _TALL),
            _Layer("branch7x7dbl_3", width, _WIDE),
            _Layer("branch7x7dbl_4", width, _TALL),
            _Layer("branch7x7dbl_5", 192, _WIDE),
        ),
    )


def _halve_middle() -> _Branches:
    return (
        (_Layer("branch3x3_1", 192), _Layer("branch3x3_2", 320, _THREE, 2)),
        (
            _Layer("branch7x7x3_1", 192),
            _Layer("branch7x7x3_2", 192, _WIDE),
            _Layer("branch7x7x3_3", 192, _TALL),
            _Layer("branch7x7x3_4", 192, _THREE, 2),
        ),
    )


def _coarse() -> _Branches:
    return (
        (_Layer("branch1x1", 320),),
        (_Layer("branch3x3_1", 384), *_fork("branch3x3_2")),
        (
            _Layer("branch3x3dbl_1", 448),
            _Layer("branch3x3dbl_2", 384, _THREE),
            *_fork("branch3x3dbl_3"),
        ),
    )


def _fork(name: str) -> tuple[_Layer, _Layer]:
    return (
        _Layer(f"{name}a", 384, (1, 3), is_fork=True),
        _Layer(f"{name}b", 384, (3, 1), is_fork=True),
    )


def _centred(kernel: Kernel) -> tuple[int, int]:
    return kernel[0] // 2, kernel[1] // 2


def _convolution(
    inside: int, outside: int, kernel: Kernel, stride: int, padding: tuple[int, int]
) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv=nn.Conv2d(inside, outside, kernel, stride, padding, bias=False),
            bn=nn.BatchNorm2d(outside, eps=0.001),
            relu=nn.ReLU(),
        )
    )
