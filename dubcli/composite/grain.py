"""A frame's own noise on the patch: its level, spectrum and colour, where the patch lacks it.

The patch is generated, or resampled, and so smoother than film grain or sensor noise around it.
Noise is told from texture by time: it is new in every frame. How much of the fine structure is new
is measured once a shot from neighbouring frames (`grain_share`); level, spectrum and colour are
each frame's own, measured on the skin around the patch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from dubcli.core.types import F32, U8, Bool, FramePatch

# What is finer than this (standard deviation, px) is fine structure.
_FINE = 2.0
# Side of the blocks whose spectra are averaged, px, and how many must lie on the skin.
_BLOCK, _LEAST_BLOCKS = 16, 4
# Level of noise, grey levels, below which a picture is clean, and from which on all is put on.
CLEAN, NOISY = 1.2, 2.2
# Share of fine structure that must be new in each frame for it to be noise.
_LEAST_NEW = 0.35
# Reach over which the patch's own structure is measured, px.
_LOCAL = 4.0
# Where the patch is blended more thinly, noise is not made up for beyond this.
_THINNEST = 0.35


@dataclass(frozen=True, kw_only=True)
class Grain:
    """Noise of one frame, in Y'CrCb (BT.601, full range).

    Attributes:
        level: Standard deviation of each plane's fine part, grey levels. Shape (3,).
        kernels: Filters that give white noise each plane's spectrum, and unit deviation to its
            fine part. Shape (3, k, k).
    """

    level: F32
    kernels: F32


def grain_share(one: U8, other: U8, mask: Bool) -> tuple[float, float]:
    """How much of the fine structure is new from one frame to the next.

    Args:
        one: Aligned crop of a face, RGB. Shape (H, W, 3), uint8.
        other: The same of the next frame.
        mask: Skin. Shape (H, W).

    Returns:
        The share of the fine structure's energy, 0 to 1, and the level of it, grey levels.
    """
    fine = [_fine(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY).astype(np.float32)) for x in (one, other)]
    blocks = _blocks(mask)
    if len(blocks) < _LEAST_BLOCKS:
        return 0.0, 0.0
    own = _median_energy(fine[0], blocks)
    new = _median_energy(fine[0] - fine[1], blocks) / 2
    share = min(new / max(own, 1e-6), 1.0)
    return (share if share >= _LEAST_NEW else 0.0), float(np.sqrt(new))


def measure_grain(region: U8, mask: Bool, share: float) -> Grain | None:
    """The noise of a frame.

    Args:
        region: What it shows around the face, RGB. Shape (h, w, 3), uint8.
        mask: Skin that no patch covers. Shape (h, w).
        share: From `grain_share`; tells whether the picture is noisy.

    Returns:
        None where there is none to be seen, or too little skin.
    """
    blocks = _blocks(mask)
    if share <= 0 or len(blocks) < _LEAST_BLOCKS:
        return None
    fine = _fine(cv2.cvtColor(region, cv2.COLOR_RGB2YCrCb).astype(np.float32))
    energy = np.array([_median_energy(fine[..., plane], blocks) for plane in range(3)])
    noise = float(np.sqrt(share * energy[0]))
    if noise <= CLEAN:
        return None
    # Edges of the face are no noise: only blocks that are no livelier than usual tell the spectrum.
    lively = _energies(fine[..., 0], blocks)
    calm = blocks[lively <= np.median(lively) * 1.2]
    kernels = np.stack([_kernel(fine[..., plane], calm) for plane in range(3)])
    put_on = min((noise - CLEAN) / (NOISY - CLEAN), 1.0)
    # All the fine structure, for what of it is texture is as little left in the patch.
    return Grain(level=(np.sqrt(energy) * put_on).astype(np.float32), kernels=kernels)


def add_grain(patch: FramePatch, region: U8, grain: Grain, seed: int) -> FramePatch:
    """The patch with as much noise as its surroundings have, where it has less.

    Args:
        patch: In place.
        region: What the frame shows there, RGB. Shape (h, w, 3), uint8.
        grain: Of the frame.
        seed: Of the noise: the same gives the same.
    """
    alpha = patch.alpha
    behind = region.astype(np.float32) / 255
    shown = behind + alpha[..., None] * (patch.rgb - behind)
    luma = cv2.cvtColor(shown, cv2.COLOR_RGB2GRAY) * np.float32(255)
    own = cv2.GaussianBlur(_fine(luma) ** 2, (0, 0), _LOCAL)
    wanted = float(grain.level[0]) ** 2
    lacking = np.sqrt(np.maximum(wanted - own, 0) / wanted) / np.maximum(alpha, _THINNEST)
    rng = np.random.default_rng(seed)
    white = rng.standard_normal((3, *alpha.shape), dtype=np.float32)
    planes = [
        cv2.filter2D(white[k], -1, grain.kernels[k], borderType=cv2.BORDER_REFLECT)
        * (lacking * (grain.level[k] / 255))
        for k in range(3)
    ]
    y, cr, cb = planes
    noise = np.stack([y + 1.402 * cr, y - 0.714 * cr - 0.344 * cb, y + 1.772 * cb], -1)
    return replace(patch, rgb=np.clip(patch.rgb + noise, 0, 1).astype(np.float32, copy=False))


def _fine(planes: F32) -> F32:
    return planes - cv2.GaussianBlur(planes, (0, 0), _FINE, borderType=cv2.BORDER_REFLECT)


def _blocks(mask: Bool) -> np.ndarray:
    """Top left corners of the blocks that lie in a mask. Shape (B, 2)."""
    half = _BLOCK // 2
    inside = np.asarray(
        cv2.erode(
            mask.astype(np.uint8),
            np.ones((_BLOCK, _BLOCK), np.uint8),
            anchor=(0, 0),
            borderType=cv2.BORDER_CONSTANT,
            borderValue=(0,),
        )
    )
    grid = np.zeros_like(inside)
    grid[: mask.shape[0] - _BLOCK + 1 : half, : mask.shape[1] - _BLOCK + 1 : half] = 1
    return np.argwhere((inside > 0) & (grid > 0))


def _energies(fine: F32, blocks: np.ndarray) -> F32:
    """Mean square of each block. Shape (B,)."""
    sums = cv2.integral(fine.astype(np.float64) ** 2)
    y, x = blocks.T
    total = sums[y + _BLOCK, x + _BLOCK] - sums[y, x + _BLOCK] - sums[y + _BLOCK, x] + sums[y, x]
    return (total / _BLOCK**2).astype(np.float32)


def _median_energy(fine: F32, blocks: np.ndarray) -> float:
    return float(np.median(_energies(fine, blocks)))


def _kernel(fine: F32, blocks: np.ndarray) -> F32:
    """The zero-phase filter that shapes white noise as some blocks are. Shape (k, k)."""
    taper = np.hanning(_BLOCK + 2)[1:-1]
    window = np.outer(taper, taper)
    parts = np.stack([fine[y : y + _BLOCK, x : x + _BLOCK] for y, x in blocks.tolist()])
    power = (np.abs(np.fft.rfft2(parts * window)) ** 2).mean(0)
    kernel = np.fft.fftshift(np.fft.irfft2(np.sqrt(power), (_BLOCK, _BLOCK)))
    # An odd side, so that it has a middle.
    kernel = np.ascontiguousarray(kernel[1:, 1:], np.float32)
    size = float(np.linalg.norm(_padded_fine(kernel)))
    return kernel / np.float32(max(size, 1e-6))


def _padded_fine(kernel: F32) -> F32:
    return _fine(np.pad(kernel, 8))
