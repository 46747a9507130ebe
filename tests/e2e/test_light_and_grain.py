"""Dubs of fades, lamps, toned film and grain: the mouth belongs to the picture around it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from studio import FACE_PX, dub_here, face_clip, pairs_of, same_samples, samples, speech
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.config import DubConfig
from dubcli.core.reports import DubReport
from dubcli.core.types import Frame
from dubcli.face.detect import FaceDetector, open_detector
from dubcli.media.video.frame_writer import EncodeOptions
from dubcli.metrics.picture_consistency import PictureMatch, match_of
from dubcli.pipeline.run import dub

NUM = 15
SCALE = f"scale={FACE_PX}:{FACE_PX}"
CHANGES = {
    "fade": f"{SCALE},geq=lum='16+(lum(X,Y)-16)*clip((N+2)/10,0.2,1)'"
    ":cb='128+(cb(X,Y)-128)*clip((N+2)/10,0.2,1)':cr='128+(cr(X,Y)-128)*clip((N+2)/10,0.2,1)'",
    "lamp off": f"{SCALE},eq=gamma=0.5:brightness=-0.05:enable='gte(n,9)'",
    "flicker": f"{SCALE},geq=lum='lum(X,Y)*(0.85+0.15*gt(mod(N,4),1))':cb='cb(X,Y)':cr='cr(X,Y)'",
    "coloured light": f"{SCALE},format=gbrp,geq=r='r(X,Y)*(1-0.05*N)':g='g(X,Y)*(1-0.03*N)'"
    ":b='b(X,Y)*(0.5+0.03*N)'",
}
SEPIA = "hue=s=0,colorchannelmixer=.393:.769:.189:0:.349:.686:.168:0:.272:.534:.131"


@pytest.fixture(scope="module")
def detector() -> Any:
    with open_detector() as found:
        yield found


def dubbed(tmp_path: Path, filters: str, **settings: Any) -> tuple[Path, Path, DubReport]:
    source = face_clip(tmp_path / "in.mp4", filters, frames=NUM)
    output = tmp_path / "out.mkv"
    audio = speech(tmp_path / "speech.wav", NUM / 25)
    report = dub_here(source, audio, output, lossless=True, model="iptalker", **settings)
    return source, output, report


def matches(source: Path, output: Path, detector: FaceDetector) -> list[PictureMatch]:
    """One for each frame that was dubbed."""
    found: list[PictureMatch] = []
    for number, before, after in pairs_of(source, output):
        if same_samples(before.frame, after.frame):
            continue
        shown = [one.frame.to_ndarray(format="rgb24") for one in (before, after)]
        pictures = [np.asarray(picture, np.uint8) for picture in shown]
        faces = [detector.detect(Frame(index=number, pts=number, image=x)) for x in pictures]
        marks = [face[0].landmarks for face in faces if face]
        match = match_of(pictures[0], pictures[1], marks[0], marks[-1])
        assert match is not None
        found.append(match)
    return found


@pytest.mark.parametrize("change", CHANGES)
def test_the_mouth_has_the_light_of_the_face(
    change: str, tmp_path: Path, detector: FaceDetector
) -> None:
    source, output, report = dubbed(tmp_path, CHANGES[change])
    assert report.frames_dubbed >= NUM / 2
    found = matches(source, output, detector)
    beyond = [one.colour_difference - one.own_colour_difference for one in found]
    # Lips of another shape alone change it by up to 2 in a face of 60 px.
    assert float(np.mean(beyond)) < 0.5
    assert max(beyond) < 2.5
    lips = np.mean([one.lips_difference - one.own_lips_difference for one in found])
    assert abs(lips) < 4
    assert any("light differs" in note for note in report.warnings)


def test_toned_film_keeps_its_tone(tmp_path: Path, detector: FaceDetector) -> None:
    source, output, _ = dubbed(tmp_path, f"scale=360:360,eq=brightness=-0.12,{SEPIA}")
    found = matches(source, output, detector)
    assert float(np.mean([one.outside_palette for one in found])) < 0.05


def test_grain_goes_onto_the_lips_and_nowhere_else(tmp_path: Path, detector: FaceDetector) -> None:
    source, output, report = dubbed(tmp_path, f"{SCALE},noise=alls=22:allf=t:all_seed=5")
    ratios = [one.noise_ratio for one in matches(source, output, detector)]
    assert 0.8 <= float(np.median(ratios)) <= 1.25
    assert any("grain" in note for note in report.warnings)
    for _, before, after in pairs_of(source, output):
        old, new = samples(before.frame)[0], samples(after.frame)[0]
        assert np.array_equal(old[: FACE_PX // 3], new[: FACE_PX // 3])


def test_grain_does_not_depend_on_where_a_run_went_on(tmp_path: Path) -> None:
    source = face_clip(tmp_path / "in.mp4", f"{SCALE},noise=alls=22:allf=t:all_seed=5", frames=NUM)
    audio = speech(tmp_path / "speech.wav", NUM / 25)
    outputs = []
    for frames in (4, 300):
        output = tmp_path / f"{frames}.mkv"
        config = DubConfig(video=source, audio=audio, output=output, sync_mode="pad", device="cpu")
        dub(config, encode=EncodeOptions(output=output, lossless=True), segment_frames=frames)
        outputs.append(output)
    assert all(same_samples(one.frame, two.frame) for _, one, two in pairs_of(*outputs))


def test_a_clean_clip_gets_no_grain_and_no_other_light(tmp_path: Path) -> None:
    _, _, report = dubbed(tmp_path, SCALE)
    assert not [note for note in report.warnings if "grain" in note or "light" in note]


def test_the_plan_tells_of_dark_frames_and_of_grain_before_anything_is_dubbed(
    tmp_path: Path,
) -> None:
    chain = (
        f"{SCALE},noise=alls=22:allf=t:all_seed=5,"
        "lutyuv=y='16+(val-16)*0.05':u='128+(val-128)*0.05':v='128+(val-128)*0.05'"
        ":enable='gte(n,16)'"
    )
    face_clip(tmp_path / "in.mp4", chain, frames=30)
    speech(tmp_path / "new.wav", 1.2)
    words = ["in.mp4", "--audio", "new.wav", "--model", "passthrough", "--sync-mode", "pad"]
    done = CliRunner().invoke(app, ["plan", *words, "--json", "--no-picture"])
    assert done.exit_code == 0, done.stderr
    plan = json.loads(done.stdout)
    dark = [one for one in plan["passed"] if one["reason"] == "too_dark"]
    assert sum(one["frames"] for one in dark) >= 10
    assert dark[0]["start_s"] == pytest.approx(16 / 25, abs=0.05)
    assert any("grain" in note for note in plan["notes"])
