"""Pass 2: decode, generate, paste, encode; one window at a time."""

from __future__ import annotations

import time
from collections.abc import Generator as PythonGenerator
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from dubcli.audio.windows import iter_windows
from dubcli.composite.mask import occlude, paste_mask
from dubcli.composite.paste import place_patch, support_box
from dubcli.composite.picture_match import Surroundings, match_picture
from dubcli.core.types import (
    F32,
    F64,
    U8,
    AudioFeatures,
    FramePatch,
    Int,
    PasteMask,
    References,
    Window,
)
from dubcli.face.crop import cut_crop
from dubcli.face.landmarks import SPEAKING
from dubcli.face.pose import apply_matrix, compose, crop_alignment, invert_matrix
from dubcli.media.video.native_frame import NativeFrame
from dubcli.media.video.timeline import FrameTimes, Timeline
from dubcli.models.api import ModelWindow, OwnSpeech, Part, Patches, Subject
from dubcli.models.conversion import to_images
from dubcli.occlusion.ranges import SEEN_SIZE, Segmenter
from dubcli.pipeline.context import Clock
from dubcli.pipeline.device import autocast
from dubcli.pipeline.generator import Generator
from dubcli.pipeline.held_frames import FrameView, HeldFrames
from dubcli.pipeline.jumps import picture_jumps
from dubcli.pipeline.landmark_file import GivenMouths, MouthLog, pose_free
from dubcli.pipeline.model_figures import FigureLog
from dubcli.pipeline.model_input import ModelInput
from dubcli.pipeline.model_pair import ModelPair
from dubcli.pipeline.patch_detail import PatchDetail
from dubcli.pipeline.queues import prefetch
from dubcli.pipeline.subject import DubbedFace, model_subject

# Softness of the paste, as a share of the crop's height.
_FEATHER = 10 / 208


@dataclass(frozen=True, kw_only=True)
class RenderJob:
    """What one face is dubbed with.

    Attributes:
        models: Predict and paint, on `device`.
        face: The face.
        features: Driving audio by kind, each kind that a model hears.
        timeline: What is shown when.
        times: Of the source's frames.
        origin_s: Video time at which the driving audio begins.
        strength: Weight of the dub at each position of the timeline, 0 to pass through; no more
            than `DubbedFace.strength` of the frame that is shown. Shape (N,).
        rest: How far predicted mouths are at rest at each position, 0 to 1. Shape (N,).
        device: Where the models run.
        segmenter: Segments what lies in front of a face; None: nothing is looked for.
        second: People of other videos that the models' options name, by the model's part.
        own_speech: How the person speaks in the video itself; what the predicting model is given.
        given: Mouths of a landmark file in place of predicted ones, and the number of the voice.
    """

    models: ModelPair
    face: DubbedFace
    features: Mapping[str, AudioFeatures]
    timeline: Timeline
    times: FrameTimes
    origin_s: Fraction
    strength: F32
    rest: F32
    device: torch.device
    segmenter: Segmenter | None = None
    second: Mapping[Part, Subject] = field(default_factory=dict[Part, Subject])
    own_speech: OwnSpeech | None = None
    given: tuple[GivenMouths, int] | None = None


@dataclass(frozen=True, kw_only=True)
class _GeneratedWindow:
    """Frames with the mouths that were made for them.

    Attributes:
        start: Position of the first frame.
        frames: As they were decoded.
        views: Of those that are dubbed, by position, ascending.
        mouths: Crops of those in their order, RGB (E, H, W, 3), uint8, and all that the model
            gave; None where no frame is dubbed.
    """

    start: int
    frames: list[NativeFrame]
    views: Mapping[int, FrameView] = field(default_factory=dict[int, FrameView])
    mouths: tuple[U8, Patches] | None = None


