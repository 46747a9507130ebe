"""Pass 2: decode, generate, paste, encode; one window at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from typing import Any

import numpy as np
import torch

from dubcli.audio.windows import frame_steps, gather_windows, iter_windows
from dubcli.composite.detail import add_detail, fine_detail
from dubcli.composite.mask import behind, paste_mask
from dubcli.composite.paste import Box, place_patch, support_box
from dubcli.core.types import (
    F32,
    F64,
    U8,
    Alignment,
    AudioFeatures,
    Bool,
    FaceTrack,
    FramePatch,
    Int,
    References,
    Window,
)
from dubcli.face.crop import cut_crop
from dubcli.face.landmarks import SPEAKING
from dubcli.face.pose import (
    Pose,
    apply_matrix,
    compose,
    crop_alignment,
    invert_matrix,
    transform_pose,
)
from dubcli.face.references import finer_matrix
from dubcli.media.video.native_frame import NativeFrame
from dubcli.media.video.timeline import Timeline
from dubcli.models.api import (
    FaceGeometry,
    LipSyncModel,
    ModelWindow,
    Patches,
    reference_tensors,
    to_images,
    to_tensor,
)
from dubcli.occlusion.ranges import SEEN_SIZE, Segment
from dubcli.occlusion.segmenter import load_segmenter
from dubcli.pipeline.device import autocast
from dubcli.pipeline.generator import Generator

# Softness of the paste, as a share of the crop's height.
_FEATHER = 10 / 208


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The person who is dubbed, over the source's frames.

    Attributes:
        track: Where the face is.
        pose: Smoothed pose, canonical units to display px.
        alignment: Display px to crop px.
        coded_to_display: Coded px to display px. Shape (2, 3).
        strength: Weight of the dub per source frame, 0 to pass through. Shape (T,).
        neutral: Resting speaking points, canonical units. Shape (S, 3).
        references: Pictures of the mouth.
        state: They as encoded before, see `LipSyncModel.state_tensors`; None encodes them now.
    """

    track: FaceTrack
    pose: Pose
    alignment: Alignment
    coded_to_display: F64
    strength: F32
    neutral: F32
    references: References
    state: dict[str, torch.Tensor] | None = None


@dataclass(frozen=True, kw_only=True)
class _View:
    """The part of a coded frame around the face, made RGB once for crop and paste.

    Attributes:
        native: The frame.
        index: Its number in the source.
        to_crop: Coded px to crop px. Shape (2, 3).
        x: Left edge of the part, coded px.
        y: Top edge of the part, coded px.
        rgb: Shape (h, w, 3), uint8.
    """

    native: NativeFrame
    index: int
    to_crop: F64
    x: int
    y: int
    rgb: U8

    def part(self, box: Box) -> U8:
        """What the frame shows in a box: of this part, unless some mask reaches out of it."""
        x, y, width, height = box
        left, top = x - self.x, y - self.y
        inside = self.rgb[max(0, top) : top + height, max(0, left) : left + width]
        if inside.shape[:2] == (height, width):
            return inside
        return self.native.rgb_region(*box)


@dataclass
class Clock:
    """Seconds spent per stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, stage: str, since: float) -> float:
        """Count the time since `since` for a stage; returns the time now."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - since
        return now


def picture_jumps(track: FaceTrack, timeline: Timeline) -> Bool:
    """Where the picture does not go on from the one before: a cut, or the video starts over.

    Returns:
        Whether it jumps before each position of the timeline. Shape (N,).
    """
    jumps = np.abs(np.diff(timeline.source_index)) > 1
    cuts = np.diff(track.shot[timeline.source_index]) != 0
    return np.concatenate([[False], jumps | cuts])


