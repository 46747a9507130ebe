"""CIEDE2000 against the pairs that its authors published to check implementations."""

from __future__ import annotations

import numpy as np
import pytest

from dubcli.metrics.colour_difference import ciede2000, mean_lab

# Sharma, Wu and Dalal 2005, table 1: pairs 1, 4, 7, 10, 14, 17, 20, 25, 28, 33.
PAIRS = [
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
    ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0000),
    ((50, 0, 0), (50, -1, 2), 2.3669),
    ((50, 2.49, -0.001), (50, -2.49, 0.0010), 7.1792),
    ((50, -0.001, 2.49), (50, 0.0011, -2.49), 4.7461),
    ((50, 2.5, 0), (73, 25, -18), 27.1492),
    ((50, 2.5, 0), (58, 24, 15), 19.4535),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((22.7233, 20.0904, -46.694), (23.0331, 14.973, -42.5619), 2.0373),
    ((6.7747, -0.2908, -2.4247), (5.8714, -0.0985, -2.2286), 0.6377),
]


@pytest.mark.parametrize(("one", "other", "expected"), PAIRS)
def test_published_pairs(one: tuple[float, ...], other: tuple[float, ...], expected: float) -> None:
    found = ciede2000(np.array(one, float), np.array(other, float))
    assert found == pytest.approx(expected, abs=1e-4)


def test_lab_of_white_and_grey() -> None:
    white = mean_lab(np.full((4, 3), 255, np.uint8))
    assert white == pytest.approx([100, 0, 0], abs=0.2)
    grey = mean_lab(np.full((4, 3), 119, np.uint8))
    assert grey == pytest.approx([50.0, 0, 0], abs=0.2)