class Renderer:
    """Turns source frames into dubbed frames.

    Args:
        job: What is to be done.
        clock: Collects seconds per stage.
    """

    def __init__(self, job: RenderJob, clock: Clock) -> None:
        self._face, self._strength = job.face, job.strength
        self._timeline, self._clock = job.timeline, clock
        motion, render = job.models.motion.spec, job.models.render.spec
        self._spec, self._motion_context = render, motion.motion_context
        given = (job.face, job.features, job.timeline, job.origin_s, job.device)
        self._shown = ModelInput(render, *given)
        self._heard = self._shown if job.models.is_one else ModelInput(motion, *given)
        self._is_alike = job.models.is_one and not motion.motion_context
        self._generator = _generator(job)
        self.figures = FigureLog()
        self._cuts = np.flatnonzero(picture_jumps(job.face.track, job.timeline))
        self._detail = PatchDetail(job.face, self._spec.detail_role())
        self._segmenter = job.segmenter

    @property
    def mouths(self) -> MouthLog:
        """Mouths of the frames that were dubbed so far, until they are taken out."""
        return self._generator.mouths

    @property
    def cuts(self) -> Int:
        """Positions at which the picture does not go on from the one before. Shape (C,)."""
        return self._cuts

    @property
    def facts(self) -> dict[Part, dict[str, Any]]:
        """What the models report of the job, see `Generator.facts`."""
        return self._generator.facts()

    @property
    def context(self) -> int:
        """Frames on either side of a window that its result depends on."""
        return self._spec.context

    def windows(self) -> list[Window]:
        """What is generated together: runs of positions that no cut divides, in order."""
        num, spec = len(self._timeline), self._spec
        return list(iter_windows(num, spec.window, spec.context, self._cuts.tolist()))

    def frames(
        self, source: Iterator[NativeFrame], windows: Sequence[Window] | None = None
    ) -> PythonGenerator[NativeFrame, None, None]:
        """Dubbed or untouched frames, one for each position of some windows, in order.

        Works ahead in a thread of its own until it is closed; see `rendered`.

        Args:
            source: The source frames of these positions, in their order.
            windows: Consecutive ones of `windows()`; all of them where None.
        """
        chosen = self.windows() if windows is None else windows
        if not chosen:
            return
        # The next window is generated while this one is pasted.
        with prefetch(self._windows(source, chosen), depth=1) as generated:
            for window in generated:
                yield from self._pasted(window)

    def _windows(
        self, source: Iterator[NativeFrame], chosen: Sequence[Window]
    ) -> Iterator[_GeneratedWindow]:
        held = HeldFrames(source, chosen[0].emit_start, chosen[-1].emit_stop)
        for window in chosen:
            began = time.perf_counter()
            held.read_until(window.stop)
            self._clock.add("decode_wait", began)
            yield self._generated(held, window)
            held.drop_before(window.emit_stop - self.context)

    def _generated(self, held: HeldFrames, window: Window) -> _GeneratedWindow:
        frames = held.frames(window.emit_start, window.emit_stop)
        wanted = self._usable(window.emit_start, window.emit_stop)
        if len(wanted) == 0:
            return _GeneratedWindow(start=window.emit_start, frames=frames)
        began = time.perf_counter()
        rows = self._usable(max(window.start, held.start), min(window.stop, held.stop))
        views = {position: held.view(position, self._view) for position in rows.tolist()}
        crops = np.stack([held.crop(position, self._crop) for position in rows.tolist()])
        began = self._clock.add("crop", began)
        patches = self._generate(rows, wanted, crops)
        images = to_images(patches.rgb)
        self.figures.add(wanted, patches)
        self._clock.add("model", began)
        return _GeneratedWindow(
            start=window.emit_start,
            frames=frames,
            views={position: views[position] for position in wanted.tolist()},
            mouths=(images, patches),
        )

    def _pasted(self, window: _GeneratedWindow) -> Iterator[NativeFrame]:
        order = {position: number for number, position in enumerate(window.views)}
        for position, native in enumerate(window.frames, window.start):
            if window.mouths is None or position not in order:
                yield native
                continue
            began = time.perf_counter()
            strength = float(self._strength[position])
            view, number = window.views[position], order[position]
            pasted = self._paste(view, *window.mouths, number, strength)
            self._clock.add("paste", began)
            yield pasted

    def _usable(self, start: int, stop: int) -> Int:
        """Positions of a range whose face is dubbed."""
        return start + np.flatnonzero(self._strength[start:stop] > 0)

    def _generate(self, rows: Int, wanted: Int, crops: U8) -> Patches:
        """New mouths of the wanted positions, which are some of the rows."""
        first = int(np.searchsorted(rows, wanted[0]))
        window = self._shown.window(rows, slice(first, first + len(wanted)))
        if self._is_alike:
            heard = replace(window, emit=slice(0, len(rows)))
        else:
            heard = self._heard_window(rows)
        return self._generator(heard, self._shown.with_crops(window, crops))

    def _heard_window(self, rows: Int) -> ModelWindow:
        """All rows wanted, with the context that predicts them, within their shot."""
        shot = int(np.searchsorted(self._cuts, rows[0], side="right"))
        begin = int(self._cuts[shot - 1]) if shot else 0
        end = int(self._cuts[shot]) if shot < len(self._cuts) else len(self._timeline)
        low = max(begin, int(rows[0]) - self._motion_context)
        high = min(end, int(rows[-1]) + 1 + self._motion_context)
        positions = self._usable(low, high)
        first = int(np.searchsorted(positions, rows[0]))
        return self._heard.window(positions, slice(first, first + len(rows)))

    def _view(self, native: NativeFrame, position: int) -> FrameView:
        index = int(self._timeline.source_index[position])
        to_crop = compose(self._face.alignment.frame_to_crop[index], self._face.coded_to_display)
        height, width = self._face.alignment.crop_size
        corners = np.array([(0, 0), (width, 0), (0, height), (width, height)], np.float64)
        back = invert_matrix(to_crop)
        spots = corners @ back[:, :2].T + back[:, 2]
        low = np.floor(spots.min(0)).astype(int) - 4
        high = np.ceil(spots.max(0)).astype(int) + 5
        low = np.clip(low, 0, (native.width - 1, native.height - 1)) // 2 * 2
        high = np.clip(high, low + 1, (native.width, native.height))
        x, y, w, h = int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1])
        rgb = native.rgb_region(x, y, w, h)
        return FrameView(native=native, index=index, to_crop=to_crop, x=x, y=y, rgb=rgb)

    def _crop(self, view: FrameView) -> U8:
        """The aligned crop in the usual light."""
        crop = cut_crop(view.rgb, view.part_to_crop, self._face.alignment.crop_size)
        light = self._face.light.at(view.index)
        return crop if light is None else light.to_usual(crop)

    def _paste(
        self, view: FrameView, images: U8, patches: Patches, number: int, strength: float
    ) -> NativeFrame:
        face, native, index = self._face, view.native, view.index
        mask = self._mask(index, patches, number)
        to_coded = invert_matrix(view.to_crop)
        box = support_box(mask.alpha, to_coded, (native.width, native.height))
        if box is None:
            return native
        patch = self._detail.added(images[number], view, patches, number, mask)
        light = face.light.at(index)
        lit = patch if light is None else light.to_frame(patch)
        region = view.part(box)
        placed = place_patch(lit, mask.alpha, to_coded, box, region, strength)
        placed = match_picture(placed, region, self._surroundings(view))
        if self._segmenter is not None and face.track.partially_occluded[index]:
            placed = self._occlude(placed, view, self._segmenter)
        return native.blend(placed)

    def _surroundings(self, view: FrameView) -> Surroundings:
        face, native = self._face, view.native
        to_part = invert_matrix(compose(face.coded_to_display, _shifted_by(view.x, view.y)))
        return Surroundings(
            x=view.x,
            y=view.y,
            rgb=view.rgb,
            landmarks=apply_matrix(face.track.landmarks[view.index][None], to_part[None])[0],
            grain_share=float(face.grain_shares[view.index]),
            # Of the frame's own time, so that a job that goes on makes the same noise.
            seed=round(native.pts * native.time_base * 1_000_000) % (1 << 63),
        )

    def _mask(self, index: int, patches: Patches, number: int) -> PasteMask:
        """How the patch of a source frame is laid over it."""
        face = self._face
        matrix = face.alignment.frame_to_crop[index]
        shown = apply_matrix(face.track.landmarks[index][None], matrix[None])[0]
        wanted = shown.copy()
        if patches.points is not None:
            wanted[SPEAKING, :2] = patches.points[number].float().cpu().numpy()
        size = face.alignment.crop_size
        mask = paste_mask(shown, wanted, size, _FEATHER * size[0], hull=self._spec.paste)
        if patches.alpha is None:
            return mask
        alpha = patches.alpha[number, 0].float().cpu().numpy()
        return PasteMask(alpha=np.minimum(mask.alpha, alpha))

    def _occlude(self, patch: FramePatch, view: FrameView, segmenter: Segmenter) -> FramePatch:
        """The patch without what lies in front of the face; only this frame is looked at."""
        pose = self._face.pose.at(np.array([view.index]))
        to_seen = crop_alignment(pose, SEEN_SIZE).frame_to_crop[0]
        to_seen = compose(to_seen, self._face.coded_to_display)
        shift = _shifted_by(view.x, view.y)
        crop = cut_crop(view.rgb, compose(to_seen, shift), SEEN_SIZE)
        return occlude(patch, segmenter(crop[None])[0], invert_matrix(to_seen))