class Renderer:
    """Turns source frames into dubbed frames.

    Args:
        model: The lip-sync model, on `device`.
        subject: The person.
        features: Driving audio.
        timeline: What is shown when.
        origin_s: Video time at which the driving audio begins.
        strength: Weight of the dub at each position of the timeline, 0 to pass through; no more
            than `Subject.strength` of the frame that is shown. Shape (N,).
        device: Where the model runs.
        clock: Collects seconds per stage.
    """

    def __init__(
        self,
        model: LipSyncModel,
        subject: Subject,
        features: AudioFeatures,
        timeline: Timeline,
        origin_s: Fraction,
        strength: F32,
        device: torch.device,
        clock: Clock,
    ) -> None:
        self._model, self._subject, self._device = model, subject, device
        self._strength = strength
        self._features, self._timeline, self._clock = features, timeline, clock
        self._steps = frame_steps(timeline.pts.tolist(), timeline.time_base, features, origin_s)
        with torch.inference_mode(), autocast(device):
            crops, points = reference_tensors(subject.references, SPEAKING, device)
            state: Any = (
                model.encode_references(crops, points)
                if subject.state is None
                else model.state_from_tensors(subject.state, crops)
            )
        self._generator = Generator(model, state, device)
        self._detail = self._reference_detail()
        self._segment = load_segmenter() if subject.track.touched.any() else None

    def windows(self) -> list[Window]:
        """What is generated together: runs of positions that no cut divides, in order."""
        cuts = np.flatnonzero(picture_jumps(self._subject.track, self._timeline)).tolist()
        return list(iter_windows(len(self._timeline), self._model.spec.window, 0, cuts))

    def frames(
        self, source: Iterator[NativeFrame], windows: Sequence[Window] | None = None
    ) -> Iterator[NativeFrame]:
        """Dubbed or untouched frames, one for each position of some windows, in order.

        Args:
            source: The source frames of these positions, in their order.
            windows: Consecutive ones of `windows()`; all of them where None.
        """
        for window in self.windows() if windows is None else windows:
            began = time.perf_counter()
            held = list(islice(source, window.emit_stop - window.emit_start))
            self._clock.add("decode_wait", began)
            yield from self._window(held, np.arange(window.emit_start, window.emit_stop))

    def _window(self, held: Sequence[NativeFrame], positions: Int) -> Iterator[NativeFrame]:
        source = self._timeline.source_index[positions]
        active = np.flatnonzero(self._strength[positions] > 0)
        if len(active) == 0:
            yield from held
            return
        began = time.perf_counter()
        views = [self._view(held[place], int(source[place])) for place in active.tolist()]
        crops = np.stack([self._crop(view) for view in views])
        began = self._clock.add("crop", began)
        patches = self._generate(crops, source[active], self._steps[positions[active]])
        images = to_images(patches.rgb)
        began = self._clock.add("model", began)
        order = {int(place): number for number, place in enumerate(active)}
        for place, native in enumerate(held):
            if place not in order:
                yield native
                continue
            began = time.perf_counter()
            strength = float(self._strength[positions[place]])
            pasted = self._paste(views[order[place]], images, patches, order[place], strength)
            self._clock.add("paste", began)
            yield pasted

    def _view(self, native: NativeFrame, index: int) -> _View:
        to_crop = compose(
            self._subject.alignment.frame_to_crop[index], self._subject.coded_to_display
        )
        height, width = self._subject.alignment.crop_size
        corners = np.array([(0, 0), (width, 0), (0, height), (width, height)], np.float64)
        back = invert_matrix(to_crop)
        spots = corners @ back[:, :2].T + back[:, 2]
        low = np.floor(spots.min(0)).astype(int) - 4
        high = np.ceil(spots.max(0)).astype(int) + 5
        low = np.clip(low, 0, (native.width - 1, native.height - 1)) // 2 * 2
        high = np.clip(high, low + 1, (native.width, native.height))
        x, y, w, h = int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1])
        rgb = native.rgb_region(x, y, w, h)
        return _View(native=native, index=index, to_crop=to_crop, x=x, y=y, rgb=rgb)

    def _crop(self, view: _View, factor: int = 1) -> U8:
        """The aligned crop, `factor` times as fine as the model's."""
        shift = np.array([[1.0, 0, view.x], [0, 1.0, view.y]])
        height, width = self._subject.alignment.crop_size
        matrix = finer_matrix(compose(view.to_crop, shift), factor)
        return cut_crop(view.rgb, matrix, (factor * height, factor * width))

    def _generate(self, crops: U8, source: Int, steps: Int) -> Patches:
        subject, spec = self._subject, self._model.spec
        matrices = subject.alignment.frame_to_crop[source]
        landmarks = apply_matrix(subject.track.landmarks[source], matrices)[..., :2]
        audio = gather_windows(self._features.values, self._features.fill, steps, spec.audio_width)
        window = ModelWindow(
            crops=to_tensor(crops, self._device),
            audio=torch.from_numpy(audio).to(self._device),
            landmarks=torch.from_numpy(landmarks).to(self._device),
            geometry=self._geometry(source, matrices),
        )
        return self._generator(window)

    def _geometry(self, source: Int, matrices: F64) -> FaceGeometry:
        """Poses in crop px: the alignment's similarity after the display pose."""
        pose = transform_pose(self._subject.pose.at(source), matrices)

        def tensor(values: F64 | F32) -> torch.Tensor:
            return torch.from_numpy(values.astype(np.float32)).to(self._device)

        return FaceGeometry(
            scale=tensor(pose.scale),
            rotation=tensor(pose.rotation),
            translation=tensor(pose.translation),
            neutral=tensor(self._subject.neutral),
        )

    def _paste(
        self, view: _View, images: U8, patches: Patches, number: int, strength: float
    ) -> NativeFrame:
        subject, native, index = self._subject, view.native, view.index
        matrix = subject.alignment.frame_to_crop[index]
        shown = apply_matrix(subject.track.landmarks[index][None], matrix[None])[0]
        wanted = shown.copy()
        if patches.speaking is not None:
            wanted[SPEAKING, :2] = patches.speaking[number].float().cpu().numpy()
        height, _ = subject.alignment.crop_size
        mask = paste_mask(shown, wanted, subject.alignment.crop_size, _FEATHER * height)
        to_coded = invert_matrix(view.to_crop)
        box = support_box(mask.alpha, to_coded, (native.width, native.height))
        if box is None:
            return native
        patch = self._with_detail(view, images[number], patches, number)
        region = view.part(box)
        placed = place_patch(patch, mask.alpha, to_coded, box, region, strength)
        if self._segment is not None and subject.track.touched[index]:
            placed = self._behind(placed, view, self._segment)
        return native.blend(placed)

    def _behind(self, patch: FramePatch, view: _View, segment: Segment) -> FramePatch:
        """The patch without what lies in front of the face; only this frame is looked at."""
        pose = self._subject.pose.at(np.array([view.index]))
        to_seen = crop_alignment(pose, SEEN_SIZE).frame_to_crop[0]
        to_seen = compose(to_seen, self._subject.coded_to_display)
        shift = np.array([[1.0, 0, view.x], [0, 1.0, view.y]])
        crop = cut_crop(view.rgb, compose(to_seen, shift), SEEN_SIZE)
        return behind(patch, segment(crop[None])[0], invert_matrix(to_seen))

    def _reference_detail(self) -> F32 | None:
        references = self._subject.references
        if references.detail_crops.shape == references.crops.shape:
            return None
        return fine_detail(references.detail_crops, self._subject.alignment.crop_size)

    def _with_detail(self, view: _View, image: U8, patches: Patches, number: int) -> U8:
        """The patch at the source's own resolution where that is finer than the model's."""
        if patches.detail is None or self._detail is None:
            return image
        crop_size = self._subject.alignment.crop_size
        fine = self._crop(view, self._detail.shape[1] // crop_size[0])
        warp = patches.detail
        grid, weights, own_grid, own_weight = (
            value[number].float().cpu().numpy()
            for value in (warp.grid, warp.weights, warp.source_grid, warp.source_weight)
        )
        layers = [*self._detail, *fine_detail(fine[None], crop_size)]
        return add_detail(image, layers, [*grid, own_grid], [*weights, own_weight], warp.box)
