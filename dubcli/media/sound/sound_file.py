"""WAV, FLAC and AIFF by libsndfile: files without packets or timestamps, in and out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from av.audio.frame import AudioFrame

from dubcli.core.types import F32

_BLOCK = 1 << 16
_KINDS = {"WAV", "WAVEX", "RF64", "FLAC", "AIFF"}
_LAYOUTS = {1: "mono", 2: "stereo"}
# Codings whose samples stand alone; the others go by packets, which libav knows better.
_CODINGS = ("PCM_", "FLOAT", "DOUBLE", "ULAW", "ALAW")


class BrokenSoundFile(Exception):
    """libsndfile cannot read all that the header promises."""


def is_sound_file(path: Path) -> bool:
    """Whether `sound_blocks` reads a file: WAV, FLAC or AIFF, mono or stereo, of whole samples."""
    try:
        info = soundfile.info(str(path))
    except (soundfile.LibsndfileError, OSError, ValueError):
        return False
    return (
        info.format in _KINDS
        and info.subtype.startswith(_CODINGS)
        and info.channels in _LAYOUTS
        and info.frames > 0
    )


def sound_blocks(path: Path) -> Iterator[AudioFrame]:
    """The file's samples from its start, planar floats of its own rate.

    Raises:
        BrokenSoundFile: It ends early or is damaged.
    """
    try:
        with soundfile.SoundFile(str(path)) as file:
            dtype = "float64" if file.subtype == "DOUBLE" else "float32"
            done = 0
            while done < file.frames:
                samples = file.read(_BLOCK, dtype=dtype, always_2d=True)
                if not len(samples):
                    raise BrokenSoundFile(f"'{path}' ends after {done} of {file.frames} samples.")
                done += len(samples)
                yield _frame(samples, file.samplerate)
    except (soundfile.LibsndfileError, OSError) as error:
        raise BrokenSoundFile(str(error)) from error


def write_wave(path: Path, samples: F32, sample_rate: int) -> None:
    """Write 16-bit samples.

    Args:
        path: A .wav file; replaced if it exists.
        samples: In [-1, 1]; what lies beyond is clipped. Shape (N,) or (N, channels).
        sample_rate: Hz.
    """
    whole = np.rint(np.clip(samples, -1, 1) * 32767).astype(np.int16)
    soundfile.write(str(path), whole, sample_rate, subtype="PCM_16", format="WAV")


def _frame(samples: np.ndarray, sample_rate: int) -> AudioFrame:
    kind = "dblp" if samples.dtype == np.float64 else "fltp"
    planes = np.ascontiguousarray(samples.T)
    frame = AudioFrame.from_ndarray(planes, format=kind, layout=_LAYOUTS[samples.shape[1]])
    frame.sample_rate = sample_rate
    return frame
