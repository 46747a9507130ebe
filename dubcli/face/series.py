"""Series that grow frame by frame, in little memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dubcli.core.types import F32, U8


class GrowingColumn:
    """An array that grows at its end at amortised constant cost.

    Args:
        shape: Of a row.
        dtype: Of its values; levels of pictures need no more than uint8.
    """

    def __init__(self, shape: tuple[int, ...], dtype: type = np.float32) -> None:
        self._data: NDArray[Any] = np.empty((16, *shape), dtype)
        self._length = 0

    def append(self, value: F32 | U8 | float) -> None:
        """Add one row."""
        if self._length == len(self._data):
            grown = np.empty((2 * self._length, *self._data.shape[1:]), self._data.dtype)
            grown[: self._length] = self._data
            self._data = grown
        self._data[self._length] = value
        self._length += 1

    def trim(self) -> None:
        """Give back what the column does not fill: there may be thousands of short ones."""
        self._data = self.values.copy()

    @property
    def values(self) -> F32:
        """All rows."""
        return self._data[: self._length]
