"""The encoder of multilingual Whisper base, read from a CTranslate2 file.

Radford et al. 2022, arXiv:2212.04356; MIT licence. For screening layers, and as the
measure of `dubcli/audio/whisper_layer.py`.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from dubcli.audio.whisper_layer import whisper_filters
from dubcli.core.errors import ConfigError
from dubcli.core.types import F32

HOP, N_FFT, NUM_MELS = 160, 400, 80
# Samples from one output step to the next.
STEP = 2 * HOP
WIDTH, HEADS, LAYERS = 512, 8, 6
_TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
# Silence after the recording, and the most that is heard at once, output steps.
_AFTER, _MOST = 25, 1000


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._place = memoryview(data), 0

    def number(self, form: str) -> int:
        value = struct.unpack_from("<" + form, self._data, self._place)[0]
        self._place += struct.calcsize("<" + form)
        return int(value)

    def raw(self, num: int) -> memoryview:
        part = self._data[self._place : self._place + num]
        self._place += num
        return part

    def text(self) -> str:
        return bytes(self.raw(self.number("H"))).rstrip(b"\0").decode()


def read_variables(path: Path) -> dict[str, NDArray[Any]]:
    """Every variable of a CTranslate2 model file, by name.

    Raises:
        ConfigError: The file is no such model.
    """
    reader = _Reader(path.read_bytes())
    version, spec, _, count = (
        reader.number("I"),
        reader.text(),
        reader.number("I"),
        reader.number("I"),
    )
    if (version, spec) != (6, "WhisperSpec"):
        raise ConfigError(f"'{path}' holds no Whisper model.", "Name a CTranslate2 model.bin.")
    found: dict[str, NDArray[Any]] = {}
    for _ in range(count):
        name = reader.text()
        shape = [reader.number("I") for _ in range(reader.number("B"))]
        kind = _TYPES[reader.number("B")]
        found[name] = np.frombuffer(reader.raw(reader.number("I")), kind).reshape(shape)
    return found


class WhisperEncoder:
    """Mel spectrogram and transformer, as the paper has them, on recordings of any length.

    Not padded to 30 s: a recording is heard with half a second of silence after it, long ones in
    parts of 20 s.

    Args:
        path: CTranslate2 file of Whisper base.

    Raises:
        ConfigError: The file is no such model.
    """

    def __init__(self, path: Path) -> None:
        found = read_variables(path)
        self._weights = {
            name.removeprefix("encoder/"): torch.from_numpy(values.astype(np.float32))
            for name, values in found.items()
            if name.startswith("encoder/") and values.ndim
        }
        self._filters = torch.from_numpy(whisper_filters())

    @torch.no_grad()
    def layers(self, samples: F32) -> dict[int, F32]:
        """What each layer makes of 16 kHz samples (S,); step k belongs to sample 320 k.

        Returns:
            By number from 1, the last after the final normalisation. Shape (ceil(S / 320), 512).
        """
        num = -(-len(samples) // STEP)
        padded = np.pad(samples.astype(np.float32), (0, (num + _AFTER) * STEP - len(samples)))
        parts = [
            self.part(torch.from_numpy(padded[start * STEP : (start + _MOST + _AFTER) * STEP]))
            for start in range(0, num, _MOST)
        ]
        return {
            layer: torch.cat([part[layer][:_MOST] for part in parts])[:num].numpy()
            for layer in range(1, LAYERS + 1)
        }

    @torch.no_grad()
    def part(self, samples: Tensor) -> dict[int, Tensor]:
        """The same of samples (S,) heard at once, nothing after them."""
        get = self._weights.__getitem__
        x = self._log_mel(samples)[None]
        x = functional.gelu(functional.conv1d(x, get("conv1/weight"), get("conv1/bias"), padding=1))
        x = functional.gelu(
            functional.conv1d(x, get("conv2/weight"), get("conv2/bias"), stride=2, padding=1)
        )
        x = x[0].T
        x = x + get("position_encodings/encodings")[: len(x)]
        found: dict[int, Tensor] = {}
        for layer in range(LAYERS):
            x = self._layer(x, f"layer_{layer}/")
            found[layer + 1] = x
        found[LAYERS] = self._normed(x, "layer_norm")
        return found

    def _layer(self, x: Tensor, name: str) -> Tensor:
        attention, feed = f"{name}self_attention/", f"{name}ffn/"
        heard = self._linear(self._normed(x, f"{attention}layer_norm"), f"{attention}linear_0")
        q, k, v = (
            part.unflatten(1, (HEADS, -1)).transpose(0, 1)[None] for part in heard.chunk(3, 1)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v)[0].transpose(0, 1).flatten(1)
        x = x + self._linear(mixed, f"{attention}linear_1")
        wide = functional.gelu(
            self._linear(self._normed(x, f"{feed}layer_norm"), f"{feed}linear_0")
        )
        return x + self._linear(wide, f"{feed}linear_1")

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return functional.linear(x, self._weights[f"{name}/weight"], self._weights[f"{name}/bias"])

    def _normed(self, x: Tensor, name: str) -> Tensor:
        scale, shift = self._weights[f"{name}/gamma"], self._weights[f"{name}/beta"]
        return functional.layer_norm(x, (WIDTH,), scale, shift)

    def _log_mel(self, samples: Tensor) -> Tensor:
        """Shape (80, S / 160)."""
        window = torch.hann_window(N_FFT)
        spectrum = torch.stft(samples, N_FFT, HOP, window=window, return_complex=True)
        power = self._filters @ (spectrum[:, :-1].abs() ** 2)
        levels = power.clamp(min=1e-10).log10()
        return (levels.clamp(min=float(levels.max()) - 8) + 4) / 4