def _shifted_by(x: float, y: float) -> F64:
    """From px of a part of a picture to px of the picture. Shape (2, 3)."""
    return np.array([[1.0, 0, x], [0, 1.0, y]])


def _generator(job: RenderJob) -> Generator:
    """Both models with what they prepared of the subject."""
    models, face = job.models, job.face
    with torch.inference_mode(), autocast(job.device):
        render = models.render
        own = job.own_speech if models.is_one else None
        subject = _subject(job, "render", face.references, own)
        state = (
            render.prepare(subject)
            if face.state is None
            else render.state_from_tensors(face.state, subject)
        )
        heard = state
        if not models.is_one:
            other = _subject(job, "motion", face.motion_references, job.own_speech)
            heard = models.motion.prepare(other)
    return Generator(models, heard, state, job.device, _given_mouths(job), job.rest)


@contextmanager
def rendered(
    renderers: Sequence[Renderer], source: Iterator[NativeFrame], windows: Sequence[Window]
) -> Iterator[Iterator[NativeFrame]]:
    """Frames that went through one renderer after the other, one for each face.

    Args:
        renderers: In the order in which the faces are pasted.
        source: The source frames of the windows' positions, in their order.
        windows: Consecutive ones of the renderers' windows.

    Yields:
        The frames; their threads have ended when the context is left, however that happens.
    """
    with ExitStack() as stack:
        frames = source
        for renderer in renderers:
            frames = stack.enter_context(closing(renderer.frames(frames, windows)))
        yield frames


def _given_mouths(job: RenderJob) -> dict[int, F32] | None:
    """Pose-free mouths of a landmark file, of every position that is dubbed.

    Raises:
        ConfigError: One is missing or has lips that cross.
    """
    if job.given is None:
        return None
    positions = np.flatnonzero(job.strength > 0)
    poses = job.face.pose.at(job.timeline.source_index[positions])
    return pose_free(*job.given, positions, poses)


def _subject(
    job: RenderJob, part: Part, references: Mapping[str, References], own: OwnSpeech | None
) -> Subject:
    return model_subject(
        job.face,
        references,
        job.models.specs[part],
        job.device,
        times=job.times,
        own_audio=job.face.own_audio.get(part),
        second=job.second.get(part),
        own_speech=own,
    )
