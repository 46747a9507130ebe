"""VGG-19's convolutions against a plain rewriting of the published table (arXiv:1409.1556)."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from dubcli.metrics.vgg19 import VGG19

# Where torchvision's list of layers has its convolutions, and how many channels they give.
CONVOLUTIONS = {
    **{0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256, 16: 256},
    **{19: 512, 21: 512, 23: 512, 25: 512, 28: 512},
}
POOLINGS = (4, 9, 18, 27)
# relu1_1 to relu5_1: the layer after the first convolution of each block.
TAPS = (1, 6, 11, 20, 29)


@pytest.fixture(scope="module")
def net() -> VGG19:
    return VGG19()


def test_parameters_are_named_as_in_the_published_file(net: VGG19) -> None:
    inside, expected = 3, {}
    for number, width in CONVOLUTIONS.items():
        expected[f"features.{number}.weight"] = (width, inside, 3, 3)
        expected[f"features.{number}.bias"] = (width,)
        inside = width
    assert {name: tuple(value.shape) for name, value in net.state_dict().items()} == expected


def test_activations_are_those_of_the_table(net: VGG19) -> None:
    pictures = torch.rand(2, 3, 32, 48)
    state, wanted = net.state_dict(), []
    x = (pictures - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)
    for number in range(30):
        if number in CONVOLUTIONS:
            name = f"features.{number}"
            x = functional.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)
        elif number in POOLINGS:
            x = functional.max_pool2d(x, 2)
        else:
            x = x.relu()
        if number in TAPS:
            wanted.append(x)
    found = net(pictures)
    assert [tuple(x.shape) for x in found] == [
        *((2, 64, 32, 48), (2, 128, 16, 24), (2, 256, 8, 12), (2, 512, 4, 6), (2, 512, 2, 3)),
    ]
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_pictures_learn_from_it_and_it_from_nothing(net: VGG19) -> None:
    pictures = torch.rand(1, 3, 16, 16, requires_grad=True)
    sum(x.mean() for x in net(pictures)).backward()  # pyright: ignore[reportAttributeAccessIssue]
    assert pictures.grad is not None
    assert pictures.grad.abs().sum() > 0
    assert all(value.grad is None for value in net.parameters())
