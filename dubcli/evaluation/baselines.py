"""Cheap baselines that paste the person's own mouths: what a model has to beat.

Both copy the mouth of one real frame of the references' part, put it into the frame's pose and lay
it over the frame with the pipeline's own compositing. `best-reference` is an oracle: it copies the
frame whose lips are nearest to the *true* ones, so it exists only where the truth is known.
`audio-reference` copies the frame whose sound is nearest to the driving sound now, and uses nothing
that a model is not given.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from dubcli.audio.log_mel import SAMPLE_RATE, log_mel
from dubcli.audio.windows import frame_steps, gather_windows
from dubcli.composite.mask import paste_mask
from dubcli.composite.paste import place_patch, support_box
from dubcli.core.errors import NoFaceError
from dubcli.core.types import F32, F64, U8, Bool, Int, Waveform
from dubcli.evaluation.source import CROP_SIZE, FEATHER, Source, aligned_crops
from dubcli.face.crop import cut_crop
from dubcli.face.landmarks import LIPS_INNER, LIPS_OUTER, SPEAKING
from dubcli.face.pose import (
    apply_matrix,
    compose,
    invert_matrix,
    to_canonical,
    to_display,
)
from dubcli.face.references import finer_matrix
from dubcli.face.track import fade
from dubcli.media.container.probe import require_video
from dubcli.media.sound.waveform import read_waveform
from dubcli.media.video.frame_reader import FrameReader
from dubcli.media.video.frame_writer import EncodeOptions, FrameWriter
from dubcli.media.video.native_frame import NativeFrame
from dubcli.media.video.spaces import coded_to_display

# Reference frames to choose from, evenly spread: their crops are held in memory.
MAX_CANDIDATES = 150
# Sound around a frame that is compared, feature steps of 12.5 ms.
_AUDIO_STEPS = 16


def candidates(source: Source) -> Int:
    """Valid frames of the references' part, at most `MAX_CANDIDATES`.

    Raises:
        NoFaceError: There is none.
    """
    frames = np.flatnonzero(source.valid & (np.arange(len(source)) < source.split))
    if len(frames) == 0:
        raise NoFaceError(
            f"'{source.clip.path}' shows no face in its first part.", "Use another clip."
        )
    if len(frames) <= MAX_CANDIDATES:
        return frames
    return frames[np.linspace(0, len(frames) - 1, MAX_CANDIDATES).round().astype(int)]


def nearest_lips(source: Source) -> Int:
    """For each frame the candidate whose pose-free lips are nearest to the true ones. (T,)."""
    lips = np.r_[LIPS_OUTER, LIPS_INNER]
    canonical = to_canonical(source.track.landmarks, source.pose)[:, lips].reshape(len(source), -1)
    return _nearest(canonical, canonical, candidates(source))


def nearest_sound(source: Source, own_audio: Path, driving_audio: Path) -> Int:
    """For each frame the candidate whose sound is nearest to the driving sound. Shape (T,).

    Args:
        source: The clip.
        own_audio: Its own sound, from the first frame on.
        driving_audio: What is heard, from the first frame on.
    """
    return _nearest(_sounds(source, own_audio), _sounds(source, driving_audio), candidates(source))


def write_pasted(source: Source, chosen: Int, wanted: Bool, output: Path, threads: int = 0) -> None:
    """A video of the clip with mouths copied from other frames of it.

    Args:
        source: The clip.
        chosen: Frame whose mouth is copied into each frame. Shape (T,).
        wanted: Frames that get one; the others stay. Shape (T,).
        output: File to write, without sound.
        threads: Of decoder and encoder; 0 for all cores.

    Raises:
        MediaError: Reading or writing fails.
    """
    paste = _Paster(source, chosen)
    strength = fade(source.track.valid, source.track.shot) * wanted
    video = require_video(source.info)
    options = EncodeOptions(output=output, threads=threads)
    with (
        FrameReader(source.clip.path, source.info, threads) as reader,
        FrameWriter(output, video, options) as writer,
    ):
        for native in reader.native_frames():
            if native.index >= len(source):
                break
            weight = float(strength[native.index])
            pasted = paste(native, weight) if weight > 0 else native
            writer.write(pasted.frame, native.pts)


class _Paster:
    """Copies mouths; holds the crops that it copies from."""

    def __init__(self, source: Source, chosen: Int) -> None:
        self._source, self._chosen = source, chosen
        used = set(np.unique(chosen).tolist())
        self._crops = dict(_crops_of(source, used))
        self._canonical = to_canonical(source.track.landmarks, source.pose)
        self._to_display = coded_to_display(require_video(source.info))

    def __call__(self, native: NativeFrame, strength: float) -> NativeFrame:
        source, index = self._source, native.index
        reference = int(self._chosen[index])
        frame_to_crop = source.alignment.frame_to_crop
        moved = self._speaking(reference, index)
        shown = self._in_crop(source.track.landmarks[index], index)
        made = shown.copy()
        made[SPEAKING] = moved
        mask = paste_mask(shown, made, CROP_SIZE, FEATHER * CROP_SIZE[0])
        to_coded = invert_matrix(compose(frame_to_crop[index], self._to_display))
        box = support_box(mask.alpha, to_coded, (native.width, native.height))
        if box is None:
            return native
        there = self._in_crop(source.track.landmarks[reference], reference)[SPEAKING]
        patch = self._warped(reference, _affine(there, moved))
        region = native.rgb_region(*box)
        return native.blend(place_patch(patch, mask.alpha, to_coded, box, region, strength))

    def _speaking(self, reference: int, index: int) -> F32:
        """The reference's pose-free speaking points in another frame's pose, crop px. (S, 2)."""
        at = np.array([index])
        points = to_display(self._canonical[reference][None], self._source.pose.at(at))[0]
        return self._in_crop(points, index)[SPEAKING]

    def _in_crop(self, landmarks: F32, index: int) -> F32:
        matrix = self._source.alignment.frame_to_crop[index]
        return apply_matrix(landmarks[None], matrix[None])[0][:, :2]

    def _warped(self, reference: int, there_to_here: F64) -> U8:
        factor = self._source.factor
        fine = finer_matrix(there_to_here, factor)
        # Out of fine px on the way in as well.
        shift = (1 - factor) / (2 * factor)
        from_fine = np.array([[1 / factor, 0, shift], [0, 1 / factor, shift]])
        size = (CROP_SIZE[0] * factor, CROP_SIZE[1] * factor)
        return cut_crop(self._crops[reference], compose(fine, from_fine), size)


def _crops_of(source: Source, used: set[int]) -> Iterator[tuple[int, U8]]:
    for index, crop in aligned_crops(source.clip.path, source, min(used)):
        if index in used:
            yield index, crop
        if index >= max(used):
            return


def _affine(start: F32, end: F32) -> F64:
    """Least-squares affine map between point sets (K, 2). Shape (2, 3)."""
    known = np.concatenate([start, np.ones((len(start), 1))], 1).astype(np.float64)
    return np.asarray(np.linalg.lstsq(known, end.astype(np.float64), rcond=None)[0].T, np.float64)


def _nearest(known: F32, wanted: F32, among: Int) -> Int:
    """For each row of `wanted` (T, D), the row number of `known` in `among` nearest to it."""
    rows = known[among].astype(np.float64)
    # The wanted row's own length is the same for all, so it does not decide.
    distances = (rows**2).sum(1) - 2 * wanted.astype(np.float64) @ rows.T
    return among[distances.argmin(1)]


def _sounds(source: Source, audio: Path) -> F32:
    """Log-mel around each frame, flat. Shape (T, steps * bands)."""
    heard = read_waveform(audio, SAMPLE_RATE)
    heard = Waveform(samples=heard.samples, sample_rate=SAMPLE_RATE)
    features = log_mel(heard)
    times = source.times
    origin_s = times.pts[0] * times.time_base
    steps = frame_steps(times.pts, times.time_base, features, Fraction(origin_s))
    windows = gather_windows(features.values, features.fill, steps, _AUDIO_STEPS)
    return windows.reshape(len(source), -1).astype(np.float32)
