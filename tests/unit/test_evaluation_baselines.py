"""Which mouths the baselines copy, what must not change, and scores of made results."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import av
import numpy as np
import pytest
from made_faces import canonical_face, made_pose, made_track, rotation

from dubcli.core.types import F32, MediaInfo, VideoStreamInfo
from dubcli.evaluation.baselines import MAX_CANDIDATES, candidates, nearest_lips
from dubcli.evaluation.clips import EvalClip
from dubcli.evaluation.preservation import changed_in, outside
from dubcli.evaluation.score import score_lips
from dubcli.evaluation.source import CROP_SIZE, Source
from dubcli.face.landmarks import LIPS_INNER, LIPS_OUTER, inter_ocular, mouth_open
from dubcli.face.pose import Pose, apply_matrix, crop_alignment, mouth_box, to_display
from dubcli.media.video.timeline import FrameTimes
from dubcli.metrics.lips import MouthSeries, at_times, lip_distance

SIZE = (240, 320)


def _turning_pose(num: int) -> Pose:
    turns = [rotation(yaw_deg=20 * math.sin(index / 7)) for index in range(num)]
    return Pose(
        scale=np.full(num, 40.0),
        rotation=np.stack(turns),
        translation=made_pose(num).translation,
    )


def _source(opening: F32, *, split: int, own: bool = True, rate: int = 25) -> Source:
    num = len(opening)
    pose = _turning_pose(num)
    landmarks = to_display(np.stack([canonical_face(float(o)) for o in opening]), pose)
    path = Path("clip.mp4")
    valid = np.ones(num, bool)
    video = VideoStreamInfo(
        index=0, codec="h264", width=SIZE[1], height=SIZE[0], frame_rate=Fraction(rate),
        time_base=Fraction(1, rate), start_pts=0, num_frames_from_header=num, sar=Fraction(1),
        rotation_deg=0, pix_fmt="yuv420p", color_space=1, color_range=1, color_transfer=1,
        color_primaries=1,
    )  # fmt: skip
    return Source(
        clip=EvalClip(path=path, name="clip", identity="clip", audio=path, audio_is_own=own),
        info=MediaInfo(path=path, container="mp4", duration_s=None, video=video, audio=None),
        times=FrameTimes(pts=list(range(num)), end_pts=num, time_base=Fraction(1, rate)),
        track=made_track(landmarks),
        pose=pose,
        alignment=crop_alignment(pose, CROP_SIZE),
        factor=1,
        split=split,
        valid=valid,
        mouth=_series(landmarks),
    )


def _series(landmarks: F32) -> MouthSeries:
    return MouthSeries(
        opening=mouth_open(landmarks),
        boxes=np.zeros((len(landmarks), 4), np.float32),
        landmarks=landmarks,
    )


def test_the_nearest_lips_have_the_true_opening_whatever_the_head_does() -> None:
    first = np.linspace(0, 0.4, 20, dtype=np.float32)
    later = np.array([0.11, 0.39, 0.02], np.float32)
    source = _source(np.concatenate([first, later]), split=20)
    chosen = nearest_lips(source)
    assert chosen[:20].tolist() == list(range(20))
    assert chosen[20:].tolist() == [int(np.abs(first - opening).argmin()) for opening in later]


def test_candidates_come_from_the_first_part_and_are_bounded() -> None:
    source = _source(np.zeros(400, np.float32), split=300)
    chosen = candidates(source)
    assert len(chosen) == MAX_CANDIDATES
    assert (chosen[0], chosen[-1]) == (0, 299)
    assert (np.diff(chosen) > 0).all()


def test_the_mouth_box_holds_open_lips_and_little_else() -> None:
    source = _source(np.full(3, 0.45, np.float32), split=1)
    rows, columns = mouth_box(CROP_SIZE)
    lips = np.r_[LIPS_OUTER, LIPS_INNER]
    points = apply_matrix(source.track.landmarks, source.alignment.frame_to_crop)[:, lips]
    assert (points[..., 0] >= columns.start).all()
    assert (points[..., 0] < columns.stop).all()
    assert (points[..., 1] >= rows.start).all()
    assert (points[..., 1] < rows.stop).all()
    fine = mouth_box(CROP_SIZE, 3)
    assert abs(fine[0].start - 3 * rows.start) <= 3
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    assert area < 0.15 * CROP_SIZE[0] * CROP_SIZE[1]


def test_a_change_outside_counts_and_one_inside_does_not() -> None:
    source = _source(np.zeros(2, np.float32), split=1)
    free = outside(source, 0, SIZE)
    assert 0.5 < free.mean() < 0.98
    before = np.full((*SIZE, 3), 90, np.uint8)
    after = before.copy()
    inside_y, inside_x = (int(v) for v in np.argwhere(~free).mean(0))
    after[inside_y - 2 : inside_y + 2, inside_x - 2 : inside_x + 2] = 200
    assert changed_in(_frame(before), _frame(after), free) == 0
    after[:2, :2] = 200
    assert changed_in(_frame(before), _frame(after), free) >= 4
    other = _frame(before).reformat(format="yuv444p")
    assert math.isnan(changed_in(_frame(before), other, free))


def _frame(image: np.ndarray) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")


def test_lip_distance_in_inter_ocular_distances() -> None:
    truth = _source(np.full(4, 0.1, np.float32), split=1).track.landmarks
    moved = truth.copy()
    moved[..., 0] += 0.25 * float(inter_ocular(truth[..., :2])[0])
    moved[1:] = np.nan
    assert lip_distance(moved, truth) == pytest.approx(0.25, rel=1e-3)
    assert lip_distance(truth, truth) == 0
    assert math.isnan(lip_distance(np.full_like(truth, np.nan), truth))


def test_a_series_is_read_by_time() -> None:
    values = np.array([0, 1, np.nan, 3, 5], np.float32)
    known = np.array([0, 1, 2, 3, 4.0])
    read = at_times(values, known, np.array([0.25, 1.0, 1.5, 3.5, 4.0, 4.1, -0.1]))
    np.testing.assert_allclose(read, [0.25, 1, np.nan, 4, 5, np.nan, np.nan], atol=1e-6)


@pytest.fixture
def speech() -> F32:
    rng = np.random.default_rng(5)
    smooth = np.convolve(rng.random(140), np.hanning(7) / 3, "valid")[:120]
    return (0.3 * (smooth - smooth.min())).astype(np.float32)


def test_reconstruction_counts_the_later_part_and_the_clips_own_offset(speech: F32) -> None:
    # The picture runs three frames after its sound, which was delayed by three frames for the dub.
    source = _source(np.roll(speech, 3), split=40)
    result = source.mouth
    scores = score_lips("reconstruction", source, result, None, offset_s=3 / 25).scores
    assert scores["r"] < 0.8
    assert scores["r_own_offset"] > 0.99
    assert (scores["r_best_lag"], scores["best_lag"]) == (pytest.approx(1, abs=0.01), 0)
    # As the file is, the result would have been three frames early.
    early = score_lips(
        "reconstruction", source, _source(speech, split=40).mouth, None, offset_s=None
    ).scores
    assert early["r"] == pytest.approx(scores["r"], abs=0.05)
    assert "r_own_offset" not in early
    spoiled = result.opening.copy()
    spoiled[:40] = 9
    again = score_lips(
        "reconstruction", source, _replaced(result, spoiled), None, offset_s=3 / 25
    ).scores
    assert again["r_own_offset"] == scores["r_own_offset"]


def test_sound_that_is_not_the_mouths_takes_no_part_in_r(speech: F32) -> None:
    source = _source(speech, split=40, own=False)
    scores = score_lips("reconstruction", source, source.mouth, None, None).scores
    assert scores["motion"] == pytest.approx(1)
    assert not {"r", "r_best_lag", "lmd"} & set(scores)


def test_another_clips_sound_is_compared_with_its_mouth_at_the_same_time(speech: F32) -> None:
    speaker = _source(speech, split=40, rate=30)
    still = _source(np.full(90, 0.1, np.float32), split=40)
    heard = at_times(speaker.mouth.opening, speaker.seconds, still.seconds)
    result = _replaced(still.mouth, heard)
    found = score_lips("cross-clip", still, result, speaker, None)
    assert found.scores["r_other"] == pytest.approx(1)
    np.testing.assert_array_equal(found.compared, heard)
    moving = _source(speech[:90], split=40)
    leaking = score_lips("cross-clip", moving, moving.mouth, speaker, None).scores
    assert leaking["leakage_r"] == pytest.approx(1)


def test_a_resting_mouth_in_silence(speech: F32) -> None:
    source = _source(speech, split=40)
    result = _replaced(source.mouth, 0.1 * source.mouth.opening)
    scores = score_lips("silence", source, result, None, None).scores
    assert scores["silence_motion_source"] == pytest.approx(0.1, rel=1e-4)
    assert scores["opening_std"] == pytest.approx(0.1 * source.mouth.opening[40:].std(), rel=1e-4)


def _replaced(series: MouthSeries, opening: F32) -> MouthSeries:
    stand_in: Any = SimpleNamespace(opening=opening, boxes=series.boxes, landmarks=series.landmarks)
    return cast(MouthSeries, stand_in)
