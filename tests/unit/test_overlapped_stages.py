"""Stages that run beside each other decide and paint as they would one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from itertools import count, islice
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import dubcli
from dubcli.composite.detail import pasted_part
from dubcli.core.types import Frame
from dubcli.face.detect import MAX_SIDE, open_detector
from dubcli.face.recognition import load_recogniser
from dubcli.face.shots import ShotDetector
from dubcli.face.track import Tracker
from dubcli.media.container.probe import probe
from dubcli.media.video.frame_reader import FrameReader
from dubcli.media.video.timeline import FrameTimes
from dubcli.models.common.layers import AdaIN, concatenated
from dubcli.models.iptalker.network import IPTalker
from dubcli.occlusion.segmenter import load_segmenter
from dubcli.pipeline.analysis import analyse
from dubcli.pipeline.queues import prefetch

DEMO = Path(dubcli.__file__).parent / "assets" / "demo.mp4"
NUM = 20


class _FirstFrames:
    """A reader of a video that ends early."""

    num_corrupt = num_interlaced = 0

    def __init__(self) -> None:
        self._reader = FrameReader(DEMO, probe(DEMO))
        self._pts: list[int] = []

    def frames(self, max_side: int) -> Iterator[Frame]:
        self._pts = []
        for frame in islice(self._reader.frames(max_side), NUM):
            self._pts.append(frame.pts)
            yield frame

    @property
    def times(self) -> FrameTimes:
        base = self._reader._video.time_base
        return FrameTimes(pts=self._pts, end_pts=self._pts[-1] + 1, time_base=base)


def test_analysis_beside_decoding_decides_as_one_frame_after_the_other() -> None:
    reader, waiting = _FirstFrames(), []
    segmenter, recogniser = load_segmenter(), load_recogniser()
    tracker, shots = Tracker(segmenter, recogniser), ShotDetector()
    verdicts = []
    with open_detector() as detector:
        for frame in reader.frames(MAX_SIDE):
            waiting.append(tracker.look(frame, detector.detect(frame)))
            verdicts += shots.update(frame.image)
    for sighting, verdict in zip(waiting, [*verdicts, *shots.finish()], strict=True):
        tracker.add(sighting, verdict.is_cut, verdict.spoilt)
    expected = tracker.finish()
    with open_detector() as detector:
        found = analyse(
            cast("FrameReader", reader),
            detector,
            NUM,
            lambda *_: None,
            segmenter,
            recogniser=recogniser,
        )
    assert len(found.tracks) == len(expected) == 1
    for entry in fields(expected[0]):
        one, other = getattr(found.tracks[0], entry.name), getattr(expected[0], entry.name)
        assert np.array_equal(np.asarray(one), np.asarray(other), equal_nan=False) or (
            np.asarray(one).dtype.kind == "f" and np.array_equal(one, other, equal_nan=True)
        ), entry.name


def test_who_waits_for_a_stage_that_was_stopped_goes_on() -> None:
    """A thread that asks for more while its producer is stopped must end, or nobody could."""
    with prefetch(count()) as numbers:
        with prefetch(number for number in numbers) as passed_on:
            assert [next(passed_on) for _ in range(3)] == [0, 1, 2]
        first = next(numbers)
    assert first >= 3
    # What is still queued may come; then it is over.
    assert len(list(islice(numbers, 50))) < 50


def test_an_error_in_a_stage_reaches_who_asks_through_another_one() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("torn")

    with (
        pytest.raises(ValueError, match="torn"),
        prefetch(broken()) as numbers,
        prefetch(number for number in numbers) as passed_on,
    ):
        list(passed_on)


@pytest.mark.parametrize("size", [(6, 8), (40, 48)])
def test_normalisation_is_the_instances_at_every_size_and_layout(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x, code = torch.randn(2, 8, *size) * 3 + 1, torch.zeros(2, 4)
    layer = AdaIN(8, 4)
    nn.init.zeros_(layer.affine.bias)
    expected = functional.instance_norm(x)
    for given in (x, x.to(memory_format=torch.channels_last)):
        torch.testing.assert_close(layer(given, code), expected, atol=1e-5, rtol=1e-5)


def test_maps_of_several_formats_are_joined_in_the_one_that_convolutions_take() -> None:
    parts = [torch.randn(1, 3, 4, 4), torch.randn(1, 2, 4, 4).bfloat16()]
    assert concatenated(parts[:1]).is_contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        joined = concatenated(parts)
    assert joined.dtype == torch.bfloat16
    assert torch.equal(joined, torch.cat([part.bfloat16() for part in parts], 1))


def test_selection_of_references_is_one_convolution_of_both() -> None:
    torch.manual_seed(0)
    model = IPTalker().eval()
    width = model.config.channels
    warped, f_s = torch.randn(2, 3, width, 4, 5), torch.randn(2, width, 4, 5)
    with torch.inference_mode():
        mixed = model._mix_features(warped, f_s)
        pairs = torch.cat([warped, f_s[:, None].expand_as(warped)], 2).flatten(0, 1)
        share = model.select(pairs).unflatten(0, (2, 3)).softmax(1)
    torch.testing.assert_close(mixed, (share * warped).sum(1), atol=1e-5, rtol=1e-4)


def test_the_pasted_part_holds_the_mask_and_stays_inside_the_box() -> None:
    alpha = np.zeros((40, 30), np.float32)
    alpha[20:25, 10:12] = 1
    top, bottom, left, right = pasted_part(alpha, (16, 40, 0, 30))
    assert 16 <= top < 20
    assert 25 < bottom <= 40
    assert 0 <= left < 10
    assert 12 < right <= 30
    assert pasted_part(np.ones((40, 30), np.float32), (16, 40, 0, 30)) == (16, 40, 0, 30)
