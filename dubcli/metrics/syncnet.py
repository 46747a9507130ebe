"""LSE-C and LSE-D: the published SyncNet's view of how lips follow sound.

Network and protocol of Chung and Zisserman 2016 (doi:10.1007/978-3-319-54427-4_19), with the
released weights `syncnet_v2.model`, as the lip-sync papers use them (Prajwal et al. 2020,
arXiv:2008.10010). Faces are cut by the landmarks' box in place of S3FD's, so figures are to be
compared within a table, not with a paper's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from dubcli.core.types import F32, F64, U8
from dubcli.metrics.foreign_weights import load_strictly

FACE_PX, RATE_HZ = 224, 25
SAMPLE_RATE_HZ = 16_000
MAX_LAG = 15
_WINDOW, _SOUND_STEPS, _STEPS_PER_FRAME = 5, 20, 4
_BATCH = 16
# python_speech_features' defaults, with which the network was trained.
_FRAME, _HOP, _FFT, _BANDS, _COEFFICIENTS, _LIFTER, _EMPHASIS = 400, 160, 512, 26, 13, 22, 0.97


@dataclass(frozen=True)
class SyncNetScore:
    """How well lips and sound agree.

    Attributes:
        confidence: LSE-C, median distance over lags less the least; higher is better.
        distance: LSE-D, the least mean distance over lags; lower is better.
        offset_frames: The lag of the least distance at 25 Hz, as the original tool prints it.
    """

    confidence: float
    distance: float
    offset_frames: int


class SyncNet(nn.Module):
    """The released network; its parameters have the released names."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *(*_conv2d(1, 64, 3, 1), nn.MaxPool2d(1, 1)),
            *(*_conv2d(64, 192, 3, 1), nn.MaxPool2d(3, (1, 2))),
            *_conv2d(192, 384, 3, 1),
            *_conv2d(384, 256, 3, 1),
            *(*_conv2d(256, 256, 3, 1), nn.MaxPool2d(3, 2)),
            *_conv2d(256, 512, (5, 4), 0),
        )
        self.netcnnlip = nn.Sequential(
            *(*_conv3d(3, 96, (5, 7, 7), 2, 0), nn.MaxPool3d((1, 3, 3), (1, 2, 2))),
            *_conv3d(96, 256, (1, 5, 5), 2, 1),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *_conv3d(256, 256, (1, 3, 3), 1, 1),
            *_conv3d(256, 256, (1, 3, 3), 1, 1),
            *(*_conv3d(256, 256, (1, 3, 3), 1, 1), nn.MaxPool3d((1, 3, 3), (1, 2, 2))),
            *_conv3d(256, 512, (1, 6, 6), 1, 0),
        )
        self.netfcaud, self.netfclip = _head(), _head()

    def load(self, state: dict[str, Tensor]) -> None:
        """Take over the released weights, strictly.

        Raises:
            WeightsError: Names or shapes differ.
        """
        load_strictly(self, state, "SyncNet v2")

    def listen(self, mfcc: Tensor) -> Tensor:
        """Sounds (B, 1, 13, 20) to vectors (B, 1024)."""
        return self.netfcaud(self.netcnnaud(mfcc).flatten(1))

    def look(self, faces: Tensor) -> Tensor:
        """Five faces (B, 3, 5, 224, 224), BGR 0-255, to vectors (B, 1024)."""
        return self.netfclip(self.netcnnlip(faces).flatten(1))

    @torch.inference_mode()
    def score(self, faces: U8, samples: F32) -> SyncNetScore:
        """Scores of a clip.

        Args:
            faces: RGB at 25 Hz. Shape (T, 224, 224, 3).
            samples: Sound from the first face on, 16 kHz, [-1, 1]. Shape (n,).

        Returns:
            NaN and lag 0 where the clip is shorter than six frames.
        """
        device = next(self.parameters()).device
        cepstra = torch.from_numpy(mfcc(samples).T.astype(np.float32)).to(device)
        num = min(len(faces), len(samples) * RATE_HZ // SAMPLE_RATE_HZ) - _WINDOW
        num = min(num, (cepstra.shape[1] - _SOUND_STEPS) // _STEPS_PER_FRAME + 1)
        if num < 1:
            return SyncNetScore(float("nan"), float("nan"), 0)
        bgr = torch.from_numpy(np.ascontiguousarray(faces[..., ::-1])).permute(3, 0, 1, 2)
        lips: list[Tensor] = []
        sounds: list[Tensor] = []
        for start in range(0, num, _BATCH):
            places = range(start, min(num, start + _BATCH))
            windows = torch.stack([bgr[:, place : place + _WINDOW] for place in places])
            lips.append(self.look(windows.to(device).float()))
            heard = [
                cepstra[:, _STEPS_PER_FRAME * place : _STEPS_PER_FRAME * place + _SOUND_STEPS]
                for place in places
            ]
            sounds.append(self.listen(torch.stack(heard)[:, None]))
        return score_lags(torch.cat(lips), torch.cat(sounds))


def score_lags(lips: Tensor, sounds: Tensor) -> SyncNetScore:
    """Mean distance at every lag of ±15 frames, and what it says.

    Args:
        lips: Shape (T, E).
        sounds: Shape (T, E); zeros stand beyond its ends, as in the original tool.
    """
    padded = functional.pad(sounds, (0, 0, MAX_LAG, MAX_LAG))
    means = torch.stack(
        [
            functional.pairwise_distance(lips, padded[lag : lag + len(lips)]).mean()
            for lag in range(2 * MAX_LAG + 1)
        ]
    )
    least = int(means.argmin())
    return SyncNetScore(
        confidence=float(means.median() - means[least]),
        distance=float(means[least]),
        offset_frames=MAX_LAG - least,
    )


def mfcc(samples: F32) -> F64:
    """Mel-frequency cepstra as python_speech_features computes them by default.

    Args:
        samples: 16 kHz, [-1, 1]. Shape (n,).

    Returns:
        100 steps a second, 13 values each, the first of them log energy. Shape (A, 13).
    """
    signal = samples.astype(np.float64) * 32768
    signal = np.concatenate([signal[:1], signal[1:] - _EMPHASIS * signal[:-1]])
    num = 1 + max(0, -(-(len(signal) - _FRAME) // _HOP))
    signal = np.pad(signal, (0, max(0, (num - 1) * _HOP + _FRAME - len(signal))))
    frames = np.lib.stride_tricks.sliding_window_view(signal, _FRAME)[::_HOP][:num]
    power = np.abs(np.fft.rfft(frames, _FFT)) ** 2 / _FFT
    tiny = np.finfo(np.float64).eps
    energy = np.maximum(power.sum(1), tiny)
    bands = np.log(np.maximum(power @ _bands().T, tiny))
    order = np.arange(_COEFFICIENTS)
    basis = np.cos(np.pi * order[:, None] * (2 * np.arange(_BANDS) + 1) / (2 * _BANDS))
    basis *= np.where(order == 0, np.sqrt(1 / _BANDS), np.sqrt(2 / _BANDS))[:, None]
    cepstra = (bands @ basis.T) * (1 + _LIFTER / 2 * np.sin(np.pi * order / _LIFTER))
    cepstra[:, 0] = np.log(energy)
    return cepstra


def _bands() -> F64:
    """Triangles, equally spaced on the mel scale from 0 to 8 kHz, on FFT bins. Shape (26, 257)."""
    mels = np.linspace(0, 2595 * np.log10(1 + SAMPLE_RATE_HZ / 2 / 700), _BANDS + 2)
    edges = np.floor((_FFT + 1) * 700 * (10 ** (mels / 2595) - 1) / SAMPLE_RATE_HZ)
    bins = np.arange(_FFT // 2 + 1)[None]
    low, middle, high = (edges[i : i + _BANDS, None] for i in range(3))
    rising = (bins - low) / np.maximum(middle - low, 1)
    falling = (high - bins) / np.maximum(high - middle, 1)
    below = (bins >= low) & (bins < middle)
    above = (bins >= middle) & (bins < high)
    filters: NDArray[np.float64] = np.where(below, rising, np.where(above, falling, 0.0))
    return filters


def _conv2d(
    inside: int, outside: int, kernel: int | tuple[int, int], padding: int
) -> list[nn.Module]:
    conv = nn.Conv2d(inside, outside, kernel, padding=padding)
    return [conv, nn.BatchNorm2d(outside), nn.ReLU()]


def _conv3d(
    inside: int, outside: int, kernel: tuple[int, int, int], stride: int, padding: int
) -> list[nn.Module]:
    conv = nn.Conv3d(
        inside, outside, kernel, stride=(1, stride, stride), padding=(0, padding, padding)
    )
    return [conv, nn.BatchNorm3d(outside), nn.ReLU()]


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 1024))
